"""Regions by any of the names that the vendor gives them, in one form.

They go in as ``ny2``, ``NY2`` or ``East Coast (NY2)``, and come out as the last. What is sent stays as it was typed;
what is compared, or what a capacity failure is remembered under, is the normal form.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from types import MappingProxyType

REGIONS: Mapping[str, str] = MappingProxyType(
    {"ny2": "East Coast (NY2)", "ca1": "West Coast (CA1)", "ams1": "Europe (AMS1)"}
)
"""The vendor's full names, by their codes."""

_CODE = re.compile(r"(?:^|\()\s*([a-z]{2,4}\d{1,2})\s*\)?\s*$", re.IGNORECASE)


@functools.lru_cache(maxsize=256)
def normal_region(name: str) -> str:
    """The vendor's full name where its code is known; any other name as it is, without spaces around it."""
    found = _CODE.search(name)
    return REGIONS.get(found.group(1).lower(), name.strip()) if found is not None else name.strip()
