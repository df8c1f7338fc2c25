"""docs/events.md and the code hold each other: every event is documented, and every documented event is logged."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
NAME = re.compile(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}


def logged() -> Iterator[tuple[str, str]]:
    """(event, place) of every call on a module's ``log`` and of every table that such a call looks up."""
    for path in sorted((ROOT / "fleetd").rglob("*.py")):
        tree = ast.parse(path.read_text())
        texts = {
            target.id: [n.value for n in ast.walk(node.value) if isinstance(n, ast.Constant)]
            for node in tree.body
            if isinstance(node, ast.Assign)
            for target in node.targets
            if isinstance(target, ast.Name)
        }
        aliases = {"log"} | {
            node.targets[0].id
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign)
            and isinstance(node.targets[0], ast.Name)
            and "log." in ast.unparse(node.value)
        }
        for call in ast.walk(tree):
            if not isinstance(call, ast.Call) or not call.args:
                continue
            function = call.func
            on_log = (
                isinstance(function, ast.Attribute)
                and function.attr in LEVELS
                and ast.unparse(function.value) == "log"
            )
            by_alias = isinstance(function, ast.Name) and function.id in aliases
            if on_log or by_alias:
                yield from ((name, f"{path.name}:{call.lineno}") for name in names_in(call.args[0], tree, texts))


def names_in(argument: ast.expr, tree: ast.Module, texts: dict[str, list[object]]) -> list[str]:
    if isinstance(argument, ast.Constant):
        return [str(argument.value)]
    if isinstance(argument, ast.Subscript) and isinstance(argument.value, ast.Name):
        return [str(t) for t in texts[argument.value.id] if NAME.fullmatch(str(t))]
    if isinstance(argument, ast.Name):
        found = [
            node.value
            for node in ast.walk(tree)
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == argument.id
        ]
        return [str(n.value) for value in found for n in ast.walk(value) if isinstance(n, ast.Constant)]
    raise AssertionError(f"cannot tell the event of {ast.unparse(argument)}")


def documented() -> list[str]:
    text = (ROOT / "docs" / "events.md").read_text()
    return re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)


def test_the_code_and_the_catalogue_name_the_same_events() -> None:
    in_code = {name for name, _ in logged()}
    assert in_code == set(documented())
    assert len(documented()) == len(set(documented()))


def test_events_are_named_noun_past_verb() -> None:
    assert [f"{name} at {place}" for name, place in logged() if not NAME.fullmatch(name)] == []


def test_the_search_finds_what_it_should() -> None:
    found = {name for name, _ in logged()}
    assert {"machine.became_ready", "machine.start_requested", "provider.key_refused", "pass.finished"} <= found
