"""The bench runs; how long anything takes is nobody's assertion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.bench.ratios import BENCHES


def test_the_bench_measures_everything_and_prints_its_table() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--only", "growth", "--machines", "10", "--turns", "1"],
        cwd=Path(__file__).parents[2],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert [line[:46].rstrip() for line in lines[2 : 2 + len(BENCHES)]] == [bench.what for bench in BENCHES]
    assert lines[-1].startswith("| /metrics at 1,000 fleets | < 100 ms |")


@pytest.mark.long
@pytest.mark.peer("postgres")
def test_what_the_stores_cost_is_measured_on_a_real_server() -> None:
    from tests.bench.stores import hour, intents

    both = intents(10)
    assert len(both.file) == len(both.server) == 10
    assert both.log > 100
    one, ten = hour(10, passes=3), hour(100, passes=3)
    assert one.bulletin < ten.bulletin <= ten.bulletins_log
    assert min(one.rows, one.renewal_log, one.journal_log) > 0
