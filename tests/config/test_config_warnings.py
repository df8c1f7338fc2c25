"""What is legal and suspicious: where it is reported, and what is said. A plain config gives no warning."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetd.config import command_warnings, parse, warnings
from tests.support.config_text import IDLE, PARTS, SIMULATOR_PROVIDER, V1_MACHINE, V1_PROVIDER, config_text

PROMETHEUS = 'kind = "prometheus"\nurl = "http://127.0.0.1:9090"\nbelow = 0.1\n'
GPU = f"[fleets.training.idle]\nsources = ['gpu']\n[idle_sources.gpu]\n{PROMETHEUS}"


def query(text: str) -> str:
    """A query whose ``{}`` is the GPU load of one machine."""
    return "query = '" + text.replace("{}", 'u{instance="{private_ip}:9400"}') + "'"


OTHER = (
    "[fleets.other]\ntarget = 1\nadopt = [{adopt}]\n[fleets.other.machine]\n"
    'region = "East Coast (NY2)"\nmachineType = "P4000"\nsize = 50\nbillingType = "hourly"\ntemplateId = "t"'
)


def window(
    name: str, start: str, end: str, more: str = "", *, zone: str = "Europe/Berlin", rule: str = "target = 1"
) -> str:
    return (
        f'[[fleets.training.windows]]\nname = "{name}"\nstart = "{start}"\nend = "{end}"\ntimezone = "{zone}"\n'
        f"{rule}\n{more}\n"
    )


PARK = window("night", "20:00", "07:00", rule="park_idle = true")
NIGHT = window("night", "20:00", "07:00", 'days = ["mon", "tue", "wed", "thu", "fri"]')

WARNINGS: dict[str, tuple[dict[str, str], str, str]] = {
    "no fleet": ({"fleet": "", "machine": ""}, "fleets", "no fleet is configured"),
    "listen to all": (
        {"daemon": '[daemon]\nlisten = "0.0.0.0:8750"'},
        "daemon.listen",
        "can be reached from outside",
    ),
    "listen to all by IPv6": ({"daemon": '[daemon]\nlisten = "[::]:8750"'}, "daemon.listen", "from outside"),
    "poll is slow": ({"daemon": '[daemon]\npoll = "1m"'}, "daemon.poll", "1m is longer than the interval 30s"),
    "price of nothing": (
        {"guards": "[prices]\nP400 = 1"},
        "prices.P400",
        "no fleet uses this machine type; did you mean P4000?",
    ),
    "cap below the targets": (
        {"guards": "[guards]\nmax_hourly_cost = 1\n[prices]\nP4000 = 0.51"},
        "guards.max_hourly_cost",
        "1 $/h is below what all targets cost, 1.53 $/h",
    ),
    "cap without price": (
        {"guards": "[guards]\nmax_hourly_cost = 1"},
        "fleets.training.machine.machineType",
        "[prices] has none for P4000",
    ),
    "fleet's cap below its target": (
        {"guards": "[prices]\nP4000 = 0.51", "more_fleet": "[fleets.training.guards]\nmax_hourly_cost = 1.5"},
        "fleets.training.guards.max_hourly_cost",
        "1.5 $/h is below what the target costs, 1.53 $/h",
    ),
    "address of no known kind on v1": (
        {"provider": V1_PROVIDER, "machine": V1_MACHINE + '\npublicIpType = "statik"'},
        "fleets.training.machine.publicIpType",
        "do not list 'statik'; did you mean static?",
    ),
    "disk size that v1 does not sell": (
        {"provider": V1_PROVIDER, "machine": V1_MACHINE.replace("diskSize = 50", "diskSize = 60")},
        "fleets.training.machine.diskSize",
        "do not list 60; it lists 50, 100, 250, 500, 1000, 2000",
    ),
    **{
        f"beyond what v1 allows: {key}": (
            {"provider": V1_PROVIDER, "machine": V1_MACHINE + f"\n{line}" * (not rest), "rest": rest},
            f"fleets.training.{key}",
            words,
        )
        for key, line, rest, words in (
            ("machine.autoShutdownTimeout", "autoShutdownTimeout = 169", "", "allow 1 to 168, and a create with 169"),
            ("machine.autoSnapshotSaveCount", "autoSnapshotSaveCount = 11", "", "allow 0 to 10"),
            ("shutdown_timeout.hours", "", "[fleets.training.shutdown_timeout]\nhours = 200", "allow 1 to 168"),
            (
                "auto_snapshot.keep",
                "",
                "[fleets.training.auto_snapshot]\nfrequency = 'day'\nkeep = 11",
                "allow 0 to 10, and a create with 11",
            ),
        )
    },
    "destroy that waits for a snapshot that nobody takes": (
        {
            "provider": V1_PROVIDER,
            "machine": V1_MACHINE,
            "more_fleet": 'allow_destroy = true\nscale_in = "destroy"\ndestroy_requires_snapshot = "24h"',
        },
        "fleets.training.destroy_requires_snapshot",
        "nothing takes snapshots of this fleet's machines",
    ),
    "destroy without leave": (
        {"more_fleet": 'scale_in = "destroy"'},
        "fleets.training.scale_in",
        "nothing is destroyed",
    ),
    "standby without destroy": (
        {"more_fleet": "standby = 2"},
        "fleets.training.standby",
        "has no effect with scale_in",
    ),
    "snapshot without destroy": (
        {"provider": V1_PROVIDER, "machine": V1_MACHINE, "more_fleet": 'destroy_requires_snapshot = "24h"'},
        "fleets.training.destroy_requires_snapshot",
        "has no effect while allow_destroy is false",
    ),
    "adopts all": (
        {"more_fleet": 'adopt = ["ps1", "**"]'},
        "fleets.training.adopt[1]",
        "every machine of the account",
    ),
    "adopts what another adopts": (
        {"more_fleet": 'adopt = ["old-*"]', "rest": OTHER.format(adopt="'old-gpu-*'")},
        "fleets.other.adopt[0]",
        "'old-gpu-*' also matches 'old-*' of fleet training",
    ),
    "no creates": (
        {"guards": "[guards]\nmax_creates_per_pass = 0"},
        "fleets.training.guards.max_creates_per_pass",
        "ever created",
    ),
    "no stops": (
        {"guards": "[guards]\nmax_stops_per_pass = 0"},
        "fleets.training.guards.max_stops_per_pass",
        "ever stopped",
    ),
    "a share of no stops": (
        {"guards": '[guards]\nmax_stops_per_pass = "0%"'},
        "fleets.training.guards.max_stops_per_pass",
        "for none at all write 0",
    ),
    "no destroys": (
        {"more_fleet": "allow_destroy = true\n[fleets.training.guards]\nmax_destroys_per_pass = 0"},
        "fleets.training.guards.max_destroys_per_pass",
        "ever destroyed",
    ),
    "settle is short": ({"guards": '[guards]\nsettle = "5s"'}, "fleets.training.guards.settle", "exists twice"),
    "create deadline is short": (
        {"guards": '[guards]\ncreate_deadline = "90s"'},
        "fleets.training.guards.create_deadline",
        "not longer than settle, 1m30s",
    ),
    "region": (
        {"machine": PARTS["machine"].replace("(NY2)", "(NY1)")},
        "fleets.training.machine.region",
        "does not list 'East Coast (NY1)'; did you mean East Coast (NY2)?",
    ),
    "machine type": (
        {"machine": PARTS["machine"].replace("P4000", "H100")},
        "fleets.training.machine.machineType",
        "does not list 'H100'; it lists Air",
    ),
    "billing": (
        {"machine": PARTS["machine"].replace("hourly", "monthly")},
        "fleets.training.machine.billingType",
        "does not list 'monthly'; it lists hourly",
    ),
    "a new user": (
        {"more_machine": "email = 'a@example.com'"},
        "fleets.training.machine",
        "make a new user with every create",
    ),
    "open all day": (
        {"rest": window("day", "08:00", "08:00")},
        "fleets.training.windows[0].end",
        "open for 24 hours",
    ),
    "excepted in vain": (
        {"rest": window("w", "08:00", "09:00", 'days = ["mon"]\nexcept_dates = ["2026-12-24"]')},
        "fleets.training.windows[0].except_dates",
        "it would not open on 2026-12-24 anyway",
    ),
    "excepted and named": (
        {"rest": window("w", "08:00", "09:00", 'dates = ["2026-12-24"]\nexcept_dates = ["2026-12-24"]')},
        "fleets.training.windows[0].except_dates",
        "2026-12-24 stands in dates as well",
    ),
    "overlap": (
        {"rest": NIGHT + window("late", "23:00", "23:30", 'days = ["fri"]')},
        "fleets.training.windows[1]",
        "overlaps windows[0] (night), e.g. when opening on 2024-01-05; while both are open late applies",
    ),
    "overlap past midnight": (
        {"rest": NIGHT + window("early", "06:00", "08:00", 'days = ["sat"]')},
        "fleets.training.windows[1]",
        "on 2024-01-06",
    ),
    "zone without summer time": (
        {"rest": window("a", "20:00", "21:00", zone="EST")},
        "fleets.training.windows[0].timezone",
        'EST has no summer time; "America/New_York"',
    ),
    "zone with its sign turned": (
        {"rest": window("a", "20:00", "21:00", zone="Etc/GMT+2")},
        "fleets.training.windows[0].timezone",
        "Etc/GMT+2 is 2 hours behind UTC",
    ),
    "overlap across zones": (
        {"rest": NIGHT + window("tokyo", "12:00", "15:30", zone="Asia/Tokyo")},
        "fleets.training.windows[1]",
        "overlaps",
    ),
    "overlap across zones in winter only": (
        {"rest": window("a", "20:00", "21:00") + window("b", "19:00", "19:30", zone="UTC")},
        "fleets.training.windows[1]",
        "on 2024-01-01",
    ),
    "overlap on a date": (
        {"rest": NIGHT + window("eve", "12:00", "24:00", 'dates = ["2030-12-24"]')},
        "fleets.training.windows[1]",
        "2030-12-24",
    ),
    "timeout within a window": (
        {"rest": window("day", "08:00", "20:00") + "[fleets.training.shutdown_timeout]\nhours = 8"},
        "fleets.training.windows[0].target",
        "the window is open for 12h, but shutdown_timeout stops machines after 8 h",
    ),
    "idle and never parked": ({"rest": IDLE}, "fleets.training.idle", "no window of this fleet has park_idle"),
    "idle too soon": (
        {"rest": PARK + IDLE.replace("\nsources", '\nafter = "40s"\nsources')},
        "fleets.training.idle.after",
        "less than two passes",
    ),
    "idle too late": (
        {
            "rest": PARK
            + IDLE.replace("\nsources", '\nafter = "5h"\nsources')
            + "\n[fleets.training.shutdown_timeout]\nhours = 5"
        },
        "fleets.training.idle.after",
        "5h is never reached",
    ),
    "idle by uptime alone": (
        {"rest": PARK + IDLE.replace("lease", "uptime")},
        "fleets.training.idle.sources",
        "uptime alone",
    ),
    "kept without frequency": (
        {"rest": '[fleets.training.auto_snapshot]\nfrequency = "none"\nkeep = 2'},
        "fleets.training.auto_snapshot.keep",
        "has no meaning",
    ),
    "source unused": (
        {"rest": "[idle_sources.job]\nkind = 'lease'"},
        "idle_sources.job",
        "no fleet asks this source",
    ),
    "query for all": (
        {"rest": f"{PARK}{GPU}query = 'max(up[{{window}}])'"},
        "idle_sources.gpu.query",
        "answers the same for all",
    ),
    "query of an instant": (
        {"rest": f"{PARK}{GPU}query = 'up{{a=\"{{name}}\"}}'"},
        "idle_sources.gpu.query",
        "does not cover [{window}]",
    ),
    "a ratio below 2": (
        {
            "rest": PARK + GPU.replace("below = 0.1", "below = 2") + "query = 'max_over_time("
            'DCGM_FI_PROF_GR_ENGINE_ACTIVE{instance="{private_ip}:9400"}[{window}])\''
        },
        "idle_sources.gpu.below",
        "2 is never reached: DCGM_FI_PROF_GR_ENGINE_ACTIVE is a ratio",
    ),
    "percent made a ratio below 1": (
        {"rest": PARK + GPU.replace("below = 0.1", "below = 1") + query("max_over_time({}[{window}]) / 100")},
        "idle_sources.gpu.below",
        "what is divided by 100 is a ratio",
    ),
    "or vector(0)": (
        {"rest": PARK + GPU + query("max_over_time({}[{window}]) or vector(0)")},
        "idle_sources.gpu.query",
        "a dead exporter would look idle",
    ),
    "or on() vector(0)": (
        {"rest": PARK + GPU + query("max_over_time({}[{window}]) or on() vector(0)")},
        "idle_sources.gpu.query",
        "a dead exporter would look idle",
    ),
    "or up times nothing": (
        {"rest": PARK + GPU + query("max_over_time({}[{window}]) or up * 0")},
        "idle_sources.gpu.query",
        "a dead exporter would look idle",
    ),
    "an hour ago": (
        {"rest": PARK + GPU + query("max_over_time({}[{window}] offset 1h)")},
        "idle_sources.gpu.query",
        "another time",
    ),
    "the least of several": (
        {"rest": PARK + GPU + query("min(max_over_time({}[{window}]))")},
        "idle_sources.gpu.query",
        "min() hides use",
    ),
    "the mean of several": (
        {"rest": PARK + GPU + query("avg by (instance) (max_over_time({}[{window}]))")},
        "idle_sources.gpu.query",
        "avg() hides use",
    ),
    "the mean of a step": (
        {"rest": PARK + GPU + query("avg_over_time({}[{window}])")},
        "idle_sources.gpu.query",
        "avg_over_time() hides use",
    ),
    "one series of several": (
        {"rest": PARK + GPU + query("max(max_over_time({}[{window}]))")},
        "idle_sources.gpu.query",
        "max() makes one series of several",
    ),
    "a name without an end": (
        {"rest": PARK + GPU + "query = 'max_over_time(u{host=~\"{name}.*\"}[{window}])'"},
        "idle_sources.gpu.query",
        "{name} has no end",
    ),
    "more samples than there can be": (
        {"rest": PARK + GPU.replace("\nsources", '\nafter = "4d"\nsources') + query("max_over_time({}[{window}])")},
        "fleets.training.idle.after",
        "11520 samples, and Prometheus gives 11000 at most: nothing is ever idle; idle_sources.gpu.step must be 32s",
    ),
    "more machines than a round can ask": (
        {"fleet": "[fleets.training]\ntarget = 25", "rest": PARK + GPU + query("max_over_time({}[{window}])")},
        "idle_sources.gpu.at_once",
        "25 machines, 8 at a time and up to 10s each, may take 40s, and a round ends after 30s",
    ),
    "a timeout that no round waits for": (
        {"daemon": '[daemon]\ninterval = "5s"', "rest": PARK + GPU + query("max_over_time({}[{window}])")},
        "idle_sources.gpu.timeout",
        "is longer than a round, which ends after 5s",
    ),
    "enforced without asking": (
        {"rest": "[fleets.training.shutdown_timeout]\nhours = 24\nenforce = true"},
        "fleets.training.shutdown_timeout.enforce",
        "without [fleets.training.idle] nobody is asked",
    ),
    "address for all": (
        {"rest": PARK + IDLE.replace('"lease"', '"http"\nurl = "http://h"')},
        "idle_sources.job.url",
        "the same for all",
    ),
}


@pytest.mark.parametrize(("parts", "path", "fragment"), WARNINGS.values(), ids=WARNINGS.keys())
def test_warning(parts: dict[str, str], path: str, fragment: str) -> None:
    found = warnings(parse(config_text(**parts), "fleetd.toml"))
    assert [f.path for f in found] == [path], found
    assert fragment in found[0].problem, found


@pytest.mark.parametrize(
    "parts",
    [
        pytest.param({}, id="plain"),
        pytest.param(
            {"provider": V1_PROVIDER, "machine": V1_MACHINE.replace("P4000", "H100")}, id="newer type on v1"
        ),
        pytest.param(
            {
                "provider": V1_PROVIDER,
                "machine": V1_MACHINE + "\nautoShutdownTimeout = 168\nautoSnapshotSaveCount = 10",
            },
            id="the most of v1",
        ),
        pytest.param(
            {
                "provider": V1_PROVIDER,
                "machine": V1_MACHINE + "\nautoShutdownTimeout = 1\nautoSnapshotSaveCount = 0",
            },
            id="the least of v1",
        ),
        pytest.param(
            {"rest": "[fleets.training.shutdown_timeout]\nhours = 200"}, id="a long timeout where it is allowed"
        ),
        pytest.param({"provider": SIMULATOR_PROVIDER, "guards": '[guards]\nsettle = "5s"'}, id="hasty simulator"),
        pytest.param({"rest": PARK + IDLE}, id="parking"),
        pytest.param({"rest": NIGHT + window("day", "07:00", "20:00")}, id="windows that touch"),
        pytest.param(
            {"rest": window("a", "08:00", "24:00") + window("b", "00:00", "08:00")}, id="windows at midnight"
        ),
        pytest.param(
            {"rest": NIGHT + window("w", "06:00", "08:00", 'days = ["mon", "sun"]')}, id="windows on other days"
        ),
        pytest.param(
            {
                "rest": window("a", "08:00", "20:00", 'except_dates = ["2030-12-24"]')
                + window("b", "08:00", "20:00", 'dates = ["2030-12-24"]')
            },
            id="one day instead of another",
        ),
        pytest.param(
            {"more_fleet": 'adopt = ["ps1"]', "rest": OTHER.format(adopt="'ps2', 'old-*'")}, id="adopted apart"
        ),
        pytest.param({"more_fleet": "standby = 0"}, id="no standby"),
        pytest.param({"rest": PARK + GPU + query("max_over_time({}[{window}])")}, id="a query"),
        pytest.param(
            {
                "rest": PARK
                + GPU
                + 'query = \'max_over_time(min_ratio_or{a=~"{private_ip}:.*",b="avg(x)"}[{window}])\''
            },
            id="a query with words in its names",
        ),
        pytest.param(
            {"rest": PARK + IDLE + "\n[fleets.training.shutdown_timeout]\nhours = 24\nenforce = true"}, id="enforced"
        ),
        pytest.param({"daemon": '[daemon]\nlisten = "[::1]:1"'}, id="loopback"),
    ],
)
def test_no_warning(parts: dict[str, str]) -> None:
    assert warnings(parse(config_text(**parts), "fleetd.toml")) == ()


@pytest.mark.parametrize(
    ("program", "path", "found"),
    [
        pytest.param("/bin/sh", "", True, id="by its path"),
        pytest.param("who-is-on", "HERE", True, id="on the PATH"),
        pytest.param("who-is-on", "/nonexistent", False, id="not on the PATH"),
        pytest.param("/nonexistent/who-is-on", "HERE", False, id="nowhere"),
        pytest.param("HERE/notes", "HERE", False, id="no program"),
        pytest.param("/opt/{name}/probe", "", True, id="one for each machine"),
    ],
)
def test_the_command_of_a_source_is_there(tmp_path: Path, program: str, path: str, found: bool) -> None:
    (tmp_path / "who-is-on").write_text("#!/bin/sh\n")
    (tmp_path / "who-is-on").chmod(0o755)
    (tmp_path / "notes").write_text("")
    here = {"argv": program.replace("HERE", str(tmp_path)), "PATH": path.replace("HERE", str(tmp_path))}
    rest = f"[idle_sources.gpu]\nkind = 'exec'\nargv = ['{here['argv']}', '{{id}}']"
    sources = parse(config_text(rest=rest), "fleetd.toml").idle_sources.values()
    faults = command_warnings(sources, {"PATH": here["PATH"]})
    assert [f.path for f in faults] == ([] if found else ["idle_sources.gpu.argv"])
    assert all("is no program that can be run" in f.problem for f in faults)
