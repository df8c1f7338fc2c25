"""Commands about fleetd itself: schema, version."""

from __future__ import annotations

import fleetd
from fleetd import config as config_file
from fleetd.cli.options import examples
from fleetd.cli.output import show, show_json


def schema() -> None:
    """Print the config's JSON Schema, for editors."""
    show_json(config_file.json_schema())


def version() -> None:
    """Print the version."""
    show(f"fleetd {fleetd.__version__}")


SCHEMA_EXAMPLES = examples("fleetd schema > fleetd.schema.json")
VERSION_EXAMPLES = examples("fleetd version")
