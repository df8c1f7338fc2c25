"""Fixtures and rules for the whole suite."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

HERE = Path(__file__).parent
PEERS = {
    "node": ("node", "npm"),
    "netns": ("ip",),
    "postgres": ("initdb", "postgres", "pg_ctl"),
    "pgbouncer": ("pgbouncer",),
    "prometheus": ("prometheus", "promtool"),
    "chromium": ("chromium",),
    "systemd": ("debootstrap", "unshare", "nsenter", "setpriv"),
    "systemd-analyze": ("systemd-analyze",),
    "tmux": ("tmux", "bash"),
}
"""Real programs that some tests talk to, and what must be on the PATH for each."""
MODULES = {"postgres": "psycopg"}
"""And the optional dependency of fleetd's own that such tests need."""


LONG = ("books", "chaos", "e2e", "nights", "oncall", "page", "peers", "replicas", "sim", "systemd", "week")
"""Folders of the long proofs: simulated days, whole processes, booted systems, a browser. ``-m long`` runs them, and
what is marked so elsewhere because it takes more than some seconds of processor time."""


SLOW = (
    *("replicas", "sim", "week", "nights", "systemd", "e2e", "chaos", "page", "oncall", "peers"),
    *("deploy", "books", "cli", "engine"),
)
"""Folders whose files take longest: begun first, they do not go on alone on one worker when all else is done."""


def pytest_configure(config: pytest.Config) -> None:
    # xdist would begin with the files that have most tests, which are the fast ones.
    config.option.loadscopereorder = False


def pytest_xdist_auto_num_workers() -> int:
    # Many tests wait for real processes: one more at a time than there are cores keeps the cores busy.
    return int(os.environ.get("PYTEST_XDIST_AUTO_NUM_WORKERS", len(os.sched_getaffinity(0)) + 1))


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _slow_first(item.path.relative_to(HERE).parts[0]))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    # Bytes may differ in each process that collects: gzip writes the second into them.
    return f"{argname}-{len(val)}" if isinstance(val, bytes) else None


def _slow_first(folder: str) -> int:
    return SLOW.index(folder) if folder in SLOW else len(SLOW)


# A shell ignores Ctrl-C for what it runs in the background, and children inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_itemcollected(item: pytest.Item) -> None:
    if item.path.relative_to(HERE).parts[0] in LONG:
        item.add_marker(pytest.mark.long)


def pytest_runtest_setup(item: pytest.Item) -> None:
    for marker in item.iter_markers("peer"):
        (name,) = marker.args
        missing = [program for program in PEERS[name] if shutil.which(program, path=_path()) is None]
        if name in MODULES and importlib.util.find_spec(MODULES[name]) is None:
            missing.append(f"Python's {MODULES[name]}")
        if missing:
            message = f"peer {name} is not installed (missing: {', '.join(missing)}); .ci/run installs it"
            if os.environ.get("CI") == "true":
                pytest.fail(message, pytrace=False)
            pytest.skip(message)


def _path() -> str:
    """The PATH, and where Debian keeps the programs of PostgreSQL's servers."""
    servers = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    return os.pathsep.join([os.environ.get("PATH", os.defpath), *map(str, servers)])


@pytest.fixture(scope="session")
def postgres() -> Iterator[Any]:
    """A real server (``tests.support.postgres.Server``), for tests marked ``peer("postgres")``."""
    from tests.support.postgres import running_server

    with running_server() as server:
        yield server


def pytest_runtest_teardown() -> None:
    """What a command of one test logs, and how, is nothing to the next test of the same process."""
    structlog.reset_defaults()
