"""The shipped alert rules: valid, tested by promtool, explained in the runbook, and about metrics that exist."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from fleetd.ops.metrics import Metrics

ROOT = Path(__file__).parents[2]
RULES = ROOT / "deploy" / "prometheus" / "fleetd.rules.yml"
RULE_TESTS = Path(__file__).with_name("fleetd.rules.test.yml")
RUNBOOK = ROOT / "docs" / "runbook.md"

PAGE = (
    "{{ with $externalLabels.fleetd_page }}{{ . }}{{ else }}http://{{ $labels.instance }}{{ end }}/"
    "{{ with $labels.fleet }}fleet/{{ . }}{{ end }}"
)
RUNBOOK_URL = "{{ with $externalLabels.fleetd_runbook }}{{ . }}{{ else }}docs/runbook.md{{ end }}"
NO_PAGE = {"FleetdDown", "FleetdNobodyActs", "FleetdSeveralAct"}
"""It does not answer, or it is no one instance's."""
ALERTS = re.findall(r"- alert: (\w+)", RULES.read_text())


def promtool(*arguments: str) -> None:
    done = subprocess.run(["promtool", *arguments], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.peer("prometheus")
def test_the_rules_are_valid() -> None:
    promtool("check", "rules", str(RULES))


@pytest.mark.peer("prometheus")
def test_each_alert_fires_on_its_fault_and_only_then() -> None:
    promtool("test", "rules", str(RULE_TESTS))


LINKS = """
rule_files: [RULES]
evaluation_interval: 1m
tests:
  - interval: 1m
    external_labels: LABELS
    input_series:
      - {series: 'fleetd_fleet_converged{instance="a:8750", fleet="training"}', values: '0x60'}
      - {series: 'fleetd_event_loop_lag_seconds{instance="a:8750"}', values: '5x60'}
    alert_rule_test:
      - eval_time: 50m
        alertname: FleetdFleetNotConverged
        exp_alerts:
          - exp_labels: {severity: warning, instance: "a:8750", fleet: training}
            exp_annotations:
              summary: fleet training is not at its target
              description: Fleet training of a:8750 has not been at its target for 30 minutes.
              page_url: PAGE/fleet/training
              runbook_url: RUNBOOK#fleetdfleetnotconverged
      - eval_time: 50m
        alertname: FleetdEventLoopSlow
        exp_alerts:
          - exp_labels: {severity: warning, instance: "a:8750"}
            exp_annotations:
              summary: fleetd's event loop is held up
              description: Timers of a:8750 are up to 5s late.
              page_url: PAGE/
              runbook_url: RUNBOOK#fleetdeventloopslow
"""


@pytest.mark.peer("prometheus")
@pytest.mark.parametrize(
    ("labels", "page", "runbook"),
    [
        ("{}", "http://a:8750", "docs/runbook.md"),
        ("{fleetd_page: 'https://f.example', fleetd_runbook: 'https://r'}", "https://f.example", "https://r"),
    ],
)
def test_each_alert_links_to_its_fleets_page_and_to_its_paragraph(
    tmp_path: Path, labels: str, page: str, runbook: str
) -> None:
    filled = LINKS.replace("RULES", str(RULES)).replace("LABELS", labels).replace("PAGE", page)
    (tmp_path / "links.yml").write_text(filled.replace("RUNBOOK", runbook))
    promtool("test", "rules", str(tmp_path / "links.yml"))


def test_there_are_rules() -> None:
    assert len(ALERTS) == len(set(ALERTS)) >= 10


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_its_paragraph_and_its_unit_test(alert: str) -> None:
    rule = re.search(rf"- alert: {alert}\n(.*?)(?=- alert: |\Z)", RULES.read_text(), re.DOTALL)
    assert rule is not None
    assert f"runbook_url: '{RUNBOOK_URL}#{alert.lower()}'\n" in rule[1] + "\n"
    assert (f"page_url: '{PAGE}'\n" in rule[1]) is (alert not in NO_PAGE), "a page that answers, or none"
    assert "severity: " in rule[1]
    paragraph = re.search(rf"^## {alert}\n(.*?)(?=^## |\Z)", RUNBOOK.read_text(), re.DOTALL | re.MULTILINE)
    assert paragraph is not None
    assert all(word in paragraph[1] for word in ("**Means:**", "**Look:**", "**Do:**"))
    tested = re.findall(rf'alertname="{alert}"|alertname: {alert}\n', RULE_TESTS.read_text())
    assert tested, "no unit test sees it fire"


def test_the_runbook_has_no_paragraph_of_an_alert_that_is_gone() -> None:
    assert re.findall(r"^## (Fleetd\w+)", RUNBOOK.read_text(), re.MULTILINE) == ALERTS


def test_the_rules_ask_for_metrics_that_exist() -> None:
    exported = {
        name
        for family in Metrics(version="1").registry.collect()
        for name in (family.name, f"{family.name}_total", f"{family.name}_bucket")
    }
    expressions = re.findall(r"expr: (.*?)(?=\n {8}\w)", RULES.read_text(), re.DOTALL)
    assert len(expressions) == len(ALERTS)
    asked = {name for expression in expressions for name in re.findall(r"fleetd_\w+", expression)}
    assert asked
    assert asked - exported == set()
