"""Which state directory, and which daemon, a command in a shell works on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fleetd import wiring
from fleetd.config import load, state_dir_of
from fleetd.model.settings import Settings
from fleetd.wiring import places as wired_places
from tests.support.config_text import SIMULATOR_PROVIDER, config_text
from tests.support.processes import fleetd, started, until


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose service has its config and its state under ``tmp_path``."""
    monkeypatch.setattr(wired_places, "DEFAULT_CONFIG", tmp_path / "etc" / "fleetd.toml")
    monkeypatch.setattr(wired_places, "SERVICE_STATE", tmp_path / "service")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "home"))
    monkeypatch.delenv("STATE_DIRECTORY", raising=False)
    (tmp_path / "etc").mkdir()
    return tmp_path


def settings(path: Path, **parts: str) -> Settings:
    path.write_text(config_text(**parts))
    return load(path)


@pytest.mark.parametrize("there", [(), ("service",), ("home/fleetd",), ("service", "home/fleetd")], ids=str)
def test_the_services_config_always_has_the_services_state(places: Path, there: tuple[str, ...]) -> None:
    for name in there:
        (places / name).mkdir(parents=True)
    assert wiring.state_path(settings(wired_places.DEFAULT_CONFIG)) == places / "service"


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        ((), "home/fleetd"),
        (("service",), "service"),
        (("home/fleetd",), "home/fleetd"),
        (("service", "home/fleetd"), "home/fleetd"),
    ],
    ids=str,
)
def test_another_config_has_the_users_own_before_the_services(
    places: Path, there: tuple[str, ...], expected: str
) -> None:
    for name in there:
        (places / name).mkdir(parents=True)
    assert wiring.state_path(settings(places / "mine.toml")) == places / expected


def test_a_state_behind_a_closed_door_is_the_services_all_the_same(places: Path) -> None:
    (places / "service").symlink_to("private/nobody-may-look")
    assert wiring.state_path(settings(places / "mine.toml")) == places / "service"


def test_what_is_said_counts(places: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(places / "said"))
    assert wiring.state_path(settings(wired_places.DEFAULT_CONFIG)) == places / "said"
    configured = settings(wired_places.DEFAULT_CONFIG, daemon=f'[daemon]\nstate_dir = "{places / "configured"}"')
    assert wiring.state_path(configured) == places / "configured"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('[daemon]\nstate_dir = "here"\ntarget = 3', "here"),
        ('[daemon]\nstate_dir = "/srv/state"\n[fleets.training]\ntarget = -1', "/srv/state"),
        ("[daemon]\nstate_dir = 3", None),
        ("daemon = 3", None),
        ("[daemon]\n", None),
        ("[daemon", None),
    ],
)
def test_the_state_directory_of_a_faulty_file(tmp_path: Path, text: str, expected: str | None) -> None:
    path = tmp_path / "fleetd.toml"
    path.write_text(text)
    assert state_dir_of(path) == (None if expected is None else tmp_path / expected)
    assert state_dir_of(tmp_path / "none.toml") is None


@pytest.mark.long
def test_a_faulty_file_keeps_nobody_from_the_daemon_that_runs(tmp_path: Path) -> None:
    good = config_text(
        provider=SIMULATOR_PROVIDER,
        daemon=f'[daemon]\nstate_dir = "{tmp_path / "state"}"\ninterval = "1s"\npoll = "100ms"\nlisten = ""',
    )
    path, log = tmp_path / "fleetd.toml", tmp_path / "log"
    path.write_text(good)
    with started("run", "-c", str(path), log=log):
        until((tmp_path / "state" / "control.sock").exists, saying=log.read_text)
        path.write_text(good.replace("target = 3", "target = -3"))
        refused = fleetd("reload", "-c", str(path))
        assert refused.returncode == 78, "as check and plan end on the same file"
        assert "fleets.training.target" in refused.stderr
        status = json.loads(fleetd("status", "-c", str(path), "--json").stdout)
        assert "fleets.training.target" in status["daemon"]["config_fault"]
        assert status["fleets"]["training"]["target"] == 3
        why = ("--for", "1h", "--reason", "the file is being mended")
        assert fleetd("freeze", "trianing", "-c", str(path), *why).returncode == 64, "a typo freezes nothing"
        assert fleetd("freeze", "training", "-c", str(path), *why).returncode == 0
        status = json.loads(fleetd("status", "-c", str(path), "--json").stdout)
        assert [(veto["kind"], veto["subject"]) for veto in status["vetoes"]] == [("freeze", "training")]
        assert fleetd("unfreeze", "training", "-c", str(path)).returncode == 0
        path.write_text(good)
        assert fleetd("reload", "-c", str(path)).returncode == 0
        path.write_text("[daemon")
    without = fleetd("status", "-c", str(path))
    assert without.returncode == 78, "nobody to ask: the file's faults are what there is to say"
