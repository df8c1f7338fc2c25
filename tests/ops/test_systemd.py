from __future__ import annotations

import os
import socket
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from fleetd.engine.ports import Notifier
from fleetd.ops.systemd import NullNotifier, SystemdNotifier, from_environment


@pytest.fixture(params=["path", "abstract"])
def supervisor(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """What systemd is to the daemon: a datagram socket."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@fleetd-{uuid.uuid4()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(name.replace("@", "\0", 1))
        listening.settimeout(5)
        yield name, listening


def heard(listening: socket.socket) -> list[str]:
    listening.setblocking(False)
    messages: list[str] = []
    while True:
        try:
            messages.append(listening.recv(65536).decode())
        except BlockingIOError:
            return messages


def test_what_systemd_hears(supervisor: tuple[str, socket.socket]) -> None:
    name, listening = supervisor
    notifier: Notifier = SystemdNotifier(name, watchdog=80.0, monotonic=lambda: 12.5)
    notifier.ready()
    notifier.status("training 7/8,\n 1 under way")
    notifier.reloading()
    notifier.stopping()
    assert heard(listening) == [
        "READY=1",
        "STATUS=training 7/8, 1 under way",
        "RELOADING=1\nMONOTONIC_USEC=12500000",
        "STOPPING=1",
    ]


def test_a_status_adds_no_line_of_its_own(supervisor: tuple[str, socket.socket]) -> None:
    name, listening = supervisor
    notifier = SystemdNotifier(name, watchdog=None)
    notifier.status("a\u2028READY=1\x1b[2J \ud800 " + "x" * 10_000)
    (message,) = heard(listening)
    assert message.startswith("STATUS=a READY=1\\x1b[2J \\ud800 xxx")
    assert len(message) < 600
    assert message.isprintable()


def test_the_watchdog_is_fed_no_more_often_than_it_needs(supervisor: tuple[str, socket.socket]) -> None:
    name, listening = supervisor
    now = 0.0
    notifier = SystemdNotifier(name, watchdog=80.0, monotonic=lambda: now)
    for second in range(81):
        now = float(second)
        notifier.alive()
    assert heard(listening) == ["WATCHDOG=1"] * 9


def test_without_a_watchdog_nothing_is_fed(supervisor: tuple[str, socket.socket]) -> None:
    name, listening = supervisor
    SystemdNotifier(name, watchdog=None).alive()
    assert heard(listening) == []


@pytest.mark.parametrize(
    ("environ", "beats"),
    [
        pytest.param({"WATCHDOG_USEC": "30000000"}, True, id="for whoever has the socket"),
        pytest.param({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": str(os.getpid())}, True, id="for us"),
        pytest.param({"WATCHDOG_USEC": "30000000", "WATCHDOG_PID": "1"}, False, id="for another process"),
        pytest.param({"WATCHDOG_USEC": "soon"}, False, id="garbage"),
        pytest.param({"WATCHDOG_USEC": "0"}, False, id="zero"),
        pytest.param({}, False, id="none"),
    ],
)
def test_the_environment_says_whether_to_feed_it(
    supervisor: tuple[str, socket.socket], environ: dict[str, str], beats: bool
) -> None:
    name, listening = supervisor
    given = environ | {"NOTIFY_SOCKET": name, "OTHER": "stays"}
    notifier = from_environment(given)
    notifier.alive()
    assert heard(listening) == (["WATCHDOG=1"] if beats else [])
    assert given == {"OTHER": "stays"}, "a child must not speak for the daemon"


@pytest.mark.parametrize("address", [None, "", "vsock:2:1234"])
def test_without_a_supervisor_nobody_is_told(address: str | None) -> None:
    notifier = from_environment({} if address is None else {"NOTIFY_SOCKET": address})
    assert isinstance(notifier, NullNotifier)
    port: Notifier = notifier
    for say in (port.ready, port.alive, port.reloading, port.stopping):
        say()
    port.status("x")


def test_a_supervisor_that_is_gone_is_complained_of_once(tmp_path: Path) -> None:
    notifier = SystemdNotifier(str(tmp_path / "nobody"), watchdog=None)
    with capture_logs() as logs:
        notifier.ready()
        notifier.status("x")
        notifier.stopping()
    assert [line["event"] for line in logs] == ["supervisor.not_reached"]


def test_a_supervisor_that_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(tmp_path / "notify"))
        notifier = SystemdNotifier(str(tmp_path / "notify"), watchdog=None)
        with capture_logs() as logs:
            for _ in range(5000):
                notifier.status("x" * 400)
        assert [line["event"] for line in logs] == ["supervisor.not_reached"]
