"""A small valid config whose parts a test can replace."""

from __future__ import annotations

PARTS = {
    "top": "version = 1",
    "provider": '[provider]\nkind = "paperspace-core"\napi_key = { env = "PAPERSPACE_API_KEY" }',
    "daemon": "",
    "guards": "",
    "fleet": "[fleets.training]\ntarget = 3",
    "machine": (
        "[fleets.training.machine]\n"
        'region = "East Coast (NY2)"\nmachineType = "P4000"\nsize = 50\n'
        'billingType = "hourly"\ntemplateId = "tbu200wi"'
    ),
    "rest": "",
}
"""In the order in which they stand in the file."""

V1_PROVIDER = '[provider]\nkind = "paperspace"\napi_key = { env = "PAPERSPACE_API_KEY" }'
V1_MACHINE = (
    "[fleets.training.machine]\n"
    'region = "East Coast (NY2)"\nmachineType = "P4000"\ndiskSize = 50\ntemplateId = "tbu200wi"'
)
SIMULATOR_PROVIDER = '[provider]\nkind = "simulator"'
IDLE = '[fleets.training.idle]\nsources = ["job"]\n[idle_sources.job]\nkind = "lease"'


def config_text(**parts: str) -> str:
    """The config with some parts replaced; text given as ``more_NAME`` is added to that part."""
    unknown = {name.removeprefix("more_") for name in parts} - set(PARTS)
    assert not unknown, unknown
    return "\n".join(
        "\n".join(filter(None, [parts.get(name, default), parts.get(f"more_{name}", "")]))
        for name, default in PARTS.items()
    )
