"""From a text to the model's values."""

from __future__ import annotations

from dataclasses import fields
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from fleetd.config import json_schema, load, parse
from fleetd.config.faults import dotted
from fleetd.model.errors import ConfigError
from fleetd.model.fleet import (
    AutoSnapshot,
    Costs,
    Deadlines,
    Fleet,
    Guards,
    IdleRule,
    Limit,
    Scalar,
    ScaleIn,
    ShutdownTimeout,
    Window,
)
from fleetd.model.settings import DaemonSettings, IdleSource, KeySource, ProviderSettings, Schedules, Settings
from tests.support.config_text import IDLE, SIMULATOR_PROVIDER, V1_MACHINE, V1_PROVIDER, config_text

PARAMETERS: dict[str, Scalar] = {
    "region": "East Coast (NY2)",
    "machineType": "P4000",
    "size": 50,
    "billingType": "hourly",
    "templateId": "tbu200wi",
}


def settings(**parts: str) -> Settings:
    return parse(config_text(**parts), "/etc/fleetd/fleetd.toml")


def fleet(**parts: str) -> Fleet:
    found = settings(**parts).fleet("training")
    assert found is not None
    return found


def test_what_the_file_leaves_out_is_what_the_model_leaves_out() -> None:
    assert settings() == Settings(
        source="/etc/fleetd/fleetd.toml",
        provider=ProviderSettings(
            kind="paperspace-core", base_url="https://api.paperspace.io", api_key=KeySource(env="PAPERSPACE_API_KEY")
        ),
        fleets=(
            Fleet(name="training", target=3, machine_type="P4000", region="East Coast (NY2)", parameters=PARAMETERS),
        ),
    )


def test_the_rest_of_the_defaults() -> None:
    found = settings(
        rest=f"{IDLE}\n[fleets.training.shutdown_timeout]\nhours = 5\n[fleets.training.auto_snapshot]\n"
        'frequency = "none"\n[[fleets.training.windows]]\nname = "w"\nstart = "08:00"\nend = "09:00"\n'
        'timezone = "UTC"\ntarget = 0'
    )
    (only,) = found.fleets
    assert only.idle == IdleRule(("job",))
    assert only.shutdown_timeout == ShutdownTimeout(5)
    assert only.auto_snapshot == AutoSnapshot("none")
    assert only.windows == (Window("w", 480, 540, "UTC", target=0),)
    assert found.idle_sources == {"job": IdleSource("job", "lease")}


def test_every_guard_and_deadline_has_a_key() -> None:
    schema = json_schema()["$defs"]["GuardsTable"]["properties"]
    expected = {f.name for f in fields(Guards)} - {"deadlines"} | {f"{f.name}_deadline" for f in fields(Deadlines)}
    assert set(schema) == expected


def test_provider_and_daemon() -> None:
    found = settings(
        provider='[provider]\nkind = "paperspace-core"\nbase_url = "http://127.0.0.1:1234/"\n'
        'api_key = { file = "secrets/key" }\nmax_requests_per_second = 2.5\nmax_concurrency = 3\n'
        'request_timeout = "5s"',
        daemon='[daemon]\ninterval = "2s"\npoll = "500ms"\nstate_dir = "state"\nlisten = ""',
        guards="[schedules]\nsnapshot_check = 'every 1h'\nshutdown_timeout_check = '*/5 8-18 * * mon-fri'",
    )
    assert found.provider == ProviderSettings(
        kind="paperspace-core",
        base_url="http://127.0.0.1:1234",
        api_key=KeySource(file=Path("/etc/fleetd/secrets/key")),
        max_requests_per_second=2.5,
        max_concurrency=3,
        request_timeout=timedelta(seconds=5),
    )
    assert found.daemon == DaemonSettings(
        interval=timedelta(seconds=2),
        poll=timedelta(milliseconds=500),
        state_dir=Path("/etc/fleetd/state"),
        listen="",
    )
    assert found.schedules == Schedules("*/5 8-18 * * mon-fri", "every 1h")


def test_v1() -> None:
    found = settings(provider=V1_PROVIDER, machine=V1_MACHINE, more_fleet='destroy_requires_snapshot = "24h"')
    assert found.provider.base_url == "https://api.paperspace.com/v1"
    (only,) = found.fleets
    assert only.destroy_requires_snapshot == timedelta(hours=24)
    assert only.parameters["diskSize"] == 50


def test_the_simulator_needs_neither_address_nor_key() -> None:
    provider = settings(provider=SIMULATOR_PROVIDER).provider
    assert (provider.base_url, provider.api_key) == ("", None)
    assert provider.simulator == {
        "speed": 1.0,
        "seed": 0,
        "faults": None,
        "latency": timedelta(0),
        "dialect": "paperspace-core",
        "machines": (),
    }


def test_the_simulator_in_full() -> None:
    provider = settings(
        provider=f'{SIMULATOR_PROVIDER}\nbase_url = "http://127.0.0.1:9000"\n[provider.simulator]\nspeed = 60\n'
        'seed = 7\nfaults = "faults.toml"\nlatency = "50ms"\n'
        'machines = [{ name = "a" }, { name = "b", state = "off", id = "ps1" }]'
    ).provider
    assert provider.base_url == "http://127.0.0.1:9000"
    assert provider.simulator == {
        "speed": 60.0,
        "seed": 7,
        "faults": Path("/etc/fleetd/faults.toml"),
        "latency": timedelta(milliseconds=50),
        "dialect": "paperspace-core",
        "machines": ({"name": "a", "state": "ready"}, {"name": "b", "state": "off", "id": "ps1"}),
    }


def test_a_fleet_in_full() -> None:
    found = fleet(
        more_fleet='scale_in = "destroy"\nallow_destroy = true\nstandby = 2\nadopt = ["ps1", "old-*"]\n'
        "respect_manual = 0",
        more_machine="startOnCreate = true",
        rest=f"{IDLE}\n".replace("sources", 'after = "10m"\nmin_uptime = 0\nsources', 1),
    )
    assert found.scale_in is ScaleIn.DESTROY
    assert (found.allow_destroy, found.standby, found.adopt) == (True, 2, ("ps1", "old-*"))
    assert found.respect_manual == timedelta(0)
    assert found.parameters == {**PARAMETERS, "startOnCreate": True}
    assert found.idle == IdleRule(("job",), timedelta(minutes=10), timedelta(0))


def test_a_fleets_guards_are_laid_over_the_general_ones_key_by_key() -> None:
    found = settings(
        guards='[guards]\nmax_creates_per_pass = 7\nmax_stops_per_pass = 4\nmax_hourly_cost = 100\nsettle = "20s"\n'
        'stop_deadline = "3m"',
        more_fleet='[fleets.training.guards]\nmax_creates_per_pass = 10\nmax_shrink = "50%"\nmax_hourly_cost = 8.50\n'
        'start_deadline = "4m"',
        rest="[fleets.other]\ntarget = 1\n[fleets.other.machine]\nregion='r'\nmachineType='t'\nsize=1\n"
        "billingType='hourly'\ntemplateId='i'",
    )
    training, other = found.fleets
    assert training.guards == Guards(
        max_creates_per_pass=10,  # said by the fleet, although it is the default
        max_stops_per_pass=Limit(count=4),
        max_shrink=Limit(percent=50),
        max_hourly_cost=Decimal("8.50"),
        settle=timedelta(seconds=20),
        deadlines=Deadlines(start=timedelta(minutes=4), stop=timedelta(minutes=3)),
    )
    assert other.guards.max_creates_per_pass == 7
    assert other.guards.max_hourly_cost == 0, "the cap over all fleets is no fleet's own"
    assert found.costs == Costs(max_hourly_cost=Decimal(100))


def test_money_is_exact() -> None:
    found = settings(guards='[prices]\nP4000 = 0.51\n"GPU+" = 1\nV100 = 2.30')
    assert {k: str(v) for k, v in found.costs.prices.items()} == {"P4000": "0.51", "GPU+": "1", "V100": "2.30"}


WINDOW = 'name = "w"\nstart = "20:00"\nend = "07:00"\ntimezone = "Europe/Berlin"\ntarget = 1\n'


@pytest.mark.parametrize(
    ("keys", "days", "dates"),
    [
        pytest.param("", range(7), (), id="every day"),
        pytest.param('days = ["mon", "sun"]', {0, 6}, (), id="some days"),
        pytest.param('dates = ["2026-12-24"]', (), (date(2026, 12, 24),), id="dates alone"),
        pytest.param(
            'days = ["fri"]\ndates = ["2026-12-31", 2026-12-24]',
            {4},
            (date(2026, 12, 24), date(2026, 12, 31)),
            id="days and dates",
        ),
    ],
)
def test_when_a_window_opens(keys: str, days: Any, dates: tuple[date, ...]) -> None:
    (window,) = fleet(rest=f"[[fleets.training.windows]]\n{WINDOW}{keys}").windows
    assert window == Window("w", 1200, 420, "Europe/Berlin", days=frozenset(days), dates=dates, target=1)


@pytest.mark.parametrize(("end", "minutes"), [("24:00", 1440), ("00:00", 1440), ("00:01", 1), ("23:59", 1439)])
def test_when_a_window_closes(end: str, minutes: int) -> None:
    (window,) = fleet(rest=f"[[fleets.training.windows]]\n{WINDOW}".replace("07:00", end)).windows
    assert window.end == minutes


def test_idle_sources() -> None:
    found = settings(
        rest='[idle_sources.gpu]\nkind = "prometheus"\nurl = "http://10.0.0.1:9090/"\n'
        'query = \'max(up{a="{private_ip}"}[{window}])\'\nbelow = 0.02\nstep = "15s"\n'
        '[idle_sources.run]\nkind = "exec"\nargv = ["/bin/idle", "{id}"]\ntimeout = "2s"\n'
        '[idle_sources.web]\nkind = "http"\nurl = "http://{private_ip}:80/idle"\n'
    )
    assert found.idle_sources == {
        "gpu": IdleSource(
            "gpu",
            "prometheus",
            url="http://10.0.0.1:9090",
            query='max(up{a="{private_ip}"}[{window}])',
            below=0.02,
            step=timedelta(seconds=15),
        ),
        "run": IdleSource("run", "exec", argv=("/bin/idle", "{id}"), timeout=timedelta(seconds=2)),
        "web": IdleSource("web", "http", url="http://{private_ip}:80/idle"),
    }


def test_a_config_without_fleets_is_one() -> None:
    assert settings(fleet="", machine="").fleets == ()


def test_settings_compare_by_value() -> None:
    text = config_text(guards="[prices]\nP4000 = 0.51", rest=IDLE)
    assert parse(text, "a") == parse(text, "a")
    assert parse(text, "a") != parse(text.replace("0.51", "0.52"), "a")
    assert parse(text, "a") != parse(text.replace("size = 50", "size = 51"), "a")


def test_load_knows_where_it_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "fleetd.toml"
    monkeypatch.setenv("HOME", "/home/ada")
    text = config_text(daemon='[daemon]\nstate_dir = "~/state"')
    path.write_text("\ufeff" + text.replace('env = "PAPERSPACE_API_KEY"', 'file = "key"'))
    found = load(path)
    assert found.source == str(path)
    assert found.provider.api_key == KeySource(file=tmp_path / "key")
    assert found.daemon.state_dir == Path("/home/ada/state")


def test_the_schema_describes_every_key() -> None:
    schema = json_schema()
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    tables = {"fleetd.toml": schema, **schema["$defs"]}
    bare = [
        f"{name}.{key}"
        for name, table in tables.items()
        for key, value in table["properties"].items()
        if not (value.get("description") or tables[value["$ref"].rpartition("/")[2]]["description"])
    ]
    assert bare == []
    assert all(table["additionalProperties"] is False for table in tables.values())


def test_the_schema_gives_defaults_as_the_file_spells_them() -> None:
    guards = json_schema()["$defs"]["GuardsTable"]["properties"]
    assert {key: value["default"] for key, value in guards.items()} == {
        "max_creates_per_pass": 10,
        "max_stops_per_pass": "25%",
        "max_destroys_per_pass": 1,
        "max_shrink": "30%",
        "max_hourly_cost": 0,
        "max_monthly_cost": 0,
        "max_surge": 0,
        "settle": "90s",
        "create_deadline": "20m",
        "start_deadline": "10m",
        "stop_deadline": "10m",
        "restart_deadline": "10m",
        "destroy_deadline": "10m",
    }


def test_paths_are_spelt_as_in_toml() -> None:
    assert dotted(("fleets", "my fleet", "windows", 0, "start")) == 'fleets."my fleet".windows[0].start'
    assert dotted(('a"b\n', "c")) == '"a\\"b\\u000a".c'


def test_every_fleets_faults_are_found() -> None:
    with pytest.raises(ConfigError) as caught:
        settings(fleet="", rest="[fleets.b]\n[fleets.c]\ntarget = -1")
    assert [f.path for f in caught.value.faults] == [
        "fleets.training.target",
        "fleets.b.target",
        "fleets.b.machine",
        "fleets.c.target",
        "fleets.c.machine",
    ]
