"""Two replicas on one real server and one account, what befalls them, and what must hold all the while."""

from __future__ import annotations

import random
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import cycle, pairwise
from pathlib import Path
from statistics import median, quantiles
from typing import Any
from urllib.parse import urlsplit

from tests.replicas.forwarder import Forwarder
from tests.replicas.living import Replica, wait_until
from tests.replicas.networks import Network
from tests.support.processes import SimulatorProcess

TTL, RENEWAL = 15.0, 5.0
LEFT = "SELECT extract(epoch FROM expires_at - clock_timestamp()) FROM lease"
MOST = 6
REST = 20
"""Takeovers until all must have come to rest, and is counted."""
FAULTS = [
    {"kind": "timeout_after", "operation": "create", "probability": 0.1, "seconds": 5},
    {"kind": "reset_after", "operation": "write", "probability": 0.1},
    {"kind": "reset_before", "operation": "write", "probability": 0.1},
]


ENDS = {
    "killed": {-signal.SIGKILL},
    "paused": {-signal.SIGALRM},
    "stopped": {0},
    "stepped down": {75},
    "cut off from the database": {75, -signal.SIGALRM},
}
"""By how a holder loses the lease: its exit codes."""
KEEPS = ("the server crashes", "cut off from the provider")
"""What a holder outlives with its lease."""
WAYS = (
    *("killed", "stopped", "the server crashes", "paused"),
    *("cut off from the database", "stepped down", "cut off from the provider"),
)


class Story:
    def __init__(
        self,
        directory: Path,
        sim: SimulatorProcess,
        server: Any,
        seed: int = 20261127,
        *,
        apart: bool = True,
        hosts: Mapping[str, Network] | None = None,
    ) -> None:
        """Two replicas that have not been started.

        Args:
            directory: for their files.
            sim: the provider.
            server: the database's.
            seed: of the targets and the pauses between.
            apart: each reaches the provider by an address of its own, so that its calls are told apart.
            hosts: where each runs; by default both here.
        """
        self.sim, self.server = sim, server
        self.rng = random.Random(seed)
        self.target = 3
        url = server.create()
        self.forwarders = {name: Forwarder(sim.url, _end(hosts, name, "provider")) for name in "ab"}
        self.ways = {name: Forwarder(url, _end(hosts, name, "database")) for name in "ab"}
        """To the database, a way for each."""
        self.replicas = {
            name: Replica(
                directory,
                name,
                _At(_as_seen(forwarder.url, hosts)) if apart else sim,
                self._through(url, name),
                within=hosts[name].within if hosts else (),
                target=self.target,
            )
            for name, forwarder in self.forwarders.items()
        }
        self.most = self.target
        self.times: dict[str, list[float]] = {}
        self.late: list[float] = []
        """Seconds between the end of a lease that was not given back and its next holder, by the database's clock."""
        self.database = url

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

    def asked(self, sql: str) -> float:
        """One number, from the database itself."""
        from tests.support.postgres import execute

        return float(str(execute(self.database, sql)[0][0]))

    def wait(self, what: Any, seconds: float) -> float:
        return wait_until(what, seconds, lambda: "\n\n".join(r.tail() for r in self.replicas.values()))

    def another_target(self) -> None:
        """As drawn."""
        self.aim_at(self.rng.randint(0, MOST))

    def aim_at(self, target: int) -> None:
        """Every replica's config says it; the holder reads it at once."""
        self.target = target
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
            case "cut off from the database":
                self.ways[old.name].passing.clear()
            case "stepped down":
                asked = self.rng.choice([old, new]).run("step-down")
                assert asked.returncode == 0, asked.stderr
            case _:
                old.signal(signal.SIGTERM)
        ends_at = self.asked("SELECT extract(epoch FROM expires_at) FROM lease")
        self.wait(lambda: new.epoch > before, 40)
        took = time.monotonic() - began
        if how in {"killed", "paused"}:
            self.late.append(self.asked("SELECT extract(epoch FROM since) FROM lease") - ends_at)
        if how == "stepped down":  # not what the command takes to start
            took = _at(new.events("lease.taken")[-1]) - _at(old.events("daemon.stop_requested")[-1])
        self.times.setdefault(how, []).append(took)
        if how == "paused":
            old.signal(signal.SIGCONT)
        code = old.wait()
        assert code in ENDS[how], old.tail()
        self.ways[old.name].passing.set()
        self.stand_by_again(old, before)

    def stand_by_again(self, replica: Replica, lost: int) -> None:
        """Started again by its unit, beside who has taken the lease since."""
        replica.start()
        self.wait(lambda: any(event["epoch"] > lost for event in replica.events("lease.waiting")[-1:]), 30)

    def outlive(self, what: str) -> bool:
        """It passes within the lease, or is none of the lease's business: whoever has that keeps it.

        Returns False where the server's recovery lasted longer than the lease: then the other has taken over.
        """
        holder, other, epoch = self.holder, self.other, self.holder.epoch
        self.another_target()
        time.sleep(self.rng.uniform(0, 1))
        if what == "the server crashes":
            self.server.stop("immediate")
            time.sleep(self.rng.uniform(0, 2))
            self.server.start()
        else:
            self.forwarders[holder.name].passing.clear()
            time.sleep(self.rng.uniform(0, TTL + 5))
            self.forwarders[holder.name].passing.set()
        assert holder.process is not None
        self.wait(lambda: holder.process.poll() is not None or self.asked(LEFT) > TTL - RENEWAL, 40)
        if holder.process.poll() is None:
            assert holder.epoch == epoch
            return True
        assert what == "the server crashes", holder.tail()
        assert holder.wait() in ENDS["cut off from the database"], holder.tail()
        self.wait(lambda: other.epoch > epoch, 40)
        self.stand_by_again(holder, epoch)
        return False

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

    def broken(self) -> list[str]:
        """What must not be, at rest: a call too late, and, by the provider's books, a machine doubled or lost."""
        wrong = self.late_calls()
        made = [machine["name"] for machine in self.sim.machines()]
        wrong += [
            f"{name}: more than one machine is called so" for name in sorted({n for n in made if made.count(n) > 1})
        ]
        known = {m["name"] for m in self.holder.shown()["machines"] if m["owned"]}
        return wrong + [f"{name}: made, and nobody knows it" for name in sorted(set(made) - known)]

    def under_way(self) -> int:
        """Calls that had been sent, and not been answered, when another took the lease."""
        return sum(
            sent.at <= ended and (sent.answered is None or sent.answered > ended)
            for owner, began, ended in self._reigns()
            for sent in self.forwarders[owner].sent
            if sent.at >= began
        )

    def _reigns(self) -> list[tuple[str, float, float]]:
        """Who had the lease, from when, and when another took it."""
        taken = self._taken()
        return [(owner, began, ended) for (_, began, owner), (_, ended, _) in pairwise(taken)]

    def _taken(self) -> list[tuple[int, float, str]]:
        return sorted(
            (event["epoch"], _at(event), name)
            for name, replica in self.replicas.items()
            for event in replica.events("lease.taken")
        )

    def late_calls(self) -> list[str]:
        """What left a replica after another had taken the lease."""
        taken = self._taken()
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


def take_over_and_over(story: Story, number: int) -> Iterator[str]:
    """So many takeovers, with what a holder outlives among them, then rest; a line for each, and for their times."""
    story.sim.ask("/_sim/faults", {"faults": FAULTS})
    ways, done, outlived = cycle(WAYS), 0, Counter[str]()
    while done < number:
        how = next(ways)
        if how in KEEPS:
            outlived[how if story.outlive(how) else f"not: {how}, for longer than the lease,"] += 1
        else:
            story.take_over(how)
            done += 1
            yield f"{done}/{number} {how}: {story.times[how][-1]:.2f} s, target {story.target}"
            if done % REST == 0 and done < number:
                story.come_to_rest()
                assert story.broken() == []
                story.sim.ask("/_sim/faults", {"faults": FAULTS})
        story.look()
        assert story.late_calls() == []
    story.come_to_rest()
    for how, times in story.times.items():
        cuts = quantiles(times, n=20, method="inclusive") if len(times) > 1 else times * 19
        yield (
            f"{how}: {len(times)} takeovers, median {median(times):.2f} s, 95 % {cuts[-1]:.2f} s, "
            f"{min(times):.2f} to {max(times):.2f} s"
        )
    if story.late:
        yield f"taken after the lease's end: median {median(story.late):.3f} s, at most {max(story.late):.3f} s"
    writes = sum(len(forwarder.sent) for forwarder in story.forwarders.values())
    open_ones = story.under_way()
    yield f"outlived: {', '.join(f'{how} {times} times' for how, times in outlived.items())}"
    yield f"of {writes} writes, {open_ones} were under way at a takeover"


def _as_seen(url: str, hosts: Mapping[str, Network] | None) -> str:
    return url if hosts is None else f"http://localhost:{urlsplit(url).port}"


def _end(hosts: Mapping[str, Network] | None, name: str, cable: str) -> str:
    return hosts[name].far(cable) if hosts else "127.0.0.1"


def _at(event: dict[str, Any]) -> float:
    return datetime.fromisoformat(event["ts"]).timestamp()
