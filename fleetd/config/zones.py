"""Time zones: which word was probably meant, and which is legal and still a trap."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from zoneinfo import available_timezones

from fleetd.config.faults import suggestion

_CITIES: Mapping[str, str] = MappingProxyType(
    {
        "PST": "America/Los_Angeles",
        "PDT": "America/Los_Angeles",
        "MDT": "America/Denver",
        "CDT": "America/Chicago",
        "EDT": "America/New_York",
        "BST": "Europe/London",
        "CEST": "Europe/Berlin",
        "EEST": "Europe/Helsinki",
        "MSK": "Europe/Moscow",
        "JST": "Asia/Tokyo",
        "KST": "Asia/Seoul",
        "AEST": "Australia/Sydney",
        "AEDT": "Australia/Sydney",
    }
)
"""Abbreviations with one common meaning. IST and CST have three each and are left out."""
_FIXED: Mapping[str, str] = MappingProxyType(
    {"EST": "America/New_York", "MST": "America/Denver", "HST": "Pacific/Honolulu"}
)
"""Names of the database that know no summer time, whatever the clock on the wall does."""
_OFFSET = re.compile(r"(?:UTC|GMT|Z)?\s*[+-]\s*\d{1,2}(?::?\d\d)?", re.ASCII | re.IGNORECASE)
_ETC = re.compile(r"Etc/GMT([+-])(\d{1,2})", re.ASCII)
_EXAMPLE = '; expected an IANA name such as "Europe/Berlin"'


@cache
def zones() -> frozenset[str]:
    """All names. The zone database does not change while a process runs, and listing it walks a directory tree."""
    return frozenset(available_timezones())


def zone_hint(zone: str) -> str:
    """What to write in place of a name that is none: a place, never an abbreviation or an offset that looks alike."""
    if _OFFSET.fullmatch(zone.strip()):
        return f"{_EXAMPLE}: an offset knows no summer time, so name a city"
    meant = _CITIES.get(zone.strip().upper())
    if meant is None:
        if re.fullmatch(r"[A-Z]{2,5}", zone.strip()):
            return f"{_EXAMPLE}: abbreviations mean different things in different countries"
        places = [z for z in zones() if "/" in z and not z.startswith("Etc/")] + ["UTC"]
        city = zone.replace(" ", "_").rpartition("/")[2].lower()
        same_city = sorted(z for z in places if z.rpartition("/")[2].lower() == city)
        meant = same_city[0] if same_city else suggestion(zone.replace(" ", "_"), places)
    return f'; did you mean "{meant}"?' if meant else _EXAMPLE


def zone_warning(zone: str) -> str | None:
    """Why a name that is legal is probably not meant; None where nothing is wrong with it."""
    if zone in _FIXED:
        return f'{zone} has no summer time; "{_FIXED[zone]}" goes by the clock on the wall'
    turned = _ETC.fullmatch(zone)
    if turned and int(turned[2]):
        side = "behind" if turned[1] == "+" else "ahead of"
        return f"{zone} is {int(turned[2])} hours {side} UTC: the sign is the other way round there; name a city"
    return None
