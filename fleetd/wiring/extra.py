"""What an extra of the package brings, and what to say where it is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fleetd.model.errors import ConfigError, Fault
from fleetd.model.settings import KeySource, Settings


@contextmanager
def needs_postgres(settings: Settings) -> Iterator[None]:
    """Around the import of what needs psycopg.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        yield
    except ImportError as error:
        if "psycopg" not in (error.name or "") and "pq wrapper" not in str(error):
            raise
        words = "a journal in a database needs psycopg: pip install 'fleetd[postgres]'"
        raise ConfigError(settings.source, (Fault("daemon.state", words),)) from error


async def database_advice(settings: Settings) -> list[Fault]:
    """``fleetd check --online``: what of the database's server makes promises weaker.

    Raises:
        StateAway, StateUnusable: it cannot be asked.
    """
    with needs_postgres(settings):
        from fleetd.wiring import replicas  # noqa: PLC0415
    return await replicas.database_advice(settings)


async def move_state(settings: Settings, to: str | Path, password: KeySource | None = None) -> str:
    """``fleetd state move``: see ``replicas.move_state``."""
    with needs_postgres(settings):
        from fleetd.wiring import replicas  # noqa: PLC0415
    return await replicas.move_state(settings, to, password)
