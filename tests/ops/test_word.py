"""The word of where a daemon listens: no place that may not be looked at keeps a command from asking the others."""

from __future__ import annotations

import os
import pathlib
from pathlib import Path
from typing import Any

import pytest

from fleetd.ops import socket_pointer
from fleetd.ops.addressee import Identity

PLACES = ("USERS_RUNTIME", "SERVICE_RUNTIME", "SHARED")


@pytest.fixture
def places(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Path]:
    made = {name: tmp_path / name.lower() for name in PLACES}
    for name, path in made.items():
        path.mkdir()
        monkeypatch.setattr(socket_pointer, name, path)
    return made


def closed(monkeypatch: pytest.MonkeyPatch, refused: Path) -> None:
    """Answer EACCES for all in a directory, as the unit's ProtectHome= does to /run/user."""

    def guarded(call: Any) -> Any:
        def asked(path: Any, *args: Any, **kwargs: Any) -> Any:
            if not isinstance(path, int) and Path(path).is_relative_to(refused):
                raise PermissionError(13, "Permission denied", str(path))
            return call(path, *args, **kwargs)

        return asked

    for name in ("stat", "lstat", "scandir", "mkdir", "open", "listdir"):
        monkeypatch.setattr(os, name, guarded(getattr(os, name)))
    if hasattr(pathlib, "io"):  # Path.open goes past os.open
        monkeypatch.setattr(pathlib.io, "open", guarded(open))


@pytest.mark.parametrize("refused", PLACES)
def test_a_place_that_may_not_be_looked_at_is_passed_over(
    places: dict[str, Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, refused: str
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    closed(monkeypatch, places[refused])
    identity, socket = Identity.of(str(tmp_path / "fleetd.toml"), tmp_path), tmp_path / "control.sock"
    with socket_pointer.word_left(identity, socket, {"XDG_RUNTIME_DIR": str(own)}):
        assert list(socket_pointer.words({"XDG_RUNTIME_DIR": str(own)})) == [(identity, socket)]
    assert list(socket_pointer.words({})) == []
    with socket_pointer.word_left(identity, socket, {}):  # it lands in another place, or is said to be lost
        pass
