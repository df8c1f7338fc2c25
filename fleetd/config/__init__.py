"""The config file: TOML to pydantic to model, every fault at once."""

from fleetd.config.advice import command_warnings, warnings
from fleetd.config.key import key_warnings, read_key
from fleetd.config.reading import file_warnings, load, parse, state_dir_of
from fleetd.config.schema_json import json_schema

__all__ = [
    "command_warnings",
    "file_warnings",
    "json_schema",
    "key_warnings",
    "load",
    "parse",
    "read_key",
    "state_dir_of",
    "warnings",
]
