"""A region is one, by whatever name it goes in or comes out."""

from __future__ import annotations

import pytest

from fleetd.cloud.core import wire as core
from fleetd.cloud.inquiry import elsewhere
from fleetd.cloud.paperspace import wire as v1
from fleetd.config import parse
from fleetd.model.regions import normal_region
from fleetd.planner.roster import drifted
from tests.support.build import fleet
from tests.support.config_text import V1_PROVIDER

NAMES = {
    "East Coast (NY2)": ("ny2", "NY2", "East Coast (NY2)", " east coast (ny2) ", "Ny2"),
    "West Coast (CA1)": ("ca1", "CA1", "West Coast (CA1)"),
    "Europe (AMS1)": ("ams1", "AMS1", "Europe (AMS1)"),
    "Asia (SIN1)": ("Asia (SIN1)",),
    "somewhere": ("somewhere", " somewhere"),
}
ROWS = [(full, name) for full, names in NAMES.items() for name in names]


@pytest.mark.parametrize(("full", "name"), ROWS)
def test_every_name_has_one_form(full, name):
    assert normal_region(name) == full
    assert normal_region(normal_region(name)) == full


@pytest.mark.parametrize("read", [core.read_created, v1.read_created])
@pytest.mark.parametrize(("full", "name"), ROWS)
def test_a_machine_that_comes_back_under_another_name_has_not_drifted(read, full, name):
    machine = read({"id": "ps1", "name": "n", "state": "ready", "region": name, "machineType": "P4000"})
    assert machine.region == full
    assert not drifted(fleet(region=full), machine)
    assert elsewhere(fleet(region=full, parameters={"networkId": "n1"}), "networkId", {"n1": {"region": name}}) == []


def test_a_capacity_failure_is_remembered_under_one_name_and_what_is_sent_stays_as_it_was_typed():
    text = f"""
version = 1
{V1_PROVIDER}
[fleets.training]
target = 1
[fleets.training.machine]
region = "ny2"
machineType = "P4000"
templateId = "tkni3aa4"
diskSize = 50
"""
    (only,) = parse(text, source="t.toml").fleets
    assert only.capacity_key == ("East Coast (NY2)", "P4000")
    assert only.parameters["region"] == "ny2"
