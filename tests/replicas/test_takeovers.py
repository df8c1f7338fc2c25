"""Two replicas on a real server, one after the other killed, paused beyond its lease, stopped; the server crashed.

From what each of them sent to the provider: no machine is lost or doubled, and no call leaves a replica after another
has taken the lease. ``python -m tests.replicas --takeovers 200`` makes it so many, and prints how long they took.
"""

from __future__ import annotations

import json
import os
import re
import signal
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleetd.ops.control_client import READ_TIMEOUT
from tests.replicas.living import Replica, wait_until
from tests.replicas.story import MOST, TTL, Story, take_over_and_over
from tests.support.processes import simulator

pytestmark = pytest.mark.peer("postgres")

TAKEOVERS = int(os.environ.get("FLEETD_TAKEOVERS", "8"))


@pytest.fixture
def server() -> Iterator[Any]:
    from tests.support.postgres import running_server

    with running_server() as server:
        yield server


@pytest.fixture
def story(tmp_path: Path, server: Any, request: pytest.FixtureRequest) -> Iterator[Story]:
    with simulator(tmp_path, speed=60) as sim:
        story = Story(tmp_path, sim, server, apart=getattr(request, "param", True))
        try:
            story.begin()
            yield story
        finally:
            story.end()


def test_takeovers_lose_and_double_nothing(story: Story, capsys: pytest.CaptureFixture[str]) -> None:
    with capsys.disabled():
        for line in take_over_and_over(story, TAKEOVERS):
            print(f"\n{line}", end="")
    assert story.broken() == []
    assert statistics.median(story.times["stopped"]) < 1.5
    assert min(story.late) >= 0
    assert statistics.median(story.late) < 0.2
    for how in {"killed", "paused"} & set(story.times):
        assert max(story.times[how]) < TTL + 5


def test_a_server_that_stays_away_ends_the_holder_before_its_lease(story: Story) -> None:
    holder, other = story.holder, story.other
    began = time.time()
    story.server.stop("immediate")
    assert holder.wait(TTL + 5) == 75, holder.tail()
    assert time.time() - began < TTL
    sent = len(story.forwarders[holder.name].sent)
    assert other.process is not None
    assert other.process.poll() is None, other.tail()
    story.server.start()
    story.wait(lambda: other.epoch == 2, 20)
    assert len(story.forwarders[holder.name].sent) == sent


def test_a_holder_that_is_cut_off_from_the_database_and_not_from_the_provider_ends(story: Story) -> None:
    holder, other = story.holder, story.other
    story.another_target()
    time.sleep(0.2)
    story.ways[holder.name].passing.clear()
    began = time.monotonic()
    code = holder.wait(TTL + 5)
    assert time.monotonic() - began < TTL + 1
    assert code in {75, -signal.SIGALRM}, holder.tail()
    story.wait(lambda: other.epoch == 2, 20)
    story.come_to_rest()
    assert story.late_calls() == []


def test_what_is_ordered_beside_a_standby_is_done_by_the_holder(story: Story) -> None:
    holder, other = story.holder, story.other
    story.wait(lambda: len([m for m in story.sim.machines() if m["state"] == "ready"]) == story.target, 60)
    machine = story.sim.machines()[0]["name"]
    held = other.run("hold", machine, "--for", "1h", "--reason", "test")
    assert held.returncode == 0, held.stderr
    assert machine in holder.run("status").stdout
    assert holder.process is not None
    for replica in (holder, other):  # both say who acts
        assert re.search(rf"lease: \S+, pid {holder.process.pid}, for ", replica.run("status").stdout)
    history = other.run("history").stdout
    assert " on " in history  # says which host it was given on
    refused = other.run("stop", machine, "--reason", "test")
    assert (refused.returncode, "hold" in refused.stdout + refused.stderr) == (75, True), refused.stderr
    assert other.run("release", machine).returncode == 0
    frozen = other.run("freeze", "--for", "1h", "--reason", "test")
    assert frozen.returncode == 0, frozen.stderr
    calls = len(story.sim.writes())
    story.another_target()
    time.sleep(4)
    assert len(story.sim.writes()) == calls
    # The holder is killed; before the next acts, the freeze is in the database, and is obeyed.
    holder.signal(signal.SIGKILL)
    lifted = wait_until(lambda: other.epoch == 2, 30, other.tail)
    assert lifted < TTL + 5
    time.sleep(4)
    assert len(story.sim.writes()) == calls
    assert other.run("unfreeze").returncode == 0


def test_a_standby_answers_with_the_holders_word_and_is_never_green_without_a_holder(story: Story) -> None:
    holder, other = story.holder, story.other
    assert holder.process is not None
    assert other.process is not None
    story.come_to_rest()
    story.wait(lambda: converged(other.shown()), 40)
    shown = other.shown()
    lease = shown["daemon"]["lease"]
    assert lease["holder"].endswith(f"pid {holder.process.pid}")
    assert lease["shown_by"].endswith(f"pid {other.process.pid}")
    assert lease["reason"] == "first"
    assert [m["name"] for m in shown["machines"]] == [m["name"] for m in holder.shown()["machines"]]
    assert (other.get("/readyz")[0], other.get("/livez")[0]) == (200, 200)
    status, page = other.get("/")
    assert status == 200
    assert "shown by a standby" in page
    assert "Blind" not in page
    assert {"fleetd_lease_held 0.0"} == lines(other, "fleetd_lease_held")
    assert {"fleetd_lease_held 1.0"} == lines(holder, "fleetd_lease_held")
    assert lines(other, "fleetd_fleet") == set()
    assert 'fleetd_lease_takeovers_total{reason="first"} 1.0' in lines(other, "fleetd_lease_takeovers")
    story.ways[other.name].passing.clear()
    story.wait(lambda: other.get("/readyz")[0] == 503, 40)
    assert other.get("/livez")[0] == 200
    assert not converged(other.shown())
    assert "Blind since" in other.get("/")[1]
    story.ways[other.name].passing.set()
    story.wait(lambda: other.get("/readyz")[0] == 200 and converged(other.shown()), 40)
    holder.signal(signal.SIGKILL)
    story.wait(lambda: other.epoch == 2, 40)
    story.wait(lambda: converged(other.shown()), 40)
    lease = other.shown()["daemon"]["lease"]
    assert (lease["reason"], lease.get("shown_by")) == ("expired", None)
    assert {"fleetd_lease_held 1.0"} == lines(other, "fleetd_lease_held")
    assert "did not renew it in time" in other.run("status").stdout
    assert "did not renew it in time" in other.get("/")[1]
    taken = [entry for entry in history(other) if entry["verb"] == "lease"]
    assert [entry["reason"] for entry in taken] == ["first", "expired"]
    assert str(holder.process.pid) in taken[1]["evidence"]


def test_the_holder_steps_down_for_a_standby_and_for_nobody_else(story: Story) -> None:
    holder, other = story.holder, story.other
    assert other.process is not None
    story.another_target()
    began = time.monotonic()
    asked = other.run("step-down")
    assert asked.returncode == 0, asked.stderr
    assert f"pid {other.process.pid} acts" in asked.stdout + asked.stderr
    assert (other.epoch, holder.wait()) == (2, 75), holder.tail()
    assert time.monotonic() - began < TTL
    assert holder.events("lease.handed_over")
    [asked_for] = [entry for entry in history(other) if entry["reason"] == "step_down"]
    assert " on " in asked_for["actor"]
    assert [e["reason"] for e in other.events("lease.taken")] == ["stepped_down"]
    holder.start()
    story.wait(lambda: holder.events("lease.waiting")[-1:] and holder.get("/readyz")[0] == 200, 30)
    story.come_to_rest()
    assert story.late_calls() == []
    holder.signal(signal.SIGTERM)
    assert holder.wait() == 0
    declined = other.run("step-down")
    assert (declined.returncode, "no replica stands by" in declined.stderr) == (75, True), declined.stderr
    assert other.process.poll() is None


@pytest.mark.parametrize("story", [pytest.param(False, id="alike")], indirect=True)
def test_a_standby_on_another_config_is_named(story: Story) -> None:
    holder, other = story.holder, story.other
    story.wait(lambda: 'fleetd_lease_standbys{config="same"} 1.0' in lines(holder, "fleetd_lease_standbys"), 60)
    assert "differs" not in other.run("status").stdout
    story.aim_at(MOST - 1)  # the holder reads it; the standby has what it was started with
    story.wait(lambda: other.events("lease.config_differs"), 40)
    story.wait(lambda: "differs from the one in force" in " ".join(holder.run("status").stdout.split()), 60)
    assert "differs from the one in force" in other.get("/")[1]
    assert 'fleetd_lease_standbys{config="other"} 1.0' in lines(holder, "fleetd_lease_standbys")
    read = other.run("reload")
    assert read.returncode == 0, read.stderr
    assert other.process is not None
    assert re.search(
        rf"the replica that stands by here \(\S+, pid {other.process.pid}\) has read \S+ again", read.stderr
    )
    story.wait(lambda: "differs" not in holder.run("status").stdout, 30)  # it is said every few seconds
    assert 'fleetd_lease_standbys{config="same"} 1.0' in lines(holder, "fleetd_lease_standbys")
    assert len(other.events("lease.config_differs")) == 1
    assert holder.events("config.reloaded")  # on its own file, by its own signal
    acts = holder.run("reload")
    assert "the replica that acts (" in acts.stderr


@pytest.mark.parametrize("story", [pytest.param(False, id="alike")], indirect=True)
def test_a_standby_takes_over_with_the_config_that_it_has_read_last(story: Story) -> None:
    """Two reloads: one by SIGHUP that is sound, then one that is not and leaves the first in force."""
    holder, other = story.holder, story.other
    story.target = story.most = MOST - 1
    for replica in (other, holder):  # the standby before the one that acts, as a careful operator would
        replica.configure(target=story.target)
        replica.signal(signal.SIGHUP)
        story.wait(lambda replica=replica: replica.events("config.reloaded"), 20)
    sound = other.config.read_text()
    changes = {
        "fleets.training.target": (f"target = {story.target}", 'target = "many"'),
        "daemon.listen": (f'"{other.listen}"', '"127.0.0.1:1"'),  # whole: a port may begin so
    }
    for path, (old, new) in changes.items():
        other.config.write_text(sound.replace(old, new))
        line = next(number for number, text in enumerate(other.config.read_text().splitlines(), 1) if new in text)
        refused = other.run("reload")
        assert (refused.returncode, refused.stdout) == (78, ""), refused.stderr
        assert f"fleetd.toml:{line}: {path}" in refused.stderr
        story.wait(lambda path=path, line=line: f":{line}: {path}: " in (refusal(holder) or ""), 30)
    assert len(other.events("config.reload_rejected")) == len(changes)
    assert "its last reload was rejected" in holder.run("status").stdout
    assert {"fleetd_config_last_reload_successful 0.0"} == lines(other, "fleetd_config_last_reload_successful")
    holder.signal(signal.SIGKILL)
    story.wait(lambda: other.epoch == 2, 30)
    story.wait(lambda: converged(other.shown()), 60)
    assert len(story.sim.machines()) == story.target
    told = other.run("status").stdout  # the faulty file keeps nobody from asking
    assert "reload rejected" in told
    assert "daemon.listen" in told
    assert {"fleetd_config_last_reload_successful 0.0"} == lines(other, "fleetd_config_last_reload_successful")
    other.config.write_text(sound)
    assert "the replica that acts (" in other.run("reload").stderr
    assert {"fleetd_config_last_reload_successful 1.0"} == lines(other, "fleetd_config_last_reload_successful")


def test_a_faulty_file_beside_a_standby_keeps_nobody_from_asking_or_stopping(story: Story) -> None:
    """A freeze there ended with 78. The database is the one of the standby, whatever its file says by now."""
    holder, other = story.holder, story.other
    story.wait(lambda: converged(holder.shown()), 60)
    machine = story.sim.machines()[0]["name"]
    other.config.write_text('[daemon]\nstate = "postgresql://fleetd@127.0.0.1:1/elsewhere"\nnonsense')
    holder.config.write_text("nonsense")
    for replica in (holder, other):
        given = [
            replica.run("freeze", "training", "--for", "1h", "--reason", "test"),
            replica.run("hold", machine, "--for", "1h", "--reason", "test"),
        ]
        assert [done.returncode for done in given] == [0, 0], given
        assert "hold" in replica.run("explain", machine).stdout
        assert "test" in replica.run("history").stdout
        assert replica.run("release", machine).returncode == 0
        assert replica.run("unfreeze", "training").returncode == 0
    assert "no fleet 'typo'" in other.run("freeze", "typo", "--for", "1h", "--reason", "test").stderr


def test_a_file_that_names_another_database_by_now_takes_no_veto_there(story: Story) -> None:
    """No reload changes it: a freeze was answered with 0, in a database in which nobody acts."""
    holder, other, elsewhere = story.holder, story.other, story.server.create()
    for replica in (holder, other):
        replica.config.write_text(replica.config.read_text().replace(replica._database, elsewhere))
        assert replica.run("reload").returncode == 78
    for replica in (other, holder):
        assert replica.run("freeze", "--for", "1h", "--reason", "test").returncode == 0
        assert story.asked("SELECT count(*) FROM hold") == 1
        assert re.search(rf"lease: \S+, pid {holder.process.pid}, for ", replica.run("status").stdout)
        assert "test" in replica.run("history").stdout
        assert replica.run("unfreeze").returncode == 0
        assert story.asked("SELECT count(*) FROM hold") == 0


def test_beside_a_standby_that_hangs_the_one_that_acts_is_asked(story: Story) -> None:
    holder, other = story.holder, story.other

    def took(*command: str) -> float:
        began = time.monotonic()
        done = other.run(*command)
        assert done.returncode == 0, done.stderr
        return time.monotonic() - began

    commands = [("status",), ("freeze", "--for", "1h", "--reason", "test")]
    before = [took(*command) for command in commands]
    other.signal(signal.SIGSTOP)
    for command, usual in zip(commands, before, strict=True):
        assert took(*command) < usual + READ_TIMEOUT - 1, "nobody waited for it"
    other.signal(signal.SIGCONT)
    assert "frozen" in holder.run("status").stdout


def test_a_reload_where_no_replica_runs_reaches_none_elsewhere(story: Story) -> None:
    holder, other = story.holder, story.other
    other.signal(signal.SIGTERM)
    assert other.wait() == 0
    refused = other.run("reload")
    assert refused.returncode not in {0, 75}
    assert "no daemon" in refused.stderr
    assert holder.events("config.reloaded") == []


def converged(shown: dict[str, Any]) -> bool:
    return bool(shown) and all(fleet["converged"] for fleet in shown["fleets"].values()) and bool(shown["fleets"])


def refusal(replica: Replica) -> str | None:
    """Why the standby's reload was rejected, as this one says."""
    standbys = replica.shown()["daemon"]["lease"]["standbys"]
    return next((standby["config_fault"] for standby in standbys), None)  # it has not been heard of at once


def lines(replica: Replica, prefix: str) -> set[str]:
    return {line for line in replica.get("/metrics")[1].splitlines() if line.startswith(prefix)}


def history(replica: Replica) -> list[dict[str, Any]]:
    return [json.loads(line) for line in replica.run("history", "--json").stdout.splitlines()]


def test_a_veto_is_given_while_nobody_acts(story: Story) -> None:
    for replica in story.replicas.values():
        replica.signal(signal.SIGTERM)
        assert replica.wait() == 0
    calls = len(story.sim.writes())
    assert "lease: no replica has it" in story.other.run("status").stdout
    given = story.other.run("freeze", "--for", "1h", "--reason", "test")
    assert given.returncode == 0, given.stderr
    story.target = MOST
    for replica in story.replicas.values():
        replica.configure(target=MOST)
        replica.start()
    time.sleep(6)
    assert len(story.sim.writes()) == calls
    assert "frozen" in story.other.run("status").stdout
