"""The values that a dialect and the HTTP client exchange."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from types import MappingProxyType
from typing import Any, Protocol

from fleetd.cloud.port import Leave
from fleetd.model.errors import CloudError


class Effect(Enum):
    """What making a call twice would do."""

    READ = "read"
    """Nothing, as making it once."""
    REPEATABLE = "repeatable"
    """The same as making it once."""
    ONCE = "once"
    """Something else: a second machine, a second restart."""


@dataclass(frozen=True, slots=True)
class Call:
    """One logical request."""

    operation: str
    """Its name on the port; what errors and metrics call it."""
    method: str
    path: str
    """Below the base URL, percent-encoded, with a leading slash."""
    effect: Effect = Effect.READ
    query: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    body: Mapping[str, object] | None = None
    """Sent as JSON."""
    names_machine: bool = False
    """Whether it is about one machine; only then "not found" is an answer to it, and else a refusal."""
    repeat_write: bool = False
    """Whether the adapter may make a repeatable write again; reads it always may."""
    patient: bool = True
    """False for a read that is made once only, whatever comes of it."""
    needs_body: bool = False
    """For a write: whether a success without a readable body is none. A read always needs its body."""

    @property
    def repeatable(self) -> bool:
        """Whether it is made again when it fails."""
        if self.effect is Effect.READ:
            return self.patient
        return self.repeat_write and self.effect is Effect.REPEATABLE

    @property
    def body_matters(self) -> bool:
        """Whether the answer's body is what was asked for."""
        return self.effect is Effect.READ or self.needs_body


@dataclass(frozen=True, slots=True)
class Answer:
    """A 2xx answer."""

    status: int
    body: bytes


Classify = Callable[[int, Mapping[str, str], bytes], CloudError]
"""``classify(status, headers, body)``: what a dialect makes of an answer that is no success.

Pure. It gives the error with the provider's message and the status that counts. What it means for a write, masking,
``operation`` and Retry-After are added by the HTTP client. A server's failure is ``Unavailable``, or ``RateLimited``
for a 503 with Retry-After.
"""

OnRequest = Callable[[str, str, float], None]
"""``on_request(operation, code, seconds)`` after every HTTP request.

``code`` is the HTTP status; "unreachable" where nothing was sent, "timeout" or "lost" where no answer came,
"withheld" where the engine held a write back before it left.
"""


@dataclass(frozen=True, slots=True)
class KeyHeader:
    """How the API key travels."""

    name: str
    key: Callable[[], str] = field(repr=False)
    """Asked at every request, so that a new key needs no new client."""
    prefix: str = ""
    """Stands before the key in the header's value, e.g. "Bearer "."""


@dataclass(frozen=True, slots=True)
class HttpLimits:
    """What the config's ``[provider]`` table says of requests."""

    max_requests_per_second: float = 10.0
    max_concurrency: int = 10
    request_timeout: float = 30.0
    """Seconds for a call from its first request to its outcome, retries and the waits between them included."""
    proxy: str | None = None
    """Address of an HTTP proxy; the environment's is never used."""
    on_date: Callable[[datetime], None] = lambda _date: None
    """Told the Date of every answer, as it comes in."""


class Sender(Protocol):
    """What a dialect makes its calls through: the HTTP client, or a place that is held at it."""

    @property
    def limits(self) -> HttpLimits:
        """Those in force."""
        ...

    def now(self) -> datetime:
        """See ``HttpClient.now``."""
        ...

    async def send(self, call: Call) -> Answer:
        """See ``HttpClient.send``."""
        ...

    def read_json(self, call: Call, answer: Answer) -> Any:
        """See ``HttpClient.read_json``."""
        ...

    def declined(self, call: Call, answer: Answer) -> CloudError:
        """See ``HttpClient.declined``."""
        ...

    def malformed(self, call: Call, message: str, *, status: int | None = None) -> CloudError:
        """See ``HttpClient.malformed``."""
        ...

    def place(
        self, requests: int, *, behind: int = 0, create: bool = False, leave: Leave
    ) -> AbstractAsyncContextManager[Sender]:
        """See ``HttpClient.place``."""
        ...

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        ...


def in_query(parameters: Mapping[str, object]) -> dict[str, str]:
    """Parameters as they travel in a query: null ones left out, booleans as true and false."""
    spelled = {True: "true", False: "false"}
    return {
        name: spelled[value] if isinstance(value, bool) else str(value)
        for name, value in parameters.items()
        if value is not None
    }
