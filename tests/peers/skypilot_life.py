"""SkyPilot's own provisioner, through the whole life of a cluster. Run by an interpreter that has SkyPilot.

    python skypilot_life.py URL KEY

Prints one JSON object a step. Nothing of SkyPilot is changed but the address, and how long it sleeps.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path


def main(url: str, key: str) -> None:
    home = Path(tempfile.mkdtemp())
    os.environ["HOME"] = str(home)
    (home / ".paperspace").mkdir()
    (home / ".paperspace" / "config.json").write_text(json.dumps({"apiKey": key}))
    from sky.provision import common
    from sky.provision.paperspace import config as bootstrap
    from sky.provision.paperspace import instance, utils

    utils.API_ENDPOINT = f"{url}/v1"
    instance.POLL_INTERVAL = 0.2

    def wanted(count: int) -> common.ProvisionConfig:
        return common.ProvisionConfig(
            provider_config={},
            authentication_config={"ssh_public_key": "ssh-ed25519 AAAA of-the-tests"},
            docker_config={},
            node_config={"InstanceType": "V100-32G", "DiskSize": 64},
            count=count,
            tags={},
            resume_stopped_nodes=True,
            ports_to_open_on_launch=None,
        )

    def say(step: str, **more: object) -> None:
        found = instance.query_instances("mine", "mine-1", {})
        statuses = sorted(status.name for status, _ in found.values() if status is not None)
        print(json.dumps({"step": step, "statuses": statuses, **more}), flush=True)

    region = "East Coast (NY2)"
    ready = bootstrap.bootstrap_instances(region, "mine-1", wanted(2))
    say("bootstrap", disk=ready.node_config["DiskSize"], network=bool(ready.node_config["NetworkId"]))
    first = instance.run_instances(region, "mine", "mine-1", ready)
    say("launch", created=len(first.created_instance_ids), head=first.head_instance_id)
    ready = bootstrap.bootstrap_instances(region, "mine-1", wanted(2))
    again = instance.run_instances(region, "mine", "mine-1", ready)
    say("second launch", created=len(again.created_instance_ids), head=again.head_instance_id)
    info = instance.get_cluster_info(region, "mine-1")
    say("info", addresses=[bool(i.internal_ip) for parts in info.instances.values() for i in parts])
    instance.stop_instances("mine-1")
    say("stop")
    resumed = instance.run_instances(region, "mine", "mine-1", ready)
    say("start", created=len(resumed.created_instance_ids), resumed=len(resumed.resumed_instance_ids))
    instance.terminate_instances("mine-1", worker_only=True)
    say("down, workers only")
    instance.terminate_instances("mine-1")
    say("down", networks=len(utils.PaperspaceCloudClient().list_endpoint("private-networks", name="mine-1")))


main(*sys.argv[1:])
