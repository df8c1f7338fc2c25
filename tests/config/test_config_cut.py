"""A config that was cut while it was written: every cut that leaves a valid file is refused by a reload."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetd import config
from fleetd.model.errors import ConfigError
from tests.support.config_text import config_text

TEXT = config_text(fleet="[fleets.training]\ntarget = 12") + "\n"


def test_no_cut_within_a_line_is_taken_for_the_whole(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.toml"
    path.write_text(TEXT)
    assert config.load(path, whole=True).fleets[0].target == 12
    for end in range(1, len(TEXT)):
        if TEXT[end - 1] == "\n":
            continue  # a whole line: nothing shows
        path.write_text(TEXT[:end])
        with pytest.raises(ConfigError):
            config.load(path, whole=True)


def test_a_last_line_without_an_end_is_a_warning_and_no_fault_elsewhere(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.toml"
    path.write_text(TEXT.rstrip("\n"))
    config.load(path)
    (warning,) = config.file_warnings(path)
    assert str(warning) == (
        f"line {TEXT.rstrip().count(chr(10)) + 1}: end of file: does not end with a line end, as if it had been cut "
        "while it was written: a reload refuses it; end the last line"
    )
    with pytest.raises(ConfigError, match="end the last line, and reload again"):
        config.load(path, whole=True)
    path.write_text(TEXT)
    assert config.file_warnings(path) == ()
    assert config.file_warnings(tmp_path / "none") == ()
