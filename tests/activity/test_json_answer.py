"""A verdict's JSON, its evidence, and whose it is."""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleetd.activity.json_answer import LONGEST_EVIDENCE, parse_verdict
from fleetd.model.reasons import Activity

NOT_JSON = "not the JSON that was asked for: "


def said(**content: Any) -> bytes:
    return json.dumps(content).encode()


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (said(idle=True), (Activity.IDLE, "idle")),
        (said(idle=False), (Activity.ACTIVE, "in use")),
        (said(idle=True, evidence=""), (Activity.IDLE, "idle")),
        (said(idle=False, evidence="job 7"), (Activity.ACTIVE, "job 7")),
        (said(idle=True, evidence="x" * 301), (Activity.IDLE, "x" * LONGEST_EVIDENCE)),
        (said(idle=True, machine="ps1", id="ps1", machineId="ps1", machine_id_="x"), None),
        (said(idle=True, machine="ps1", id="ps1", machineId="ps1"), (Activity.IDLE, "idle")),
        (said(idle=True, error=""), (Activity.IDLE, "idle")),
        (said(idle=True, error=None), (Activity.IDLE, "idle")),
        (said(idle=True, error=False), (Activity.IDLE, "idle")),
        (said(idle=True, errors="some"), (Activity.IDLE, "idle")),
    ],
)
def test_a_verdict_and_its_evidence(body: bytes, told: tuple[Activity, str] | None) -> None:
    if told is None:
        assert parse_verdict(body, "ps1")[0] is Activity.UNKNOWN
    else:
        assert parse_verdict(body, "ps1") == told


@pytest.mark.parametrize("key", ["machine", "id", "machineId", "machine_id", "machine-id", "ID", "MACHINEID"])
@pytest.mark.parametrize(("whose", "word"), [("ps2", "ps2"), (None, "None"), ("x" * 99, "x" * 60), ("", "")])
def test_a_verdict_of_another_machine_says_nothing_of_this_one(key: str, whose: Any, word: str) -> None:
    told = parse_verdict(said(idle=False, **{key: whose}), "ps1")
    assert told == (Activity.UNKNOWN, f"the answer is about {word!r}, and ps1 was asked about")


@pytest.mark.parametrize("key", ["error", "Error", "ERROR"])
def test_who_could_not_tell_has_not_told(key: str) -> None:
    assert parse_verdict(said(idle=True, **{key: "e" * 400}), "ps1") == (
        Activity.UNKNOWN,
        "it could not tell: " + "e" * LONGEST_EVIDENCE,
    )


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"idle", ""),
        (b"", ""),
        (b"true", ""),
        (b"[]", ""),
        (b"{}", ""),
        (said(idle="yes"), ""),
        (said(idle=1), ""),
        (said(idle=None), ""),
        (said(idle=True, evidence=7), ""),
        (b'{"idle": true, "idle": true}', "'idle' stands there twice"),
        (b'{"idle": true, "more": {"a": 1, "a": 2}}', "'a' stands there twice"),
        (said(idle=True, Idle=True), "a key stands there in two spellings"),
        (said(idle=True, my_key=1, **{"my-Key": 1}), "a key stands there in two spellings"),
        (b'{"idle": true, "x": ' + b"[" * 9000 + b"]" * 9000 + b"}", ""),
    ],
)
def test_what_is_no_verdict_is_unknown(body: bytes, why: str) -> None:
    verdict, evidence = parse_verdict(body, "ps1")
    assert verdict is Activity.UNKNOWN
    assert evidence.startswith(NOT_JSON)
    assert why in evidence
