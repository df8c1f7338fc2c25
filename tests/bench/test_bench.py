"""The bench runs; how long anything takes is nobody's assertion."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.bench.ratios import BENCHES


def test_the_bench_measures_everything_and_prints_its_table() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench", "--only", "growth", "--machines", "10", "--rounds", "1"],
        cwd=Path(__file__).parents[2],
        env=os.environ,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = done.stdout.splitlines()
    assert [line[:46].rstrip() for line in lines[3:]] == [bench.what for bench in BENCHES]
