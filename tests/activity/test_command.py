"""What a command is given, and how what it leaves behind is ended: with pauses, and not for ever."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import pytest

from fleetd.activity import command, strays
from fleetd.activity.command import CommandSource
from fleetd.model.reasons import Activity
from fleetd.model.settings import IdleSource
from tests.support.build import machine
from tests.support.virtual_time import virtual

NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
BOX = machine(1, name="box", private_ip="10.64.1.99")


async def said(code: str, *arguments: str, **more: Any) -> tuple[Activity, str]:
    table = IdleSource("job", "exec", argv=(sys.executable, "-ISc", code, *arguments), **more)
    reading = (await CommandSource(table).read([BOX], window=timedelta(minutes=10), now=NOW))["ps1"]
    assert (reading.source, reading.at) == ("job", NOW)
    return reading.verdict, reading.evidence


TELLS = "import json, os, sys; print(json.dumps({'idle': True, 'evidence': %s}))"


async def test_a_command_has_a_few_variables_and_a_mark(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "HOME", "LANG", "TZ", "PAPERSPACE_API_KEY", "AWS_SECRET_ACCESS_KEY", "PYTHONPATH"):
        monkeypatch.setenv(name, f"the {name}")
    names = "' '.join(sorted(k for k, v in os.environ.items() if v == 'the ' + k))"
    assert await said(TELLS % names) == (Activity.IDLE, "HOME LANG PATH TZ")
    others = "' '.join(sorted(k for k, v in os.environ.items() if v != 'the ' + k and k != 'LC_CTYPE'))"
    assert await said(TELLS % others) == (Activity.IDLE, strays.MARK)
    monkeypatch.delenv("TZ")
    assert await said(TELLS % names) == (Activity.IDLE, "HOME LANG PATH")


async def test_a_command_has_the_machine_in_its_arguments_and_nothing_to_read() -> None:
    words = "' '.join(sys.argv[1:]) + repr(sys.stdin.read())"
    evidence = "ps1 box 10.64.1.99 600s --x=ps1''"
    assert await said(TELLS % words, "{id}", "{name}", "{private_ip}", "{window}", "--x={id}") == (
        Activity.IDLE,
        evidence,
    )


@pytest.mark.parametrize(("more", "fits"), [(0, True), (1, False)])
async def test_so_much_output_is_read(monkeypatch: pytest.MonkeyPatch, more: int, fits: bool) -> None:
    text = '{"idle": true}'
    monkeypatch.setattr(command, "LONGEST_ANSWER", 100)
    told = await said(f"print({text!r}.ljust(100 + {more}), end='')")
    assert told == ((Activity.IDLE, "idle") if fits else (Activity.UNKNOWN, "it says too much"))


async def test_a_command_that_fails_or_takes_too_long_has_not_told() -> None:
    assert await said("print('{\"idle\": true}'); raise SystemExit(3)") == (Activity.UNKNOWN, "exit status 3")
    slow = await said("import time; time.sleep(60)", timeout=timedelta(seconds=0.5))
    assert slow == (Activity.UNKNOWN, "no answer within 0.5 s")


async def test_a_command_whose_machine_lacks_what_it_needs_is_not_run() -> None:
    table = IdleSource("job", "exec", argv=("/no/such/program", "{private_ip}"))
    reading = (await CommandSource(table).read([machine(2)], window=timedelta(minutes=10), now=NOW))["ps2"]
    assert (reading.verdict, reading.evidence) == (Activity.UNKNOWN, "the machine has no private_ip yet")


class Processes:
    """Children of this process by pid, with the looks after which a killed one is gone; and what was done to them."""

    def __init__(self, marks: dict[int, str | None], *, lives: int = 0) -> None:
        self.marks, self.lives = marks, lives
        self.killed: list[int] = []
        self.groups: list[int] = []
        self.reaped: list[int] = []

    def install(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(strays, "_children", self.children)
        monkeypatch.setattr(strays, "_mark_of", self.marks.get)
        monkeypatch.setattr(os, "kill", lambda pid, sent: self.killed.append(pid if sent == signal.SIGKILL else 0))
        monkeypatch.setattr(os, "killpg", lambda pid, sent: self.groups.append(pid if sent == signal.SIGKILL else 0))
        monkeypatch.setattr(os, "waitpid", self.reap)

    def reap(self, pid: int, options: int) -> tuple[int, int]:
        assert options == os.WNOHANG, "a process that cannot end holds nobody up"
        self.reaped.append(pid)
        return 0, 0

    def children(self) -> frozenset[int]:
        return frozenset(pid for pid in self.marks if self.killed.count(pid) <= self.lives)


@pytest.fixture(autouse=True)
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strays, "_running", {})
    monkeypatch.setattr(strays, "_others", set())


@pytest.mark.parametrize(("lives", "looks"), [(0, 1), (3, 4), (198, 199), (199, 200), (10_000, 200)])
@virtual
async def test_what_was_killed_is_waited_for_with_a_pause_between_two_looks_and_not_for_ever(
    lives: int, looks: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        processes = Processes({70: "m"}, lives=lives)
        processes.install(patch)
        patch.setattr(strays, "_running", {"m": 60})
        start = anyio.current_time()
        await strays.end_all("m")
    assert processes.groups == [60]
    assert processes.killed == processes.reaped == [70] * min(lives + 1, 200)
    assert anyio.current_time() - start == pytest.approx(looks * 0.005)


@virtual
async def test_where_nothing_is_left_nobody_waits() -> None:
    with pytest.MonkeyPatch.context() as patch:
        Processes({}).install(patch)
        patch.setattr(strays, "_running", {"m": 60})
        start = anyio.current_time()
        await strays.end_all("m")
        assert anyio.current_time() == start


@pytest.mark.parametrize(
    ("marks", "running", "others", "killed"),
    [
        pytest.param({70: "m"}, {}, set(), [70], id="it bears the mark"),
        pytest.param({70: "n"}, {}, set(), [], id="another command's"),
        pytest.param({70: None}, {}, set(), [70], id="no mark, and no other command runs"),
        pytest.param({70: None}, {"n": 61}, set(), [], id="no mark, and another command runs"),
        pytest.param({70: "m"}, {"n": 61}, set(), [70], id="the mark, whoever runs"),
        pytest.param({61: None}, {"n": 61}, set(), [], id="another command itself"),
        pytest.param({70: None}, {}, {70}, [], id="there before any"),
        pytest.param({70: "m", 71: None, 72: "n"}, {}, {71}, [70], id="several"),
    ],
)
@virtual
async def test_which_child_is_a_stray(
    marks: dict[int, str | None], running: dict[str, int], others: set[int], killed: list[int]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        processes = Processes(marks)
        processes.install(patch)
        patch.setattr(strays, "_running", {"m": 60, **running})
        patch.setattr(strays, "_others", others)
        await strays.end_all("m")
    assert processes.killed == killed


@virtual
async def test_the_command_itself_is_waited_for_too() -> None:
    looks = iter([{60}, {60}, set()])
    with pytest.MonkeyPatch.context() as patch:
        processes = Processes({})
        processes.install(patch)
        patch.setattr(strays, "_running", {"m": 60})
        patch.setattr(strays, "_children", lambda: frozenset(next(looks)))
        start = anyio.current_time()
        await strays.end_all("m")
    assert processes.killed == []
    assert anyio.current_time() - start == pytest.approx(0.01)


@pytest.mark.parametrize("error", [ProcessLookupError, PermissionError])
@virtual
async def test_what_is_gone_already_is_no_fault(error: type[OSError]) -> None:
    def raising(kind: type[OSError]) -> Callable[..., None]:
        def fail(*_args: object) -> None:
            raise kind

        return fail

    with pytest.MonkeyPatch.context() as patch:
        looks = iter([{70}, set()])
        Processes({70: "m"}).install(patch)
        patch.setattr(strays, "_running", {"m": 60})
        patch.setattr(strays, "_children", lambda: frozenset(next(looks)))
        patch.setattr(os, "killpg", raising(error))
        patch.setattr(os, "kill", raising(error))
        patch.setattr(os, "waitpid", raising(ChildProcessError))
        await strays.end_all("m")


def test_a_command_is_watched_from_before_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    adopts: list[bool] = []
    monkeypatch.setattr(strays, "_children", lambda: frozenset({5, 6}))
    monkeypatch.setattr(strays, "_adopt_orphans", lambda *, wanted: adopts.append(wanted))
    strays._others.add(4)
    with strays.watched() as first:
        assert (len(first), strays._running, strays._others) == (32, {first: 0}, {5, 6})
        strays.began(first, 60)
        monkeypatch.setattr(strays, "_children", lambda: frozenset({5, 6, 60}))
        with strays.watched() as second:
            assert strays._running == {first: 60, second: 0}
            assert strays._others == {5, 6}, "what came since may be a stray"
        assert (strays._running, adopts) == ({first: 60}, [True, True])
    assert (strays._running, adopts) == ({}, [True, True, False])


async def test_a_mark_is_read_from_a_processs_environment() -> None:
    env = {"A": "x", strays.MARK: "m1", "B": "y"}
    async with await anyio.open_process([sys.executable, "-ISc", "input()"], env=env) as child:
        assert strays._mark_of(child.pid) == "m1"
        assert child.pid in strays._children()
        child.kill()
    assert strays._mark_of(os.getpid()) is None
    assert strays._mark_of(2**31 - 1) is None, "there is none"
