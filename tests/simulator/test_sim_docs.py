"""docs/simulator.md says what is there: its example loads, and its tables name every kind."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

from fleetd.simulator.fault_file import RULES, parse_faults
from fleetd.simulator.faults import Rule

TEXT = (Path(__file__).parents[2] / "docs" / "simulator.md").read_text("utf-8")


def test_the_example_is_a_file_of_faults() -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", TEXT, re.DOTALL)
    assert len(parse_faults(tomllib.loads(example))) == example.count("[[faults]]") == 7


def test_every_kind_stands_in_a_table_with_its_keys() -> None:
    shared = set(Rule.__struct_fields__)
    for kind in RULES:
        name = kind.__struct_config__.tag
        rows = [line for line in TEXT.splitlines() if line.startswith("|") and f"`{name}`" in line.split("|")[1]]
        assert len(rows) == 1, name
        for key in set(kind.__struct_fields__) - shared:
            assert f"`{key}`" in rows[0], (name, key)


def test_every_condition_stands_in_the_table() -> None:
    for name in Rule.__struct_fields__:
        assert re.search(rf"^\| [^|]*`{name}`", TEXT, re.MULTILINE), name
