"""What is proposed in place of a time zone that is none: a place, whatever looks alike."""

from __future__ import annotations

import re
from zoneinfo import ZoneInfo

import pytest

from fleetd.config.zones import zone_hint, zone_warning, zones


@pytest.mark.parametrize(
    "zone", ["GMT+2", "PST", "IST", "MSK", "utc+1", "GMT-05:00", "EST5", "Etc/GMT-99", "MSTX", "CES"]
)
def test_nothing_fixed_is_ever_proposed(zone: str) -> None:
    meant = re.search(r'did you mean "([^"]+)"', zone_hint(zone))
    if meant is not None:
        assert "/" in meant[1] or meant[1] == "UTC"
        assert not meant[1].startswith("Etc/")
        ZoneInfo(meant[1])


def test_only_the_traps_are_warned_of() -> None:
    warned = {zone for zone in zones() if zone_warning(zone)}
    assert {"EST", "MST", "HST", "Etc/GMT+5", "Etc/GMT-14"} <= warned
    assert all(zone in {"EST", "MST", "HST"} or zone.startswith("Etc/GMT") for zone in warned)
    assert not warned & {"Etc/GMT", "Etc/GMT0", "Etc/GMT+0", "Etc/UTC", "UTC", "Europe/Berlin"}
