"""The provider's account in there: a simulator that outlives the daemon, and whose key is in a file.

    python account.py KEY_FILE

SIGHUP reads the key again; an empty file accepts any.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

import anyio

from fleetd.simulator.server import serve
from fleetd.simulator.world import World

PORT = 8900


async def main(key_file: Path) -> None:
    def key() -> str | None:
        return key_file.read_text().strip() or None

    async with serve(World(seed=1, speed=120), key=key(), port=PORT) as server:
        with anyio.open_signal_receiver(signal.SIGHUP) as signals:
            async for _signal in signals:
                server.key = key()


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]))
