"""A note that cannot be read keeps no daemon from starting: it is set aside, and said."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.engine.notes import read_note
from fleetd.model.errors import StateUnusable, StoreError
from tests.support.virtual_time import virtual

P = pytest.param


class Notes:
    def __init__(self, text: str | None, refuses: Exception | None = None) -> None:
        self.notes = {} if text is None else {"rows": text}
        self.refuses = refuses

    async def get_note(self, key: str) -> str | None:
        return self.notes.get(key)

    async def put_note(self, key: str, value: str) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.notes[key] = value


def first_of(rows: Any) -> int:
    return int(rows["first"][0])


@pytest.mark.parametrize(
    ("text", "found", "error"),
    [
        P(None, -1, None, id="none"),
        P('{"first": [7, 8]}', 7, None, id="one"),
        P("{", -1, "JSONDecodeError: ", id="no JSON"),
        P("[]", -1, "ValidationError: ", id="another shape"),
        P("{}", -1, "KeyError: 'first'", id="without what is wanted"),
        P('{"first": []}', -1, "IndexError: ", id="empty"),
        P('{"first": ["x"]}', -1, "ValueError: ", id="another kind of value"),
        P('{"first": [Infinity]}', -1, "OverflowError: ", id="no number"),
    ],
)
@virtual
async def test_what_is_read_of_a_note(text: str | None, found: int, error: str | None) -> None:
    notes: Any = Notes(text)
    with capture_logs() as logs:
        assert await read_note(notes, "rows", first_of, -1) == found
    if error is None:
        assert (logs, ".unreadable" in "".join(notes.notes)) == ([], False)
        return
    assert notes.notes == {"rows": text, "rows.unreadable": text}
    (line,) = logs
    assert str(line.pop("error")).startswith(error)
    assert line == {"event": "journal.note_was_set_aside", "log_level": "warning", "note": "rows"}


@virtual
async def test_a_journal_that_cannot_be_written_keeps_nothing_from_being_read() -> None:
    notes: Any = Notes("{", StateUnusable("opened for looking only"))
    with capture_logs() as logs:
        assert await read_note(notes, "rows", first_of, -1) == -1
    assert [line["event"] for line in logs] == ["journal.note_was_set_aside"]
    with pytest.raises(StoreError, match="away"):
        await read_note(Notes("{", StoreError("away")), "rows", first_of, -1)  # type: ignore[arg-type]


@virtual
async def test_a_fault_of_ours_is_not_taken_for_a_bad_note() -> None:
    def broken(_rows: Any) -> int:
        raise MemoryError

    with pytest.raises(MemoryError):
        await read_note(Notes("{}"), "rows", broken, -1)  # type: ignore[arg-type]
