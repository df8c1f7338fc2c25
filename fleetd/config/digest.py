"""A few characters that tell whether two replicas have the same config, wherever each keeps its file and secrets."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import fields, is_dataclass, replace
from enum import Enum

from fleetd import __version__
from fleetd.model.settings import Settings


def config_digest(settings: Settings) -> str:
    """With this version's name before it: another reads the same file into other settings.

    Where a host keeps its file, its state directory and its secrets, and where it listens, makes no difference; a
    secret is not part of it.
    """
    daemon = replace(settings.daemon, state_dir=None, state=None, state_password=None, listen="")
    provider = replace(settings.provider, api_key=None)
    bare = replace(settings, source="", asked_state_dir=None, daemon=daemon, provider=provider)
    return f"{__version__} {hashlib.sha256(_spelt(bare).encode()).hexdigest()[:16]}"


def configs_differ(one: str, other: str) -> bool:
    """Whether two digests are of two configs; not where one is missing, or of another version."""
    version, _, _ = one.rpartition(" ")
    return bool(one and other) and version == other.rpartition(" ")[0] and one != other


def _spelt(value: object) -> str:
    """The same text for the same value in every process."""
    match value:
        case Enum():
            return repr(value.value)
        case Mapping():
            pairs = sorted(f"{_spelt(key)}: {_spelt(one)}" for key, one in value.items())
            return f"{{{', '.join(pairs)}}}"
        case AbstractSet():
            return f"{{{', '.join(sorted(map(_spelt, value)))}}}"
        case tuple() | list():
            return f"({', '.join(map(_spelt, value))})"
        case _ if is_dataclass(value):
            parts = (f"{f.name}={_spelt(getattr(value, f.name))}" for f in fields(value))
            return f"{type(value).__name__}({', '.join(parts)})"
        case _:
            return repr(value)
