"""The Grafana dashboard: its form, and that each of its queries is PromQL about metrics and labels that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.test_rules import promtool
from tests.ops.test_metrics import NAMES

BOARD: dict[str, Any] = json.loads((Path(__file__).parents[2] / "deploy/grafana/fleetd.json").read_text())
PANELS: list[dict[str, Any]] = [panel for panel in BOARD["panels"] if panel["type"] != "row"]
VARIABLES = {variable["name"]: variable for variable in BOARD["templating"]["list"]}
ANNOTATIONS = [one for one in BOARD["annotations"]["list"] if not one.get("builtIn")]
GRAFANAS_OWN = {"__rate_interval", "__field"}
ADDED_BY_PROMETHEUS = {"instance", "job"}


def queries() -> Iterator[tuple[str, str, str]]:
    """(panel, query, legend)."""
    for panel in PANELS:
        for target in panel["targets"]:
            yield panel["title"], target["expr"], target["legendFormat"]
    for one in ANNOTATIONS:
        if not one["expr"].startswith("ALERTS{"):
            yield one["name"], one["expr"], one["titleFormat"] + one["textFormat"]
    for variable in VARIABLES.values():
        if variable["type"] == "query":
            found = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"])
            assert found is not None
            yield f"${variable['name']}", found[1], f"{{{{{found[2]}}}}}"


def series(metric: str) -> set[str] | None:
    """The labels of an exposed series; None when there is none of that name."""
    for ending, kind in (("", "gauge"), ("_total", "counter"), ("_bucket", "histogram")):
        known = NAMES.get(metric.removesuffix(ending) if ending else metric, "").split()
        if known and known[0] == kind and metric.endswith(ending):
            return set(known[1:]) | ADDED_BY_PROMETHEUS
    return None


@pytest.mark.peer("prometheus")
def test_each_query_is_promql(tmp_path: Path) -> None:
    rules = [
        {"record": f"test:query{number}", "expr": re.sub(r"\$\w+", "5m", expression.replace('"$', '"'))}
        for number, (_, expression, _) in enumerate(queries())
    ]
    # JSON is YAML
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "board", "rules": rules}]}))
    promtool("check", "rules", str(tmp_path / "rules.yml"))


@pytest.mark.parametrize(("panel", "expression", "legend"), list(queries()))
def test_each_query_asks_for_what_exists(panel: str, expression: str, legend: str) -> None:
    names = re.findall(r"\bfleetd_\w+", expression)
    assert names
    labels = set()
    for name in names:
        found = series(name)
        assert found is not None, f"{panel}: no metric {name}"
        labels |= found
    matched = re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", expression)
    grouped = [label for by in re.findall(r"\bby \(([^)]*)\)", expression) for label in by.split(", ")]
    assert {*matched, *grouped} <= labels, panel
    shown = set(re.findall(r"{{(\w+)}}", legend))
    assert shown <= (set(grouped) or labels), f"{panel}: the legend names a label that the query drops"


def test_every_metric_that_the_issue_names_is_shown() -> None:
    asked = {name for _, expression, _ in queries() for name in re.findall(r"\bfleetd_\w+", expression)}
    shown = {re.sub("_(total|bucket)$", "", name) for name in asked}
    assert set(NAMES) - shown == set()


def test_the_data_source_is_a_variable_everywhere() -> None:
    assert VARIABLES["datasource"]["type"] == "datasource"
    assert VARIABLES["datasource"]["query"] == "prometheus"
    wanted = {"type": "prometheus", "uid": "${datasource}"}
    for panel in PANELS:
        assert panel["datasource"] == wanted
        assert all(target["datasource"] == wanted for target in panel["targets"])
    assert all(v["datasource"] == wanted for v in VARIABLES.values() if v["type"] == "query")
    assert all(one["datasource"] == wanted for one in ANNOTATIONS)
    text = json.dumps(BOARD)
    used = set(re.findall(r"\$\{?(\w+)", text))
    assert used <= set(VARIABLES) | GRAFANAS_OWN | {"__all"}


def test_panels_are_told_apart_and_do_not_overlap() -> None:
    every = BOARD["panels"]
    assert len({panel["id"] for panel in every}) == len(every)
    assert len({panel["title"] for panel in PANELS}) == len(PANELS)
    taken: set[tuple[int, int]] = set()
    for panel in every:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert at["x"] + at["w"] <= 24
        taken |= cells


def test_every_panel_says_what_it_shows() -> None:
    for panel in PANELS:
        assert len(panel.get("description", "").split()) >= 3, panel["title"]
        assert panel["description"].endswith("."), panel["title"]


@pytest.mark.parametrize(("panel", "expression", "legend"), list(queries()))
def test_each_query_is_about_the_chosen_fleets_wherever_its_metric_is_about_one(
    panel: str, expression: str, legend: str
) -> None:
    for name, chosen in re.findall(r"\b(fleetd_\w+)(?:\{([^}]*)\})?", expression):
        if panel == "$instance":
            continue
        assert 'instance=~"$instance"' in chosen, f"{panel}: {name}"
        if panel != "$fleet" and "fleet" in (series(name) or ()):
            assert re.search(r'\bfleet=~"\$fleet\|?"', chosen), f"{panel}: {name}"


def test_what_changed_is_marked_on_every_chart() -> None:
    assert {one["name"] for one in ANNOTATIONS} == {
        "Targets changed", "fleetd started", "Reload rejected", "Provider lost", "Holds and freezes", "Alerts",
    }  # fmt: skip
    assert all(one["enable"] and one["titleFormat"] for one in ANNOTATIONS)


def links(part: Any) -> Iterator[str]:
    """Every URL of the board."""
    if isinstance(part, dict):
        yield from ([part["url"]] if isinstance(part.get("url"), str) else [])
        for inner in part.values():
            yield from links(inner)
    elif isinstance(part, list):
        for inner in part:
            yield from links(inner)


def test_links_go_to_the_fleets_page_and_the_runbook_and_their_urls_stand_in_one_place() -> None:
    found = set(links(BOARD))
    assert {"${page}/", "${runbook}", "${page}/fleet/$fleet", "${page}/fleet/${__field.labels.fleet}"} == found
    assert VARIABLES["page"]["query"] == "http://127.0.0.1:8750"
    for name in ("page", "runbook"):
        assert VARIABLES[name]["type"] == "textbox"
        value = VARIABLES[name]["query"]
        assert VARIABLES[name]["current"]["value"] == VARIABLES[name]["options"][0]["value"] == value
        assert value not in json.dumps({**BOARD, "templating": {}})


def test_a_data_link_names_a_fleet_only_where_the_series_have_one() -> None:
    for panel in PANELS:
        if "__field.labels.fleet" in json.dumps(panel):
            assert any("by (fleet)" in target["expr"] for target in panel["targets"]), panel["title"]
