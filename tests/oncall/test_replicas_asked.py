"""What the on-call person asks of two hosts: who acts, who would take over, and with what."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.replicas.living import Replica, wait_until
from tests.support.processes import simulator

pytestmark = pytest.mark.peer("postgres")

BOTH = [
    ("Who acts, and since when?", "status", [r"\nlease: \S+, pid {holder}, for \d+ s"]),
    ("Who would take over?", "status", [r"\n  stands by: \S+, pid {standby}"]),
    (
        "Would a takeover change anything?",
        "status",
        [r"stands by: \S+, pid {standby}; its config \(.*\) differs from the one in force"],
    ),
    (
        "Did my reload on the other host take?",
        "status",
        [r"its last reload was rejected, and it would act on the config from before", r"fleets\.training\.target"],
    ),
    ("Since when is it the one, and after whom?", "history", [r"lease .*first"]),
]
ALONE = [("Does anybody stand by?", "status", [r"\nlease: \S+, pid {holder}", r"^(?!.*stands by:)"])]


class Pair:
    def __init__(self, directory: Path, sim: Any, database: str) -> None:
        self.sim = sim
        self.holder, self.standby = (Replica(directory, name, sim, database, target=1) for name in "ab")
        for replica in (self.holder, self.standby):
            replica.start()
            wait_until(lambda r=replica: r.epoch or r.get("/readyz")[0] == 200, 60, replica.tail)

    def words(self, command: str) -> list[str]:
        """On either host."""
        return [replica.run(*command.split()).stdout for replica in (self.holder, self.standby)]

    def all_say(self, *wanted: str) -> bool:
        """The holder counts who stands by every few seconds."""
        return all(word in " ".join(text.split()) for text in self.words("status") for word in wanted)

    def answers(self, command: str, patterns: list[str]) -> None:
        """On either host."""
        assert self.holder.process is not None
        assert self.standby.process is not None
        pids = {"{holder}": str(self.holder.process.pid), "{standby}": str(self.standby.process.pid)}
        for replica in (self.holder, self.standby):
            text = re.sub("\n    +", " ", "\n" + replica.run(*command.split()).stdout)  # long lines go on below
            for pattern in patterns:
                filled = re.sub(r"\{\w+\}", lambda found: pids[found[0]], pattern)
                assert re.search(filled, text, re.DOTALL if "(?!" in pattern else 0), (filled, text)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    from tests.support.postgres import running_server

    directory = tmp_path_factory.mktemp("pair")
    with running_server() as server, simulator(directory, speed=60) as sim:
        pair = Pair(directory, sim, server.create())
        try:
            yield pair
        finally:
            pair.holder.end()
            pair.standby.end()


def reload(replica: Replica, target: int) -> None:
    wanted = "config.reloaded" if target > 0 else "config.reload_rejected"
    before = len(replica.events(wanted))
    replica.configure(target=target)
    replica.signal(signal.SIGHUP)
    wait_until(lambda: len(replica.events(wanted)) > before, 20, replica.tail)


def test_a_plan_on_either_host_knows_what_the_provider_declined(pair: Pair) -> None:
    """The one that acts has it in mind alone; its database does not have it."""
    pair.sim.ask("/_sim/faults", {"faults": [{"kind": "error", "status": 422, "operation": "create"}]})
    try:
        for replica in (pair.standby, pair.holder):
            reload(replica, 2)
        wait_until(lambda: pair.holder.events("machine.action_refused"), 30, pair.holder.tail)
        for text in pair.words("plan"):
            words = " ".join(text.split())
            assert "the provider refused it" in words, words
            assert "Nothing to do" in words, words
    finally:
        pair.sim.ask("/_sim/faults", {"faults": []})
        for replica in (pair.standby, pair.holder):
            reload(replica, 1)


@pytest.fixture(scope="module")
def odd(pair: Pair) -> Pair:
    """The standby has read another config, and then refused one."""
    for target in (2, -1):
        reload(pair.standby, target)
    pair.standby.configure(target=2)
    wait_until(lambda: pair.all_say("was rejected", "differs from the one in force"), 40, pair.holder.tail)
    return pair


@pytest.mark.parametrize(("question", "command", "patterns"), BOTH, ids=[q for q, _, _ in BOTH])
def test_of_a_pair(odd: Pair, question: str, command: str, patterns: list[str]) -> None:
    odd.answers(command, patterns)


@pytest.mark.parametrize(("question", "command", "patterns"), ALONE, ids=[q for q, _, _ in ALONE])
def test_of_one_that_has_become_a_single(odd: Pair, question: str, command: str, patterns: list[str]) -> None:
    odd.standby.signal(signal.SIGTERM)
    assert odd.standby.wait() == 0
    wait_until(lambda: not any("stands by:" in text for text in odd.words("status")), 40, odd.holder.tail)
    odd.answers(command, patterns)
