"""The two configs that ship: they must be whole, right and quiet."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from fleetd.config import json_schema, load, parse, warnings

CONFIG = Path(__file__).parents[2] / "config"
EXAMPLE = (CONFIG / "example.toml").read_text()
ALL_KEYS = re.sub(r"^#(?=[a-zA-Z\[])", "", EXAMPLE, flags=re.MULTILINE)
"""The example with every optional key in place."""


def alternative(name: str) -> str:
    """The keys of an alternative block (``##``) that begins with ``name``."""
    lines = EXAMPLE[EXAMPLE.index(f"##{name}") :].splitlines()
    block = []
    for line in lines:
        if not line.startswith("##"):
            break
        block.append(line[2:])
    return "\n".join(block)


def schema_keys(schema: dict[str, Any], defs: dict[str, Any]) -> Iterator[str]:
    for table in (schema, *defs.values()):
        yield from table["properties"]
        machine = table["properties"].get("machine", {})
        yield from machine.get("properties", {})


def test_the_example_is_valid_and_gives_no_warning() -> None:
    assert warnings(load(CONFIG / "example.toml")) == ()


def test_the_example_with_every_optional_key_is_valid() -> None:
    assert len(ALL_KEYS) < len(EXAMPLE)
    found = parse(ALL_KEYS, "example.toml")
    (fleet,) = found.fleets
    assert fleet.adopt == ("psabc123", "old-gpu-*")
    assert fleet.parameters["restorePointFrequency"] == "shutdown"
    assert set(found.idle_sources) == {"gpu", "login", "agent", "job", "age"}


def test_the_example_names_every_key() -> None:
    schema = json_schema()
    keys = set(schema_keys(schema, schema["$defs"]))
    v1_policies = {k for k in keys if k.startswith(("autoShutdown", "autoSnapshot"))}
    missing = [
        k for k in sorted(keys - v1_policies) if not re.search(rf"(^|[#\[{{. ]){k}( =|[.\]])", EXAMPLE, re.MULTILINE)
    ]
    assert missing == []


def test_every_active_or_optional_key_of_the_example_has_a_comment_nearby() -> None:
    # A key explains itself, or the table or the line before it does.
    block, bare = "", []
    for line in EXAMPLE.splitlines():
        key = re.match(r"#{0,2}([A-Za-z_]+) = ", line)
        if key is None or " # " in line:
            block = line
        elif "#" not in block:
            bare.append(line)
    assert bare == []


def test_the_example_moves_to_the_simulator() -> None:
    text = EXAMPLE.replace('kind = "paperspace-core"', 'kind = "simulator"', 1)
    text = text.replace("[daemon]", alternative("[provider.simulator]") + "\n[daemon]")
    simulator = parse(text, "example.toml").provider.simulator
    assert simulator["speed"] == 60
    assert simulator["latency"] == timedelta(milliseconds=50)


def test_the_example_moves_to_v1() -> None:
    text = EXAMPLE.replace('kind = "paperspace-core"', 'kind = "paperspace"', 1)
    text = text.replace("##destroy_requires", "destroy_requires")
    machine = text[text.index("[fleets.training.machine]") : text.index("[fleets.training.guards]")]
    (fleet,) = parse(text.replace(machine, alternative("[fleets.training.machine]") + "\n"), "example.toml").fleets
    assert fleet.parameters["diskSize"] == 50
    assert fleet.destroy_requires_snapshot == timedelta(hours=24)


@pytest.mark.parametrize("place", ["file", "credential"])
def test_the_example_reads_its_key_elsewhere(place: str) -> None:
    (line,) = [x for x in EXAMPLE.splitlines() if x.startswith(f"##api_key = {{ {place}")]
    text = re.sub(r"^api_key = .*$", line[2:], EXAMPLE, flags=re.MULTILINE)
    assert getattr(parse(text, "example.toml").provider.api_key, place)


def test_the_demo_is_valid_and_gives_no_warning() -> None:
    found = load(CONFIG / "demo.toml")
    assert warnings(found) == ()
    assert {f.name: f.target for f in found.fleets} == {"training": 4, "inference": 2}
    assert found.provider.api_key is None
