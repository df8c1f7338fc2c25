"""Which tests a mutant is run against, and in which order."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.mutants.drawing import Mutant
from tests.mutants.recording import Book, Seen

FIRST_TESTS = 30
FIRST_FILES = 3


@dataclass(frozen=True, slots=True)
class Chosen:
    """The tests of one mutant, the most specific first."""

    tests: dict[str, Seen]
    left_out: int
    """How many execute the line as well, and would take longer than the budget."""

    def stages(self) -> Iterator[list[str]]:
        """A few tests of a few files first: most mutants die there, and nothing else has to be imported."""
        first: list[str] = []
        files: set[str] = set()
        for test in self.tests:
            file = test.partition("::")[0]
            if len(first) < FIRST_TESTS and (file in files or len(files) < FIRST_FILES):
                files.add(file)
                first.append(test)
        yield first
        rest = [test for test in self.tests if test not in set(first)]
        if rest:
            yield rest


def choose(book: Book, mutant: Mutant, *, budget: float) -> Chosen:
    """The tests that execute the mutant's lines, as many as take ``budget`` seconds.

    A default stands in the function's head, which an import executes: it belongs to all tests of the function. What
    else an import executes belongs to every test that uses the module; if the module has no function that any test
    runs, to those that use a module which imports it.
    """
    if mutant.function is not None:
        begin, end = mutant.function
        found = book.tests_of(mutant.path, range(max(begin, mutant.first_line), mutant.last_line + 1))
        found = found or book.tests_of(mutant.path, range(begin, end + 1))
    else:
        found = _of_module(book, mutant.path)
    ordered = sorted(found, key=lambda test: (not _named_after(test, mutant.path), found[test].breadth, test))
    chosen: dict[str, Seen] = {}
    spent = 0.0
    for test in ordered:
        if chosen and spent + found[test].seconds > budget:
            continue
        spent += found[test].seconds
        chosen[test] = found[test]
    return Chosen(chosen, len(found) - len(chosen))


def _of_module(book: Book, path: str) -> dict[str, Seen]:
    found = book.tests_of(path, range(1, 5000))
    name = path.removesuffix(".py").replace("/", ".")
    importing = re.compile(rf"(from|import) {re.escape(name)}\b")
    for other in _sources(book.root) if not found else ():
        if importing.search(other.read_text()):
            found |= book.tests_of(other.relative_to(book.root).as_posix(), range(1, 5000))
    return found


def _sources(root: Path) -> Iterable[Path]:
    return sorted((root / "fleetd").rglob("*.py"))


def _named_after(test: str, path: str) -> bool:
    """Whether the test's file has the module's name in its own."""
    file = Path(test.partition("::")[0]).stem.removeprefix("test_")
    return Path(path).stem in {file, *file.split("_")}
