"""Putting the dialect on its HTTP client."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime

from fleetd.cloud.calls import HttpLimits, KeyHeader, OnRequest
from fleetd.cloud.core.api import CoreApi
from fleetd.cloud.core.cloud import CoreCloud
from fleetd.cloud.core.errors import classify
from fleetd.cloud.http import HttpClient
from fleetd.cloud.retry import RetryPolicy

KEY_HEADER = "x-api-key"


def core_client(
    base_url: str,
    key: Callable[[], str],
    *,
    rng: random.Random,
    limits: HttpLimits | None = None,
    retries: RetryPolicy | None = None,
    on_request: OnRequest = lambda _operation, _code, _seconds: None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> HttpClient:
    """An HTTP client that speaks to the Core API; ``CoreCloud`` and ``CoreApi`` may share one.

    ``key`` is asked at every request. The other arguments are those of ``HttpClient``.
    """
    return HttpClient(
        base_url,
        KeyHeader(KEY_HEADER, key),
        classify,
        rng=rng,
        limits=limits,
        retries=retries,
        on_request=on_request,
        now=now,
    )


def open_core_cloud(
    base_url: str,
    key: Callable[[], str],
    *,
    rng: random.Random,
    limits: HttpLimits | None = None,
    retries: RetryPolicy | None = None,
    on_request: OnRequest = lambda _operation, _code, _seconds: None,
) -> CoreCloud:
    """The Core API as the engine wants it, on a client of its own. Close it with ``aclose``."""
    return CoreCloud(core_client(base_url, key, rng=rng, limits=limits, retries=retries, on_request=on_request))


def open_core_api(
    base_url: str,
    key: Callable[[], str],
    *,
    rng: random.Random,
    limits: HttpLimits | None = None,
    retries: RetryPolicy | None = None,
    on_request: OnRequest = lambda _operation, _code, _seconds: None,
) -> CoreApi:
    """The Core API call for call, on a client of its own. Close it with ``aclose``."""
    return CoreApi(core_client(base_url, key, rng=rng, limits=limits, retries=retries, on_request=on_request))
