"""A standby's sockets: open once it has started, and put away however and whenever it ends."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiohttp
import anyio
import anyio.to_thread
import pytest

pytest.importorskip("psycopg")

import anyio.lowlevel

from fleetd.engine.ports import SystemClock
from fleetd.model.errors import ConfigError, StateAway
from fleetd.model.settings import KeySource, Settings
from fleetd.ops.control_client import READ_TIMEOUT
from fleetd.ops.control_errors import NoAnswer
from fleetd.store.paths import CONTROL_SOCKET
from fleetd.store.postgres.address import Address
from fleetd.store.postgres.holder import Holder
from fleetd.store.postgres.lease import Lease
from fleetd.wiring import acting
from fleetd.wiring.daemon_lookup import at_its_state, load_for_daemon
from fleetd.wiring.process import Process
from fleetd.wiring.reloads import Reloads
from fleetd.wiring.signals import StoppedWaiting
from fleetd.wiring.standby import Standby
from tests.support.config_text import config_text
from tests.support.ports import free_port
from tests.support.rig import RecordingMeter, settings

HELD = Holder("another, pid 1", 1, None, over=False, given_back=False, reason="", previous="", left=10.0)
STEPS = (*range(12), 15, 20, 30, 50)
"""Turns of the loop after which it is told to end: it takes about a dozen to open everything."""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    base = settings()
    daemon = replace(
        base.daemon, state="postgresql://nowhere/fleetd", state_dir=tmp_path, listen=f"127.0.0.1:{free_port()}"
    )
    return replace(base, source=str(tmp_path / "fleetd.toml"), daemon=daemon)


def reloads_of(found: Settings) -> Reloads:
    notifier: Any = SimpleNamespace(
        stopping=lambda: None, status=lambda _words: None, ready=lambda: None, alive=lambda: None
    )
    return Reloads(lambda: found, notifier, RecordingMeter(), hangup=False)


def standby_of(found: Settings) -> Standby:
    lease = Lease(Address("postgresql://nowhere/fleetd"), "c, pid 3", fuse=lambda _seconds: None)
    return Standby(found, lease, reloads_of(found), SystemClock())


def put_away(found: Settings, tmp_path: Path) -> None:
    """Nothing of it is left: another process could begin here at once."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        host, _, port = found.daemon.listen.rpartition(":")
        one.bind((host, int(port)))
        one.listen()
    assert [path.name for path in tmp_path.rglob("*") if path.is_socket() or path.suffix == ".json"] == []


async def ends(live: Coroutine[Any, Any, None], within: float = 3) -> None:
    """Not by a deadline of anyio's: what is shielded would wait through it."""
    task = asyncio.ensure_future(live)
    done, _ = await asyncio.wait({task}, timeout=within)
    assert done, "it cannot be cancelled"
    task.result()


async def test_it_answers_on_both_sockets_once_it_has_started(here: Settings, tmp_path: Path) -> None:
    async def live() -> None:
        async with anyio.create_task_group() as group:
            await group.start(standby_of(here).serve)
            assert (tmp_path / CONTROL_SOCKET).is_socket()
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"http://{here.daemon.listen}/readyz") as answer,
            ):
                assert answer.status == 503
                assert "has not been asked yet" in await answer.text()
            group.cancel_scope.cancel()

    await ends(live())
    put_away(here, tmp_path)


@pytest.mark.parametrize("turns", STEPS)
async def test_it_puts_everything_away_whenever_it_is_cancelled(here: Settings, tmp_path: Path, turns: int) -> None:
    standby = standby_of(here)

    async def live() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(standby.serve)
            for _ in range(turns):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()

    await ends(live())
    assert standby._journal._database._closed
    put_away(here, tmp_path)


class Waiting:
    """As ``Lease``: another's for so many looks, in a database that tells nothing of itself."""

    address, ttl, about, config, fault = Address("postgresql://nowhere/fleetd"), 15.0, "c, pid 3", ("", ""), ""

    def __init__(self, looks: float) -> None:
        self._looks = looks

    async def take(self) -> Holder | None:
        self._looks -= 1
        return HELD if self._looks < 0 else None

    async def look(self) -> Holder:
        return HELD

    async def heard(self, _seconds: float) -> None:
        await anyio.lowlevel.checkpoint()

    async def ask(self, _job: object) -> None:
        raise StateAway("the database tells nothing")


def process_stopped_after(turns: float) -> Process:
    @contextmanager
    def terminations() -> Iterator[AsyncIterator[object]]:
        async def once() -> AsyncIterator[object]:
            if turns == NEVER:
                await anyio.sleep_forever()
            for _ in range(int(turns)):
                await anyio.lowlevel.checkpoint()
            yield None

        yield once()

    return Process("c, pid 3", lambda _seconds: None, terminations=terminations)


NEVER = float("inf")


@pytest.mark.parametrize(
    ("looks", "turns"),
    [*((NEVER, turns) for turns in STEPS), *((looks, NEVER) for looks in (0, 1, 2, 3))],
)
async def test_who_waits_has_put_everything_away_before_it_ends_or_acts(
    here: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: float, turns: float
) -> None:
    """A stop that comes while it begins to answer was waited for by what was to end it."""

    async def answered(_self: object) -> None:
        pass

    monkeypatch.setattr(acting._RollCall, "answer", answered)
    monkeypatch.setattr(acting, "SCAN", 0.01)
    lease: Any = Waiting(looks)

    async def live() -> None:
        if turns == NEVER:
            assert (await acting._wait_for(lease, reloads_of(here), here, process_stopped_after(turns)))[0] is HELD
        else:
            with pytest.raises(StoppedWaiting):
                await acting._wait_for(lease, reloads_of(here), here, process_stopped_after(turns))
        put_away(here, tmp_path)

    await ends(live())


def _write(path: Path, text: str | None) -> None:
    if text is not None:
        path.parent.mkdir(mode=0o700, exist_ok=True)
        path.write_text(text)


def _words(place: Path) -> str:
    [one] = place.rglob("*.json")
    return one.read_text()


PASSWORDS = [None, KeySource(env="PGWORD"), KeySource(file=Path("/etc/fleetd/pw")), KeySource(credential="pw")]


@pytest.mark.parametrize("password", PASSWORDS, ids=["none", "env", "file", "credential"])
@pytest.mark.parametrize(
    "text", ["nonsense", "version = 1\n[daemon]\nstate = 'postgresql://elsewhere/fleetd'\n", None], ids=str
)
async def test_beside_a_faulty_file_the_standby_says_where_the_database_is(
    here: Settings, tmp_path: Path, text: str | None, password: KeySource | None
) -> None:
    """Who may still act is asked there, by what the standby runs on: never where a file leads that nobody runs on."""
    path = Path(here.source)
    _write(path, text)
    found = replace(here, daemon=replace(here.daemon, state_password=password))

    async def live() -> None:
        async with anyio.create_task_group() as group:
            await group.start(standby_of(found).serve)
            asked = await anyio.to_thread.run_sync(load_for_daemon, path)
            assert (asked.daemon.state, asked.daemon.state_password) == (here.daemon.state, password)
            assert (asked.source, asked.fleets, asked.daemon.state_dir) == (here.source, (), tmp_path)
            of_standby = await anyio.to_thread.run_sync(partial(load_for_daemon, path, of_standby=True))
            assert of_standby.daemon.state_dir == tmp_path
            other = tmp_path / "other.toml"
            _write(other, "nonsense")
            with pytest.raises(ConfigError):  # what runs on another file is not asked for this one
                await anyio.to_thread.run_sync(load_for_daemon, other)
            assert "nowhere" not in _words(tmp_path)
            group.cancel_scope.cancel()

    await ends(live())
    with pytest.raises(ConfigError):
        await anyio.to_thread.run_sync(load_for_daemon, path)


@pytest.mark.parametrize("named", ["nowhere", "elsewhere"])
async def test_what_runs_on_a_file_says_where_its_database_is_although_the_file_was_changed(
    here: Settings, tmp_path: Path, named: str
) -> None:
    """Only a start reads it: a freeze went into the database that the file named by now, where nobody acts."""
    path = Path(here.source)
    _write(path, config_text(daemon=f'[daemon]\nstate = "postgresql://{named}/fleetd"\nlisten = ""'))

    async def live() -> None:
        async with anyio.create_task_group() as group:
            await group.start(standby_of(here).serve)
            asked = await anyio.to_thread.run_sync(load_for_daemon, path)
            assert asked.daemon.state == "postgresql://nowhere/fleetd"
            assert [fleet.name for fleet in asked.fleets] == ["training"]
            assert (await at_its_state(asked)).daemon.state == "postgresql://nowhere/fleetd"
            kept = _words(tmp_path)
            group.cancel_scope.cancel()
        _write(tmp_path / "fleetd" / "kept.daemon.json", kept)  # as a process that was killed leaves it

    await ends(live())
    asked = await anyio.to_thread.run_sync(load_for_daemon, path)
    assert asked.daemon.state == f"postgresql://{named}/fleetd"


async def test_one_that_hangs_on_another_database_is_not_passed_over(here: Settings, tmp_path: Path) -> None:
    path = Path(here.source)
    _write(path, config_text(daemon='[daemon]\nstate = "postgresql://elsewhere/fleetd"\nlisten = ""'))

    async def live() -> None:
        async with anyio.create_task_group() as group:
            await group.start(standby_of(here).serve)
            kept = _words(tmp_path)
            group.cancel_scope.cancel()
        _write(tmp_path / "fleetd" / "kept.daemon.json", kept)
        with socket.socket(socket.AF_UNIX) as deaf:
            deaf.bind(str(tmp_path / CONTROL_SOCKET))
            deaf.listen()
            with pytest.raises(NoAnswer):
                await anyio.to_thread.run_sync(load_for_daemon, path)

    await ends(live(), within=READ_TIMEOUT + 3)
