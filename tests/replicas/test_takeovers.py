"""Two replicas on a real server, one after the other killed, paused beyond its lease, stopped; the server crashed.

From what each of them sent to the provider: no machine is lost or doubled, and no call leaves a replica after another
has taken the lease. ``FLEETD_TAKEOVERS=200`` makes it so many; the distribution of their times is printed.
"""

from __future__ import annotations

import os
import random
import re
import signal
import statistics
import time
from collections.abc import Iterator
from datetime import datetime
from itertools import cycle, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.replicas.forwarder import Forwarder
from tests.replicas.living import Replica, wait_until
from tests.support.processes import SimulatorProcess, simulator

pytestmark = pytest.mark.peer("postgres")

TAKEOVERS = int(os.environ.get("FLEETD_TAKEOVERS", "8"))
TTL, SETTLE = 15.0, 19.0
MOST = 6
FAULTS = [
    {"kind": "timeout_after", "operation": "create", "probability": 0.1, "seconds": 5},
    {"kind": "reset_after", "operation": "write", "probability": 0.1},
    {"kind": "reset_before", "operation": "write", "probability": 0.1},
]


class Story:
    def __init__(self, directory: Path, sim: SimulatorProcess, server: Any) -> None:
        self.sim, self.server = sim, server
        self.rng = random.Random(20261127)
        self.target = 3
        url = server.create()
        self.forwarders = {name: Forwarder(sim.url) for name in "ab"}
        self.ways = {name: Forwarder(url) for name in "ab"}
        """To the database, a way for each."""
        self.replicas = {
            name: Replica(directory, name, _At(forwarder.url), self._through(url, name), target=self.target)
            for name, forwarder in self.forwarders.items()
        }
        self.most = self.target
        self.times: dict[str, list[float]] = {}

    def _through(self, url: str, name: str) -> str:
        return urlsplit(url)._replace(netloc="fleetd@" + self.ways[name].url.removeprefix("http://")).geturl()

    @property
    def holder(self) -> Replica:
        return max(self.replicas.values(), key=lambda r: r.epoch)

    @property
    def other(self) -> Replica:
        return min(self.replicas.values(), key=lambda r: r.epoch)

    def begin(self) -> None:
        for replica in self.replicas.values():
            replica.start()
            self.wait(lambda r=replica: r.epoch or r.events("lease.waiting"), 30)

    def wait(self, what: Any, seconds: float) -> float:
        return wait_until(what, seconds, lambda: "\n\n".join(r.tail() for r in self.replicas.values()))

    def another_target(self) -> None:
        """Every replica's config says it; the holder reads it at once."""
        self.target = self.rng.randint(0, MOST)
        self.most = max(self.most, self.target)
        for replica in self.replicas.values():
            replica.configure(target=self.target)
        self.holder.signal(signal.SIGHUP)

    def take_over(self, how: str) -> None:
        old, new = self.holder, self.other
        before = old.epoch
        self.another_target()
        time.sleep(self.rng.uniform(0, 1.5))  # into the creates and stops that follow
        began = time.monotonic()
        match how:
            case "killed":
                old.signal(signal.SIGKILL)
            case "paused":
                old.signal(signal.SIGSTOP)
            case _:
                old.signal(signal.SIGTERM)
        self.wait(lambda: new.epoch > before, 40)
        self.times.setdefault(how, []).append(time.monotonic() - began)
        if how == "paused":
            old.signal(signal.SIGCONT)
        code = old.wait()
        assert code == {"killed": -signal.SIGKILL, "paused": -signal.SIGALRM, "stopped": 0}[how], old.tail()
        old.start()
        self.wait(lambda: old.events("lease.waiting")[-1:] and old.events("lease.waiting")[-1]["epoch"] > before, 30)

    def crash_server(self) -> None:
        """It comes back within the lease: whoever has that keeps it."""
        holder, epoch = self.holder, self.holder.epoch
        self.another_target()
        time.sleep(self.rng.uniform(0, 1))
        self.server.stop("immediate")
        time.sleep(self.rng.uniform(0, 2))
        self.server.start()
        time.sleep(3)
        assert holder.epoch == epoch
        assert holder.process is not None
        assert holder.process.poll() is None, holder.tail()

    def look(self) -> None:
        """At any moment: no machine too many. Nothing is destroyed here, so a double would stay for good."""
        machines = self.sim.machines()
        assert len(machines) <= self.most, [m["name"] for m in machines]
        up = [m for m in machines if m["state"] not in {"off", "stopping"}]
        assert len(up) <= self.most

    def come_to_rest(self) -> None:
        self.sim.ask("/_sim/faults", {"faults": []})
        self.target = self.most = max(self.most, MOST)
        for replica in self.replicas.values():
            replica.configure(target=self.target)
        self.holder.signal(signal.SIGHUP)
        self.wait(lambda: len([m for m in self.sim.machines() if m["state"] == "ready"]) == self.target, 420)
        time.sleep(3)
        self.look()

    def late_calls(self) -> list[str]:
        """What left a replica after another had taken the lease."""
        taken = sorted(
            (event["epoch"], datetime.fromisoformat(event["ts"]).timestamp(), name)
            for name, replica in self.replicas.items()
            for event in replica.events("lease.taken")
        )
        assert [epoch for epoch, _, _ in taken] == list(range(1, len(taken) + 1))
        late = []
        for (_, _, owner), (_, ended, _) in pairwise(taken):
            begins_again = next((at for _, at, name in taken if name == owner and at > ended), float("inf"))
            late += [
                f"{owner}: {sent.what} {sent.at - ended:.3f} s late"
                for sent in self.forwarders[owner].sent
                if ended < sent.at < begins_again
            ]
        return late

    def end(self) -> None:
        for replica in self.replicas.values():
            replica.end()
        for forwarder in (*self.forwarders.values(), *self.ways.values()):
            forwarder.close()


class _At:
    """All of a simulator that a replica's config needs."""

    def __init__(self, url: str) -> None:
        self.url = url


@pytest.fixture
def server() -> Iterator[Any]:
    from tests.support.postgres import running_server

    with running_server() as server:
        yield server


@pytest.fixture
def story(tmp_path: Path, server: Any) -> Iterator[Story]:
    with simulator(tmp_path, speed=60) as sim:
        story = Story(tmp_path, sim, server)
        try:
            story.begin()
            yield story
        finally:
            story.end()


def test_takeovers_lose_and_double_nothing(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    story.sim.ask("/_sim/faults", {"faults": FAULTS})
    ways = cycle(["killed", "stopped", "crash", "paused", "stopped"])
    done = 0
    while done < TAKEOVERS:
        how = next(ways)
        if how == "crash":
            story.crash_server()
        else:
            story.take_over(how)
            done += 1
        story.look()
    story.come_to_rest()
    with capsys.disabled():
        for how, times in story.times.items():
            shown = ", ".join(f"{t:.2f}" for t in sorted(times))
            print(f"\n{how}: {len(times)} takeovers, median {statistics.median(times):.2f} s: {shown}")
    assert story.late_calls() == []
    assert statistics.median(story.times["stopped"]) < 1.5
    for how in {"killed", "paused"} & set(story.times):
        assert max(story.times[how]) < TTL + 5


def test_a_server_that_stays_away_ends_the_holder_before_its_lease(story: Story) -> None:
    holder, other = story.holder, story.other
    began = time.time()
    story.server.stop("immediate")
    assert holder.wait(TTL + 5) == 75, holder.tail()
    assert time.time() - began < TTL
    sent = len(story.forwarders[holder.name].sent)
    assert other.process is not None
    assert other.process.poll() is None, other.tail()
    story.server.start()
    story.wait(lambda: other.epoch == 2, 20)
    assert len(story.forwarders[holder.name].sent) == sent


def test_a_holder_that_is_cut_off_from_the_database_and_not_from_the_provider_ends(story: Story) -> None:
    holder, other = story.holder, story.other
    story.another_target()
    time.sleep(0.2)
    story.ways[holder.name].passing.clear()
    began = time.monotonic()
    code = holder.wait(TTL + 5)
    assert time.monotonic() - began < TTL + 1
    assert code in {75, -signal.SIGALRM}, holder.tail()
    story.wait(lambda: other.epoch == 2, 20)
    story.come_to_rest()
    assert story.late_calls() == []


def test_what_is_ordered_beside_a_standby_is_done_by_the_holder(story: Story) -> None:
    holder, other = story.holder, story.other
    story.wait(lambda: len([m for m in story.sim.machines() if m["state"] == "ready"]) == story.target, 60)
    machine = story.sim.machines()[0]["name"]
    held = other.run("hold", machine, "--for", "1h", "--reason", "test")
    assert held.returncode == 0, held.stderr
    assert machine in holder.run("status").stdout
    assert holder.process is not None
    for replica in (holder, other):  # both say who acts
        assert re.search(rf"lease: \S+, pid {holder.process.pid}, for ", replica.run("status").stdout)
    history = other.run("history").stdout
    assert " on " in history  # says which host it was given on
    refused = other.run("stop", machine, "--reason", "test")
    assert (refused.returncode, "hold" in refused.stdout + refused.stderr) == (75, True), refused.stderr
    assert other.run("release", machine).returncode == 0
    frozen = other.run("freeze", "--for", "1h", "--reason", "test")
    assert frozen.returncode == 0, frozen.stderr
    calls = len(story.sim.writes())
    story.another_target()
    time.sleep(4)
    assert len(story.sim.writes()) == calls
    # The holder is killed; before the next acts, the freeze is in the database, and is obeyed.
    holder.signal(signal.SIGKILL)
    lifted = wait_until(lambda: other.epoch == 2, 30, other.tail)
    assert lifted < TTL + 5
    time.sleep(4)
    assert len(story.sim.writes()) == calls
    assert other.run("unfreeze").returncode == 0


def test_a_veto_is_given_while_nobody_acts(story: Story) -> None:
    for replica in story.replicas.values():
        replica.signal(signal.SIGTERM)
        assert replica.wait() == 0
    calls = len(story.sim.writes())
    assert "lease: no replica has it" in story.other.run("status").stdout
    given = story.other.run("freeze", "--for", "1h", "--reason", "test")
    assert given.returncode == 0, given.stderr
    story.target = MOST
    for replica in story.replicas.values():
        replica.configure(target=MOST)
        replica.start()
    time.sleep(6)
    assert len(story.sim.writes()) == calls
    assert "frozen" in story.other.run("status").stdout
