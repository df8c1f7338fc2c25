"""Calls that go out from a place that is held already: none of them waits in the queue any more."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from fleetd.cloud.calls import Answer, Call, HttpLimits, Sender
from fleetd.cloud.port import Leave
from fleetd.cloud.rate import Place
from fleetd.model.errors import CloudError


@dataclass(frozen=True, slots=True)
class Held:
    """A place, and who is asked right before a write leaves from it."""

    place: Place
    leave: Leave


class Client(Sender, Protocol):
    """The HTTP client, as a place needs it."""

    async def send(self, call: Call, held: Held | None = None) -> Answer:
        """Make the call from that place."""
        ...


class Placed:
    """A ``Sender`` whose calls go out from one place, one after the other."""

    def __init__(self, client: Client, held: Held) -> None:
        self._client = client
        self._held = held

    @property
    def limits(self) -> HttpLimits:
        """The client's."""
        return self._client.limits

    def now(self) -> datetime:
        """The client's."""
        return self._client.now()

    async def send(self, call: Call) -> Answer:
        """Make the call at once."""
        return await self._client.send(call, self._held)

    def read_json(self, call: Call, answer: Answer) -> Any:
        """As the client does."""
        return self._client.read_json(call, answer)

    def declined(self, call: Call, answer: Answer) -> CloudError:
        """As the client does."""
        return self._client.declined(call, answer)

    def malformed(self, call: Call, message: str, *, status: int | None = None) -> CloudError:
        """As the client does."""
        return self._client.malformed(call, message, status=status)

    def place(
        self, requests: int, *, behind: int = 0, create: bool = False, leave: Leave
    ) -> AbstractAsyncContextManager[Sender]:
        """There is none.

        Raises:
            RuntimeError: nobody who holds a place waits for another: with one slot that would be for ever.
        """
        del requests, behind, create, leave
        raise RuntimeError("a place is held already")

    async def aclose(self) -> None:
        """The client goes on."""
