"""Asking a running daemon over its control socket."""

from __future__ import annotations

import errno
import io
import json
import os
import socket
from collections.abc import Mapping
from contextlib import suppress
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from types import MappingProxyType
from typing import TypeVar, cast

import anyio

from fleetd.model.report import decoded
from fleetd.ops.addressee import MISDIRECTED, STANDS_BY
from fleetd.ops.control_errors import (
    NoAnswer,
    NoDaemon,
    NotAllowed,
    OrderRefused,
    OtherDaemon,
    StandsBy,
    UnusableAnswer,
)

T = TypeVar("T")

LOGIN = "Fleetd-Login"
"""Header in which root says on whose behalf it asks (``sudo``); from anyone else it counts for nothing."""
RELAYED = "Fleetd-Relayed"
"""Header in which this very process, as another replica's messenger, says who asks there."""
ORDER_TIMEOUT = 40.0
"""Seconds for one order: a veto waits for the calls under way, which the provider's timeout bounds."""
WHO_TIMEOUT = 3.0
"""Seconds for who it is: asked beside what does not need an answer."""
READ_TIMEOUT = 10.0
"""Seconds for an answer that the daemon has ready."""


def is_listening(control: Path) -> bool:
    """Whether somebody listens on a control socket; one that a killed daemon left behind has nobody."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as caller:
        caller.settimeout(READ_TIMEOUT)
        try:
            caller.connect(str(control))
        except OSError:
            return False
        return True


class ControlClient:
    """Orders to one daemon, each on a connection of its own.

    Not by aiohttp: a command that only asks would spend most of its time importing it.

    Args:
        control: the control socket's path.
        environ: SUDO_USER in it is whom root asks for; it is recorded beside root.
        meant: headers that name the daemon that is meant (``addressee``); without any, whoever listens is.
    """

    def __init__(
        self,
        control: Path,
        *,
        environ: Mapping[str, str] = os.environ,
        meant: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._socket = control
        login = environ.get("SUDO_USER", "")
        named = login.isascii() and login.isprintable() and login
        self._headers = dict(meant) | ({LOGIN: login} if named else {})

    async def ask(self, kind: type[T], method: str, path: str, /, **body: object) -> T:
        """One request, and its answer as a value of that kind.

        Raises:
            NoDaemon: nobody listens; NotAllowed: this user may not connect; NoAnswer: it does not answer.
            OtherDaemon: it is another than the one that was meant. OrderRefused: the daemon declined.
            StandsBy: it is a replica that does not act.
        """
        seconds = patience(method, path)
        try:
            with anyio.fail_after(seconds):
                status, text = _parsed(await self._exchange(_request(method, path, self._headers, body)))
        except TimeoutError as error:
            raise NoAnswer(f"{self._socket}: the daemon does not answer ({seconds:.0f} s)") from error
        except (HTTPException, OSError, anyio.BrokenResourceError, ValueError) as error:
            raise NoAnswer(f"{self._socket}: the daemon gave no usable answer: {error!r}") from error
        return understood(kind, status, text, str(self._socket))

    async def _exchange(self, request: bytes) -> bytes:
        """What is answered until the connection ends: the request has it end with the answer."""
        try:
            stream = await anyio.connect_unix(self._socket)
        except OSError as error:
            raise self._not_connected(error) from error
        async with stream:
            await stream.send(request)
            answer = bytearray()
            with suppress(anyio.EndOfStream):
                while True:
                    answer += await stream.receive()
            return bytes(answer)

    def _not_connected(self, error: OSError) -> NoDaemon:
        if error.errno in {errno.EACCES, errno.EPERM}:
            return NotAllowed(f"{self._socket}: only root and the daemon's own user may ask it; try sudo")
        return NoDaemon(f"{self._socket}: no daemon listens there")


def patience(method: str, path: str) -> float:
    """Seconds that the daemon has for an answer."""
    return ORDER_TIMEOUT if method != "GET" else WHO_TIMEOUT if path == "/whoami" else READ_TIMEOUT


def understood(kind: type[T], status: int, text: bytes, where: str) -> T:
    """A daemon's answer as a value of that kind.

    Raises:
        OtherDaemon, OrderRefused, StandsBy, UnusableAnswer: as ``ControlClient.ask``.
    """
    try:
        if status >= HTTPStatus.BAD_REQUEST:
            raise _refusal(status, decoded(text, dict[str, object]))
        return decoded(text, kind)
    except ValueError as error:
        raise UnusableAnswer(f"{where}: what the daemon answers cannot be used: {error}") from error


def _request(method: str, path: str, headers: Mapping[str, str], body: Mapping[str, object]) -> bytes:
    content = json.dumps(body).encode() if body else b""
    fields = {"Host": "fleetd", "Connection": "close", **headers}
    if content or method != "GET":
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    lines = [f"{method} {path} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
    return "\r\n".join(lines).encode("ascii") + content


def _parsed(answer: bytes) -> tuple[int, bytes]:
    """The status and the body. Raises HTTPException where it is no answer, or is cut off."""
    response = HTTPResponse(cast("socket.socket", _Received(answer)))
    response.begin()
    return response.status, response.read()


class _Received:
    """What http.client reads from: everything has arrived."""

    def __init__(self, answer: bytes) -> None:
        self._answer = answer

    def makefile(self, *_args: object, **_options: object) -> io.BytesIO:
        return io.BytesIO(self._answer)


def _refusal(status: int, document: Mapping[str, object]) -> OrderRefused | OtherDaemon | StandsBy:
    error = document.get("error") if isinstance(document, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    reason = error.get("reason") if isinstance(error, dict) else None
    if status == MISDIRECTED and reason == STANDS_BY:
        return StandsBy(str(message or "a replica listens there that stands by"))
    if status == MISDIRECTED:
        return OtherDaemon(str(message or "another daemon listens there"))
    return OrderRefused(str(message or f"refused ({status})"), status=status, reason=str(reason or ""))
