"""The examples of the vendor's machines page, field for field."""

from __future__ import annotations

from typing import Any

CREATED: dict[str, Any] = {
    "id": "psazmnxdy",
    "name": "My Machine 1",
    "os": None,
    "ram": None,
    "cpus": 1,
    "gpu": None,
    "storageTotal": None,
    "storageUsed": None,
    "machineType": "P4000",
    "usageRate": "P4000 hourly",
    "shutdownTimeoutInHours": 168,
    "shutdownTimeoutForces": False,
    "performAutoSnapshot": False,
    "autoSnapshotFrequency": None,
    "autoSnapshotSaveCount": None,
    "dynamicPublicIp": False,
    "agentType": "LinuxHeadless",
    "dtCreated": "2022-03-14T15:09:51.974Z",
    "state": "provisioning",
    "updatesPending": False,
    "networkId": None,
    "privateIpAddress": None,
    "publicIpAddress": None,
    "region": None,
    "scriptId": None,
    "dtLastRun": None,
    "restorePointSnapshotId": None,
    "restorePointFrequency": None,
}

_READY: dict[str, Any] = {
    "id": "psec02yp2",
    "name": "New Machine Name1",
    "os": "",
    "ram": "32212254720",
    "cpus": 8,
    "gpu": "Quadro P4000",
    "storageTotal": "53687091200",
    "storageUsed": "110080",
    "machineType": "P4000",
    "usageRate": "P4000 hourly",
    "shutdownTimeoutInHours": 24,
    "shutdownTimeoutForces": False,
    "performAutoSnapshot": False,
    "autoSnapshotFrequency": "day",
    "autoSnapshotSaveCount": 1,
    "dynamicPublicIp": False,
    "agentType": "LinuxDesktop",
    "dtCreated": "2022-03-14T15:47:53.852Z",
    "state": "ready",
    "updatesPending": False,
    "networkId": "nng82wb",
    "privateIpAddress": "10.64.1.99",
    "publicIpAddress": "172.83.15.54",
    "region": "East Coast (NY2)",
    "scriptId": None,
    "dtLastRun": None,
    "restorePointSnapshotId": None,
    "restorePointFrequency": None,
}

LISTED: dict[str, Any] = {**_READY, "internalId": 1713423}

SHOWN: dict[str, Any] = {
    **_READY,
    "events": [
        {
            "name": "start",
            "state": "done",
            "errorMsg": "",
            "handle": "fabd398a-9c8e-4565-95fa-5f07928564d8",
            "dtModified": "2022-03-14T15:49:00.734Z",
            "dtFinished": "2022-03-14T15:49:00.734Z",
            "dtCreated": "2022-03-14T15:48:30.994Z",
        },
        {
            "name": "create",
            "state": "done",
            "errorMsg": "",
            "handle": "396ea947-9c10-4b63-a15b-574a9a9844bc",
            "dtModified": "2022-03-14T15:48:31.026Z",
            "dtFinished": "2022-03-14T15:48:31.026Z",
            "dtCreated": "2022-03-14T15:47:53.852Z",
        },
    ],
}

UTILIZATION: dict[str, Any] = {
    "machineId": "psec02yp2",
    "utilization": {
        "machineId": "psec02yp2",
        "secondsUsed": 8728.27191281319,
        "hourlyRate": "0.51",
        "billingMonth": "2022-03",
    },
    "storageUtilization": {
        "machineId": "psec02yp2",
        "secondsUsed": 8785.19808006287,
        "monthlyRate": "5.00",
        "billingMonth": "2022-03",
    },
}

AVAILABILITY: dict[str, Any] = {"available": True}

CREATE_PARAMETERS: dict[str, Any] = {
    "region": "East Coast (NY2)",
    "machineType": "P4000",
    "size": 50,
    "billingType": "hourly",
    "machineName": "My Machine 1",
    "templateId": "tbu200wi",
    "teamId": "tewr3st2z",
}
