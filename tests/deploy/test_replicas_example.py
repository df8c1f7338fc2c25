"""``deploy/replicas``: what it shows is what fleetd and a PostgreSQL server take."""

from __future__ import annotations

import configparser
import re
from pathlib import Path
from typing import Any

import pytest

from fleetd import config
from fleetd.config.values import parse_database

EXAMPLE = Path(__file__).parents[2] / "deploy" / "replicas"
SETTING = re.compile(r"^(\w+) = (?:'([^']*)'|(\S+))$", re.MULTILINE)


def settings(name: str) -> dict[str, str]:
    return {key: quoted or bare for key, quoted, bare in SETTING.findall((EXAMPLE / name).read_text())}


def test_the_config_and_the_drop_in_name_one_password() -> None:
    daemon = config.load(EXAMPLE / "fleetd.toml").daemon
    assert daemon.state_password is not None
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(EXAMPLE / "replica.conf")
    assert unit["Service"]["LoadCredential"].partition(":")[0] == daemon.state_password.credential


def test_an_address_of_several_servers_is_one_that_fleetd_takes() -> None:
    [address] = re.findall(r"postgresql://\S+", (EXAMPLE / "postgresql-primary.conf").read_text())
    assert parse_database(address) == address


@pytest.mark.parametrize("name", ["postgresql-primary.conf", "postgresql-standby.conf"])
def test_commits_wait_for_a_standby_whichever_leads(name: str) -> None:
    found = settings(name)
    assert len(found) >= 6
    assert re.fullmatch(r"ANY 1 \(\w+, \w+\)", found["synchronous_standby_names"]), "the loss of one stops no commit"
    assert (found["fsync"], found["full_page_writes"], found["synchronous_commit"]) == ("on", "on", "on")


@pytest.mark.peer("postgres")
@pytest.mark.parametrize("name", ["postgresql-primary.conf", "postgresql-standby.conf"])
def test_a_server_knows_every_setting_and_takes_its_value(postgres: Any, name: str) -> None:
    from tests.support.postgres import execute

    url = postgres.create()
    for key, value in settings(name).items():
        [(kind,)] = execute(url, "SELECT vartype FROM pg_settings WHERE name = %s", key)
        assert kind != "bool" or value in {"on", "off"}
        assert kind != "integer" or value.isdigit()
