"""Reading the API key, and never showing it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fleetd.config import key_warnings, read_key
from fleetd.model.errors import ConfigError
from fleetd.model.settings import KeySource

KEY = "edc20a51d9b2145"
ENV = KeySource(env="PAPERSPACE_API_KEY")
CREDENTIAL = KeySource(credential="paperspace-api-key")


def key_file(tmp_path: Path, content: bytes, mode: int = 0o600) -> Path:
    path = tmp_path / "paperspace-api-key"
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("value", [KEY, f"{KEY}\n", f" {KEY}\r\n"])
def test_from_the_environment(value: str) -> None:
    assert read_key(ENV, {"PAPERSPACE_API_KEY": value}) == KEY


def test_from_a_file(tmp_path: Path) -> None:
    assert read_key(KeySource(file=key_file(tmp_path, f"{KEY}\n".encode())), {}) == KEY


def test_from_a_credential(tmp_path: Path) -> None:
    key_file(tmp_path, f"{KEY}\n".encode())
    assert read_key(CREDENTIAL, {"CREDENTIALS_DIRECTORY": str(tmp_path)}) == KEY


@pytest.mark.parametrize(
    ("source", "environ", "fragment"),
    [
        pytest.param(ENV, {}, "environment variable PAPERSPACE_API_KEY is not set", id="not set"),
        pytest.param(ENV, {"PAPERSPACE_API_KEY": " \n"}, "is empty", id="empty"),
        pytest.param(ENV, {"PAPERSPACE_API_KEY": f"{KEY} {KEY}"}, "more than one word", id="two words"),
        pytest.param(ENV, {"PAPERSPACE_API_KEY": f"{KEY}\nx: y"}, "more than one word", id="two lines"),
        pytest.param(ENV, {"PAPERSPACE_API_KEY": f"{KEY}\x00"}, "no API key has", id="control character"),
        pytest.param(ENV, {"PAPERSPACE_API_KEY": f"{KEY}é"}, "no API key has", id="not ASCII"),
        pytest.param(KeySource(file=Path("/nonexistent/key")), {}, "cannot be read: No such file", id="no file"),
        pytest.param(KeySource(file=Path("/")), {}, "is not a regular file", id="directory"),
        pytest.param(KeySource(file=Path(os.devnull)), {}, "is not a regular file", id="device"),
        pytest.param(CREDENTIAL, {}, "LoadCredential=paperspace-api-key", id="no systemd"),
        pytest.param(CREDENTIAL, {"CREDENTIALS_DIRECTORY": "/nonexistent"}, "No such file", id="no credential"),
    ],
)
def test_refused(source: KeySource, environ: dict[str, str], fragment: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_key(source, environ, config="/etc/fleetd/fleetd.toml")
    (fault,) = caught.value.faults
    assert fault.path == "provider.api_key"
    assert fragment in fault.problem
    assert caught.value.source == "/etc/fleetd/fleetd.toml"
    assert KEY not in repr(caught.value)
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"\xff\xfe", KEY.encode() * 400], ids=["empty", "blank", "bytes", "long"]
)
def test_a_file_that_holds_no_key(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(ConfigError) as caught:
        read_key(KeySource(file=key_file(tmp_path, content)), {})
    assert KEY not in repr(caught.value)


@pytest.mark.parametrize(("mode", "count"), [(0o600, 0), (0o640, 0), (0o644, 1), (0o604, 1)])
def test_a_file_that_everyone_can_read_is_warned_of(tmp_path: Path, mode: int, count: int) -> None:
    source = KeySource(file=key_file(tmp_path, KEY.encode(), mode))
    found = key_warnings(source, {})
    assert len(found) == count
    assert all("chmod 600" in w.problem and KEY not in w.problem for w in found)
    assert read_key(source, {}) == KEY


def test_nothing_to_warn_of_where_there_is_no_file() -> None:
    assert key_warnings(ENV, {}) == ()
    assert key_warnings(CREDENTIAL, {}) == ()
    assert key_warnings(KeySource(file=Path("/nonexistent/key")), {}) == ()
