"""The dashboard against Grafana's published types: what they do not know of it, Grafana would drop without a word.

There is no package of Grafana itself in the registries; its foundation SDK is its dashboard's schema as code.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

BOARD = Path(__file__).parents[2] / "deploy/grafana/fleetd.json"
THERE_AND_BACK = """
import json, sys
from grafana_foundation_sdk.cog import plugins
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard
plugins.register_default_plugins()
print(JSONEncoder().encode(Dashboard.from_json(json.load(sys.stdin))))
"""
OF_PROMETHEUS = {"step", "tagKeys", "textFormat", "titleFormat", "useValueForTime", "definition"}
"""Fields of annotations and variables that are the data source's own, not the dashboard's."""


@pytest.fixture
def sdk() -> str:
    """Where the SDK is installed."""
    found = os.environ.get("FLEETD_GRAFANA_SDK")
    if found is None:
        message = (
            "grafana-foundation-sdk is not installed (FLEETD_GRAFANA_SDK names its directory); .ci/run installs it"
        )
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    return found


def understood(sdk: str, board: object) -> Any:
    done = subprocess.run(
        [sys.executable, "-c", THERE_AND_BACK],
        input=json.dumps(board),
        env={**os.environ, "PYTHONPATH": sdk},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def lost(board: Any, back: Any, path: str = "") -> Iterator[str]:
    """The fields of a document that are not, or not the same, in another."""
    if isinstance(board, dict) and isinstance(back, dict):
        for key, value in board.items():
            if key not in back:
                yield f"{path}.{key}"
            else:
                yield from lost(value, back[key], f"{path}.{key}")
    elif isinstance(board, list) and isinstance(back, list) and len(board) == len(back):
        for number, (one, other) in enumerate(zip(board, back, strict=True)):
            yield from lost(one, other, f"{path}[{number}]")
    elif board != back:
        yield path


def test_grafana_knows_every_field_of_the_dashboard(sdk: str) -> None:
    board = json.loads(BOARD.read_text("utf-8"))
    assert {path.rpartition(".")[2] for path in lost(board, understood(sdk, board))} <= OF_PROMETHEUS


def test_a_misspelt_field_is_found(sdk: str) -> None:
    board = json.loads(BOARD.read_text("utf-8"))
    panel = next(n for n, panel in enumerate(board["panels"]) if panel["type"] == "timeseries")
    board["panels"][panel]["descripton"] = "misspelt"
    board["panels"][panel]["fieldConfig"]["defaults"]["custom"]["lineWidht"] = 2
    found = set(lost(board, understood(sdk, board)))
    assert f".panels[{panel}].descripton" in found
    assert f".panels[{panel}].fieldConfig.defaults.custom.lineWidht" in found
