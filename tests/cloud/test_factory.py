"""Every setting of a client reaches its place, whichever way the client is opened."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from fleetd.cloud.calls import HttpLimits
from fleetd.cloud.core import errors as core_errors
from fleetd.cloud.core.api import CoreApi
from fleetd.cloud.core.cloud import CoreCloud
from fleetd.cloud.dialects import DIALECTS
from fleetd.cloud.http import HttpClient
from fleetd.cloud.paperspace import errors as v1_errors
from fleetd.cloud.paperspace.api import PaperspaceApi
from fleetd.cloud.paperspace.cloud import PaperspaceCloud
from fleetd.cloud.retry import RetryPolicy
from tests.support.clients import (
    core_client,
    open_core_api,
    open_core_cloud,
    open_paperspace_api,
    open_paperspace_cloud,
    paperspace_client,
)

RNG, LIMITS, RETRIES = (
    random.Random(1),
    HttpLimits(max_requests_per_second=7.0, max_concurrency=9),
    RetryPolicy(attempts=2),
)
SETTINGS: dict[str, Any] = {"rng": RNG, "limits": LIMITS, "retries": RETRIES, "on_request": print}


def key() -> str:
    return "k3y"


def http_of(opened: Any) -> HttpClient:
    """The client at the bottom of it."""
    while not isinstance(opened, HttpClient):
        opened = next(getattr(opened, name) for name in ("_http", "_requests", "_api") if hasattr(opened, name))
    return opened


OPENERS = [
    pytest.param(core_client, "x-api-key", "", core_errors.classify, id="core, the client"),
    pytest.param(open_core_cloud, "x-api-key", "", core_errors.classify, id="core, the cloud"),
    pytest.param(open_core_api, "x-api-key", "", core_errors.classify, id="core, the calls"),
    pytest.param(paperspace_client, "Authorization", "Bearer ", v1_errors.classify, id="v1, the client"),
    pytest.param(open_paperspace_cloud, "Authorization", "Bearer ", v1_errors.classify, id="v1, the cloud"),
    pytest.param(open_paperspace_api, "Authorization", "Bearer ", v1_errors.classify, id="v1, the calls"),
]


@pytest.mark.parametrize(("opener", "header", "prefix", "classify"), OPENERS)
def test_every_setting_reaches_the_client(
    opener: Callable[..., Any], header: str, prefix: str, classify: Callable[..., Any]
) -> None:
    http = http_of(opener("https://api.example.test/v1/", key, **SETTINGS))
    assert http._base == "https://api.example.test/v1"
    assert (http._key.name, http._key.prefix, http._key.key) == (header, prefix, key)
    assert http._classify is classify
    assert (http._rng, http.limits, http._retries, http._on_request) == (RNG, LIMITS, RETRIES, print)
    assert (http._admission._per_second, http._admission._free) == (7.0, 9)


@pytest.mark.parametrize(("opener", "header", "prefix", "classify"), OPENERS)
def test_what_is_not_set_is_ordinary(
    opener: Callable[..., Any], header: str, prefix: str, classify: Callable[..., Any]
) -> None:
    del header, prefix, classify
    http = http_of(opener("https://api.example.test/", key, rng=RNG))
    assert http._base == "https://api.example.test"
    assert (http.limits, http._retries) == (HttpLimits(), RetryPolicy())
    assert http._on_request("show", "200", 0.1) is None
    assert abs((http._now() - datetime.now(UTC)).total_seconds()) < 60
    assert http._now().tzinfo is UTC


@pytest.mark.parametrize("client", [core_client, paperspace_client])
def test_a_client_has_the_clock_that_it_is_given(client: Callable[..., HttpClient]) -> None:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    assert client("https://api.example.test", key, rng=RNG, now=lambda: now)._now() == now


@pytest.mark.parametrize("base", ["api.example.test", "ftp://api.example.test", "https://", ""])
def test_what_is_no_base_url_is_said_at_once(base: str) -> None:
    with pytest.raises(ValueError, match="no base URL"):
        core_client(base, key, rng=RNG)


@pytest.mark.parametrize(
    ("name", "cloud", "api", "path"),
    [
        ("paperspace-core", CoreCloud, CoreApi, ""),
        ("paperspace", PaperspaceCloud, PaperspaceApi, "/v1"),
    ],
)
def test_a_config_names_each_dialect(name: str, cloud: Any, api: Any, path: str) -> None:
    dialect = DIALECTS[name]
    assert (dialect.cloud, dialect.api, dialect.simulated_path) == (cloud, api, path)
    assert dialect.inquire.__module__ == f"fleetd.cloud.{name.removeprefix('paperspace-')}.inquiry"


def test_the_engine_repeats_no_write_itself_and_a_person_at_the_shell_has_it_repeated() -> None:
    for dialect in DIALECTS.values():
        cloud: Any = dialect.open_cloud("https://api.example.test", key, **SETTINGS)
        api: Any = dialect.open_api("https://api.example.test", key, **SETTINGS)
        for calls, repeat in ((cloud._api, False), (api, True)):
            assert getattr(calls, "_requests", calls)._repeat_writes is repeat
