"""Parking by a real Prometheus: idle is parked, an exporter that dies ends that, its return resumes it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.support.exporter import Exporter, prometheus
from tests.support.processes import SimulatorProcess, fleetd, simulator, started, until, write_config

NIGHT = """
[[fleets.training.windows]]
name = "night"
start = "00:00"
end = "24:00"
timezone = "UTC"
park_idle = true
[fleets.training.idle]
after = "6s"
min_uptime = "1s"
sources = ["gpu"]
[idle_sources.gpu]
kind = "prometheus"
url = "{url}"
query = 'max_over_time(gpu_active{{host="{{name}}"}}[{{window}}])'
below = 0.02
step = "1500ms"
"""


def stopped(sim: SimulatorProcess) -> set[str]:
    return {c["machine_id"] for c in sim.writes() if c["operation"] == "stop"}


@pytest.mark.peer("prometheus")
def test_a_night_with_a_real_prometheus(tmp_path: Path) -> None:
    exporter = Exporter()
    exporter.start()
    try:
        with simulator(tmp_path) as sim, prometheus(tmp_path, [exporter.port]) as url:
            config = write_config(tmp_path, sim.url, target=2)
            assert fleetd("apply", "-c", str(config)).returncode == 0
            quiet, busy = sim.machines()
            exporter.values |= {quiet["name"]: 0.0, busy["name"]: 0.9}
            config.write_text(config.read_text() + NIGHT.format(url=url))
            log = tmp_path / "daemon.log"
            with started("run", "-c", str(config), log=log):
                until(lambda: stopped(sim), seconds=60, saying=log.read_text)
                assert stopped(sim) == {quiet["id"]}

                def said(event: str) -> int:
                    return log.read_text().count(event)

                # A server that has just started has no samples yet: that is a silence of its own.
                until(lambda: said("idle_source.went_silent") == said("idle_source.recovered"))
                silences = said("idle_source.went_silent")
                exporter.stop()
                until(lambda: said("idle_source.went_silent") > silences, seconds=30, saying=log.read_text)
                time.sleep(9)
                assert stopped(sim) == {quiet["id"]}, "what is not known is not idle"
                assert said("idle_source.went_silent") == silences + 1

                exporter.values[busy["name"]] = 0.0
                exporter.start()
                until(lambda: len(stopped(sim)) == 2, seconds=60, saying=log.read_text)
                assert said("idle_source.recovered") == silences + 1
                assert '"evidence": "gpu: idle, max 0 < 0.02' in log.read_text()
    finally:
        exporter.stop()
