"""Every kind of fault: where it is reported, and what is said."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleetd.config import load, parse
from fleetd.model.errors import ConfigError
from tests.support.config_text import IDLE, SIMULATOR_PROVIDER, V1_MACHINE, V1_PROVIDER, config_text


def window(**changes: str) -> str:
    keys = {"name": '"night"', "start": '"20:00"', "end": '"07:00"', "timezone": '"Europe/Berlin"', "target": "1"}
    lines = [f"{key} = {value}" for key, value in {**keys, **changes}.items() if value]
    return "\n".join(["[[fleets.training.windows]]", *lines])


def core(**changes: str) -> str:
    keys = {"region": '"East Coast (NY2)"', "machineType": '"P4000"', "size": "50"}
    keys |= {"billingType": '"hourly"', "templateId": '"t"'}
    lines = [f"{key} = {value}" for key, value in {**keys, **changes}.items() if value]
    return "\n".join(["[fleets.training.machine]", *lines])


def provider(text: str) -> str:
    return f'[provider]\nkind = "paperspace-core"\n{text}'


def source(text: str) -> str:
    return f"[idle_sources.gpu]\n{text}"


ENV = 'api_key = { env = "PAPERSPACE_API_KEY" }'
ASKING = "[idle_sources.gpu]\nkind = 'prometheus'\nurl = 'http://h'\nbelow = 1\n"
OTHER = "[fleets.other]\ntarget = 1\n" + core().replace("training", "other")

FAULTS: dict[str, tuple[dict[str, str], str, str]] = {
    # the file
    "version missing": ({"top": ""}, "version", "is missing: version of this file format: 1"),
    "version unknown": ({"top": "version = 2"}, "version", "this fleetd reads, got 2"),
    "version is a truth value": ({"top": "version = true"}, "version", "got true"),
    "table instead of value": ({"daemon": "[daemon.interval]"}, "daemon.interval", 'such as "30s"'),
    "value instead of table": ({"more_top": "daemon = 5"}, "daemon", "expected a table, got 5"),
    "unknown table": ({"daemon": "[deamon]"}, "deamon", "unknown key; did you mean daemon?"),
    "unknown key": ({"daemon": "[daemon]\nintervall = 1"}, "daemon.intervall", "did you mean interval?"),
    "key of another table": ({"daemon": "[daemon]\nmax_surge = 1"}, "daemon.max_surge", "belongs in [guards]"),
    "key of another time": ({"daemon": "[daemon]\nzzz = 1"}, "daemon.zzz", "known here: interval, listen, poll"),
    "key to be quoted": ({"daemon": '[daemon]\n"a b" = 1'}, 'daemon."a b"', "unknown key"),
    # provider
    "provider missing": ({"provider": ""}, "provider", "is missing"),
    "kind missing": ({"provider": "[provider]\n" + ENV}, "provider.kind", "is missing: the API that is spoken"),
    "kind misspelt": (
        {"provider": f'[provider]\nkind = "paperspace_core"\n{ENV}'},
        "provider.kind",
        'or "simulator", got \'paperspace_core\'; did you mean "paperspace-core"?',
    ),
    "base_url without scheme": (
        {"provider": provider(f'{ENV}\nbase_url = "api.paperspace.io"')},
        "provider.base_url",
        'starts with "https://"',
    ),
    "base_url in clear text": (
        {"provider": provider(f'{ENV}\nbase_url = "http://api.paperspace.io"')},
        "provider.base_url",
        'expected "https://api.paperspace.io…": over plain http the API key would travel',
    ),
    "base_url with a query": (
        {"provider": provider(f'{ENV}\nbase_url = "https://api.paperspace.io/?key=1"')},
        "provider.base_url",
        'expected an address without "?" and "#": the paths of calls are put behind it',
    ),
    "base_url with a fragment": (
        {"provider": provider(f'{ENV}\nbase_url = "https://api.paperspace.io#v1"')},
        "provider.base_url",
        'expected an address without "?" and "#": the paths of calls are put behind it',
    ),
    "base_url with an empty query": (
        {"provider": provider(f'{ENV}\nbase_url = "https://api.paperspace.io?"')},
        "provider.base_url",
        'expected an address without "?" and "#": the paths of calls are put behind it',
    ),
    "proxy with a path": (
        {"provider": provider(f'{ENV}\nproxy = "http://proxy.example:3128/pac"')},
        "provider.proxy",
        'expected a proxy\'s host and port such as "http://proxy.example:3128", without a path',
    ),
    "proxy with a password": (
        {"provider": provider(f'{ENV}\nproxy = "http://me:hush@proxy.example:3128"')},
        "provider.proxy",
        "must not hold a user or password: a secret may not stand in the config",
    ),
    "proxy without a scheme": (
        {"provider": provider(f'{ENV}\nproxy = "proxy.example:3128"')},
        "provider.proxy",
        'expected an address that starts with "https://" or "http://" and names a host',
    ),
    "base_url with password": (
        {"provider": provider(f'{ENV}\nbase_url = "https://me:hush@host"')},
        "provider.base_url",
        "a user or password",
    ),
    "base_url with bad port": (
        {"provider": provider(f'{ENV}\nbase_url = "https://host:https"')},
        "provider.base_url",
        "names a host",
    ),
    "api_key missing": ({"provider": provider("")}, "provider.api_key", "is missing; say where the key is read from"),
    "api_key inline": (
        {"provider": provider('api_key = "edc2"')},
        "provider.api_key",
        "must not stand in the config",
    ),
    "api_key empty": ({"provider": provider("api_key = {}")}, "provider.api_key", "exactly one of env, file or cred"),
    "api_key twice": (
        {"provider": provider('api_key = { env = "A", file = "b" }')},
        "provider.api_key",
        "found env and file",
    ),
    "api_key from elsewhere": (
        {"provider": provider('api_key = { vault = "a" }')},
        "provider.api_key",
        "exactly one of env, file or cred",
    ),
    "api_key under env": (
        {"provider": provider('api_key = { env = "edc20a51d9b2145" }')},
        "provider.api_key.env",
        "(not the value)",
    ),
    "api_key credential path": (
        {"provider": provider('api_key = { credential = "/run/key" }')},
        "provider.api_key.credential",
        "LoadCredential",
    ),
    "rate of zero": (
        {"provider": provider(f"{ENV}\nmax_requests_per_second = 0")},
        "provider.max_requests_per_second",
        "above zero, got 0",
    ),
    "rate not finite": (
        {"provider": provider(f"{ENV}\nmax_requests_per_second = inf")},
        "provider.max_requests_per_second",
        "a number above zero, got Infinity",
    ),
    "concurrency of zero": (
        {"provider": provider(f"{ENV}\nmax_concurrency = 0")},
        "provider.max_concurrency",
        "at least 1, got 0",
    ),
    "simulator elsewhere": (
        {"provider": provider(f"{ENV}\n[provider.simulator]\nspeed = 2")},
        "provider.simulator",
        "only with kind",
    ),
    "simulator far away": (
        {"provider": f'{SIMULATOR_PROVIDER}\nbase_url = "https://host"'},
        "provider.base_url",
        "this machine only",
    ),
    "simulated machine": (
        {"provider": f'{SIMULATOR_PROVIDER}\n[provider.simulator]\nmachines = [{{ name = "a", state = "on" }}]'},
        "provider.simulator.machines[0].state",
        'expected "ready", "serviceready"',
    ),
    # daemon
    "duration without unit": ({"daemon": "[daemon]\ninterval = 30"}, "daemon.interval", 'got 30: write "30s"'),
    "fraction without unit": ({"daemon": "[daemon]\ninterval = 1.5"}, "daemon.interval", 'write "1s500ms"'),
    "duration with a word": ({"daemon": '[daemon]\npoll = "5 sec"'}, "daemon.poll", "got '5 sec': write \"5s\""),
    "duration unreadable": ({"daemon": '[daemon]\npoll = "soon"'}, "daemon.poll", 'write it as "500ms", "30s"'),
    "duration too short": ({"daemon": '[daemon]\npoll = "1ms"'}, "daemon.poll", "at least 100ms, got '1ms'"),
    "duration too long": ({"daemon": '[daemon]\ninterval = "2h"'}, "daemon.interval", "at most 1h, got '2h'"),
    "listen without port": ({"daemon": '[daemon]\nlisten = "localhost"'}, "daemon.listen", "expected host:port"),
    "listen on no port": ({"daemon": '[daemon]\nlisten = "::1:99999"'}, "daemon.listen", "expected host:port"),
    "listen port too large": ({"daemon": '[daemon]\nlisten = "h:70000"'}, "daemon.listen", "a number up to 65535"),
    "state_dir empty": ({"daemon": '[daemon]\nstate_dir = ""'}, "daemon.state_dir", "expected a path"),
    "state_dir of a user": ({"daemon": '[daemon]\nstate_dir = "~ada/x"'}, "daemon.state_dir", '"~/" is the only'),
    # guards
    "count negative": ({"guards": "[guards]\nmax_surge = -1"}, "guards.max_surge", "expected at least 0, got -1"),
    "count is text": ({"guards": '[guards]\nmax_surge = "x"'}, "guards.max_surge", "a whole number, got 'x'"),
    "count is a truth value": (
        {"guards": "[guards]\nmax_surge = true"},
        "guards.max_surge",
        "whole number, got true",
    ),
    "count is broken": ({"guards": "[guards]\nmax_surge = 1.5"}, "guards.max_surge", "a whole number, got 1.5"),
    "share as fraction": ({"guards": "[guards]\nmax_shrink = 0.3"}, "guards.max_shrink", 'got 0.3: write "30%"'),
    "share in quotes": ({"guards": '[guards]\nmax_shrink = "3"'}, "guards.max_shrink", "write 3 without quotes"),
    "share beyond all": ({"guards": '[guards]\nmax_shrink = "101%"'}, "guards.max_shrink", "at most 100%"),
    "share negative": ({"guards": "[guards]\nmax_shrink = -1"}, "guards.max_shrink", "cannot be negative"),
    "money in quotes": ({"guards": '[guards]\nmax_hourly_cost = "5"'}, "guards.max_hourly_cost", "without quotes"),
    "money negative": ({"guards": "[guards]\nmax_hourly_cost = -5"}, "guards.max_hourly_cost", "not negative"),
    "money not a number": ({"guards": "[guards]\nmax_hourly_cost = nan"}, "guards.max_hourly_cost", "dollars"),
    "settle of zero": ({"guards": '[guards]\nsettle = "0s"'}, "guards.settle", "at least 1s"),
    "guard of a fleet": (
        {"more_fleet": "[fleets.training.guards]\nmax_creates = 1"},
        "fleets.training.guards.max_creates",
        "did you mean max_creates_per_pass?",
    ),
    "price": ({"guards": "[prices]\nP4000 = '1'"}, "prices.P4000", "an amount of dollars such as 0.51"),
    "price of odd name": ({"guards": "[prices]\n'GPU+' = true"}, 'prices."GPU+"', "got true"),
    # fleets
    "fleet is no table": (
        {"fleet": "[fleets]\ntarget = 3", "machine": ""},
        "fleets.target",
        "expected a table, got 3",
    ),
    "fleet name": ({"rest": OTHER.replace("other", "Other")}, "fleets.Other", "at most 31 characters a-z, 0-9 and -"),
    "fleet name ends in a dash": ({"rest": OTHER.replace("other", "a-")}, "fleets.a-", "not ending with -"),
    "target missing": ({"fleet": ""}, "fleets.training.target", "is missing: how many machines should be up"),
    "target huge": ({"fleet": "[fleets.training]\ntarget = 1000000"}, "fleets.training.target", "at most 100000"),
    "machine missing": ({"machine": ""}, "fleets.training.machine", "is missing: the create call's parameters"),
    "scale_in": ({"more_fleet": 'scale_in = "halt"'}, "fleets.training.scale_in", 'expected "stop" or "destroy"'),
    "flag in quotes": (
        {"more_fleet": 'allow_destroy = "true"'},
        "fleets.training.allow_destroy",
        "true or false, without quotes",
    ),
    "adopt no list": ({"more_fleet": 'adopt = "ps1"'}, "fleets.training.adopt", "expected a list, in [ ], got 'ps1'"),
    "adopt empty": ({"more_fleet": 'adopt = [""]'}, "fleets.training.adopt[0]", "must not be empty"),
    "adopt twice": (
        {"more_fleet": 'adopt = ["a", "ps1"]', "rest": OTHER.replace("= 1", '= 1\nadopt = ["ps1"]')},
        "fleets.other.adopt[0]",
        "fleet training adopts 'ps1' already",
    ),
    "respect_manual": ({"more_fleet": "respect_manual = 5"}, "fleets.training.respect_manual", 'write "5s"'),
    "snapshot on Core": (
        {"more_fleet": 'destroy_requires_snapshot = "24h"'},
        "fleets.training.destroy_requires_snapshot",
        "the Core API cannot show snapshots",
    ),
    # machine
    "machine key missing": (
        {"machine": core(size="")},
        "fleets.training.machine.size",
        "cannot create a machine wit",
    ),
    "machine key misspelt": (
        {"machine": core(machine_type='"P4000"')},
        "fleets.training.machine.machine_type",
        "did you mean machineType?",
    ),
    "machine key of v1": (
        {"machine": core(diskSize="50")},
        "fleets.training.machine.diskSize",
        'diskSize belongs to kind = "paperspace"; on paperspace-core it is size',
    ),
    "machine key of v1 alone": (
        {"machine": core(emailPassword="true")},
        "fleets.training.machine.emailPassword",
        "has nothing like it",
    ),
    "machine key of Core": (
        {"provider": V1_PROVIDER, "machine": V1_MACHINE + '\nscriptId = "s"'},
        "fleets.training.machine.scriptId",
        "on paperspace it is startupScriptId",
    ),
    "machine of the other dialect": (
        {
            "provider": f'{SIMULATOR_PROVIDER}\n[provider.simulator]\ndialect = "paperspace"',
            "machine": V1_MACHINE + "\nsize = 50",
        },
        "fleets.training.machine.size",
        "on paperspace it is diskSize",
    ),
    "machine name": ({"machine": core(machineName='"x"')}, "fleets.training.machine.machineName", "fleetd names"),
    "machine name on v1": (
        {"provider": V1_PROVIDER, "machine": V1_MACHINE + '\nname = "x"'},
        "fleets.training.machine.name",
        "leave it out",
    ),
    "machine password": (
        {"machine": core(password='"hush"')},
        "fleets.training.machine.password",
        "a secret may not",
    ),
    "machine text": ({"machine": core(region="5")}, "fleets.training.machine.region", "text in quotes, got 5"),
    "machine empty text": ({"machine": core(region='""')}, "fleets.training.machine.region", "must not be empty"),
    "machine number": ({"machine": core(size='"50"')}, "fleets.training.machine.size", "without quotes, got '50'"),
    "machine broken number": (
        {"machine": core(size="50.5")},
        "fleets.training.machine.size",
        "a whole number, without quotes, got 50.5",
    ),
    "machine number of zero": ({"machine": core(size="0")}, "fleets.training.machine.size", "above zero, got 0"),
    "machine flag": (
        {"machine": core(startOnCreate='"yes"')},
        "fleets.training.machine.startOnCreate",
        "true or fal",
    ),
    "machine list": ({"machine": core(templateId="['a']")}, "fleets.training.machine.templateId", "got a list"),
    "two public addresses": (
        {"machine": core(assignPublicIp="true", dynamicPublicIp="true")},
        "fleets.training.machine.dynamicPublicIp",
        "cannot be used with assignPublicIp",
    ),
    "two users": (
        {"machine": core(userId='"u1"', email='"a@example.com"')},
        "fleets.training.machine.email",
        "choose one",
    ),
    "restore point without snapshot": (
        {"machine": core(markSnapshotAsRestorePoint="true", restorePointFrequency='"shutdown"')},
        "fleets.training.machine.markSnapshotAsRestorePoint",
        "needs takeInitialSnapshot = true",
    ),
    "restore point without frequency": (
        {"machine": core(markSnapshotAsRestorePoint="true", takeInitialSnapshot="true")},
        "fleets.training.machine.markSnapshotAsRestorePoint",
        'needs restorePointFrequency = "shutdown"',
    ),
    "policy said twice": (
        {
            "provider": V1_PROVIDER,
            "machine": V1_MACHINE + "\nautoShutdownTimeout = 5\n[fleets.training.shutdown_timeout]\nhours = 24",
        },
        "fleets.training.machine.autoShutdownTimeout",
        "[fleets.training.shutdown_timeout] holds it already",
    ),
    "machine accessors": (
        {"provider": V1_PROVIDER, "machine": V1_MACHINE + "\naccessorIds = ['u1']"},
        "fleets.training.machine.accessorIds",
        "fleetd machines set-access",
    ),
    "fleets in a list": (
        {"fleet": "[[fleets]]\ntarget = 3", "machine": ""},
        "fleets",
        "write [fleets], with single brackets",
    ),
    # windows
    "window in single brackets": (
        {"rest": window().replace("[[", "[").replace("]]", "]")},
        "fleets.training.windows",
        "write [[fleets.training.windows]], with double brackets",
    ),
    "window name missing": ({"rest": window(name="")}, "fleets.training.windows[0].name", "is missing"),
    "window names equal": (
        {"rest": window() + "\n" + window(start='"08:00"', end='"09:00"')},
        "fleets.training.windows[1].name",
        "windows[0] of this fleet has this name already",
    ),
    "window start too late": ({"rest": window(start='"25:00"')}, "fleets.training.windows[0].start", "got '25:00'"),
    "window start at 24": (
        {"rest": window(start='"24:00"')},
        "fleets.training.windows[0].start",
        'midnight is "00:00"',
    ),
    "window end beyond 24": (
        {"rest": window(end='"24:30"')},
        "fleets.training.windows[0].end",
        '"24:00" is the late',
    ),
    "window start short": ({"rest": window(start='"7:00"')}, "fleets.training.windows[0].start", 'write "07:00"'),
    "window start unquoted": (
        {"rest": window(start="20:00:00")},
        "fleets.training.windows[0].start",
        'write "20:00", in quotes',
    ),
    "window zone missing": ({"rest": window(timezone="")}, "fleets.training.windows[0].timezone", "is missing: IANA"),
    "window zone misspelt": (
        {"rest": window(timezone='"Europe/Berln"')},
        "fleets.training.windows[0].timezone",
        'did you mean "Europe/Berlin"?',
    ),
    "window zone is a city": (
        {"rest": window(timezone='"new york"')},
        "fleets.training.windows[0].timezone",
        '"America/New_York"',
    ),
    **{
        f"window zone {zone}": ({"rest": window(timezone=f'"{zone}"')}, "fleets.training.windows[0].timezone", right)
        for zone, right in {
            "GMT+2": "an offset knows no summer time, so name a city",
            "UTC-5": "an offset knows no summer time",
            "+02:00": "an offset knows no summer time",
            "PST": 'did you mean "America/Los_Angeles"?',
            "EDT": 'did you mean "America/New_York"?',
            "JST": 'did you mean "Asia/Tokyo"?',
            "IST": "abbreviations mean different things",
            "CST": "abbreviations mean different things",
            "XYZ": "abbreviations mean different things",
        }.items()
    },
    **{
        f"window days {span}": ({"rest": window(days=days)}, "fleets.training.windows[0].days", f"write {right}")
        for span, days, right in (
            ("mon-fri", '["mon-fri"]', '["mon", "tue", "wed", "thu", "fri"]'),
            ("as text", '"mon-fri"', '["mon", "tue", "wed", "thu", "fri"]'),
            ("past sunday", '["Sat - Mon"]', '["sat", "sun", "mon"]'),
            ("long names", '["monday to wednesday"]', '["mon", "tue", "wed"]'),
            ("among others", '["mon", "thu..fri"]', '["thu", "fri"]'),
        )
    },
    "window zone is a path": (
        {"rest": window(timezone='"../../etc/passwd"')},
        "fleets.training.windows[0].timezone",
        "unknown time zone",
    ),
    "window without effect": ({"rest": window(target="")}, "fleets.training.windows[0]", "give it target, or park"),
    "window that parks by no rule": (
        {"rest": window(park_idle="true")},
        "fleets.training.windows[0].park_idle",
        "without [fleets.training.idle]",
    ),
    "window day": (
        {"rest": window(days='["mon", "tuesday"]')},
        "fleets.training.windows[0].days[1]",
        'did you mean "tue"?',
    ),
    "window without days": ({"rest": window(days="[]")}, "fleets.training.windows[0].days", "it would never open"),
    "window without dates": ({"rest": window(dates="[]")}, "fleets.training.windows[0].dates", "is empty"),
    "window date": (
        {"rest": window(dates='["2026-02-30"]')},
        "fleets.training.windows[0].dates[0]",
        "a day of the calendar",
    ),
    "window date of old": (
        {"rest": window(except_dates="[0001-01-01]")},
        "fleets.training.windows[0].except_dates[0]",
        "2000 to 2199",
    ),
    "window date with time": (
        {"rest": window(dates="[2026-01-01T00:00:00]")},
        "fleets.training.windows[0].dates[0]",
        "such as",
    ),
    # idleness
    "idle without sources": ({"rest": "[fleets.training.idle]"}, "fleets.training.idle.sources", "is missing"),
    "idle with empty sources": (
        {"rest": "[fleets.training.idle]\nsources = []"},
        "fleets.training.idle.sources",
        "must not be empty",
    ),
    "idle source unknown": (
        {"rest": IDLE.replace('["job"]', '["job", "jobs"]')},
        "fleets.training.idle.sources[1]",
        "there is no idle source 'jobs'; did you mean job?",
    ),
    "idle source not there": (
        {"rest": "[fleets.training.idle]\nsources = ['gpu']"},
        "fleets.training.idle.sources[0]",
        "add [idle_sources.gpu]",
    ),
    "idle after zero": (
        {"rest": IDLE.replace("\nsources", '\nafter = "0s"\nsources')},
        "fleets.training.idle.after",
        "at least 1s",
    ),
    "placeholder in backticks": (
        {"rest": ASKING + "query = 'up{a=`{private_ip}`}[{window}]'"},
        "idle_sources.gpu.query",
        "{private_ip} is filled in within a quoted label matcher only",
    ),
    "placeholder outside of quotes": (
        {"rest": ASKING + "query = 'up{a={name}}[{window}]'"},
        "idle_sources.gpu.query",
        "{name} is filled in within a quoted label matcher only",
    ),
    "address without an end": (
        {"rest": ASKING + "query = 'up{a=~\"{private_ip}.*\"}[{window}]'"},
        "idle_sources.gpu.query",
        "10.0.0.5 would take the samples of 10.0.0.51",
    ),
    "address without a beginning": (
        {"rest": ASKING + "query = 'up{a=~\"web|.*{private_ip}:9400\"}[{window}]'"},
        "idle_sources.gpu.query",
        "{private_ip} has no end",
    ),
    "source name": ({"rest": "[idle_sources.'a b']\nkind = 'lease'"}, 'idle_sources."a b"', "expected a name"),
    "source kind": ({"rest": source("kind = 'promethius'")}, "idle_sources.gpu.kind", 'did you mean "prometheus"?'),
    "source key missing": (
        {"rest": source("kind = 'prometheus'\nurl = 'http://h'\nquery = 'up'")},
        "idle_sources.gpu.below",
        'kind = "prometheus" needs it',
    ),
    "source key of another kind": (
        {"rest": source("kind = 'http'\nurl = 'http://h'\nargv = ['a']")},
        "idle_sources.gpu.argv",
        'belongs to "exec"',
    ),
    "source url": ({"rest": source("kind = 'http'\nurl = 'h:80'")}, "idle_sources.gpu.url", "names a host"),
    "source command line": (
        {"rest": source("kind = 'exec'\nargv = 'who -q'")},
        "idle_sources.gpu.argv",
        "a list, in",
    ),
    "source threshold": (
        {"rest": source("kind = 'prometheus'\nurl = 'http://h'\nquery = 'up'\nbelow = 0")},
        "idle_sources.gpu.below",
        "above zero",
    ),
    "placeholder in a query": (
        {"rest": source("kind = 'prometheus'\nurl = 'http://h'\nquery = 'up{a=\"{privateip}\"}'\nbelow = 1")},
        "idle_sources.gpu.query",
        "unknown placeholder {privateip}; did you mean {private_ip}?",
    ),
    "placeholder in an argument": (
        {"rest": source("kind = 'exec'\nargv = ['a', '{host}']")},
        "idle_sources.gpu.argv[1]",
        "known: {id}, {name}, {private_ip}, {window}",
    ),
    # policies
    "shutdown hours": (
        {"rest": "[fleets.training.shutdown_timeout]\nhours = 0"},
        "fleets.training.shutdown_timeout.hours",
        "at least 1, got 0",
    ),
    "snapshot frequency": (
        {"rest": "[fleets.training.auto_snapshot]\nfrequency = 'daily'"},
        "fleets.training.auto_snapshot.frequency",
        '"hour", "day", "week" or "none"',
    ),
    "schedule of few fields": (
        {"rest": "[schedules]\nsnapshot_check = '0 6 *'"},
        "schedules.snapshot_check",
        "a crontab line such as",
    ),
    "schedule field": (
        {"rest": "[schedules]\nsnapshot_check = '99 6 * * *'"},
        "schedules.snapshot_check",
        "got '99 6 * * *'",
    ),
    **{
        f"schedule that never comes: {when}": (
            {"rest": f"[schedules]\nsnapshot_check = '{when}'"},
            "schedules.snapshot_check",
            f"got '{when}', which never comes",
        )
        for when in ("0 0 31 2 *", "0 0 30 feb *", "0 6 31 4,6,9,11 *", "*/5 8-18 31 jun mon-fri")
    },
    "snapshots to keep on v1": (
        {"provider": V1_PROVIDER, "machine": V1_MACHINE + "\nautoSnapshotSaveCount = -1"},
        "fleets.training.machine.autoSnapshotSaveCount",
        "of 0 or more, got -1",
    ),
    "schedule weekday number": (
        {"rest": "[schedules]\nsnapshot_check = '0 6 * * 1'"},
        "schedules.snapshot_check",
        "weekdays by name",
    ),
    "schedule every": (
        {"rest": "[schedules]\nsnapshot_check = 'every day'"},
        "schedules.snapshot_check",
        "expected a duration",
    ),
    "schedule without every": (
        {"rest": "[schedules]\nsnapshot_check = '15m'"},
        "schedules.snapshot_check",
        'write "every 15m"',
    ),
}


@pytest.mark.parametrize(("parts", "path", "fragment"), FAULTS.values(), ids=FAULTS.keys())
def test_fault(parts: dict[str, str], path: str, fragment: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(config_text(**parts), "fleetd.toml")
    assert [f.path for f in caught.value.faults] == [path], caught.value
    (fault,) = caught.value.faults
    assert fragment in fault.problem, fault


def test_ten_faults_come_out_at_once_in_the_files_order() -> None:
    with pytest.raises(ConfigError) as caught:
        load(Path(__file__).with_name("ten-faults.toml"))
    assert [(f.line, f.path) for f in caught.value.faults] == [
        (6, "provider.api_key"),
        (7, "provider.max_requests_per_secnd"),
        (10, "daemon.interval"),
        (13, "guards.max_shrink"),
        (16, "fleets.training.target"),
        (17, "fleets.training.scale_in"),
        (18, "fleets.training.destroy_requires_snapshot"),
        (22, "fleets.training.machine.diskSize"),
        (28, "fleets.training.windows[0].start"),
        (33, "fleets.training.idle.sources[0]"),
    ]
    assert "edc20a51d9b2145" not in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path / "none.toml")
    (fault,) = caught.value.faults
    assert fault.path == str(tmp_path / "none.toml")
    assert fault.problem == "cannot be read: No such file or directory"


def test_a_directory(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load(tmp_path)


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.toml"
    path.write_bytes(b'version = 1\nname = "\xff"\n')
    with pytest.raises(ConfigError, match=r"fleetd\.toml:2: is not UTF-8 text \(at byte 20\)"):
        load(path)


def test_an_error_carries_no_text_of_the_file() -> None:
    with pytest.raises(ConfigError) as caught:
        parse(config_text(provider=provider('api_key = "edc20a51d9b2145"')), "fleetd.toml")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None
