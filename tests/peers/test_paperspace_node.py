"""The vendor's own client for node against the simulator, and our requests beside its own.

``FLEETD_NODE_MODULES`` names a ``node_modules`` with paperspace-node in it; without it the test installs one.
"""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
from collections.abc import Mapping
from contextlib import asynccontextmanager
from itertools import groupby
from pathlib import Path
from typing import Any

import anyio
import pytest

from fleetd.cloud.calls import HttpLimits
from fleetd.cloud.core.api import CoreApi
from fleetd.simulator.server import serve
from fleetd.simulator.state import Durations
from fleetd.simulator.world import World
from tests.support import core_page
from tests.support.clients import core_client

pytestmark = pytest.mark.peer("node")

KEY = "key-of-the-tests"
ID = "psec02yp2"
NEW = "$new"
"""Stands for the id of the machine that the last create made."""
FAST = Durations(
    provisioning=(1.0, 1.0),
    starting=(0.2, 0.2),
    serviceready=(0.1, 0.1),
    stopping=(0.0, 0.0),
    restarting=(0.2, 0.2),
    deleting=(0.1, 0.1),
)

EVERY_CREATE_PARAMETER = {
    **core_page.CREATE_PARAMETERS,
    "dynamicPublicIp": True,
    "startOnCreate": False,
    "takeInitialSnapshot": True,
    "markSnapshotAsRestorePoint": True,
    "restorePointFrequency": "shutdown",
    "enableNvlink": False,
    "notificationEmail": "ops@example.test",
}
EVERY_CHANGE = {
    "machineName": "New Machine Name",
    "shutdownTimeoutInHours": 24,
    "shutdownTimeoutForces": True,
    "autoSnapshotFrequency": "day",
    "autoSnapshotSaveCount": 7,
    "performAutoSnapshot": True,
    "dynamicPublicIp": False,
}
STEPS: list[tuple[str, dict[str, Any]]] = [
    ("list", {}),
    ("list", {"limit": 5, "skip": 0, "region": "East Coast (NY2)", "performAutoSnapshot": False, "cpus": 8}),
    ("availability", {"region": "East Coast (NY2)", "machineType": "GPU+"}),
    ("create", EVERY_CREATE_PARAMETER),
    ("create", core_page.CREATE_PARAMETERS),
    ("waitfor", {"machineId": NEW, "state": "ready"}),
    ("show", {"machineId": NEW}),
    ("update", {"machineId": ID, **EVERY_CHANGE}),
    ("update", {"machineId": ID, "autoSnapshotFrequency": None}),
    ("setAccessForUser", {"machineId": ID, "userId": "ubx9ce8k", "enableAccess": True}),
    ("setAccessForUser", {"machineId": ID, "userId": "ubx9ce8k", "enableAccess": False}),
    ("utilization", {"machineId": ID, "billingMonth": "2026-03"}),
    ("restart", {"machineId": NEW}),
    ("stop", {"machineId": ID}),
    ("waitfor", {"machineId": ID, "state": "off"}),
    ("start", {"machineId": ID}),
    ("destroy", {"machineId": ID, "releasePublicIp": True}),
    ("destroy", {"machineId": NEW}),
]
VERBS = {
    *("create", "start", "stop", "restart", "destroy", "update"),
    *("list", "show", "setAccessForUser", "utilization", "waitfor", "availability"),
}
EXAMPLES: Mapping[str, Any] = {
    "list": [core_page.LISTED],
    "show": core_page.SHOWN,
    "create": core_page.CREATED,
    "waitfor": core_page.SHOWN,
    "utilization": core_page.UTILIZATION,
    "availability": core_page.AVAILABILITY,
}

DRIVER = """
const paperspace = require('paperspace-node')({ apiKey: process.env.KEY });
const steps = JSON.parse(require('fs').readFileSync(0, 'utf8'));
let made = null;
function next() {
  const step = steps.shift();
  if (!step) return;
  const [verb, params] = step;
  if (params.machineId === '$new') params.machineId = made;
  paperspace.machines[verb](params, function (err, result) {
    if (verb === 'create' && result) made = result.id;
    const error = err ? (err.response && err.response.text) || err.message : null;
    console.log(JSON.stringify({ verb, error, result }));
    next();
  });
}
next();
"""


@pytest.fixture(scope="module")
def node_modules(tmp_path_factory) -> Path:
    given = os.environ.get("FLEETD_NODE_MODULES")
    if given:
        return Path(given)
    prefix = tmp_path_factory.mktemp("node")
    command = ["npm", "install", "--no-fund", "--no-audit", "--ignore-scripts", "--prefix", str(prefix)]
    done = subprocess.run([*command, "paperspace-node@0.2"], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return prefix / "node_modules"


@asynccontextmanager
async def simulator():
    world = World(seed=11, durations=FAST)
    world.add_machine("New Machine Name1", id=ID)
    async with serve(world, key=KEY, latency=None) as server:
        yield server


def environment(server, node_modules, home):
    return {
        "PATH": os.environ["PATH"],
        "NODE_PATH": str(node_modules),
        "NODE_NO_WARNINGS": "1",
        "HOME": str(home),
        "PAPERSPACE_CONFIG_HOST": server.url,
        "KEY": KEY,
    }


async def drive(server, node_modules, home):
    """Every step by the official client; its results."""
    steps = json.dumps(STEPS).encode()
    with anyio.fail_after(60):
        done = await anyio.run_process(
            ["node", "-e", DRIVER], input=steps, env=environment(server, node_modules, home), cwd=home, check=False
        )
    assert done.returncode == 0, done.stderr.decode()
    return [json.loads(line) for line in done.stdout.splitlines()]


async def drive_ours(server):
    """Every step by our own client."""
    client = core_client(
        server.url, lambda: KEY, rng=random.Random(1), limits=HttpLimits(max_requests_per_second=100)
    )
    api = CoreApi(client)
    made = ""
    for verb, given in STEPS:
        rest = {name: value for name, value in given.items() if name != "machineId"}
        machine_id = made if given.get("machineId") == NEW else given.get("machineId", "")
        match verb:
            case "list":
                await api.list(given)
            case "availability":
                await api.availability(given["region"], given["machineType"])
            case "create":
                made = (await api.create(given))["id"]
            case "waitfor":
                await api.wait_for(machine_id, given["state"], timeout=30.0, poll=0.5)
            case "show":
                await api.show(machine_id)
            case "update":
                await api.update(machine_id, rest)
            case "setAccessForUser":
                await api.set_access(machine_id, given["userId"], enable_access=given["enableAccess"])
            case "utilization":
                await api.utilization(machine_id, given["billingMonth"])
            case "destroy":
                await api.destroy(machine_id, release_public_ip=given.get("releasePublicIp"))
            case _:
                await getattr(api, verb)(machine_id)
    await api.aclose()


def requests(server):
    """What a simulator was asked, in order: method, path, query, body. Polls in a row count as one."""
    made = [call.machine_id for call in server.calls if call.operation == "create"]

    def neutral(value):
        text = json.dumps(value, sort_keys=True)
        for number, machine_id in enumerate(made):
            text = re.sub(rf"\b{machine_id}\b", f"<new {number}>", text)
        return text

    asked = [neutral([call.method, call.path, dict(call.query), call.body]) for call in server.calls]
    return [request for request, _ in groupby(asked)]


def missing(example, actual, path="$"):
    """The fields of an example that an answer lacks, all the way down."""
    if isinstance(example, dict):
        if not isinstance(actual, dict):
            return [path]
        lost = [f"{path}.{name}" for name in example if name not in actual]
        return lost + [
            field
            for name in example
            if name in actual
            for field in missing(example[name], actual[name], f"{path}.{name}")
        ]
    if isinstance(example, list):
        if not isinstance(actual, list) or (example and not actual):
            return [path]
        return [field for n, entry in enumerate(actual) for field in missing(example[0], entry, f"{path}[{n}]")]
    return []


async def test_the_official_client_drives_every_verb_and_ours_asks_the_same(node_modules, tmp_path):
    assert {verb for verb, _ in STEPS} == VERBS
    async with simulator() as theirs:
        answers = await drive(theirs, node_modules, tmp_path)
    assert [answer["verb"] for answer in answers] == [verb for verb, _ in STEPS]
    assert [answer for answer in answers if answer["error"]] == []
    lost = {(a["verb"], field) for a in answers for field in missing(EXAMPLES.get(a["verb"]), a["result"])}
    assert lost == set()
    waited = [answer["result"]["state"] for answer in answers if answer["verb"] == "waitfor"]
    assert waited == ["ready", "off"]

    async with simulator() as ours:
        await drive_ours(ours)
    assert requests(ours) == requests(theirs)
    assert len(requests(ours)) == len(STEPS)


async def test_the_official_command_line_works_and_a_wrong_key_is_told_as_the_vendor_tells_it(node_modules, tmp_path):
    async with simulator() as server:
        for key, code, said in ((KEY, 0, ID), ("wrong", 1, "Invalid API token")):
            command = [
                str(node_modules / ".bin" / "paperspace"),
                "machines",
                "show",
                "--machineId",
                ID,
                "--apiKey",
                key,
            ]
            with anyio.fail_after(30):
                done = await anyio.run_process(
                    command, env=environment(server, node_modules, tmp_path), cwd=tmp_path, check=False
                )
            output = (done.stdout + done.stderr).decode()
            assert said in output
            assert (done.returncode != 0) == (code != 0), output
