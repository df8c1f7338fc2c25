"""Mutants: the package's source with one small thing changed, drawn by a seed."""

from __future__ import annotations

import ast
import copy
import difflib
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

FLIPPED: dict[type[ast.cmpop], tuple[type[ast.cmpop], ...]] = {
    ast.Lt: (ast.LtE, ast.Gt),
    ast.LtE: (ast.Lt, ast.Gt),
    ast.Gt: (ast.GtE, ast.Lt),
    ast.GtE: (ast.Gt, ast.Lt),
    ast.Eq: (ast.NotEq,),
    ast.NotEq: (ast.Eq,),
    ast.In: (ast.NotIn,),
    ast.NotIn: (ast.In,),
    ast.Is: (ast.IsNot,),
    ast.IsNot: (ast.Is,),
}
REVERSED: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
}
OTHER_NAME = {"min": "max", "max": "min", "any": "all", "all": "any"}
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True, slots=True)
class Mutant:
    """One change: the bytes from ``start`` to ``end`` of ``path`` become ``text``."""

    path: str
    kind: str
    start: int
    end: int
    text: str
    first_line: int
    last_line: int
    function: tuple[int, int] | None
    """First and last line of the body of the function around it, or none where the module's import runs it."""

    @property
    def room(self) -> str:
        """The package's folder that it is in."""
        parts = Path(self.path).parts
        return parts[1] if len(parts) > 2 else "top"

    def applied(self, source: bytes) -> bytes:
        """The file's text with the change."""
        return source[: self.start] + self.text.encode() + source[self.end :]

    def diff(self, source: bytes) -> str:
        """The change as a unified diff with one line around it."""
        before, after = source.decode().splitlines(), self.applied(source).decode().splitlines()
        lines = list(difflib.unified_diff(before, after, self.path, self.path, n=1, lineterm=""))
        return "\n".join(lines[:1] + lines[2:])


def mutants_of(path: str, source: bytes) -> list[Mutant]:
    """Every mutant of one file, in the order of the text."""
    return list(_Finder(path, source).found())


def draw(root: Path, *, sample: int, seed: int, rooms: tuple[str, ...] = ()) -> list[Mutant]:
    """``sample`` mutants of the whole package, or of some rooms: the same for the same seed and text."""
    sources = {f.relative_to(root).as_posix(): f.read_bytes() for f in sorted((root / "fleetd").rglob("*.py"))}
    everything = [m for path, source in sources.items() for m in mutants_of(path, source)]
    everything = [m for m in everything if not rooms or m.room in rooms]
    random.Random(seed).shuffle(everything)
    sound = (m for m in everything if _compiles(m.applied(sources[m.path])))
    return sorted(itertools.islice(sound, sample), key=lambda m: (m.path, m.start, m.text))


def _compiles(source: bytes) -> bool:
    try:
        compile(source, "mutant", "exec")
    except (SyntaxError, ValueError):
        return False
    return True


class _Finder:
    """Walks one file's tree and says what could be changed."""

    def __init__(self, path: str, source: bytes) -> None:
        self._path = path
        self._source = source
        self._starts = [0]
        for line in source.splitlines(keepends=True):
            self._starts.append(self._starts[-1] + len(line))
        self._function: tuple[int, int] | None = None

    def found(self) -> Iterator[Mutant]:
        yield from self._walk(ast.parse(self._source))

    def _walk(self, node: ast.AST) -> Iterator[Mutant]:
        if _is_no_rule(node):
            return
        if isinstance(node, ast.expr | ast.stmt):
            yield from self._changes(node)
        before = self._function
        if isinstance(node, FUNCTIONS):
            self._function = (node.body[0].lineno, node.end_lineno or node.lineno)
        for child in _children(node):
            yield from self._walk(child)
        self._function = before

    def _changes(self, node: ast.expr | ast.stmt) -> Iterator[Mutant]:
        for kind, text in _of_statement(node) if isinstance(node, ast.stmt) else self._expressions(node):
            start, end = self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)
            last = node.end_lineno or node.lineno
            yield Mutant(self._path, kind, start, end, text, node.lineno, last, self._function)
        if isinstance(node, ast.If | ast.While | ast.IfExp):
            yield self._negated(node.test)
        for keyword in node.keywords if isinstance(node, ast.Call) else ():
            if keyword.arg is not None:
                yield self._without(node, keyword)
        for loop in getattr(node, "generators", ()):
            for test in loop.ifs:
                yield self._negated(test)

    def _expressions(self, node: ast.expr) -> Iterator[tuple[str, str]]:
        yield from _of_expression(node)
        if isinstance(node, ast.BoolOp):
            word = " and " if isinstance(node.op, ast.And) else " or "
            for i, operand in enumerate(node.values):
                rest = word.join(f"({self._text(v)})" for v in node.values if v is not operand)
                yield f"operand {i + 1} dropped", f"({rest})"

    def _negated(self, test: ast.expr) -> Mutant:
        start, end = self._at(test.lineno, test.col_offset), self._at(test.end_lineno, test.end_col_offset)
        text = f"(not ({self._text(test)}))"
        last = test.end_lineno or test.lineno
        return Mutant(self._path, "condition negated", start, end, text, test.lineno, last, self._function)

    def _without(self, call: ast.Call, keyword: ast.keyword) -> Mutant:
        """The call without this argument, and without the comma that stands beside it."""
        before = max((n for n in (*call.args, *call.keywords) if _end(n) < _end(keyword)), key=_end, default=None)
        start, end = self._at(keyword.lineno, keyword.col_offset), self._at(*_end(keyword))
        if before is not None:
            start = self._at(*_end(before))
        elif self._source[end : end + 1] == b",":
            end += 1
        last = keyword.end_lineno or keyword.lineno
        return Mutant(
            self._path, f"argument {keyword.arg} dropped", start, end, "", keyword.lineno, last, self._function
        )

    def _text(self, node: ast.expr) -> str:
        start, end = self._at(node.lineno, node.col_offset), self._at(node.end_lineno, node.end_col_offset)
        return self._source[start:end].decode()

    def _at(self, line: int | None, column: int | None) -> int:
        return self._starts[(line or 1) - 1] + (column or 0)


def _is_no_rule(node: ast.AST) -> bool:
    """Whether nothing in it decides anything: docstrings, ports, imports for types, the words of a message."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.ClassDef):
        return any("Protocol" in ast.unparse(base) for base in node.bases)
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return True
    if isinstance(node, ast.Assign):
        return any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets)
    return isinstance(node, ast.JoinedStr)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    for name, value in ast.iter_fields(node):
        if name in {"annotation", "returns", "decorator_list", "type_params", "bases"}:
            continue
        for item in value if isinstance(value, list) else [value]:
            if isinstance(item, ast.AST):
                yield item


def _of_statement(node: ast.stmt) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Continue():
            yield "continue -> break", "break"
        case ast.Break():
            yield "break -> continue", "continue"
        case ast.Return(value=ast.expr() as value) if not _is_none(value):
            yield "nothing returned", "return None"
        case ast.Expr(value=ast.Call() | ast.Await()):
            yield "call dropped", "pass"
        case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]) | ast.AugAssign() | ast.Delete():
            yield "statement dropped", "pass"
        case ast.Raise():
            yield "raise dropped", "pass"
        case _:
            pass


def _of_expression(node: ast.expr) -> Iterator[tuple[str, str]]:
    match node:
        case ast.Compare(ops=ops):
            for i, op in enumerate(ops):
                for other in FLIPPED[type(op)]:
                    yield "comparison", _with(node, "ops", [*ops[:i], other(), *ops[i + 1 :]])
        case ast.BoolOp(op=ast.And()):
            yield "and -> or", f"({_with(node, 'op', ast.Or())})"
        case ast.BoolOp(op=ast.Or()):
            yield "or -> and", f"({_with(node, 'op', ast.And())})"
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield "not dropped", f"({ast.unparse(operand)})"
        case ast.BinOp(op=op) if type(op) in REVERSED:
            yield "operator", f"({_with(node, 'op', REVERSED[type(op)]())})"
        case ast.Constant(value=bool() as value):
            yield "constant", str(not value)
        case ast.Constant(value=int() | float() as number):
            yield "constant", repr(number + 1)
        case ast.Constant(value=str() as text) if text and not any(c.isspace() for c in text):
            yield "word", repr("other" + text)
        case ast.Call(func=ast.Name(id=name)) if name in OTHER_NAME:
            yield f"{name} -> {OTHER_NAME[name]}", _with(node, "func", ast.Name(OTHER_NAME[name]))
        case _:
            pass


def _end(node: ast.expr | ast.keyword) -> tuple[int, int]:
    return node.end_lineno or 0, node.end_col_offset or 0


def _with(node: ast.expr, field: str, value: object) -> str:
    other = copy.copy(node)
    setattr(other, field, value)
    return ast.unparse(other)


def _is_none(value: ast.expr) -> bool:
    return isinstance(value, ast.Constant) and value.value is None
