"""Fixtures and rules for the whole suite."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest
import structlog

HERE = Path(__file__).parent
PEERS = {
    "node": ("node", "npm"),
    "prometheus": ("prometheus", "promtool"),
    "chromium": ("chromium",),
    "systemd": ("debootstrap", "unshare", "nsenter", "setpriv"),
    "systemd-analyze": ("systemd-analyze",),
    "tmux": ("tmux", "bash"),
}
"""Real programs that some tests talk to, and what must be on the PATH for each."""


LONG = ("books", "chaos", "e2e", "nights", "oncall", "page", "peers", "sim", "systemd", "week")
"""Folders of the long proofs: simulated days, whole processes, booted systems, a browser. ``-m long`` runs them, and
what is marked so elsewhere because it takes more than some seconds of processor time."""


SLOW = ("sim", "week", "nights", "systemd", "e2e", "page", "deploy", "books", "cli", "engine")
"""Folders whose files take longest: begun first, they do not go on alone on one worker when all else is done."""


def pytest_configure(config: pytest.Config) -> None:
    # xdist would begin with the files that have most tests, which are the fast ones.
    config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: _slow_first(item.path.relative_to(HERE).parts[0]))


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
        missing = [program for program in PEERS[name] if shutil.which(program) is None]
        if missing:
            message = f"peer {name} is not installed (missing: {', '.join(missing)}); .ci/run installs it"
            if os.environ.get("CI") == "true":
                pytest.fail(message, pytrace=False)
            pytest.skip(message)


def pytest_runtest_teardown() -> None:
    """What a command of one test logs, and how, is nothing to the next test of the same process."""
    structlog.reset_defaults()
