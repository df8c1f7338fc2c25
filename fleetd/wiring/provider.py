"""The provider of a config: its dialect, its key, and the embedded simulator."""

from __future__ import annotations

import os
import random
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import anyio

from fleetd import config
from fleetd.cloud.calls import HttpLimits, OnRequest
from fleetd.cloud.dialects import DIALECTS
from fleetd.cloud.port import Cloud, MachinesApi
from fleetd.model.errors import Fault, Unauthorized, Unavailable
from fleetd.model.settings import ProviderSettings, Settings
from fleetd.wiring.secrecy import SECRETS
from fleetd.wiring.signals import hangup_counts, leave_terminal
from fleetd.wiring.threads import abandon_lookups

ONE_SHOT_LIMIT = 25.0
"""Seconds in which a one-shot command must have its first answer from the provider."""


@asynccontextmanager
async def open_cloud(
    settings: Settings,
    *,
    on_request: OnRequest = lambda _operation, _code, _seconds: None,
    on_date: Callable[[datetime], None] = lambda _date: None,
) -> AsyncIterator[Cloud]:
    """The provider of a config, behind the port; the embedded simulator where that is what it names.

    Raises:
        ConfigError: the key cannot be read.
    """
    limits = replace(_limits(settings.provider), on_date=on_date)
    async with _address(settings.provider, settings.source) as (base_url, key):
        opened = DIALECTS[settings.provider.dialect].open_cloud
        cloud = opened(base_url, lambda: key, rng=random.Random(), limits=limits, on_request=on_request)
        async with aclosing(cloud):
            yield cloud


@asynccontextmanager
async def open_machines_api(settings: Settings) -> AsyncIterator[MachinesApi]:
    """The provider's machines API call for call, for use by hand."""
    async with _address(settings.provider, settings.source) as (base_url, key):
        opened = DIALECTS[settings.provider.dialect].open_api
        api = opened(base_url, lambda: key, rng=random.Random(), limits=_limits(settings.provider))
        async with aclosing(api):
            yield api


async def check_online(settings: Settings) -> list[Fault]:
    """``fleetd check --online``: what the account lacks of what the config names.

    Raises:
        CloudError: the account could not be asked within 25 s.
    """
    async with open_machines_api(settings) as api:
        with within():
            return await DIALECTS[settings.provider.dialect].inquire(api, settings)


async def serve_simulator(
    *,
    host: str,
    port: int,
    speed: float,
    seed: int,
    faults: Path | None,
    key: str | None,
    on_ready: Callable[[str], None],
) -> None:
    """``fleetd simulator``: until SIGTERM, SIGINT, or its terminal closes. ``on_ready`` is handed the URL."""
    from fleetd.simulator.boot import Boot, boot  # noqa: PLC0415 - who asks a real provider needs none

    ends = [signal.SIGTERM, signal.SIGINT, *([signal.SIGHUP] if hangup_counts() else [])]
    async with boot(Boot(speed=speed, seed=seed, faults=faults), key=key, host=host, port=port) as server:
        # Who reads that it is ready may end it at once.
        with anyio.open_signal_receiver(*ends) as signals:
            on_ready(server.url)
            async for received in signals:
                if received is signal.SIGHUP:
                    leave_terminal()
                return


@contextmanager
def within(seconds: float = ONE_SHOT_LIMIT) -> Iterator[None]:
    """Give the block so long.

    Raises:
        Unavailable: the time is over.
    """
    try:
        with anyio.fail_after(seconds):
            yield
    except TimeoutError as error:
        raise Unavailable(f"no answer from the provider within {seconds:.0f} s") from error


@asynccontextmanager
async def _address(provider: ProviderSettings, source: str) -> AsyncIterator[tuple[str, str]]:
    """(base URL, key) of a provider; for the simulator, of one that runs as long as the block."""
    abandon_lookups()
    if provider.kind != "simulator":
        if provider.api_key is None:  # the config's checks see to it; a key is never guessed
            raise Unauthorized("no API key is configured (provider.api_key)")
        key = config.read_key(provider.api_key, os.environ, config=source)
        SECRETS.add(key)
        yield provider.base_url, key
        return
    from fleetd.simulator.boot import Boot, boot  # noqa: PLC0415 - who asks a real provider needs none

    key = secrets.token_hex(16)
    SECRETS.add(key)
    async with boot(Boot.from_settings(provider.simulator), key=key) as server:
        yield server.url + DIALECTS[provider.dialect].simulated_path, key


def _limits(provider: ProviderSettings) -> HttpLimits:
    return HttpLimits(
        max_concurrency=provider.max_concurrency,
        max_requests_per_second=provider.max_requests_per_second,
        request_timeout=provider.request_timeout.total_seconds(),
        proxy=provider.proxy,
    )
