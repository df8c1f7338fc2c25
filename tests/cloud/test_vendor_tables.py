"""Two transcriptions of the vendor's page, made independently: what we send and what the simulator takes."""

from __future__ import annotations

import pytest

from fleetd.model import vendor
from fleetd.simulator import catalogue, core, core_body

KINDS = {str: "string", int: "number", bool: "boolean"}


def kinds(table):
    return {name: param.kind for name, param in table.items()}


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (vendor.CORE_CREATE_PARAMETERS, core_body.CREATE),
        (vendor.CORE_UPDATE_PARAMETERS, core_body.UPDATE),
        (
            {**vendor.CORE_LIST_FILTERS, **vendor.CORE_LOCAL_FILTERS},
            core._OPERATIONS["machines", "getMachines"].params,
        ),
    ],
    ids=["create", "update", "list"],
)
def test_parameters(ours, theirs):
    assert {name: KINDS[kind] for name, kind in ours.items()} == kinds(theirs)


def test_required_parameters():
    assert set(vendor.CORE_CREATE_REQUIRED) == {name for name, param in core_body.CREATE.items() if param.required}


def test_regions_and_types():
    assert set(vendor.CORE_REGIONS) == set(catalogue.REGIONS)
    sold = {label for label, kind in catalogue.MACHINE_TYPES.items() if kind.legacy}
    assert set(vendor.CORE_MACHINE_TYPES) == sold
    dedicated = {label for label, kind in catalogue.MACHINE_TYPES.items() if kind.dedicated_gpu}
    assert set(vendor.CORE_AVAILABILITY_TYPES) == dedicated
