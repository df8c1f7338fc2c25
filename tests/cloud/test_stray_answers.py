"""A connection that has one answer too many: none is taken for the answer to another call."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

import anyio
import pytest

from fleetd.cloud.core.api import CoreApi
from fleetd.cloud.core.cloud import CoreCloud
from fleetd.cloud.paperspace.api import PaperspaceApi
from fleetd.cloud.paperspace.cloud import PaperspaceCloud
from fleetd.model.errors import CloudError
from tests.support.clients import core_client, paperspace_client
from tests.support.scripted_server import answer
from tests.support.virtual_time import virtual

STRAY = {
    "another machine's": answer(200, {"id": "ps9", "name": "alice", "state": "off"}),
    "a success": answer(200, {}),
    "no content": b"HTTP/1.1 204 No Content\r\n\r\n",
    "not found": answer(404, {"error": {"status": 404, "message": "Machine not found"}}),
    "a refused key": answer(401, {"message": "Invalid API token"}),
    "an old listing": answer(200, []),
    "an old page": answer(200, {"hasMore": False, "items": []}),
    "the same machine, long ago": answer(200, {"id": "ps1", "name": "ours", "state": "off"}),
    "available": answer(200, {"available": False}),
}
NOW = {"id": "ps1", "name": "ours", "state": "ready"}


@dataclass
class Doubling:
    """Answers each request, and once more a moment later."""

    stray: bytes
    connections: int = 0
    requests: list[str] = field(default_factory=list)
    url: str = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = next(
                    (int(x.split(":")[1]) for x in head.split("\r\n") if x.lower().startswith("content-length")), 0
                )
                await reader.readexactly(length)
                method, target, _ = head.split("\r\n")[0].split(" ")
                self.requests.append(f"{method} {urlsplit(target).path}")
                writer.write(answer(200, self.right(method, target)))
                await writer.drain()
                await asyncio.sleep(0.01)
                writer.write(self.stray)
                await writer.drain()
        writer.close()

    def right(self, method: str, target: str) -> object:
        path = urlsplit(target).path
        match method, path.rsplit("/", 1)[-1]:
            case "GET", "getMachines":
                return [NOW]
            case "GET", "machines":
                return {"hasMore": False, "items": [NOW]}
            case "GET", "machine-events":
                machine = parse_qs(urlsplit(target).query)["machineId"][0]
                event = {"id": "e1", "machineId": machine, "name": "start", "state": "done"}
                return {"hasMore": False, "items": [event]}
            case "GET", "getAvailability" | "machine-availability":
                return {"available": True}
            case "GET", _:
                return NOW
            case _:
                return {"data": NOW, "event": None} if "createSingle" not in path else NOW


@contextlib.asynccontextmanager
async def doubling(stray: bytes) -> AsyncIterator[Doubling]:
    server = Doubling(stray)
    listening = await asyncio.start_server(server.serve, "127.0.0.1", 0)
    server.url = "http://{}:{}".format(*listening.sockets[0].getsockname()[:2])
    try:
        yield server
    finally:
        listening.close()
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("stray", STRAY.values(), ids=STRAY.keys())
@pytest.mark.parametrize("pause", [0.0, 0.1], ids=["at once", "a moment later"])
@pytest.mark.parametrize("dialect", ["core", "v1"])
@virtual
async def test_a_second_answer_is_nobodys(dialect, stray, pause):
    opened, kind, by_hand = (
        (core_client, CoreCloud, CoreApi)
        if dialect == "core"
        else (paperspace_client, PaperspaceCloud, PaperspaceApi)
    )
    async with doubling(stray) as server:
        client = opened(server.url, lambda: "k3y", rng=random.Random(1))
        cloud, api = kind(client), by_hand(client)
        try:
            said = []
            for _ in range(2):
                said.append([(m.id, m.state) for m in (await cloud.list_machines()).machines])
                await anyio.sleep(pause)
                await cloud.stop("ps1")
                await anyio.sleep(pause)
                machine = await cloud.show("ps1")
                said.append((machine.id, machine.state))
                await anyio.sleep(pause)
                await cloud.start("ps1")
                await anyio.sleep(pause)
                said.append((await cloud.create("ours", {})).id)
                await anyio.sleep(pause)
                await cloud.destroy("ps1")
                await anyio.sleep(pause)
                said.append((await api.show("ps1"))["state"])
        except CloudError as e:
            pytest.fail(f"{type(e).__name__}: {e} after {said}")
        finally:
            await client.aclose()
    assert said == [[("ps1", "ready")], ("ps1", "ready"), "ps1", "ready"] * 2
    assert server.connections == len(server.requests), "each request has a connection of its own"
