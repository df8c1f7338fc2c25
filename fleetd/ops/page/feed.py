"""A stream of server-sent events that only say "changed"; the browser asks for the page again.

So a message is a few bytes, a client that reads slowly has at most one of them waiting, and a pass, which only sets
an event, waits for nobody.
"""

from __future__ import annotations

import anyio
from aiohttp import web

from fleetd.ops.http_answers import Fault

MOST_CLIENTS = 32
"""Streams at one time; a browser that gets none asks at an interval."""
HEARTBEAT = 15.0
"""Seconds of silence after which a comment is sent, so that a client that has left is noticed."""
SLOWEST = 10.0
"""Seconds in which a client must take a message; then its stream is cut."""
RETRY_MS = 3000
"""After so long a browser connects again."""


class Feed:
    """Tells its clients of changes."""

    def __init__(self) -> None:
        self.version = 0
        """Counts changes."""
        self.clients = 0
        """Streams now."""
        self._changed = anyio.Event()
        self._closed = False

    def changed(self) -> None:
        """There is something new. Never waits, and never fails."""
        self.version += 1
        self._changed.set()
        self._changed = anyio.Event()

    def close(self) -> None:
        """End every stream, and begin no other."""
        self._closed = True
        self.changed()

    async def stream(self, request: web.Request) -> web.StreamResponse:
        """``/events``: a message at once, and one after each change; changes that come together are one."""
        if request.headers.get("Sec-Fetch-Site", "same-origin") not in {"same-origin", "none"}:
            raise Fault(403, "events are for this server's own page")
        if self._closed or self.clients >= MOST_CLIENTS:
            raise Fault(503, "the daemon stops" if self._closed else f"{MOST_CLIENTS} pages are open already")
        self.clients += 1
        try:
            return await self._stream(request)
        finally:
            self.clients -= 1

    async def _stream(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        response.force_close()
        message, told = f"retry: {RETRY_MS}\n", -1
        try:
            await response.prepare(request)
            while not self._closed:
                if told != self.version:
                    told = self.version
                    message += f"data: {told}\n\n"
                with anyio.fail_after(SLOWEST):
                    await response.write(message.encode())
                message = ""
                if told == self.version:
                    with anyio.move_on_after(HEARTBEAT) as silence:
                        await self._changed.wait()
                    message = ": still here\n\n" if silence.cancelled_caught else ""
        except (TimeoutError, ConnectionError):  # it has left, or does not read
            if request.transport is not None:
                request.transport.abort()
        return response
