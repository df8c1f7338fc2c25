"""Putting the dialect on its HTTP client."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import UTC, datetime

from fleetd.cloud.calls import HttpLimits, KeyHeader, OnRequest
from fleetd.cloud.http import HttpClient
from fleetd.cloud.paperspace.api import PaperspaceApi
from fleetd.cloud.paperspace.cloud import PaperspaceCloud
from fleetd.cloud.paperspace.errors import classify
from fleetd.cloud.retry import RetryPolicy

KEY_HEADER = "Authorization"
KEY_PREFIX = "Bearer "


def paperspace_client(
    base_url: str,
    key: Callable[[], str],
    *,
    rng: random.Random,
    limits: HttpLimits | None = None,
    retries: RetryPolicy | None = None,
    on_request: OnRequest = lambda _operation, _code, _seconds: None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> HttpClient:
    """An HTTP client that speaks to the v1 API; ``PaperspaceCloud`` and ``PaperspaceApi`` may share one.

    ``base_url`` ends in the version, as in ``https://api.paperspace.com/v1``. ``key`` is asked at every request. The
    other arguments are those of ``HttpClient``.
    """
    return HttpClient(
        base_url,
        KeyHeader(KEY_HEADER, key, KEY_PREFIX),
        classify,
        rng=rng,
        limits=limits,
        retries=retries,
        on_request=on_request,
        now=now,
    )


def open_paperspace_cloud(
    base_url: str,
    key: Callable[[], str],
    *,
    rng: random.Random,
    limits: HttpLimits | None = None,
    retries: RetryPolicy | None = None,
    on_request: OnRequest = lambda _operation, _code, _seconds: None,
) -> PaperspaceCloud:
    """The v1 API as the engine wants it, on a client of its own. Close it with ``aclose``."""
    return PaperspaceCloud(
        paperspace_client(base_url, key, rng=rng, limits=limits, retries=retries, on_request=on_request)
    )


def open_paperspace_api(
    base_url: str,
    key: Callable[[], str],
    *,
    rng: random.Random,
    limits: HttpLimits | None = None,
    retries: RetryPolicy | None = None,
    on_request: OnRequest = lambda _operation, _code, _seconds: None,
) -> PaperspaceApi:
    """The v1 API call for call, on a client of its own. Close it with ``aclose``."""
    return PaperspaceApi(
        paperspace_client(base_url, key, rng=rng, limits=limits, retries=retries, on_request=on_request)
    )
