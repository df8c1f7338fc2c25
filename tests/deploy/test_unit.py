"""The unit file, judged by systemd itself."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

UNIT = Path(__file__).parents[2] / "deploy" / "fleetd.service"
pytestmark = pytest.mark.peer("systemd-analyze")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False, timeout=60)


def test_it_is_a_valid_unit(tmp_path: Path) -> None:
    # The program is not installed on the machine that tests; verify wants it to exist.
    unit = tmp_path / "fleetd.service"
    program = shutil.which("true") or "/bin/true"
    unit.write_text(UNIT.read_text().replace("/opt/fleetd/bin/fleetd", program))
    done = analyze("verify", "--man=no", str(unit))
    assert done.returncode == 0, done.stderr
    assert "fleetd.service" not in done.stderr, done.stderr


def test_it_is_hardened() -> None:
    done = analyze("security", "--offline=true", "--threshold=15", "--no-pager", str(UNIT))
    assert done.returncode == 0, done.stdout[-2000:]
