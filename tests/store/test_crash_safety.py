"""``kill -9`` at random moments: what was reported as written is there, whole, and nothing is there by half."""

from __future__ import annotations

import collections
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fleetd.store.sqlite import SqliteJournal

KILLS = 10
ROOT = Path(__file__).parents[2]


def killed_writer(path: Path, seed: int, seconds: float) -> list[tuple[str, str]]:
    """What a writer reported before it was killed, that many real seconds after it had opened the journal."""
    command = [sys.executable, "-m", "tests.store.crash_writer", str(path), str(seed)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "opened\n"
        time.sleep(seconds)
        process.kill()
        lines = process.stdout.read().splitlines()
    assert process.returncode == -signal.SIGKILL
    return [(word, subject) for word, subject in (line.split(" ") for line in lines)]


@pytest.mark.long
async def test_every_reported_write_survives_sigkill(path):
    draw = random.Random(20260302)
    reported: collections.defaultdict[str, set[str]] = collections.defaultdict(set)
    for seed in range(10 * KILLS):
        if seed >= KILLS and len(reported["wrote"]) > 50:
            break  # a busy machine gives each writer less to do, and then more of them run
        for word, subject in killed_writer(path, seed, draw.uniform(0, 0.15)):
            reported[word].add(subject)

        journal = await SqliteJournal.open(path)
        intents = {str(intent.id): intent for intent in await journal.open_intents()}
        endings = [str(entry.intent) for _, entry in await journal.history()]
        facts = collections.Counter(fact.machine_id.rpartition("-")[0] for fact in await journal.facts())
        await journal.aclose()

        assert len(endings) == len(set(endings)), "closed twice"
        assert not intents.keys() & set(endings), "both open and ended"
        assert reported["closed"] <= set(endings)
        assert reported["wrote"] <= intents.keys() | set(endings)
        for number in reported["updated"] & intents.keys():
            assert intents[number].machine_id == f"ps{number}"
            assert intents[number].accepted_at is not None
        assert reported["facts"] <= facts.keys()
        assert set(facts.values()) <= {20}, "half a transaction"
    assert len(reported["wrote"]) > 50, "the writer hardly ran"
