"""The control socket, over a real unix socket."""

from __future__ import annotations

import json
import os
import pwd
import socket
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import aiohttp
import anyio
import anyio.to_thread
import pytest
from aiohttp import web
from structlog.testing import capture_logs

from fleetd.model.answers import Reloaded, WhoIs
from fleetd.model.errors import ConfigError, Fault, OrderDeclined, StateUnusable
from fleetd.model.journal import MachineOrder, VetoOrder
from fleetd.model.reasons import Verb
from fleetd.model.report import Report
from fleetd.ops import control, control_client
from fleetd.ops.addressee import Identity, for_config
from fleetd.ops.control import serve_control, serve_standby_control
from fleetd.ops.control_client import ControlClient
from fleetd.ops.control_errors import (
    NoAnswer,
    NoDaemon,
    NotAllowed,
    OrderRefused,
    OtherDaemon,
    StandsBy,
    UnusableAnswer,
)
from fleetd.ops.daemon_handle import DaemonHandle
from fleetd.ops.metrics import Metrics
from fleetd.ops.reads import read_routes
from tests.support.fake_handle import AT, FakeHandle, a_report

ENDED = {"removed": 1, "left": []}
READ = {"reloaded": True, "config": "/etc/fleetd/fleetd.toml"}
ME = f"{pwd.getpwuid(os.getuid()).pw_name} (uid {os.getuid()})"
root_only = pytest.mark.skipif(os.getuid() != 0, reason="becomes another user")


@pytest.fixture
def handle() -> FakeHandle:
    return FakeHandle()


@asynccontextmanager
async def asked(handle: FakeHandle, tmp_path: Path, **environ: str) -> AsyncIterator[ControlClient]:
    path = tmp_path / "run" / "control.sock"
    port: DaemonHandle = handle
    async with serve_control(port, path):
        client = ControlClient(path, environ=environ)
        yield client


async def test_status_is_the_handles_report(handle: FakeHandle, tmp_path: Path) -> None:
    async with asked(handle, tmp_path) as client:
        assert await client.ask(Report, "GET", "/status") == a_report()


HOLD = {"kind": "hold", "subject": "training-1", "reason": " on\n my desk ", "seconds": 3600}
FREEZE = {
    "kind": "freeze",
    "subject": None,
    "reason": "vendor incident",
    "seconds": 60.5,
    "verbs": ["stop", "destroy"],
}


@pytest.mark.parametrize(
    ("method", "path", "body", "seen", "answer"),
    [
        pytest.param("POST", "/reload", {}, ("reload", ME), READ, id="reload"),
        pytest.param("POST", "/wake", {}, ("wake",), {"woken": True}, id="wake"),
        pytest.param(
            "POST", "/veto", HOLD,
            ("veto", VetoOrder("hold", "training-1", frozenset(Verb), "on my desk", timedelta(hours=1)), ME),
            {"id": 1, "kind": "hold"}, id="hold",
        ),
        pytest.param(
            "POST", "/veto", {**HOLD, "subject": " two  words"},
            ("veto", VetoOrder("hold", " two  words", frozenset(Verb), "on my desk", timedelta(hours=1)), ME),
            {"id": 1, "kind": "hold"}, id="hold of an odd name",
        ),
        pytest.param(
            "POST", "/veto", FREEZE,
            ("veto", VetoOrder(
                "freeze", None, frozenset({Verb.STOP, Verb.DESTROY}), "vendor incident", timedelta(seconds=60.5)
            ), ME),
            {"id": 1, "kind": "freeze"}, id="freeze",
        ),
        pytest.param(
            "POST", "/lift", {"kind": "freeze"}, ("lift", "freeze", None, ME), ENDED, id="unfreeze",
        ),
        pytest.param(
            "POST", "/lift", {"kind": "hold", "subject": "ps1"}, ("lift", "hold", "ps1", ME), ENDED,
            id="release",
        ),
        pytest.param(
            "POST", "/request", {"verb": "restart", "machine": "ps1", "reason": "stuck"},
            ("request", MachineOrder(Verb.RESTART, "ps1", "stuck"), ME), {"verb": "restart", "machine": "ps1"},
            id="restart",
        ),
        pytest.param(
            "POST", "/request",
            {"verb": "stop", "machine": "ps1", "reason": "loud", "even_if_busy": True, "seconds": 3600},
            ("request", MachineOrder(Verb.STOP, "ps1", "loud", True, timedelta(hours=1)), ME),
            {"verb": "stop", "machine": "ps1"}, id="stop",
        ),
        pytest.param(
            "PUT", "/lease", {"machine": "ps1", "source": "slurm", "seconds": 0},
            ("lease", "ps1", "slurm", timedelta(0), ME), {"machine": "ps1"}, id="end a lease",
        ),
    ],
)  # fmt: skip
async def test_orders_reach_the_seat_with_their_actor(
    handle: FakeHandle,
    tmp_path: Path,
    method: str,
    path: str,
    body: dict[str, Any],
    seen: tuple[Any, ...],
    answer: Any,
) -> None:
    with capture_logs() as logs:
        async with asked(handle, tmp_path) as client:
            told = await client.ask(dict, method, path, **body)
    assert {key: told[key] for key in answer} == answer
    assert handle.asked == [seen]
    assert [(x["event"], x["order"], x["actor"]) for x in logs] == [("order.was_taken", path[1:], ME)]


@pytest.mark.parametrize(
    ("path", "body", "complaint"),
    [
        pytest.param("/veto", {**HOLD, "kind": "veto"}, "kind must be hold or freeze", id="kind"),
        pytest.param("/veto", {**HOLD, "kind": ["hold"]}, "kind must be hold or freeze", id="kind is no text"),
        pytest.param("/veto", {**HOLD, "subject": None}, "subject must be text", id="a hold on nothing"),
        pytest.param("/veto", {**HOLD, "subject": " "}, "subject must be text", id="a hold on blanks"),
        pytest.param("/veto", {**HOLD, "reason": ""}, "reason must be text", id="no reason"),
        pytest.param("/veto", {**HOLD, "reason": "x" * 501}, "reason must not be longer", id="a long reason"),
        pytest.param("/veto", {**HOLD, "reason": "\ud800"}, "UTF-8", id="a lone surrogate"),
        pytest.param("/veto", {**HOLD, "seconds": 0}, "more than 0", id="no time"),
        pytest.param("/veto", {**HOLD, "seconds": -1}, "everything here expires", id="negative"),
        pytest.param("/veto", {**HOLD, "seconds": 32 * 86400}, "everything here expires", id="too long"),
        pytest.param("/veto", {**HOLD, "seconds": True}, "everything here expires", id="a boolean"),
        pytest.param("/veto", {**HOLD, "seconds": "4h"}, "everything here expires", id="text"),
        pytest.param("/veto", {**HOLD, "seconds": float("nan")}, "everything here expires", id="not a number"),
        pytest.param("/veto", {**HOLD, "seconds": 10**4000}, "everything here expires", id="a very large number"),
        pytest.param("/veto", {**HOLD, "verbs": []}, "verbs must be a list out of", id="no verbs"),
        pytest.param("/veto", {**HOLD, "verbs": ["explode"]}, "verbs must be a list out of", id="unknown verb"),
        pytest.param("/veto", {**HOLD, "verbs": [{}]}, "verbs must be a list out of", id="verbs of another kind"),
        pytest.param("/lift", {"subject": "ps1"}, "kind must be hold or freeze", id="lift what"),
        pytest.param("/lift", {"kind": "hold"}, "subject must be text", id="release whom"),
        pytest.param("/request", {"verb": "destroy", "machine": "a", "reason": "b"}, "verb must be", id="destroy"),
        pytest.param("/request", {"verb": "restart", "machine": "a"}, "reason must be text", id="why"),
        pytest.param(
            "/request",
            {"verb": "restart", "machine": "a", "reason": "b", "even_if_busy": "yes"},
            "true or false",
            id="a flag",
        ),
        pytest.param(
            "/request",
            {"verb": "stop", "machine": "a", "reason": "b"},
            "everything here expires",
            id="a stop for ever",
        ),
        pytest.param(
            "/request",
            {"verb": "start", "machine": "a", "reason": "b", "seconds": 60},
            "seconds are for a stop",
            id="a start for a while",
        ),
    ],
)
async def test_orders_that_make_no_sense_are_refused(
    handle: FakeHandle, tmp_path: Path, path: str, body: dict[str, Any], complaint: str
) -> None:
    with capture_logs() as logs:
        async with asked(handle, tmp_path) as client:
            with pytest.raises(OrderRefused, match=complaint) as caught:
                await client.ask(dict, "POST", path, **body)
    assert caught.value.status == 400
    assert handle.asked == []
    assert [(x["event"], x["status"]) for x in logs] == [("order.was_refused", 400)]


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        pytest.param(b"", 400, id="nothing"),
        pytest.param(
            b'{"kind": "hold", "subject": "a", "subject": "b", "reason": "c", "seconds": 60}',
            400,
            id="two things at once",
        ),
        pytest.param(b"{", 400, id="no JSON"),
        pytest.param(b"[1]", 400, id="a list"),
        pytest.param(b"\xff\xfe\x00", 400, id="no text"),
        pytest.param(b"[" * 60_000, 400, id="a deep hole"),
        pytest.param(b'{"seconds": ' + b"9" * 5000 + b"}", 400, id="a number too long to read"),
        pytest.param(b"x" * 70_000, 413, id="too much"),
    ],
)
async def test_hostile_bodies_are_answered_and_harm_nothing(
    handle: FakeHandle, tmp_path: Path, raw: bytes, status: int
) -> None:
    path = tmp_path / "control.sock"
    async with (
        serve_control(handle, path),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
    ):
        headers = {"Content-Type": "application/json; charset=no-such-charset"}
        async with session.post("http://fleetd/veto", data=raw, headers=headers) as answer:
            assert answer.status == status
            assert (await answer.json())["error"]["status"] == status
        async with session.get("http://fleetd/status") as answer:
            assert answer.status == 200
    assert handle.asked == []


async def test_a_body_that_does_not_come_is_not_waited_for(
    handle: FakeHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetd.ops.orders.BODY_WITHIN", 0.1)
    path = tmp_path / "control.sock"
    async with serve_control(handle, path), await anyio.connect_unix(path) as stream:
        await stream.send(b"POST /veto HTTP/1.1\r\nHost: fleetd\r\nContent-Length: 100\r\n\r\n{")
        assert (await stream.receive()).startswith(b"HTTP/1.1 408")


async def test_a_client_that_leaves_in_the_middle_is_no_news(handle: FakeHandle, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with capture_logs() as logs:
        async with serve_control(handle, path):
            async with await anyio.connect_unix(path) as stream:
                await stream.send(b"POST /veto HTTP/1.1\r\nHost: fleetd\r\nContent-Length: 100\r\n\r\n{")
                await anyio.sleep(0.05)
            await anyio.sleep(0.05)
    assert [(x["event"], x["error"]) for x in logs] == [("order.was_refused", "the body did not come whole")]
    assert handle.asked == []


@pytest.mark.parametrize(
    ("error", "status", "text"),
    [
        pytest.param(LookupError("gpu-9: no such machine of ours"), 404, "gpu-9", id="no such machine"),
        pytest.param(StateUnusable("the disk is full"), 503, "the disk is full", id="disk"),
        pytest.param(
            ConfigError("f.toml", (Fault("fleets.a.target", "expected a number"),)),
            422,
            "fleets.a.target",
            id="config",
        ),
        pytest.param(
            OrderDeclined("gpu-9 is not stopped: it is being used", reason="busy"), 409, "being used", id="declined"
        ),
        pytest.param(ZeroDivisionError("oops"), 500, "its log says how", id="a bug"),
    ],
)
async def test_the_handles_errors_are_answers(
    handle: FakeHandle, tmp_path: Path, error: Exception, status: int, text: str
) -> None:
    handle.failure = error
    with capture_logs() as logs:
        async with asked(handle, tmp_path) as client:
            with pytest.raises(OrderRefused, match=text) as caught:
                await client.ask(dict, "POST", "/reload")
            assert await client.ask(Report, "GET", "/status") == a_report()
    assert caught.value.status == status
    assert caught.value.reason == getattr(error, "reason", "")
    (line,) = logs
    assert line["event"] == ("request.crashed" if status == 500 else "order.was_refused")


async def test_a_configs_faults_come_one_by_one(handle: FakeHandle, tmp_path: Path) -> None:
    handle.failure = ConfigError("f.toml", (Fault("a.b", "wrong", 7), Fault("c", "missing")))
    path = tmp_path / "control.sock"
    async with (
        serve_control(handle, path),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
        session.post("http://fleetd/reload") as answer,
    ):
        error = (await answer.json())["error"]
    assert error["faults"] == [
        {"path": "a.b", "problem": "wrong", "line": 7},
        {"path": "c", "problem": "missing", "line": None},
    ]


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/nowhere", 404), ("GET", "/reload", 405)])
async def test_what_is_not_there_is_said_in_json(
    handle: FakeHandle, tmp_path: Path, method: str, path: str, status: int
) -> None:
    async with asked(handle, tmp_path) as client:
        with pytest.raises(OrderRefused) as caught:
            await client.ask(dict, method, path)
    assert caught.value.status == status


@pytest.mark.parametrize("instead", ["nothing", "a plain file", "its directory gone"])
async def test_a_socket_that_was_taken_away_is_made_anew(
    handle: FakeHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, instead: str
) -> None:
    monkeypatch.setattr("fleetd.ops.control.LOOK_EVERY", 0.02)
    path = tmp_path / "run" / "control.sock"
    with capture_logs() as logs:
        async with serve_control(handle, path) as keep, anyio.create_task_group() as group:
            group.start_soon(keep)
            await anyio.sleep(0.1)
            assert logs == []
            path.unlink()
            if instead == "a plain file":
                path.touch()
            if instead == "its directory gone":
                path.parent.rmdir()
            with anyio.fail_after(5):
                while not any(line["event"] == "control.socket_renewed" for line in logs):  # noqa: ASYNC110
                    await anyio.sleep(0.02)
            assert stat.S_IMODE(path.stat().st_mode) == 0o600
            client = ControlClient(path)
            assert await client.ask(Report, "GET", "/status") == a_report()
            group.cancel_scope.cancel()
    assert not path.exists()


async def test_a_socket_that_another_process_listens_on_is_left_to_it(
    handle: FakeHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fleetd.ops.control.LOOK_EVERY", 0.02)
    path = tmp_path / "control.sock"
    with capture_logs() as logs:
        async with serve_control(handle, path) as keep, anyio.create_task_group() as group:
            path.unlink()
            async with serve_control(FakeHandle(), path):
                group.start_soon(keep)
                await anyio.sleep(0.2)
                assert [line["event"] for line in logs] == ["control.socket_lost"]
                group.cancel_scope.cancel()


async def test_the_socket_is_the_owners_alone_and_goes_with_the_daemon(handle: FakeHandle, tmp_path: Path) -> None:
    path = tmp_path / "run" / "control.sock"
    async with serve_control(handle, path):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_ISSOCK(path.stat().st_mode)
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.exists()


async def test_a_socket_left_by_a_killed_daemon_is_replaced(handle: FakeHandle, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    client = ControlClient(path)
    with pytest.raises(NoDaemon, match="no daemon listens there"):
        await client.ask(Report, "GET", "/status")
    async with serve_control(handle, path):
        client = ControlClient(path)
        assert await client.ask(Report, "GET", "/status") == a_report()


@pytest.mark.parametrize("place", ["file/control.sock", "d" * 120 + "/control.sock", "folder.sock"])
async def test_a_socket_that_cannot_be_made_is_one_clear_error(
    handle: FakeHandle, tmp_path: Path, place: str
) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "folder.sock" / "x").mkdir(parents=True)
    with pytest.raises(StateUnusable, match=r"control socket cannot be made: .+"):
        async with serve_control(handle, tmp_path / place):
            pass


async def test_root_may_say_for_whom_it_asks(
    handle: FakeHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_peer_uid", lambda _request: 0)
    async with asked(handle, tmp_path, SUDO_USER="ada") as client:
        await client.ask(dict, "POST", "/reload")
    monkeypatch.setattr(control, "_peer_uid", lambda _request: os.getuid() or 1000)
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    async with asked(handle, tmp_path, SUDO_USER="ada") as client:
        await client.ask(dict, "POST", "/reload")
    assert [actor.partition(" for ")[2] for _, actor in handle.asked] == ["ada", ""]


@pytest.mark.parametrize(("uid", "believed"), [(1000, True), (0, False)])
async def test_only_its_own_user_says_who_asks_elsewhere(
    handle: FakeHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, believed: bool
) -> None:
    """What comes through the database is brought by the daemon itself; nobody else speaks for other hosts."""
    monkeypatch.setattr(os, "getuid", lambda: 1000)
    monkeypatch.setattr(control, "_peer_uid", lambda _request: uid)
    path = tmp_path / "control.sock"
    async with (
        serve_control(handle, path),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
    ):
        headers = {control_client.RELAYED: "ada (uid 7) on b\u202e"}
        async with session.post("http://fleetd/reload", headers=headers) as answer:
            assert answer.status == 200
    ((_, actor),) = handle.asked
    assert actor.startswith("ada (uid 7) on b") is believed
    assert actor.isprintable()


async def test_a_login_cannot_forge_a_line(
    handle: FakeHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(control, "_peer_uid", lambda _request: 0)
    path = tmp_path / "control.sock"
    async with (
        serve_control(handle, path),
        aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path))) as session,
    ):
        login = "ada\u202e" + "x" * 100
        async with session.post("http://fleetd/reload", headers={control_client.LOGIN: login}) as answer:
            assert answer.status == 200
    ((_, actor),) = handle.asked
    assert actor.isprintable()
    assert len(actor) < 70
    for odd in ("ada\r\nHost: x", "", "äda"):
        assert ControlClient(path, environ={"SUDO_USER": odd})._headers == {}


@root_only
async def test_another_user_is_turned_away_by_the_file_and_by_the_daemon(handle: FakeHandle, tmp_path: Path) -> None:
    """nobody (65534) really connects, first as the mode of the socket lets it, then with the mode opened."""
    path = tmp_path / "control.sock"
    script = (
        "import json, os, socket, sys\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "s = socket.socket(socket.AF_UNIX)\n"
        "try:\n    s.connect(sys.argv[1])\nexcept PermissionError:\n    print('EACCES'); sys.exit()\n"
        "s.sendall(b'POST /reload HTTP/1.0\\r\\nHost: x\\r\\nFleetd-Login: root\\r\\n\\r\\n')\n"
        "print(b''.join(iter(lambda: s.recv(65536), b'')).decode())\n"
    )

    def as_nobody() -> str:
        done = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True, timeout=30
        )
        return done.stdout

    for folder in (tmp_path, *tmp_path.parents):
        if folder != Path(folder.anchor) and folder.stat().st_uid == os.getuid():
            folder.chmod(folder.stat().st_mode | 0o011)
    async with serve_control(handle, path):
        assert (await anyio.to_thread.run_sync(as_nobody)).strip() == "EACCES"
        path.chmod(0o666)
        answer = await anyio.to_thread.run_sync(as_nobody)
    assert answer.startswith("HTTP/1.0 403")
    assert "only root and the daemon's own user" in json.loads(answer.splitlines()[-1])["error"]["message"]
    assert handle.asked == []


async def test_the_client_says_what_is_the_matter(
    handle: FakeHandle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = ControlClient(tmp_path / "nothing.sock")
    with pytest.raises(NoDaemon, match=r"nothing\.sock: no daemon listens there"):
        await client.ask(Report, "GET", "/status")

    deaf = tmp_path / "deaf.sock"
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(deaf))
        listening.listen()
        monkeypatch.setattr(control_client, "READ_TIMEOUT", 0.1)
        client = ControlClient(deaf)
        with pytest.raises(NoAnswer, match="does not answer"):
            await client.ask(Report, "GET", "/status")

    async def babble(stream: anyio.abc.SocketStream) -> None:
        async with stream:
            await stream.receive()
            await stream.send(b"SSH-2.0-OpenSSH_9.2\r\n")

    monkeypatch.setattr(control_client, "READ_TIMEOUT", 5)
    other = tmp_path / "other.sock"
    async with await anyio.create_unix_listener(other) as listener, anyio.create_task_group() as group:
        group.start_soon(listener.serve, babble)
        client = ControlClient(other)
        with pytest.raises(NoAnswer, match="no usable answer"):
            await client.ask(Report, "GET", "/status")
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"not JSON", id="not JSON"),
        pytest.param(b"null", id="null"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b'{"daemon": {"running": true}', id="truncated"),
        pytest.param(b'{"daemon": {}}', id="without what it must have"),
        pytest.param(b'{"daemon": {"running": "yes"}}', id="of another type"),
        pytest.param(b'{"daemon": {"running": true, "since": "2026-03-02T12:00:00"}}', id="a time without a zone"),
        pytest.param(b'{"daemon": {"running": true}, "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", id="deep"),
    ],
)
async def test_an_answer_that_is_no_report_is_said_to_be_unusable(body: bytes, tmp_path: Path) -> None:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(body=body, content_type="application/json")

    app = web.Application()
    app.add_routes([web.get("/status", answer)])
    runner = web.AppRunner(app)
    await runner.setup()
    path = tmp_path / "odd.sock"
    try:
        await web.UnixSite(runner, str(path)).start()
        client = ControlClient(path)
        with pytest.raises(UnusableAnswer, match="what the daemon answers cannot be used"):
            await client.ask(Report, "GET", "/status")
    finally:
        await runner.cleanup()


async def test_the_client_tells_a_locked_door_from_an_empty_house(tmp_path: Path) -> None:
    for code, kind in ((13, NotAllowed), (1, NotAllowed), (111, NoDaemon), (2, NoDaemon)):
        client = ControlClient(tmp_path / "control.sock")
        assert type(client._not_connected(OSError(code, os.strerror(code)))) is kind


async def test_what_may_be_read_can_be_read_here_too(handle: FakeHandle, tmp_path: Path) -> None:
    path = tmp_path / "control.sock"
    reads = read_routes(handle, Metrics(version="1"), lambda: AT)
    async with serve_control(handle, path, reads=reads):
        client = ControlClient(path)
        assert await client.ask(dict, "GET", "/livez") == {"alive": True}
        assert await client.ask(Report, "GET", "/status.json") == a_report()


def test_a_standby_reads_its_config_and_sends_everybody_else_to_the_one_that_acts(tmp_path: Path) -> None:
    faults = ConfigError("/f.toml", (Fault("fleets.a.target", "expected a number", 7),))
    says: list[Reloaded | ConfigError] = [Reloaded(reloaded=True, replica="b, pid 2", acts=False), faults]

    def reload() -> Reloaded:
        answer = says.pop(0)
        if isinstance(answer, ConfigError):
            raise answer
        return answer

    async def story() -> None:
        path = tmp_path / "control.sock"
        identity = Identity.of("/f.toml", tmp_path, stands_by=True)
        async with serve_standby_control(reload, path, identity=identity):
            client = ControlClient(path)
            assert (await client.ask(WhoIs, "GET", "/whoami")).stands_by
            assert not (await client.ask(Reloaded, "POST", "/reload")).acts
            with pytest.raises(OrderRefused, match=r":7: fleets.a.target") as refused:
                await client.ask(Reloaded, "POST", "/reload")
            assert refused.value.status == 422
            for method, order in [("GET", "/status"), ("POST", "/veto"), ("PUT", "/lease"), ("POST", "/step-down")]:
                with pytest.raises(StandsBy, match="stands by"):
                    await client.ask(dict, method, order, seconds=1)
            elsewhere = ControlClient(path, meant=for_config("/other.toml"))
            with pytest.raises(OtherDaemon):
                await elsewhere.ask(Reloaded, "POST", "/reload")

    with capture_logs() as logs:
        anyio.run(story)
    told = [(x["event"], x["order"], x.get("status")) for x in logs]
    assert told == [("order.was_taken", "reload", None), ("order.was_refused", "reload", 422)]
