"""``daemon.state``: the address of a database, its password, and what replicas need of other keys."""

from __future__ import annotations

from datetime import timedelta

import pytest

from fleetd.config import parse, read_password
from fleetd.config.checks import LEASE
from fleetd.model.errors import ConfigError
from fleetd.model.settings import KeySource
from tests.support.config_text import config_text

URL = "postgresql://fleetd@db.example/fleetd"
BARE = f'[daemon]\nstate = "{URL}"'


def faults(**parts: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse(config_text(**parts), "fleetd.toml")
    return [f"{fault.path}: {fault.problem}" for fault in refused.value.faults]


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ('"mysql://a/b"', "expected the address of a database"),
        ('"postgresql://fleetd@db.example"', "names no database"),
        ('"postgresql://fleetd@db.example:99999/fleetd"', "expected the address of a database"),
        ('"postgresql://fleetd@[db/fleetd"', "expected the address of a database"),
        ('"postgresql://fleetd:s3cret@db.example/fleetd"', "must not hold the password"),
        ('"postgresql://fleetd@db.example/fleetd?password=s3cret"', "must not hold the password"),
        ('"postgresql://fleetd@db.example/fleetd?sslpassword=s3cret"', "must not hold the password"),
        ("5", "expected the address of a database"),
        ('""', "expected the address of a database"),
    ],
)
def test_an_address_that_is_none_or_holds_a_password_is_a_fault_and_is_not_shown(value, says):
    (fault,) = faults(daemon=f"[daemon]\nstate = {value}")
    assert fault.startswith("daemon.state: ")
    assert says in fault
    assert "s3cret" not in fault


@pytest.mark.parametrize(
    ("value", "says"),
    [
        ('"s3cret"', "must not stand in the config"),
        ("{}", "exactly one of env, file or credential, found none"),
        ('{ env = "A", file = "b" }', "found env and file"),
    ],
)
def test_a_password_is_read_from_somewhere_else(value, says):
    (fault,) = faults(daemon=f"{BARE}\nstate_password = {value}")
    assert fault.startswith("daemon.state_password: ")
    assert says in fault
    assert "s3cret" not in fault


def test_a_password_needs_a_database():
    (fault,) = faults(daemon='[daemon]\nstate_password = { env = "A" }')
    assert "only with state" in fault


@pytest.mark.parametrize(
    ("parts", "path"),
    [
        ({"guards": '[guards]\nsettle = "44s"'}, "guards.settle"),
        ({"guards": '[fleets.training.guards]\nsettle = "44s"'}, "fleets.training.guards.settle"),
        ({"guards": '[guards]\nsettle = "45s"'}, None),
        ({}, None),
    ],
)
def test_a_create_is_looked_for_as_long_as_the_replica_before_may_still_call(parts, path):
    guards = parts.get("guards", "")
    text = config_text(daemon=f"{BARE}\n{guards}")
    if path is None:
        assert parse(text, "fleetd.toml").daemon.state == URL
        return
    (fault,) = faults(daemon=f"{BARE}\n{guards}")
    assert fault.startswith(f"{path}: ")
    assert "45s" in fault
    parse(config_text(daemon=guards), "fleetd.toml")  # one daemon on a file need not


def test_a_long_timeout_needs_a_longer_settle_than_the_default():
    slow = '[provider]\nkind = "paperspace-core"\napi_key = { env = "K" }\nrequest_timeout = "80s"'
    (fault,) = faults(provider=slow, daemon=BARE)
    assert fault.startswith("provider.request_timeout: ")
    assert "95s" in fault or "1m35s" in fault


def test_the_lease_is_as_long_as_the_store_says():
    lease = pytest.importorskip("fleetd.store.postgres.lease")
    assert timedelta(seconds=lease.TTL) == LEASE


def test_the_password_is_read_and_its_faults_show_nothing(tmp_path):
    file = tmp_path / "password"
    file.write_text("s3cret\n")
    assert read_password(KeySource(file=file), {}) == "s3cret"
    file.write_text("s3cret of two words\n")
    with pytest.raises(ConfigError) as refused:
        read_password(KeySource(file=file), {})
    assert "daemon.state_password" in str(refused.value)
    assert "s3cret" not in str(refused.value)
    with pytest.raises(ConfigError, match="is not set"):
        read_password(KeySource(env="NOWHERE"), {})
