"""A sender that keeps the calls of a dialect, and answers each with the next of what it was given."""

from __future__ import annotations

import json
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fleetd.cloud.calls import Answer, Call, Classify, HttpLimits, KeyHeader
from fleetd.cloud.http import HttpClient
from fleetd.cloud.placed import Held


class Asked(HttpClient):
    """The HTTP client without HTTP: ``said`` are the bodies, or the errors, of its answers in turn."""

    def __init__(self, classify: Classify, *said: Any, status: int = 200, limits: HttpLimits | None = None) -> None:
        header = KeyHeader("x-api-key", lambda: "k3y")
        super().__init__("https://api.example.test", header, classify, rng=random.Random(1), limits=limits)
        self._said = list(said)
        self._status = status
        self.calls: list[Call] = []
        self.places: list[dict[str, Any]] = []
        self.closed = False

    async def send(self, call: Call, held: Held | None = None) -> Answer:
        self.calls.append(call)
        said = self._said.pop(0)
        if isinstance(said, BaseException):
            raise said
        return Answer(self._status, said if isinstance(said, bytes) else json.dumps(said).encode())

    @asynccontextmanager
    async def place(self, requests: int, **how: Any) -> AsyncIterator[Any]:
        self.places.append({"requests": requests, **how})
        yield self

    async def aclose(self) -> None:
        self.closed = True
