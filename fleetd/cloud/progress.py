"""Tracks how far an HTTP request got, which decides whether it may have had an effect; forbids aiohttp's retry."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import SimpleNamespace

import aiohttp


@dataclass(slots=True)
class Progress:
    """One HTTP request under way; ``trace_config`` has aiohttp fill it in."""

    leave: Callable[[], None] = lambda: None
    """Called right before the first byte leaves; what it raises stops the request."""
    begun: bool = False
    sent: bool = False
    """Told just before the first byte leaves, so that False means that none did."""
    status: int | None = None
    """The answer's, as soon as its head is there."""

    def unsent(self, error: BaseException) -> bool:
        """Whether it is certain that nothing was sent when the request ended in ``error``."""
        connecting = (
            aiohttp.ClientConnectorError,
            aiohttp.ClientHttpProxyError,  # the proxy declined to connect
            aiohttp.ConnectionTimeoutError,
            aiohttp.InvalidURL,
        )
        return isinstance(error, connecting) or (self.begun and not self.sent)

    @property
    def succeeded(self) -> bool:
        """Whether the head of a 2xx answer has come."""
        return self.status is not None and 200 <= self.status < 300


def trace_config() -> aiohttp.TraceConfig:
    """Traces for a session whose requests carry a ``Progress`` as ``trace_request_ctx``."""

    async def begun(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
        context.trace_request_ctx.begun = True

    async def sent(_session: aiohttp.ClientSession, context: SimpleNamespace, _params: object) -> None:
        context.trace_request_ctx.leave()
        context.trace_request_ctx.sent = True

    config = aiohttp.TraceConfig()
    config.on_request_start.append(begun)
    config.on_request_headers_sent.append(sent)
    return config


class Broken(aiohttp.ClientError):
    """The connection broke once there was one."""


async def only_once(
    request: aiohttp.ClientRequest, handler: Callable[[aiohttp.ClientRequest], Awaitable[aiohttp.ClientResponse]]
) -> aiohttp.ClientResponse:
    """A client middleware without which aiohttp itself repeats GET, PUT and DELETE once, unseen by rate and metrics.

    It does so on these two errors only; under another name they come through.
    """
    try:
        return await handler(request)
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError):
        raise
    except (aiohttp.ClientOSError, aiohttp.ServerDisconnectedError) as e:
        raise Broken(str(e) or type(e).__name__) from e
