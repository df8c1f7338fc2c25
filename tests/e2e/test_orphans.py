"""The second of the two unforgivable errors: a machine that is paid for and that nobody knows about."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support.processes import fleetd, simulator, write_config


@pytest.mark.usefixtures("lose")
def test_machines_whose_fleet_left_the_config_are_named_wherever_one_looks_and_never_touched(tmp_path: Path) -> None:
    with simulator(tmp_path) as sim:
        config = write_config(tmp_path, sim.url, target=2)
        where = ("-c", str(config))
        assert fleetd("apply", *where).returncode == 0
        left = {m["id"]: m["name"] for m in sim.machines()}
        sim.reset_calls()
        renamed = write_config(tmp_path, sim.url, target=0).read_text().replace("fleets.training", "fleets.research")
        config.write_text(renamed)

        done = fleetd("apply", *where)
        assert done.returncode == 0
        said = [e for e in map(json.loads, done.stderr.splitlines()) if e["event"] == "fleet.was_orphaned"]
        assert [(e["level"], e["fleet"], e["count"], e["up"]) for e in said] == [("warning", "training", 2, 2)]
        assert said[0]["names"] == ", ".join(sorted(left.values()))
        status = json.loads(fleetd("status", *where, "--json").stdout)
        standings = {m["id"]: (m["owned"], m["standing"]) for m in status["machines"]}
        assert standings == dict.fromkeys(left, (False, "orphan"))

        shown = fleetd("status", *where).stdout
        assert "Not owned, though a fleetd made them: adopt them, or stop them by hand" in shown
        for machine, name in left.items():
            assert name in shown
            why = fleetd("explain", machine, *where)
            assert why.returncode == 0, why.stderr
            assert "By its name a fleetd made it, for fleet training, and no fleet of this config owns" in why.stdout
        assert sim.writes() == []
