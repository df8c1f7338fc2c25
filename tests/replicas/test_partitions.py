"""Two hosts and the network between: what a holder does that is cut off from the database, the provider, or both.

The hosts are network namespaces; what each sent to the provider is noted at the provider's end of its cable.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.replicas.networks import Network, networks
from tests.replicas.story import MOST, TTL, Story
from tests.support.processes import simulator

pytestmark = [pytest.mark.peer("postgres"), pytest.mark.peer("netns")]


@pytest.fixture
def hosts() -> Iterator[dict[str, Network]]:
    try:
        with networks("ab") as hosts:
            yield hosts
    except (subprocess.CalledProcessError, OSError) as error:
        message = f"network namespaces cannot be had here: {getattr(error, 'stderr', '')}{error}"
        if os.environ.get("CI") == "true":
            pytest.fail(message, pytrace=False)
        pytest.skip(message)


@pytest.fixture
def story(tmp_path: Path, hosts: dict[str, Network]) -> Iterator[Story]:
    from tests.support.postgres import running_server

    with running_server() as server, simulator(tmp_path, speed=60) as sim:
        story = Story(tmp_path, sim, server, hosts=hosts)
        try:
            story.begin()
            yield story
        finally:
            story.end()


@pytest.mark.parametrize("cables", [("database",), ("database", "provider")], ids=" and ".join)
def test_a_holder_that_is_cut_off_from_the_database_ends_and_another_acts(
    story: Story, hosts: dict[str, Network], cables: tuple[str, ...]
) -> None:
    old, new = story.holder, story.other
    story.aim_at(MOST)
    time.sleep(0.3)  # into the creates that follow
    began = time.monotonic()
    for cable in cables:
        hosts[old.name].cut(cable)
    code = old.wait(TTL + 5)
    assert time.monotonic() - began < TTL + 1
    assert code in {75, -signal.SIGALRM}, old.tail()
    story.wait(lambda: new.epoch == 2, TTL + 5)
    story.look()
    for cable in cables:
        hosts[old.name].mend(cable)
    old.start()
    story.wait(lambda: old.events("lease.waiting")[-1:] and old.events("lease.waiting")[-1]["epoch"] == 2, 30)
    story.come_to_rest()
    assert story.broken() == []


def test_a_holder_that_is_cut_off_from_the_provider_keeps_the_lease_until_a_person_has_it_step_down(
    story: Story, hosts: dict[str, Network]
) -> None:
    old, new = story.holder, story.other
    story.wait(lambda: story.sim.machines() and all(m["state"] == "ready" for m in story.sim.machines()), 30)
    hosts[old.name].cut("provider")
    story.aim_at(MOST)
    time.sleep(TTL + 2)
    assert (old.epoch, new.epoch) == (1, 0)
    assert "provider: unavailable" in new.run("status").stdout
    asked = new.run("step-down")
    assert asked.returncode == 0, asked.stderr
    assert new.epoch == 2
    assert old.wait() == 75
    story.come_to_rest()
    assert story.broken() == []
