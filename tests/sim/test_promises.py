"""The promises of docs/promises.md, held against simulated days."""

from __future__ import annotations

import os
import subprocess
import sys
from functools import cache

import pytest

from tests.sim.mutations import MUTATIONS
from tests.sim.report import Job, Totals, run_all

SEEDS = 40
"""A day takes about four seconds of two cores; the long run is for hundreds and thousands of them."""
ON_V1 = 6
"""And so many by the other API."""
FAULTS = {
    *("error", "rate_limit", "unavailable", "unauthorized", "foreign_body", "truncated", "slow_drip"),
    *("timeout_before", "timeout_after", "reset_before", "reset_after"),
    *("capacity", "invisible_after_create", "vanish", "unknown_state"),
    *("stale_list", "partial_list", "empty_list", "duplicated_list", "reordered_list", "shifting_pages"),
    *("other_machine", "stray_answer", "odd_values", "endless_list"),
}
"""Of the provider. Others are drawn too, and strike once in dozens of days (``stuck``, ``no_effect``) or in hundreds,
as a destroy of ours that lingers does; those of persons (``slow_destroy``) are among the events."""
EVENTS = {
    *("start", "stop", "restart", "rename", "destroy", "look_alike", "use", "order"),
    *("hold", "freeze", "freeze_all", "lift", "reload", "bad_reload", "clock", "silence"),
    *("slow_destroy", "held_rename", "lease", "lease_race", "address", "price", "late"),
    *("kill", "second", "disk", "journal", "unlock", "trouble"),
}
"""Everything else that befalls it, but for an ``other`` fleetd on the account, which comes once in dozens of days."""


@cache
def days() -> Totals:
    """So many days of thirty machines, each with its own faults, on two processes."""
    jobs = [Job(str(n), 1, 30, "core") for n in range(1, SEEDS + 1)]
    return run_all([*jobs, *(Job(str(n), 1, 30, "v1") for n in range(1, ON_V1 + 1))], processes=2)


@pytest.mark.slow
def test_every_promise_is_kept_on_every_day() -> None:
    totals = days()
    assert totals.broken == []
    assert totals.seeds == SEEDS + ON_V1


@pytest.mark.slow
def test_every_kind_of_fault_has_struck() -> None:
    assert set(days().faults) >= FAULTS | EVENTS


@pytest.mark.slow
def test_a_seed_gives_the_same_log_to_the_byte_in_every_process() -> None:
    runs = [_run("--seed", "3", "--log", hash_seed=n) for n in ("0", "1", "random")]
    assert len(runs[0]) > 20_000
    assert runs[0] == runs[1] == runs[2]


def test_a_broken_promise_is_told_as_a_command_that_repeats_it() -> None:
    said: list[str] = []
    with next(m for m in MUTATIONS if m.promise == 5).applied():  # any run that creates a machine breaks it
        totals = run_all([Job("2", 0.25, 4, "core")], processes=1, say=said.append)
    command, what = totals.broken[0]
    assert command == "python -m tests.sim --seed 2 --days 0.25 --machines 4"
    assert any(command in line and what in line for line in said)
    assert f"broken promises {len(totals.broken)}".split() == totals.table().splitlines()[-2].split()


def _run(*arguments: str, hash_seed: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "tests.sim", *arguments],
        env=os.environ | {"PYTHONHASHSEED": hash_seed},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
