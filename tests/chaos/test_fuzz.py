"""Nonsense on the control socket and on ``daemon.listen``: the daemon lives, passes go on, nothing is written."""

from __future__ import annotations

import json
import random
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.chaos.living import SPEED, Daemon, converged, living, status, write
from tests.chaos.record import read_intents
from tests.support.processes import SimulatorProcess, simulator, until

SEED = 7
ROUNDS = 300
CROWD = 2000
"""Connections at one time; the daemon may have 1024 descriptors, which is systemd's default."""
MEGABYTE = 1 << 20


@dataclass
class Target:
    """A daemon at rest, how to reach it, and what must not change."""

    sim: SimulatorProcess
    daemon: Daemon
    state: Path
    port: int
    writes: int = 0
    intents: list[tuple[str, str, str, int]] = field(default_factory=list)

    def note(self) -> None:
        self.writes = len(self.sim.writes())
        self.intents = read_intents(self.state / "journal.db")

    def control(self) -> socket.socket:
        one = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        one.settimeout(5)
        one.connect(str(self.state / "control.sock"))
        return one

    def listen(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=5)

    def passes(self) -> int:
        return int(status(self.state)["daemon"]["last_pass"]["id"])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Target]:
    directory = tmp_path_factory.mktemp("fuzz")
    with simulator(directory, speed=SPEED) as sim:
        config = write(directory, sim.url, {"training": (2, "")}, listen="127.0.0.1:0")
        with living(config, directory / "daemon.log", prefix=["prlimit", "--nofile=1024"]) as daemon:
            until(lambda: converged(directory / "state"), seconds=60)
            url = daemon.lines("endpoint.opened")[0]["url"]
            yield Target(sim, daemon, directory / "state", int(url.rpartition(":")[2]))
            assert daemon.end() == 0


@pytest.fixture
def target(running: Target) -> Iterator[Target]:
    running.note()
    resident, descriptors = running.daemon.resident(), running.daemon.descriptors()
    yield running
    unharmed(running, resident, descriptors)


def unharmed(target: Target, resident: int, descriptors: int) -> None:
    daemon = target.daemon
    assert daemon.process.poll() is None, daemon.text()
    before = until(target.passes)
    until(lambda: target.passes() > before + 1, seconds=60, saying="passes do not go on")
    assert len(target.sim.writes()) == target.writes
    assert read_intents(target.state / "journal.db") == target.intents
    assert not daemon.lines("request.crashed")
    assert converged(target.state)
    until(lambda: daemon.descriptors() <= descriptors + 5, seconds=60, saying=lambda: f"{daemon.descriptors()} open")
    assert daemon.resident() - resident < 100 * MEGABYTE
    assert len(daemon.text()) < 2 * MEGABYTE


WAYS = ("control", "listen")


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_random_bytes_and_broken_requests(target: Target, way: str) -> None:
    rng = random.Random(f"{SEED} {way}")
    reach: Callable[[], socket.socket] = getattr(target, way)
    for _ in range(ROUNDS):
        with suppress(OSError), reach() as one:
            one.settimeout(0.2)
            one.sendall(nonsense(rng))
            if rng.random() < 0.5:
                one.recv(65536)
            if rng.random() < 0.3:
                one.shutdown(socket.SHUT_WR)


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_huge_requests(target: Target, way: str) -> None:
    reach: Callable[[], socket.socket] = getattr(target, way)
    head = b"POST /veto HTTP/1.1\r\nHost: localhost\r\n"
    for request in (
        b"GET /" + b"a" * MEGABYTE + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * MEGABYTE + b"\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 200_000 + b"\r\n",
        head + b"Content-Length: 200000000\r\n\r\n" + b"[" * (20 * MEGABYTE),
        head
        + b"Transfer-Encoding: chunked\r\n\r\n"
        + b"fffff\r\n"
        + b"x" * 0xFFFFF
        + b"\r\n"
        + b"1\r\nx\r\n" * 100_000,
        head + b"Content-Length: 60000\r\n\r\n" + b"[" * 60_000,
        head + b"Content-Encoding: gzip\r\nContent-Length: 20\r\n\r\n" + b"\x1f\x8b" + b"\0" * 18,
        b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n" * 5000,
    ):
        with suppress(OSError), reach() as one:
            one.settimeout(3)
            one.sendall(request)
            one.recv(65536)


@pytest.mark.slow
def test_orders_of_the_wrong_shape_are_refused(target: Target) -> None:
    rng = random.Random(SEED)
    for _ in range(ROUNDS):
        path = rng.choice(["/veto", "/lift", "/request", "/lease"])
        body = json.dumps(wrong_order(rng)).encode()
        with target.control() as one:
            method = b"PUT" if path == "/lease" else b"POST"
            head = f" {path} HTTP/1.1\r\nHost: fleetd\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"
            one.sendall(method + head.encode() + body)
            answer = b"".join(iter(lambda c=one: c.recv(65536), b""))
        code = int(answer.split(b" ", 2)[1])
        assert code in {400, 404, 413}, answer
    assert status(target.state)["vetoes"] == []
    assert len(target.daemon.lines("order.was_refused")) >= ROUNDS - 10


@pytest.mark.slow
@pytest.mark.parametrize("way", WAYS)
def test_a_crowd_does_not_keep_it_from_its_work(target: Target, way: str) -> None:
    """Thousands of connections that say nothing, or half a request: passes go on while they stand there."""
    crowd: list[socket.socket] = []
    family = socket.AF_UNIX if way == "control" else socket.AF_INET
    address = str(target.state / "control.sock") if way == "control" else ("127.0.0.1", target.port)

    def looks() -> int:
        return sum(c["operation"] == "list" for c in target.sim.calls())

    try:
        for number in range(CROWD):
            one = socket.socket(family, socket.SOCK_STREAM)
            one.setblocking(False)
            with suppress(OSError):
                one.connect(address)
            with suppress(OSError):
                one.send(b"GET /status HTTP/1.1\r\nHost: loc" if number % 2 else b"")
            crowd.append(one)
        before = looks()
        until(lambda: looks() >= before + 5, seconds=60, saying="passes do not go on")
        assert target.daemon.descriptors() < 300
        assert not target.daemon.lines("provider.unavailable")
        # A machine vanishes meanwhile: another is made.
        machine = next(m["id"] for m in target.sim.machines() if m["state"] == "ready")
        target.sim.ask(f"/_sim/machines/{machine}", {"action": "vanish"})
        until(lambda: len(target.sim.writes()) > target.writes, seconds=60, saying="a crowd stops it")
    finally:
        for one in crowd:
            one.close()
    until(lambda: quiet(target), seconds=60)
    target.note()


def quiet(target: Target) -> bool:
    with suppress(OSError):
        return converged(target.state) is not None
    return False


def nonsense(rng: random.Random) -> bytes:
    """Bytes that are no request, or one that is broken somewhere."""
    kind = rng.randrange(5)
    if kind == 0:
        return rng.randbytes(rng.randrange(1, 5000))
    method = rng.choice([b"GET", b"POST", b"PUT", b"DELETE", b"OPTIONS", b"TRACE", b"CONNECT", b"PRI", b"\xff\xfe"])
    path = rng.choice(
        [b"/", b"*", b"/status", b"/../../etc/passwd", b"/%00", b"//status", b"http://other/", b"/status.json?a=%zz"]
    )
    version = rng.choice([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2.0", b"HTTP/9", b"", b"RTSP/1.0"])
    headers = b"".join(
        rng.choice(
            [
                b"Host: localhost\r\n", b"Host: \xff\r\n", b"Host: evil.example\r\n", b"Content-Length: -1\r\n",
                b"Content-Length: 10\r\nContent-Length: 20\r\n", b"Transfer-Encoding: chunked, chunked\r\n",
                b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n", b"Expect: 100-continue\r\n",
                b"Upgrade: websocket\r\nConnection: Upgrade\r\n", b"Fleetd-Login: \x1b[31m\r\n", b": empty\r\n",
                b" folded\r\n", b"Accept-Encoding: gzip;q=0\r\n", b"\0\r\n", b"Cookie: " + b"a=b;" * 500 + b"\r\n",
            ]
        )
        for _ in range(rng.randrange(5))
    )  # fmt: skip
    whole = method + b" " + path + b" " + version + b"\r\n" + headers + b"\r\n" + rng.randbytes(rng.randrange(50))
    if kind == 1:
        return whole[: rng.randrange(1, len(whole))]
    if kind == 2:
        at = rng.randrange(len(whole))
        return whole[:at] + rng.randbytes(3) + whole[at:]
    return whole


def wrong_order(rng: random.Random) -> object:
    """JSON that is no order: every field absent, or of any type and size, and one at least not as it must be."""
    odd = [
        None, True, -1, 1e400, 10**30, "", " ", "x" * 600, "\ud800", "\x1b[2J", [], [[]], {}, {"a": 1}, "DROP TABLE",
    ]  # fmt: skip
    if rng.random() < 0.2:
        return rng.choice(odd)
    keys = ["kind", "subject", "verbs", "reason", "seconds", "verb", "machine", "source"]
    return {key: rng.choice(odd) for key in keys if rng.random() < 0.8} | {"seconds": rng.choice(odd[:8] + odd[10:])}


def test_the_nonsense_is_varied() -> None:
    rng = random.Random(SEED)
    begun = time.monotonic()
    drawn = {nonsense(rng) for _ in range(ROUNDS)}
    assert len(drawn) > 0.95 * ROUNDS
    assert time.monotonic() - begun < 60
