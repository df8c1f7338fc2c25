"""Whom an answer is about: every shape that names a machine, and those that name none."""

from __future__ import annotations

from typing import Any

import pytest

from fleetd.cloud.about import must_be_about, must_be_made
from fleetd.model.errors import Ambiguous, MalformedAnswer

OURS, OTHER = {"id": "ps1"}, {"id": "ps2"}


@pytest.mark.parametrize(
    "content",
    [
        OURS,
        {"machineId": "ps1"},
        {"machineId": "ps1", "id": "e7"},
        {"data": OURS},
        {"data": OURS, "event": None},
        {"data": {"machineId": "ps1", "id": "ss1"}, "event": {"id": "e1", "machineId": "ps1"}},
        {"data": None, "event": {"id": "e1", "machineId": "ps1"}},
        {"event": {"id": "e1"}},
        {"event": {"id": "e1", "machineId": None}},
        {"event": "ps2"},
        {"data": [OTHER]},
        {"data": OURS, "id": "r1"},
        {"id": None},
        {},
        [],
        [OTHER],
        None,
        "ps2",
    ],
)
def test_what_names_the_machine_or_none_is_believed(content: Any) -> None:
    must_be_about("ps1", content, operation="show")
    must_be_about("ps1", content, operation="stop", write=True)


@pytest.mark.parametrize(
    ("content", "named"),
    [
        (OTHER, "ps2"),
        ({"id": 1}, "1"),
        ({"machineId": "ps2"}, "ps2"),
        ({"machineId": None}, "None"),
        ({"machineId": "ps2", "id": "ps1"}, "ps2"),
        ({"data": OTHER}, "ps2"),
        ({"data": {"machineId": "ps2"}}, "ps2"),
        ({"data": OURS, "event": {"id": "e1", "machineId": "ps2"}}, "ps2"),
        ({"event": {"id": "e1", "machineId": "ps2"}}, "ps2"),
        ({"data": {"data": OTHER}}, "ps2"),
    ],
)
def test_what_names_another_is_not_understood(content: Any, named: str) -> None:
    for write, kind in ((False, MalformedAnswer), (True, Ambiguous)):
        with pytest.raises(kind) as caught:
            must_be_about("ps1", content, operation="stop", write=write)
        assert type(caught.value) is kind
        assert str(caught.value) == f"stop: asked about ps1, answered about {named}"


@pytest.mark.parametrize(("asked", "answered"), [("box", "fox"), ("box", None), ("", "box")])
def test_what_was_made_has_the_name_that_was_asked_for(asked: str, answered: str | None) -> None:
    must_be_made(asked, {"name": asked})
    with pytest.raises(Ambiguous) as caught:
        must_be_made(asked, {"name": answered} if answered is not None else {})
    assert str(caught.value) == f"create: asked for {asked}, answered with {answered}"
