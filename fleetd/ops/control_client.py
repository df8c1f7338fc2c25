"""Asking a running daemon over its control socket."""

from __future__ import annotations

import errno
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from fleetd.model.errors import FleetdError

TIMEOUT = 40.0
"""Seconds for one order: a veto waits for the calls under way, which the provider's timeout bounds."""


class NoDaemon(FleetdError):
    """Nobody listens on the control socket."""


class OrderRefused(FleetdError):
    """The daemon declined an order; the text says why."""


class ControlClient:
    """One connection's worth of orders; an async context manager."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        """Open; nothing is sent yet."""
        self._session = aiohttp.ClientSession(
            connector=aiohttp.UnixConnector(path=str(self._socket)), timeout=aiohttp.ClientTimeout(total=TIMEOUT)
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close."""
        if self._session is not None:
            await self._session.close()

    async def status(self) -> dict[str, Any]:
        """The status document.

        Raises:
            NoDaemon, OrderRefused.
        """
        return await self.order("GET", "/status")

    async def order(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """One order and its answer.

        Raises:
            NoDaemon: nobody listens, or this user may not connect.
            OrderRefused: the daemon declined.
        """
        if self._session is None:
            raise RuntimeError("enter the client first")
        try:
            async with self._session.request(method, f"http://fleetd{path}", json=body or None) as answer:
                document = await answer.json()
        except aiohttp.ClientConnectorError as error:
            if error.errno in {errno.EACCES, errno.EPERM}:
                raise NoDaemon(f"{self._socket}: this user may not talk to the daemon; try as root") from error
            raise NoDaemon(f"{self._socket}: no daemon listens there") from error
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            raise NoDaemon(f"{self._socket}: the daemon gave no usable answer: {error}") from error
        if answer.status >= 400:
            raise OrderRefused(str(document.get("error", {}).get("message", answer.reason)))
        return dict(document)
