"""A real Prometheus scrapes real replicas on a real PostgreSQL: the alerts about the lease fire, and clear."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.test_rules import RULES
from tests.peers.shift import PATIENCE, ask, shortened
from tests.peers.test_prometheus_alerts import OF_REPLICAS
from tests.replicas.living import Replica
from tests.support.exporter import prometheus
from tests.support.processes import simulator, until


class Watch:
    """What Prometheus has of some replicas."""

    def __init__(self, url: str, replicas: list[Replica]) -> None:
        self._url, self._replicas = url, replicas

    def firing(self) -> set[str]:
        found = ask(self._url, 'ALERTS{alertstate="firing"}')
        return {one["metric"]["alertname"] for one in found} & OF_REPLICAS

    def until(self, *alerts: str) -> None:
        """Wait until these, and no other of the lease's, fire."""
        until(
            lambda: self.firing() == set(alerts),
            seconds=PATIENCE,
            every=0.5,
            saying=lambda: f"{self.firing()}, not {alerts}\n" + "\n".join(r.tail() for r in self._replicas),
        )


@pytest.fixture
def server() -> Iterator[Any]:
    from tests.support.postgres import running_server

    with running_server() as server:
        yield server


@pytest.mark.slow
@pytest.mark.peer("postgres")
@pytest.mark.peer("prometheus")
def test_each_alert_about_the_lease_fires_on_its_fault_and_clears_after_it(tmp_path: Path, server: Any) -> None:
    database, elsewhere = server.create(), server.create()
    with ExitStack() as stack:
        sim = stack.enter_context(simulator(tmp_path, speed=60))
        a, b = (Replica(tmp_path, name, sim, database, target=1) for name in "ab")
        stranger = Replica(tmp_path, "c", sim, elsewhere, target=1)
        replicas = [a, b, stranger]
        for replica in replicas:
            stack.callback(replica.end)
        a.start()
        until(lambda: a.epoch == 1 and a.shown().get("fleets"), seconds=PATIENCE, saying=a.tail)
        ports = [int(replica.listen.rpartition(":")[2]) for replica in replicas]
        url = stack.enter_context(prometheus(tmp_path, ports, shortened(RULES.read_text()), job="fleetd"))
        watch = Watch(url, replicas)
        watch.until("FleetdNoStandby")

        b.configure(target=2)
        b.start()
        watch.until("FleetdConfigsDiffer")
        b.configure(target=1)
        b.signal(signal.SIGHUP)
        watch.until()

        server.stop("immediate")
        assert a.wait() in {75, -signal.SIGALRM}, a.tail()
        watch.until("FleetdNobodyActs")
        server.start()
        a.start()
        watch.until()
        assert b.epoch == 2, b.tail()

        stranger.start()
        watch.until("FleetdSeveralAct", "FleetdNoStandby")  # on its own database nobody stands by
        stranger.signal(signal.SIGTERM)
        assert stranger.wait() == 0
        watch.until()
