"""The journal is lost: what is ours by its name alone is recovered, and a person confirms it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.processes import fleetd, simulator, started, until, write_config


@pytest.mark.parametrize("running", [True, False], ids=["with a daemon", "without one"])
def test_adopt_confirms_a_recovered_machine(tmp_path: Path, running: bool, lose: Callable[[], None]) -> None:
    with simulator(tmp_path) as sim:
        config = write_config(tmp_path, sim.url, target=2)
        where = ("-c", str(config))
        assert fleetd("apply", *where).returncode == 0
        lose()
        name, other = sorted(m["name"] for m in sim.machines())

        def confirm() -> None:
            reason = ("--reason", "ours: the disk was lost")
            done, again, odd = (fleetd("adopt", n, *where, *reason) for n in (name, name, "nosuch"))
            assert (done.returncode, again.returncode, odd.returncode) == (0, 0, 64), done.stderr + odd.stderr
            assert f"{name} is confirmed as a machine of fleet training" in done.stdout + done.stderr
            assert "needs no confirmation" in again.stdout + again.stderr

        if running:
            log = tmp_path / "log"
            with started("run", *where, log=log):
                until(lambda: "machine.was_recovered" in log.read_text())
                assert "recovered" in fleetd("status", *where).stdout
                assert "It is recovered" in fleetd("explain", name, *where).stdout
                confirm()
        else:
            confirm()
        entries = [json.loads(line) for line in fleetd("history", *where, "--json").stdout.splitlines()]
        (entry,) = [e for e in entries if e["verb"] == "adopt"]
        assert (entry["name"], entry["evidence"]) == (name, "ours: the disk was lost")
        rows = json.loads(fleetd("status", *where, "--json").stdout)["machines"]
        assert {row["name"]: row["unconfirmed"] for row in rows} == {name: None, other: "recovered"}
        shown = json.loads(fleetd("plan", *where, "--json").stdout)
        assert shown["actions"] == []
