"""Which test executes which line: measured once, kept outside of the tree, renewed where a test file changed."""

from __future__ import annotations

import difflib
import hashlib
import os
import pickle
import signal
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.mutants.trying import QUIET, in_a_child

FOLDERS = ("planner", "words", "config", "store", "activity", "cloud", "ops", "engine", "cli")
"""The folders of tests that are fast enough to be run for every mutant, quickest first."""
LONGEST = 5.0
"""Seconds of computing, measured by coverage. A test that takes longer is asked about no mutant."""


@dataclass(frozen=True, slots=True)
class Seen:
    """One test as it was recorded."""

    seconds: float
    passed: bool
    lines: dict[str, frozenset[int]]
    """The lines that it executed, by the path of the file."""

    @property
    def breadth(self) -> int:
        """How many lines it executes: the fewer, the more it is about them."""
        return sum(map(len, self.lines.values()))


@dataclass(slots=True)
class Record:
    """The tests of one file, and the sources as they were then."""

    digest: str
    """Of the test file and of what stands around it, as ``state_of`` tells it."""
    tests: dict[str, Seen]
    sources: dict[str, str]
    """The digest of each source file, by its path."""


@dataclass(slots=True)
class Book:
    """What was recorded of all test files."""

    root: Path
    place: Path
    records: dict[str, Record] = field(default_factory=dict)
    _lines: dict[tuple[str, str], dict[int, int]] = field(default_factory=dict)

    def tests_of(self, path: str, lines: Iterable[int]) -> dict[str, Seen]:
        """The tests that execute one of these lines of the file as it is now."""
        wanted, found = set(lines), {}
        for record in self.records.values():
            was = self._then(path, record.sources.get(path, ""), wanted)
            found |= {name: seen for name, seen in record.tests.items() if was & seen.lines.get(path, frozenset())}
        return {name: seen for name, seen in found.items() if seen.passed}

    def failed(self) -> list[str]:
        """The tests that failed with the code as it is; they prove nothing, and are left out."""
        return sorted(n for record in self.records.values() for n, seen in record.tests.items() if not seen.passed)

    def _then(self, path: str, digest: str, lines: set[int]) -> set[int]:
        """The numbers of these lines in the source as it was recorded."""
        key = (path, digest)
        if key not in self._lines:
            self._lines[key] = _moved(self.place / "sources" / digest, self.root / path)
        return {self._lines[key][line] for line in lines if line in self._lines[key]}


def open_book(root: Path, *, say: Callable[[str], None], folders: Iterable[str] = FOLDERS) -> Book:
    """What is kept for this tree, after the test files that are new or have changed were recorded."""
    book = Book(root, _place(root))
    (book.place / "sources").mkdir(parents=True, exist_ok=True)
    for folder in folders:
        for file in sorted((root / "tests" / folder).glob("test_*.py")):
            name, kept = file.relative_to(root).as_posix(), book.place / f"{folder}-{file.stem}.pickle"
            record = pickle.loads(kept.read_bytes()) if kept.exists() else None
            if record is None or record.digest != state_of(root, file):
                begun = time.monotonic()
                record = _recorded(root, name, book.place)
                kept.write_bytes(pickle.dumps(record))
                say(f"recorded {name}: {len(record.tests)} tests in {time.monotonic() - begun:.0f} s")
            book.records[name] = record
    return book


def state_of(root: Path, file: Path) -> str:
    """What a record of a test file is good for: with another ``conftest.py`` the same tests may have other names."""
    around = (root / "tests" / "conftest.py", file.parent / "conftest.py")
    return "-".join(_digest(one) for one in (file, *around) if one.is_file())


def _recorded(root: Path, name: str, place: Path) -> Record:
    sources = {}
    for file in (root / "fleetd").rglob("*.py"):
        sources[file.relative_to(root).as_posix()] = _digest(file)
        (place / "sources" / _digest(file)).write_bytes(file.read_bytes())
    digest = state_of(root, root / name)
    answer = place / "recorded.pickle"
    answer.unlink(missing_ok=True)
    in_a_child(lambda: _record(root, name, answer), limit=3600)
    tests: dict[str, Seen] = pickle.loads(answer.read_bytes())
    answer.unlink()
    return Record(digest, tests, sources)


def _record(root: Path, name: str, answer: Path) -> int:
    import coverage

    measure = coverage.Coverage(data_file=None, source=[str(root / "fleetd")], config_file=False)
    watch = _Watch(measure)
    measure.start()
    pytest.main([*QUIET, name], plugins=[watch])
    measure.stop()
    data = measure.get_data()
    lines: dict[str, dict[str, set[int]]] = {test: {} for test in watch.seconds}
    for file in data.measured_files():
        path = Path(file).relative_to(root).as_posix()
        for line, contexts in data.contexts_by_lineno(file).items():
            for test in contexts:
                if test in lines:
                    lines[test].setdefault(path, set()).add(line)
    seen = {
        test: Seen(seconds, test not in watch.failed, {p: frozenset(found) for p, found in lines[test].items()})
        for test, seconds in watch.seconds.items()
    }
    answer.write_bytes(pickle.dumps(seen))
    return 0


def _too_long(_signal: int, _frame: object) -> None:
    raise TimeoutError(f"more than {LONGEST:g} s of computing")


class _Watch:
    """Tells coverage which test runs, and keeps how long it took."""

    def __init__(self, measure: object) -> None:
        self._measure = measure
        self.seconds: dict[str, float] = {}
        self.failed: set[str] = set()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._measure.switch_context(item.nodeid)
        begun = time.monotonic()
        signal.signal(signal.SIGPROF, _too_long)
        signal.setitimer(signal.ITIMER_PROF, LONGEST)
        result = yield
        signal.setitimer(signal.ITIMER_PROF, 0)
        self.seconds[item.nodeid] = time.monotonic() - begun
        self._measure.switch_context("")
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not report.passed:
            self.failed.add(report.nodeid)


def _moved(then: Path, now: Path) -> dict[int, int]:
    """Where the lines of a file were when it was recorded, by where they are now; changed lines are not in it."""
    if not then.is_file():
        return {}
    old, new = then.read_text().splitlines(), now.read_text().splitlines()
    blocks = difflib.SequenceMatcher(None, old, new, autojunk=False).get_matching_blocks()
    return {block.b + i + 1: block.a + i + 1 for block in blocks for i in range(block.size)}


def _digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()[:24]


def _place(root: Path) -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "fleetd-mutants" / hashlib.sha256(str(root).encode()).hexdigest()[:12]
