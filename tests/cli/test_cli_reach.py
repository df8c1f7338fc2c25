"""A command acts on the daemon that runs on its config file, and on no other: each command, each way to name it."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleetd.ops.addressee import Identity, for_config, for_state
from fleetd.ops.socket_pointer import word_left, words
from tests.cli.conftest import Cli
from tests.support.config_text import SIMULATOR_PROVIDER, config_text
from tests.support.processes import started, until

WHY = ("--for", "1h", "--reason", "incident 42")
GOOD = config_text(
    provider=SIMULATOR_PROVIDER, daemon='[daemon]\ninterval = "1s"\npoll = "100ms"\nlisten = ""'
)  # the state directory is the default: whoever names none has the same
BROKEN = "[daemon"

ORDERS = {
    "freeze": ("freeze", *WHY),
    "freeze a fleet": ("freeze", "training", *WHY),
    "unfreeze": ("unfreeze",),
    "release": ("release", "nobody"),
    "reload": ("reload",),
    "step-down": ("step-down",),
    "start": ("start", "nobody", "--reason", "why"),
    "stop": ("stop", "nobody", "--reason", "why"),
    "restart": ("restart", "nobody", "--reason", "why"),
    "hold": ("hold", "nobody", *WHY),
}
LOOKS = {"status": ("status", "--json"), "explain": ("explain", "training"), "history": ("history", "--json")}
COMMANDS = ORDERS | LOOKS


@dataclass
class Place:
    home: Path
    config: Path
    environ: dict[str, str]
    pid: int


@pytest.fixture(scope="module")
def living(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    home = tmp_path_factory.mktemp("reach")
    for name in ("run", "state", "a", "b"):
        (home / name).mkdir()
    environ = {"XDG_RUNTIME_DIR": str(home / "run"), "XDG_STATE_HOME": str(home / "state"), "HOME": str(home)}
    config = home / "a" / "fleetd.toml"
    config.write_text(GOOD)
    with started("run", "-c", str(config), log=home / "log", **environ) as process:
        until((home / "state" / "fleetd" / "control.sock").exists, saying=(home / "log").read_text)
        until(lambda: list((home / "run" / "fleetd").glob("*")), saying=(home / "log").read_text)
        until(lambda: '"pass' in (home / "log").read_text() or "converged" in (home / "log").read_text())
        yield Place(home, config, environ, process.pid)


@pytest.fixture
def place(living: Place, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    for name, value in living.environ.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(living.home)
    yield living
    for path in (living.home / "b").iterdir():
        path.unlink()
    living.config.unlink(missing_ok=True)
    living.config.write_text(GOOD)


def _same(place: Place) -> Path:
    return place.config


def _relative(place: Place) -> Path:
    return Path("b/../a/fleetd.toml")


def _symlink(place: Place) -> Path:
    link = place.home / "b" / "link.toml"
    link.symlink_to(place.config)
    return link


def _broken_behind_a_symlink(place: Place) -> Path:
    place.config.write_text(BROKEN)
    return _symlink(place)


def _mounted(place: Place) -> Path:
    """As after a bind mount: another path, the same file."""
    os.link(place.config, place.home / "b" / "mounted.toml")
    return place.home / "b" / "mounted.toml"


def _broken(place: Place) -> Path:
    place.config.write_text(BROKEN)
    return place.config


def _broken_and_state_elsewhere(place: Place) -> Path:
    place.config.write_text(f'[daemon]\nstate_dir = "{place.home / "elsewhere"}"\nnonsense = 3\n')
    return place.config


def _state_elsewhere(place: Place) -> Path:
    place.config.write_text(GOOD.replace("[daemon]", f'[daemon]\nstate_dir = "{place.home / "elsewhere"}"'))
    return place.config


def _missing(place: Place) -> Path:
    place.config.unlink()
    return place.config


def _replaced_by_rename(place: Place) -> Path:
    new = place.home / "b" / "new.toml"
    new.write_text(GOOD + "\n# new\n")
    new.rename(place.config)
    return place.config


SAME = [
    _same, _relative, _symlink, _broken_behind_a_symlink, _mounted, _broken, _broken_and_state_elsewhere,
    _state_elsewhere, _missing, _replaced_by_rename,
]  # fmt: skip


def _other(place: Place) -> Path:
    path = place.home / "b" / "fleetd.toml"
    path.write_text(GOOD)
    return path


def _other_broken(place: Place) -> Path:
    path = place.home / "b" / "fleetd.toml"
    path.write_text(BROKEN)
    return path


def _other_missing(place: Place) -> Path:
    return place.home / "b" / "typo.toml"


def _moved_away(place: Place) -> Path:
    place.config.rename(place.home / "b" / "moved.toml")
    return place.home / "b" / "moved.toml"


def _link_to_nothing(place: Place) -> Path:
    link = place.home / "b" / "dangling.toml"
    link.symlink_to(place.home / "b" / "nothing.toml")
    return link


OTHER = [_other, _other_broken, _other_missing, _moved_away, _link_to_nothing]


def reached(command: str, code: int, said: str, place: Place) -> bool:
    """What the command says only when it has spoken to the daemon of this pid."""
    match command:
        case "start" | "stop" | "restart":
            early = code == 75 and "no pass has ended yet" in said
            return early or (code == 64 and "no machine of ours has that id or name" in said)
        case "reload":
            return (code == 0 and str(place.config) in said) or (code == 78 and "runs on" not in said)
        case "step-down":
            return code == 75 and "journal in a file" in said
        case "hold" | "release":
            return code in {0, 64}
        case "status":
            return code == 0 and json.loads(said)["daemon"]["pid"] == place.pid
        case _:
            return code == 0


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", SAME)
def test_the_daemon_on_this_file_is_reached(place: Place, cli: Cli, name, command: str) -> None:
    ended = cli(*COMMANDS[command], "-c", str(name(place)))
    assert reached(command, ended.code, ended.out if command == "status" else ended.out + ended.err, place), ended


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", OTHER)
def test_a_daemon_on_another_file_is_not(place: Place, cli: Cli, name, command: str) -> None:
    cli("unfreeze", "-c", str(place.config))
    was = (place.home / "log").read_text().count("order.was_taken")
    ended = cli(*COMMANDS[command], "-c", str(name(place)))
    assert ended.code == 78, ended
    assert f"pid {place.pid}" in ended.err
    assert str(place.config) in ended.err, "it says which daemon it found"
    assert (place.home / "log").read_text().count("order.was_taken") == was, "and does nothing"


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", OTHER)
def test_state_dir_names_it_whatever_the_file(place: Place, cli: Cli, name, command: str) -> None:
    ended = cli(*COMMANDS[command], "-c", str(name(place)), "--state-dir", "state/fleetd")
    assert reached(command, ended.code, ended.out if command == "status" else ended.out + ended.err, place), ended


@pytest.mark.parametrize("command", COMMANDS)
def test_state_dir_names_no_other(place: Place, cli: Cli, command: str) -> None:
    """Where nobody is, nobody is told: what may be written without a daemon goes into that directory's journal."""
    was = (place.home / "log").read_text().count("order.was_taken")
    cli(*COMMANDS[command], "-c", str(place.config), "--state-dir", str(place.home / "nobody"))
    assert (place.home / "log").read_text().count("order.was_taken") == was


def test_a_plan_for_another_file_does_not_ask_the_daemon(place: Place, cli: Cli) -> None:
    ended = cli("plan", "-c", str(_other(place)))
    assert ended.code == 0
    assert f"pid {place.pid}" in ended.err
    assert cli("plan", "-c", str(place.config)).err == ""


def test_cost_for_another_file_is_refused(place: Place, cli: Cli) -> None:
    assert cli("cost", "-c", str(_other(place))).code == 78
    assert cli("cost", "-c", str(place.config)).code == 0


@pytest.mark.long
def test_a_word_that_a_killed_daemon_left_misleads_nobody(tmp_path: Path, cli: Cli, monkeypatch) -> None:
    for name in ("run", "state"):
        (tmp_path / name).mkdir()
    environ = {"XDG_RUNTIME_DIR": str(tmp_path / "run"), "XDG_STATE_HOME": str(tmp_path / "state")}
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    one, two = tmp_path / "one.toml", tmp_path / "two.toml"
    one.write_text(GOOD)
    two.write_text(GOOD)
    with started("run", "-c", str(one), log=tmp_path / "log", **environ) as process:
        until(lambda: list((tmp_path / "run" / "fleetd").glob("*")), saying=(tmp_path / "log").read_text)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert str(one) in {str(i.config) for i, _ in words(os.environ)}, "the word is still there"
    assert cli("reload", "-c", str(one)).code == 1, "nobody listens"
    with started("run", "-c", str(two), log=tmp_path / "log2", **environ) as process:  # the same socket, another file
        until(lambda: str(two) in {str(i.config) for i, _ in words(os.environ)}, saying=(tmp_path / "log2").read_text)
        one.write_text(BROKEN)
        ended = cli("freeze", *WHY, "-c", str(one))
        assert ended.code == 78
        assert f"pid {process.pid}" in ended.err
        two.write_text(BROKEN)
        assert cli("freeze", *WHY, "-c", str(two)).code == 0
        process.terminate()
        assert process.wait(timeout=30) == 0
    assert str(two) not in {str(i.config) for i, _ in words(os.environ)}, "an orderly end takes its word along"


def test_a_path_of_any_bytes_survives_the_way(tmp_path: Path) -> None:
    for name in ("ü.toml", "a b.toml", "%41.toml", "line\nbreak.toml", os.fsdecode(b"\xff.toml")):
        path = tmp_path / name
        who = Identity.of(path, tmp_path)
        assert who.is_meant(for_config(path))
        assert not who.is_meant(for_config(tmp_path / "A.toml"))
        assert all(value.isascii() and value.isprintable() for value in for_config(path).values())
        with word_left(who, tmp_path / "control.sock", {"RUNTIME_DIRECTORY": str(tmp_path)}):
            assert (who, tmp_path / "control.sock") in set(words({"RUNTIME_DIRECTORY": str(tmp_path)}))
    assert Identity.of("x", tmp_path).is_meant(for_state(tmp_path / "." / ""))
    assert not Identity.of("x", tmp_path).is_meant(for_state(tmp_path.parent))
    assert Identity.of("x", tmp_path).is_meant({}), "who names nobody means whom it reached"


def test_a_word_in_a_place_for_everybody_counts_only_if_it_is_ours(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr("fleetd.ops.socket_pointer.SHARED", tmp_path)
    monkeypatch.setattr("fleetd.ops.socket_pointer.USERS_RUNTIME", tmp_path / "none")
    who, own = Identity.of(tmp_path / "x.toml", tmp_path), tmp_path / f"fleetd-{os.getuid()}"
    (tmp_path / "control.sock").touch()
    with word_left(who, tmp_path / "control.sock", {}):
        assert [identity for identity, _ in words({})] == [who]
        own.chmod(0o777)
        assert list(words({})) == []
        own.chmod(0o700)
    assert not own.exists(), "nothing is left behind"
