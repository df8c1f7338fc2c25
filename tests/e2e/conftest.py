"""Where the commands of a test keep their journal."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support import processes


@pytest.fixture(params=["file", pytest.param("database", marks=pytest.mark.peer("postgres"))])
def lose(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[], None]:
    """Both stores, one after the other: the configs that the test writes name it. A call loses all that it holds."""
    if request.param == "file":

        def delete() -> None:
            for file in (tmp_path / "state").glob("journal.db*"):
                file.unlink()

        return delete
    from tests.support.postgres import execute

    url = request.getfixturevalue("postgres").create()
    monkeypatch.setattr(processes, "DATABASE", url)

    def drop() -> None:
        execute(url, "DROP SCHEMA public CASCADE")
        execute(url, "CREATE SCHEMA public")

    return drop
