"""The one place where everything is put together: ports meet their adapters here, and nowhere else."""

from __future__ import annotations

import os
import random
import secrets
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import structlog

from fleetd import config
from fleetd.cloud.port import Cloud, MachinesApi
from fleetd.engine.daemon import Daemon
from fleetd.engine.follower import Follower
from fleetd.engine.observer import Observer
from fleetd.engine.poller import Poller
from fleetd.engine.ports import Alarms, Clock, Meter, Notifier, SystemClock
from fleetd.engine.recall import Recall
from fleetd.engine.reconciler import PassReport, Reconciler
from fleetd.model.errors import ConfigError, Fault, FleetdError
from fleetd.model.journal import HistoryEntry
from fleetd.model.plan import Plan
from fleetd.model.settings import Settings
from fleetd.planner.facts import expected_ids
from fleetd.planner.plan import plan
from fleetd.store.lock import StateLock
from fleetd.store.paths import control_socket_path, journal_path, state_dir
from fleetd.store.port import Journal
from fleetd.store.sqlite import SqliteJournal

log = structlog.get_logger(__name__)

DEFAULT_CONFIG = Path("/etc/fleetd/fleetd.toml")


def find_config(option: Path | None) -> Path:
    """The config file: the option, else $FLEETD_CONFIG, else /etc/fleetd/fleetd.toml."""
    if option is not None:
        return option
    named = os.environ.get("FLEETD_CONFIG")
    return Path(named) if named else DEFAULT_CONFIG


def load_settings(path: Path) -> Settings:
    """Read a config file.

    Raises:
        ConfigError: it cannot be read, or has faults; all of them are in it.
    """
    return config.load(path)


@dataclass(frozen=True, slots=True)
class Engine:
    """The daemon and its parts, put together."""

    daemon: Daemon
    reconciler: Reconciler
    poller: Poller
    follower: Follower


def assemble(
    settings: Settings,
    cloud: Cloud,
    journal: Journal,
    *,
    clock: Clock,
    meter: Meter,
    notifier: Notifier,
    alarms: Alarms,
    rng: random.Random,
    load: Callable[[], Settings],
    on_pass: Callable[[PassReport | FleetdError], None] = lambda _result: None,
) -> Engine:
    """The engine on the given ports: what ``fleetd run`` runs, and what the tests run on virtual time."""
    recall = Recall(journal)
    poller = Poller(cloud, clock, poll=settings.daemon.poll)
    follower = Follower(poller, recall, clock, meter)
    reconciler = Reconciler(
        settings, cloud, journal, clock, meter, rng, follower, recall, progress=notifier.alive
    )
    daemon = Daemon(
        reconciler, poller, follower, notifier, meter, clock, rng, alarms, load=load, on_pass=on_pass
    )
    return Engine(daemon, reconciler, poller, follower)
