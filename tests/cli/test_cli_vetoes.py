"""What is said of vetoes: which verbs, for how long, and what goes on after one was ended."""

from __future__ import annotations

import io
import itertools
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from fleetd.cli.render_status import status_view
from fleetd.model.journal import Hold
from fleetd.model.reasons import Verb
from fleetd.model.vetoes import veto_detail, veto_evidence
from fleetd.ops.page.rows import veto_row
from fleetd.words.vetoes import veto_sentence
from tests.cli.conftest import Cli
from tests.support.config_text import SIMULATOR_PROVIDER, config_text
from tests.support.fake_handle import AT, a_machine, a_report, a_veto

PARTIAL = [v for n in range(1, len(Verb)) for v in itertools.combinations(sorted(Verb), n)]


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "fleetd.toml"
    state = f'[daemon]\nstate_dir = "{tmp_path / "state"}"\nlisten = ""'
    path.write_text(config_text(provider=SIMULATOR_PROVIDER, daemon=state))
    return str(path)


def freeze(cli: Cli, config: str, *arguments: str) -> None:
    assert cli("freeze", *arguments, "--for", "1h", "--reason", "incident", "-c", config).code == 0


def test_unfreeze_says_what_goes_on_being_frozen_and_how_to_end_it(cli: Cli, config: str) -> None:
    freeze(cli, config)
    freeze(cli, config, "training", "--verb", "stop")
    whole = cli("unfreeze", "-c", config)
    assert "everything: 1 freeze ended" in whole.err + whole.out
    assert "freeze on training (stop only)" in whole.err + whole.out
    assert "fleetd unfreeze training ends it" in whole.err + whole.out
    freeze(cli, config)
    fleet = cli("unfreeze", "training", "-c", config)
    assert "freeze on everything" in fleet.err + fleet.out
    assert "fleetd unfreeze ends it" in fleet.err + fleet.out
    nothing = cli("unfreeze", "training", "--json", "-c", config)
    assert [v["subject"] for v in json.loads(nothing.out)["left"]] == [None]
    last = cli("unfreeze", "-c", config)
    assert "goes on" not in last.err + last.out


def test_release_says_that_a_freeze_goes_on(cli: Cli, config: str) -> None:
    assert cli("hold", "training-x", "--for", "1h", "--reason", "mine", "-c", config).code in {0, 64}
    freeze(cli, config)
    said = cli("release", "training-x", "-c", config)
    assert said.code == 64 or "freeze on everything" in said.err + said.out


@pytest.mark.parametrize("command", [("hold", "x"), ("freeze",), ("stop", "x")])
@pytest.mark.parametrize("span", ["99d", "32d", "0s"])
def test_a_span_beyond_bounds_is_a_usage_error_in_days(cli: Cli, config: str, command, span: str) -> None:
    ended = cli(*command, "--for", span, "--reason", "why", "-c", config)
    assert ended.code == 64
    if span != "0s":
        assert "31 days" in ended.err
    assert "seconds" not in ended.err


@pytest.mark.parametrize("verbs", PARTIAL)
@pytest.mark.parametrize("kind", ["hold", "freeze"])
def test_a_veto_on_some_verbs_names_them_wherever_it_is_shown(kind: str, verbs: tuple[Verb, ...]) -> None:
    if kind == "hold" and verbs == (Verb.START,):
        pytest.skip("what a stop leaves has words of its own")
    ends = AT + timedelta(hours=1)
    hold = Hold(1, "training", kind, "incident", "ada", AT, ends, frozenset(verbs))
    subject = "training" if kind == "freeze" else "training-x"
    veto = a_veto(kind, subject, *verbs, reason="incident", created_at=AT, expires_at=ends)
    row = a_machine("training-x", hold=veto if kind == "hold" else None)
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(status_view(a_report(vetoes=[veto], machines=[row]), AT))
    status = console.export_text()
    shown = [
        veto_detail(hold), veto_evidence(hold), veto_sentence(veto, AT), str(veto_row(veto, AT)),
        *[line for line in status.splitlines() if "1 h" in line or "13:00" in line],
    ]  # fmt: skip
    assert len(shown) >= 6, "in the table's line as well as in the list"
    for text in shown:
        assert all(verb in text for verb in verbs), text
        assert "only" in text, text


@pytest.mark.parametrize("kind", ["hold", "freeze"])
def test_a_whole_veto_is_no_veto_on_some_verbs(kind: str) -> None:
    ends = AT + timedelta(hours=1)
    subject = "training" if kind == "freeze" else "training-x"
    veto = a_veto(kind, subject, reason="incident", created_at=AT, expires_at=ends)
    row = a_machine("training-x", hold=veto if kind == "hold" else None)
    console = Console(width=300, record=True, file=io.StringIO())
    console.print(status_view(a_report(vetoes=[veto], machines=[row]), AT))
    status = console.export_text()
    assert veto_detail(Hold(1, None, kind, "incident", "ada", AT, datetime.now(UTC))) == "ada: incident"
    for text in (veto_sentence(veto, AT), str(veto_row(veto, AT)), status):
        assert "only" not in text
        assert "(-)" not in text
    assert {"hold": "held by ada: incident", "freeze": "frozen until"}[kind] in status
