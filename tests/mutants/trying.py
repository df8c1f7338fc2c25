"""Runs tests against one mutant, in a child that has imported the libraries and nothing of fleetd."""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import importlib.util
import json
import os
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, ModuleType

import pytest

LIBRARIES = (
    *("aiohttp.web", "aioresponses", "anyio", "apscheduler.schedulers.asyncio", "hypothesis", "msgspec", "pydantic"),
    *("prometheus_client", "pytest_asyncio", "rich.console", "rich.table", "sqlite3", "structlog"),
    *("coverage", "typer.testing"),
)
QUIET = (
    *("-q", "--tb=no", "-W", "ignore::pytest.PytestAssertRewriteWarning"),
    *(option for name in ("cacheprovider", "pytest_cov", "benchmark") for option in ("-p", f"no:{name}")),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the tests said of one mutant."""

    word: str
    """killed, timeout, survived, or error: nothing follows from it."""

    by: str
    """The test that failed, or an empty word."""

    ran: int


def preload() -> None:
    """Import what every child needs: it is there when the child is forked."""
    for name in LIBRARIES:
        importlib.import_module(name)


def try_tests(module: str, source: bytes, tests: Sequence[str], *, limit: float, fresh: bool = False) -> Verdict:
    """Run these tests, in this order, with ``source`` in place of the module's; until the first that fails.

    ``limit`` is in seconds; a mutant that takes longer hangs, and counts as found. ``fresh``: the module has been
    imported by this process already, and is to be forgotten.
    """
    with tempfile.NamedTemporaryFile() as answer:
        forget = module if fresh else ""
        ended = in_a_child(lambda: _tried(module, source, tests, Path(answer.name), forget=forget), limit=limit)
        told = json.loads(Path(answer.name).read_bytes() or b"{}")
    if not ended:
        return Verdict("timeout", told.get("at", ""), told.get("ran", 0))
    if told.get("code") == pytest.ExitCode.INTERNAL_ERROR:
        return Verdict("error", "pytest itself failed", told["ran"])
    if told.get("failed") or told.get("code") != pytest.ExitCode.OK:
        return Verdict("killed", (told.get("failed") or [told.get("at") or "the import"])[0], told.get("ran", 0))
    return Verdict("survived", "", told["ran"])


def in_a_child(work: Callable[[], int], *, limit: float) -> bool:
    """Run ``work`` in a forked process of its own group; False when it had to be ended after ``limit`` seconds."""
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        code = 70
        try:
            os.setsid()
            code = work()
        except BaseException:
            traceback.print_exc()
            raise
        finally:
            os._exit(code)
    watched = os.pidfd_open(child)
    try:
        ended, _, _ = select.select([watched], [], [], limit)
    finally:
        os.close(watched)
        if not _over(child):
            os.killpg(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return bool(ended)


def _over(child: int) -> bool:
    return os.waitpid(child, os.WNOHANG)[0] == child


def _tried(module: str, source: bytes, tests: Sequence[str], answer: Path, *, forget: str) -> int:
    if forget:
        package = forget.rpartition(".")[0]
        for name in [n for n in sys.modules if n.startswith(package)]:
            if name not in {__name__, package}:
                del sys.modules[name]
    silence = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(silence, stream)
    sys.meta_path.insert(0, _Instead(module, source))
    _frugal()
    told = _Told(tests, answer)
    files = list(dict.fromkeys(test.partition("::")[0] for test in tests))
    told.code = int(pytest.main([*QUIET, "-x", *files], plugins=[told]))
    told.write()
    return told.code


def _frugal() -> None:
    """Property tests search as ever, and stop at the first example: nobody reads the smallest one."""
    import hypothesis

    phases = [p for p in hypothesis.Phase if p.name in {"explicit", "generate"}]
    hypothesis.settings.register_profile("mutants", phases=phases, database=None, deadline=None)
    hypothesis.settings.load_profile("mutants")


class _Told:
    """Picks the tests, and writes how it goes: the file is there also when the process is ended."""

    def __init__(self, tests: Sequence[str], answer: Path) -> None:
        self._order = {test: i for i, test in enumerate(tests)}
        self._answer = answer
        self.ran, self.at, self.failed, self.code = 0, "", [], -1

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        items[:] = sorted((i for i in items if i.nodeid in self._order), key=lambda i: self._order[i.nodeid])

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.failed.append(f"{report.nodeid} (import)")

    def pytest_runtest_logstart(self, nodeid: str) -> None:
        self.ran, self.at = self.ran + 1, nodeid
        self.write()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed.append(report.nodeid)

    def write(self) -> None:
        told = {"ran": self.ran, "at": self.at, "failed": self.failed, "code": self.code}
        self._answer.write_text(json.dumps(told))


class _Instead(importlib.abc.MetaPathFinder):
    """Finds one module, and gives it another text."""

    def __init__(self, module: str, source: bytes) -> None:
        self._module = module
        self._source = source

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname != self._module:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.origin is not None
        loader = _Other(fullname, spec.origin)
        loader.source = self._source
        return importlib.util.spec_from_file_location(
            fullname, spec.origin, loader=loader, submodule_search_locations=spec.submodule_search_locations
        )


class _Other(importlib.machinery.SourceFileLoader):
    source: bytes

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.source, self.path, "exec", dont_inherit=True)
