"""What the reconciler tells of itself, without a pass."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fleetd.engine.recall import Recall
from fleetd.engine.reconciler import Reconciler
from fleetd.engine.setbacks import NOTE
from fleetd.model.reasons import Reason, Verb
from fleetd.store.sqlite import SqliteJournal
from tests.support.build import NOW, intent, machines
from tests.support.inline_executor import InlineExecutor
from tests.support.rig import RecordingMeter
from tests.support.virtual_time import virtual


@pytest.mark.parametrize(("count", "cheap"), [(None, True), (0, True), (2, True), (3, False), (4, False)])
def test_a_look_is_cheap_while_one_page_holds_all(count: int | None, cheap: bool) -> None:
    seen = None if count is None else SimpleNamespace(machines=machines("ready " * count))
    last = None if seen is None else SimpleNamespace(observation=seen)
    there: Any = SimpleNamespace(last=last, _cloud=SimpleNamespace(capabilities=SimpleNamespace(page_size=3)))
    assert Reconciler.looks_cheaply.fget(there) is cheap  # type: ignore[attr-defined]


@virtual
async def test_what_an_earlier_process_knew_is_known_from_the_start(tmp_path: Path) -> None:
    """Of calls that came to nothing, of machines that may go late, and of the address that a create assigned."""
    journal = await SqliteJournal.open(tmp_path / "journal.db", executor=InlineExecutor())
    before = Recall(journal, RecordingMeter())
    stop = intent(Verb.STOP, 1, reason=Reason.OVER_TARGET)
    await before.setbacks.add(stop, "it went on", NOW)
    await before.departures.add(stop, NOW, declined=False)
    after = Recall(journal, RecordingMeter())
    await after.load()
    assert after.setbacks.known(NOW) == before.setbacks.known(NOW) != {}
    assert after.departures.known(NOW) == before.departures.known(NOW) != {}
    assert await journal.get_note(NOTE) is not None
    await journal.aclose()
