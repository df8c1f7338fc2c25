"""A program that writes to a journal until it is killed, and tells of each write only once it has returned."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

from fleetd.model.reasons import Outcome
from tests.store.stores import FileStore, ServerStore, Store
from tests.store.test_journal import FACTS, INTENT, LEASE
from tests.support.build import NOW


def report(*words: object) -> None:
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


async def main(where: str, seed: int) -> None:
    draw = random.Random(seed)
    store: Store = await ServerStore.make(where) if "://" in where else FileStore(Path(where))
    journal = await store.open(threaded=True)
    report("opened")
    for n in range(1_000_000):
        intent = await journal.write_intent(replace(INTENT, name=f"{seed}-{n}"))
        report("wrote", intent.id)
        await journal.update_intent(intent.id, machine_id=f"ps{intent.id}", accepted_at=NOW)
        report("updated", intent.id)
        await journal.put_facts(
            replace(FACTS, machine_id=f"{seed}-{n}-{k}", last_seen=NOW + timedelta(seconds=n)) for k in range(20)
        )
        report("facts", f"{seed}-{n}")
        await journal.put_leases([replace(LEASE, machine=f"{seed}-{n}")], drop=[(f"{seed}-{n - 1}", LEASE.source)])
        report("lease", f"{seed}-{n}")
        if draw.random() < 0.7:
            await journal.close_intent(intent.id, at=NOW, outcome=Outcome.REACHED)
            report("closed", intent.id)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
