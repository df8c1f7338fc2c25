from __future__ import annotations

from pathlib import Path

import pytest

from fleetd.store import paths


@pytest.mark.parametrize(
    ("configured", "environ", "expected"),
    [
        (None, {"STATE_DIRECTORY": "/var/lib/fleetd"}, "/var/lib/fleetd"),
        (None, {"STATE_DIRECTORY": "/var/lib/fleetd:/var/lib/more"}, "/var/lib/fleetd"),
        ("/srv/state", {"STATE_DIRECTORY": "/var/lib/fleetd"}, "/srv/state"),
        (Path("/srv/state"), {}, "/srv/state"),
        ("~/state", {}, "/home/anna/state"),
        ("state", {}, "/srv/dir/state"),
        (None, {}, "/home/anna/.local/state/fleetd"),
        ("", {"STATE_DIRECTORY": ""}, "/home/anna/.local/state/fleetd"),
    ],
)
def test_state_dir(configured, environ, expected, monkeypatch):
    monkeypatch.setenv("HOME", "/home/anna")
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr("os.getcwd", lambda: "/srv/dir")
    assert paths.state_dir(configured, environ) == Path(expected)


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"RUNTIME_DIRECTORY": "/run/fleetd:/run/more"}, "/run/fleetd/control.sock"),
        ({"RUNTIME_DIRECTORY": ""}, "/state/control.sock"),
        ({}, "/state/control.sock"),
    ],
)
def test_control_socket(environ, expected):
    assert paths.control_socket_path(environ, Path("/state")) == Path(expected)


def test_what_is_in_the_state_directory():
    assert paths.journal_path(Path("/state")) == Path("/state/journal.db")
    assert paths.lock_path(Path("/state")) == Path("/state/lock")
