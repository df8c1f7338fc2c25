"""Asking a running daemon over its control socket."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Any, Self, TypeVar

import aiohttp

from fleetd.model.report import decoded
from fleetd.ops.addressee import MISDIRECTED
from fleetd.ops.control_errors import NoAnswer, NoDaemon, NotAllowed, OrderRefused, OtherDaemon, UnusableAnswer

T = TypeVar("T")

LOGIN = "Fleetd-Login"
"""Header in which root says on whose behalf it asks (``sudo``); from anyone else it counts for nothing."""
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
    """Orders to one daemon; an async context manager.

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
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open; nothing is sent yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(self._socket)), headers=self._headers
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        if self._session is not None:
            await self._session.close()

    async def ask(self, kind: type[T], method: str, path: str, /, **body: Any) -> T:
        """One request, and its answer as a value of that kind.

        Raises:
            NoDaemon: nobody listens; NotAllowed: this user may not connect; NoAnswer: it does not answer.
            OtherDaemon: it is another than the one that was meant. OrderRefused: the daemon declined.
        """
        if self._session is None:
            raise RuntimeError("enter the client first")
        seconds = ORDER_TIMEOUT if method != "GET" else WHO_TIMEOUT if path == "/whoami" else READ_TIMEOUT
        try:
            async with self._session.request(
                method, f"http://fleetd{path}", json=body or None, timeout=aiohttp.ClientTimeout(total=seconds)
            ) as answer:
                text = await answer.read()
        except aiohttp.ClientConnectorError as error:
            raise self._not_connected(error) from error
        except TimeoutError as error:
            raise NoAnswer(f"{self._socket}: the daemon does not answer ({seconds:.0f} s)") from error
        except (aiohttp.ClientError, OSError) as error:
            raise NoAnswer(f"{self._socket}: the daemon gave no usable answer: {error}") from error
        try:
            if answer.status >= 400:
                raise _refusal(answer.status, decoded(text, dict[str, Any]))
            return decoded(text, kind)
        except ValueError as error:
            raise UnusableAnswer(f"{self._socket}: what the daemon answers cannot be used: {error}") from error

    def _not_connected(self, error: aiohttp.ClientConnectorError) -> NoDaemon:
        if error.errno in {errno.EACCES, errno.EPERM}:
            return NotAllowed(f"{self._socket}: only root and the daemon's own user may ask it; try sudo")
        return NoDaemon(f"{self._socket}: no daemon listens there")


def _refusal(status: int, document: Any) -> OrderRefused | OtherDaemon:
    error = document.get("error") if isinstance(document, dict) else None
    message = error.get("message") if isinstance(error, dict) else None
    if status == MISDIRECTED:
        return OtherDaemon(str(message or "another daemon listens there"))
    reason = error.get("reason") if isinstance(error, dict) else None
    return OrderRefused(str(message or f"refused ({status})"), status=status, reason=str(reason or ""))
