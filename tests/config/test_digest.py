"""Two replicas' configs are told apart by what they say, and by nothing of their hosts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from fleetd import config
from fleetd.config.digest import config_digest, configs_differ
from fleetd.model.settings import KeySource, Settings

EXAMPLE = Path(__file__).parents[2] / "config" / "example.toml"


@pytest.fixture(scope="module")
def settings() -> Settings:
    return config.load(EXAMPLE)


@pytest.mark.parametrize(
    "elsewhere",
    [
        lambda s: replace(s, source="/other.toml"),
        lambda s: replace(s, asked_state_dir=Path("/var")),
        lambda s: replace(s, daemon=replace(s.daemon, state_dir=Path("/other"), listen="")),
        lambda s: replace(s, daemon=replace(s.daemon, state="postgresql://other/db")),
        lambda s: replace(s, daemon=replace(s.daemon, state_password=KeySource(env="OTHER"))),
        lambda s: replace(s, provider=replace(s.provider, api_key=KeySource(file=Path("/k")))),
    ],
)
def test_where_a_host_keeps_things_makes_no_difference(
    settings: Settings, elsewhere: Callable[[Settings], Settings]
) -> None:
    assert not configs_differ(config_digest(settings), config_digest(elsewhere(settings)))


@pytest.mark.parametrize(
    "other",
    [
        lambda s: replace(s, fleets=s.fleets[1:]),
        lambda s: replace(s, fleets=(replace(s.fleets[0], target=s.fleets[0].target + 1), *s.fleets[1:])),
        lambda s: replace(s, daemon=replace(s.daemon, interval=timedelta(seconds=31))),
        lambda s: replace(s, provider=replace(s.provider, base_url="https://other.example")),
        lambda s: replace(s, idle_sources={}),
        lambda s: replace(s, schedules=replace(s.schedules, snapshot_check="every 1m")),
    ],
)
def test_what_would_change_with_a_takeover_makes_one(
    settings: Settings, other: Callable[[Settings], Settings]
) -> None:
    assert configs_differ(config_digest(settings), config_digest(other(settings)))


def test_what_is_not_known_is_no_difference() -> None:
    assert not configs_differ("", "1.0 a")
    assert not configs_differ("1.0 a", "")
    assert not configs_differ("1.0 a", "1.1 b")
    assert configs_differ("1.0 a", "1.0 b")


def test_it_is_the_same_in_every_process(settings: Settings) -> None:
    program = (
        "from pathlib import Path\nfrom fleetd import config\n"
        f"print(config.config_digest(config.load(Path({str(EXAMPLE)!r}))))"
    )
    seen = {
        subprocess.run(
            [sys.executable, "-c", program],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert seen == {config_digest(settings)}
