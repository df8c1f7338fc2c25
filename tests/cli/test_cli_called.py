"""One word means one machine, while no daemon runs: by its id, its name, and the name it had before."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from inspect import signature
from pathlib import Path

import pytest

from fleetd.cli.machines import machines
from fleetd.model.journal import MachineFacts
from fleetd.model.naming import machine_name, make_token
from fleetd.store.paths import journal_path
from fleetd.store.sqlite import SqliteJournal
from tests.cli.conftest import Cli
from tests.support.processes import KEY, SimulatorProcess, simulator, write_config

FIRST = machine_name("training", make_token("training", [1, 2, 3, 4, 5]))
OTHER = machine_name("training", make_token("training", [5, 4, 3, 2, 1]))


@pytest.fixture(scope="module")
def sim(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    with simulator(tmp_path_factory.mktemp("sim"), speed=1000) as process:
        yield process


@pytest.fixture
def world(sim: SimulatorProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str, str]:
    """A config; the id of a machine of ours that is called ``my-box`` now, and of one that has its first name."""
    monkeypatch.setenv("PAPERSPACE_API_KEY", KEY)
    for machine in sim.machines():
        sim.ask(f"/_sim/machines/{machine['id']}", {"action": "vanish"})
    renamed = str(sim.add(name="my-box", state="ready")["id"])
    other = str(sim.add(name=OTHER, state="ready")["id"])
    now = datetime.now(UTC)
    facts = [
        MachineFacts(renamed, "training", FIRST, now, now, "ready", unconfirmed=True),
        MachineFacts(other, "training", OTHER, now, now, "ready"),
    ]

    (tmp_path / "state").mkdir(mode=0o700)

    async def remember() -> None:
        journal = await SqliteJournal.open(journal_path(tmp_path / "state"))
        await journal.put_facts(facts)
        await journal.aclose()

    asyncio.run(remember())
    return str(write_config(tmp_path, sim.url, target=2)), renamed, other


@pytest.mark.parametrize("word", ["id", "my-box", FIRST])
def test_every_command_means_the_same_machine(cli: Cli, world: tuple[str, str, str], word: str) -> None:
    config, renamed, _ = world
    word = renamed if word == "id" else word
    held = cli("hold", word, "--for", "1h", "--reason", "mine", "--json", "-c", config)
    assert (held.code, json.loads(held.out)["machine"]) == (0, renamed), held.err
    for command in ("explain", "history"):
        flag = ("--machine",) if command == "history" else ()
        said = cli(command, *flag, word, "-c", config)
        assert (said.code, "mine" in said.out) == (0, True), said.out + said.err
        assert command == "history" or renamed in said.out
    assert json.loads(cli("machines", "show", word, "--json", "-c", config).out)["id"] == renamed
    assert json.loads(cli("release", word, "--json", "-c", config).out)["removed"] == 1
    adopted = json.loads(cli("adopt", word, "--reason", "ours", "--json", "-c", config).out)
    assert (adopted["machine"], adopted["confirmed"]) == (renamed, True)


COMMANDS = [
    ("hold", "WORD", "--for", "1h", "--reason", "mine"),
    ("release", "WORD"),
    ("adopt", "WORD", "--reason", "ours"),
    *(("machines", verb, "WORD") for verb in ("show", "start", "stop", "restart", "utilization")),
    ("machines", "destroy", "WORD", "--yes"),
    ("machines", "update", "WORD", "--shutdown-timeout-in-hours", "24"),
    ("machines", "set-access", "WORD", "--user-id", "ubx9ce8k", "--enable-access"),
    ("machines", "wait-for", "WORD", "--state", "ready"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda c: " ".join(c[:2]))
def test_a_word_for_two_machines_is_a_usage_error_that_lists_them(
    cli: Cli, world: tuple[str, str, str], sim: SimulatorProcess, command: tuple[str, ...]
) -> None:
    config, renamed, other = world
    sim.ask(f"/_sim/machines/{other}", {"action": "rename", "name": FIRST})
    sim.reset_calls()
    ended = cli(*(FIRST if part == "WORD" else part for part in command), "-c", config)
    assert ended.code == 64, ended.err
    assert renamed in ended.err
    assert other in ended.err
    assert sim.writes() == []


BY_HAND = [command for command in COMMANDS if command[0] == "machines"]


def test_no_command_by_hand_is_forgotten_here() -> None:
    """Every one that is about a machine."""
    about = {
        command.name or command.callback.__name__
        for command in machines.registered_commands
        if "machine_id" in signature(command.callback).parameters and command.name != "list"
    }
    assert {command[1] for command in BY_HAND} == about


@pytest.mark.parametrize("name", ["my-box", "psychology"])
@pytest.mark.parametrize("command", BY_HAND, ids=lambda c: str(c[1]))
def test_by_hand_a_name_will_do(
    cli: Cli, world: tuple[str, str, str], sim: SimulatorProcess, command: tuple[str, ...], name: str
) -> None:
    config, renamed, _ = world
    sim.ask(f"/_sim/machines/{renamed}", {"action": "rename", "name": name})
    sim.reset_calls()
    ended = cli(*(name if part == "WORD" else part for part in command), "-c", config)
    assert ended.code == 0, ended.err
    assert f"{name} is {renamed}" in ended.err
    done = [call for call in sim.calls() if call["operation"] != "list" and call["machine_id"] != name]
    assert {call["machine_id"] for call in done} == {renamed}
    assert len(sim.writes()) - len([call for call in done if call["write"]]) in {0, int(name.startswith("ps"))}


@pytest.mark.parametrize("command", COMMANDS[:3], ids=lambda c: str(c[0]))
def test_a_word_that_a_strangers_machine_has_too_reaches_none_of_ours(
    cli: Cli, world: tuple[str, str, str], sim: SimulatorProcess, command: tuple[str, ...]
) -> None:
    """Ours had the name before it was renamed, and somebody else's has it now."""
    config, renamed, _ = world
    stranger = str(sim.add(name=FIRST, state="ready")["id"])
    ended = cli(*(FIRST if part == "WORD" else part for part in command), "-c", config)
    assert ended.code == 64, ended.err
    assert renamed in ended.err
    assert stranger in ended.err


def test_a_destroy_by_hand_takes_no_name_of_the_past(
    cli: Cli, world: tuple[str, str, str], sim: SimulatorProcess
) -> None:
    config, renamed, _ = world
    sim.reset_calls()
    ended = cli("machines", "destroy", FIRST, "--yes", "-c", config)
    assert (ended.code, renamed in ended.err, sim.writes()) == (64, True, [])
    assert cli("machines", "destroy", "my-box", "--yes", "-c", config).code == 0
    assert [c["machine_id"] for c in sim.writes()] == [renamed]
