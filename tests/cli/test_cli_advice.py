"""Advice that does harm: no message tells anybody to take a daemon's state away from it, or to begin a second one."""

from __future__ import annotations

import ast
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleetd.cli.failures import explanation
from fleetd.model.errors import LockLost, StateLocked
from fleetd.ops.control_errors import NoAnswer, NoDaemon, NotAllowed, OrderRefused, OtherDaemon
from fleetd.store import failures
from fleetd.store.failures import file_failure
from fleetd.store.lock import StateLock
from tests.store.test_lock import SINCE

ROOT = Path(__file__).parents[2]
HARMFUL = {
    r"\bchown\b": "the daemon whose state it is cannot write it any more",
    r"chmod (777|o\+|a\+|\+)": "others can read or write it",
    r"state_dir[^.]{0,20} (elsewhere|to another)": "a second daemon on one account, or one without its holds",
    r"\brm -|\bdelete the (lock|journal)|remove the (lock|journal)": "what keeps a second daemon out, or holds",
    r"\bkill -9|\bpkill|\bkillall": "it would not end in order",
    r"another state directory": "a second daemon on one account",
}


def texts() -> Iterator[tuple[str, str]]:
    """(place, text) of every text in the code that is no docstring."""
    for path in sorted((ROOT / "fleetd").rglob("*.py")):
        tree = ast.parse(path.read_text())
        documentation = {id(n.value) for n in ast.walk(tree) if isinstance(n, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.JoinedStr):
                parts = [str(v.value) if isinstance(v, ast.Constant) else "{}" for v in node.values]
                yield f"{path.name}:{node.lineno}", "".join(parts)
            elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
                yield f"{path.name}:{node.lineno}", node.value


@pytest.mark.parametrize("pattern", HARMFUL)
def test_no_message_advises_what_does_harm(pattern: str) -> None:
    found = list(texts())
    assert len(found) > 1000
    assert [(place, text) for place, text in found if re.search(pattern, text)] == [], HARMFUL[pattern]


def test_the_patterns_know_what_was_said_before() -> None:
    before = (
        "give it to that user (chown), or set daemon.state_dir ", "stop it, or set daemon.state_dir elsewhere",
        "remount it, or set daemon.state_dir to another place",
    )  # fmt: skip
    assert all(any(re.search(pattern, text) for pattern in HARMFUL) for text in before)


@pytest.mark.parametrize(
    ("error", "wanted"),
    [
        (StateLocked("held"), None),
        (LockLost("gone"), "settles by looking"),
        (NoDaemon("none"), "systemctl start fleetd"),
        (NotAllowed("no"), None),
        (NoAnswer("hangs"), "Try again later"),
        (OtherDaemon("another"), "--state-dir"),
        (OrderRefused("no", status=409, reason="held"), "Ask whoever holds it"),
        (OrderRefused("no", status=409, reason="frozen"), "Ask whoever froze it"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_each_error_advises(error: Exception, wanted: str | None) -> None:
    lines = explanation(error)
    if wanted is None:
        assert len(lines) == 1
    else:
        assert any(wanted in line for line in lines)
    assert not any("fleetd run" in line for line in lines), "nothing begins a second daemon"


@pytest.mark.parametrize(
    ("owner", "me", "wanted"),
    [
        (65534, 1000, r"sudo -u (nobody|'#65534') fleetd"),
        (0, 1000, "sudo -u root fleetd"),
        (os.getuid(), os.getuid(), "check its mode"),
        (54321, 1000, "sudo -u '#54321' fleetd"),
    ],
)
def test_without_permission_one_acts_as_the_daemons_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, owner: int, me: int, wanted: str
) -> None:
    class Place(type(tmp_path)):  # type: ignore[misc]
        def stat(self, **kwargs: object) -> os.stat_result:
            real = super().stat(**kwargs)
            return os.stat_result([*real[:4], owner, *real[5:10]])

    monkeypatch.setattr(failures.os, "geteuid", lambda: me)
    said = str(file_failure(OSError(errno.EACCES, "Permission denied"), Place(tmp_path / "state" / "lock")))
    assert re.search(wanted, said), said
    assert f"uid {me}" in said


def test_beside_a_daemon_the_advice_is_to_ask_it(tmp_path: Path) -> None:
    with StateLock(tmp_path, pid=4711, since=SINCE), pytest.raises(StateLocked) as refused:  # noqa: SIM117
        with StateLock(tmp_path, pid=2, since=SINCE):
            pytest.fail("two daemons")
    assert "pid 4711" in str(refused.value)
    assert "fleetd status asks it" in str(refused.value)
