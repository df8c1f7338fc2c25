"""``kill -9`` at random moments: what was reported as written is there, whole, and nothing is there by half."""

from __future__ import annotations

import collections
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.store.stores import FileStore, ServerStore, Store

PLANS = {"file": (10, 0.15, 50), "database": (4, 1.0, 20)}
"""Kills, real seconds until each at most, and how many intents must have been reported in all."""
ROOT = Path(__file__).parents[2]


def killed_writer(where: str, seed: int, seconds: float) -> list[tuple[str, str]]:
    """What a writer reported before it was killed, that many real seconds after it had opened the journal."""
    command = [sys.executable, "-m", "tests.store.crash_writer", where, str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "opened\n"
        time.sleep(seconds)
        process.kill()
        lines = process.stdout.read().splitlines()
    assert process.returncode == -signal.SIGKILL
    return [(word, subject) for word, subject in (line.split(" ") for line in lines)]


def in_file(path: Path, _request: Any) -> tuple[str, Callable[[], Any]]:
    async def again() -> Store:
        return FileStore(path)

    return str(path), again


def in_database(_path: Path, request: Any) -> tuple[str, Callable[[], Any]]:
    from tests.support.postgres import execute

    url = request.getfixturevalue("postgres").create()

    async def again() -> Store:
        # Which waits for a write under way, as every takeover does. Nobody waits for the lease's end here.
        execute(url, "UPDATE lease SET expires_at = clock_timestamp()")
        return await ServerStore.make(url)

    return url, again


@pytest.mark.long
@pytest.mark.parametrize("kind", ["file", pytest.param("database", marks=pytest.mark.peer("postgres"))])
async def test_every_reported_write_survives_sigkill(path, request, kind):
    where, again = {"file": in_file, "database": in_database}[kind](path, request)
    kills, longest, least = PLANS[kind]
    draw = random.Random(20260302)
    reported: collections.defaultdict[str, set[str]] = collections.defaultdict(set)
    for seed in range(10 * kills):
        if seed >= kills and len(reported["wrote"]) > least:
            break  # a busy machine gives each writer less to do, and then more of them run
        for word, subject in killed_writer(where, seed, draw.uniform(0, longest)):
            reported[word].add(subject)

        store = await again()
        journal = await store.open(threaded=True)
        intents = {str(intent.id): intent for intent in await journal.open_intents()}
        endings = [str(entry.intent) for _, entry in await journal.history()]
        facts = collections.Counter(fact.machine_id.rpartition("-")[0] for fact in await journal.facts())
        leases = [lease.machine.split("-") for lease in await journal.leases()]
        await journal.aclose()
        await store.aclose()

        newest = collections.Counter(subject.split("-")[0] for subject in reported["lease"])
        found = {of: int(n) for of, n in leases}
        assert len(found) == len(leases), "one of each writer: the one before goes with the next"
        assert all(found[of] >= count - 1 for of, count in newest.items())
        assert len(endings) == len(set(endings)), "closed twice"
        assert not intents.keys() & set(endings), "both open and ended"
        assert reported["closed"] <= set(endings)
        assert reported["wrote"] <= intents.keys() | set(endings)
        for number in reported["updated"] & intents.keys():
            assert intents[number].machine_id == f"ps{number}"
            assert intents[number].accepted_at is not None
        assert reported["facts"] <= facts.keys()
        assert set(facts.values()) <= {20}, "half a transaction"
    assert len(reported["wrote"]) > least, "the writer hardly ran"
