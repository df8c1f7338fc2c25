"""The config file: TOML to pydantic to model, every fault at once.

A name is imported when it is first used: who only prints the version reads no config.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fleetd.config.advice import command_warnings, warnings
    from fleetd.config.digest import config_digest, configs_differ
    from fleetd.config.key import key_warnings, read_key, read_password
    from fleetd.config.reading import file_warnings, load, parse, placed, state_dir_of
    from fleetd.config.schema_json import json_schema

_HOMES = {
    "advice": ("command_warnings", "warnings"),
    "digest": ("config_digest", "configs_differ"),
    "key": ("key_warnings", "read_key", "read_password"),
    "reading": ("file_warnings", "load", "parse", "placed", "state_dir_of"),
    "schema_json": ("json_schema",),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


__all__ = [
    "command_warnings",
    "config_digest",
    "configs_differ",
    "file_warnings",
    "json_schema",
    "key_warnings",
    "load",
    "parse",
    "placed",
    "read_key",
    "read_password",
    "state_dir_of",
    "warnings",
]
