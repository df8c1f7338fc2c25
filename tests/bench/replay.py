"""A large account as a provider serves it, without what a simulator would cost: every page is made once.

``python -m tests.bench.replay paperspace 100000`` serves it on loopback, and prints the port.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from urllib.parse import parse_qsl

import msgspec

from fleetd.simulator import core_json, v1_json
from fleetd.simulator.clock import WorldClock
from fleetd.simulator.world import World

KINDS = 50
"""Different machines; the others are like these, with ids and names of their own."""


@contextmanager
def served(dialect: str, machines: int) -> Iterator[str]:
    """The base URL of such an account, served by another process."""
    command = [sys.executable, "-m", "tests.bench.replay", dialect, str(machines)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(server.stdout.readline())}"
        finally:
            server.kill()


def entries(dialect: str, machines: int) -> list[bytes]:
    """The JSON of so many machines, the oldest first."""
    world = World(seed=1, clock=WorldClock(now_seconds=lambda: 0.0, origin=0.0))
    for n in range(KINDS):
        world.add_machine(f"machine-{n}")
    form = core_json.listed if dialect == "paperspace-core" else v1_json.machine
    kinds = [form(record, world.clock) for record in world.machines.values()]
    made = [world.clock.text(-60.0 * (machines - n)) for n in range(machines)]
    return [
        msgspec.json.encode({**kinds[n % KINDS], "id": f"ps{n:08}", "name": f"machine-{n}", "dtCreated": made[n]})
        for n in range(machines)
    ]


def core_page(rows: Sequence[bytes], query: Mapping[str, str]) -> bytes:
    """By position."""
    first = int(query.get("skip", 0))
    return b"[" + b",".join(rows[first : first + int(query.get("limit", 1000))]) + b"]"


def v1_page(rows: Sequence[bytes], query: Mapping[str, str]) -> bytes:
    """By cursor, from either end."""
    first, limit = int(query.get("after", 0)), int(query.get("limit", 120))
    last = min(first + limit, len(rows))
    newest = query.get("order") == "desc"
    page = [rows[len(rows) - 1 - n] for n in range(first, last)] if newest else rows[first:last]
    more = last < len(rows)
    ends = b'"%d"' % last if more else b"null"
    return b'{"hasMore":%s,"items":[%s],"nextPage":%s}' % (b"true" if more else b"false", b",".join(page), ends)


async def serve(page: Callable[[Mapping[str, str]], bytes]) -> None:
    """Answer every GET with the page that its query asks for, until the process ends."""
    made: dict[bytes, bytes] = {}

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                asked = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1].partition(b"?")[2]
                if asked not in made:
                    made[asked] = page(dict(parse_qsl(asked.decode())))
                head = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
                writer.write(head % len(made[asked]) + made[asked])
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    account = entries(sys.argv[1], int(sys.argv[2]))
    cut = core_page if sys.argv[1] == "paperspace-core" else v1_page
    asyncio.run(serve(lambda query: cut(account, query)))
