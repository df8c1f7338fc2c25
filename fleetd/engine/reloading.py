"""Reading the config again: the new one whole, or the old one and why; the same for who acts and who stands by."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from datetime import datetime
from pathlib import Path
from typing import Protocol

import structlog

from fleetd.config.reading import placed
from fleetd.engine.faults import Faults
from fleetd.engine.ports import Notifier
from fleetd.model.errors import ConfigError, Fault, OrderDeclined
from fleetd.model.settings import ProviderSettings, Settings

log = structlog.get_logger(__name__)

FOR_GOOD = ("poll", "state_dir", "state", "state_password", "listen")
"""Keys of ``[daemon]`` that only a start reads; so are all of ``[provider]``."""

_OTHERWISE = {
    "daemon.state": "changed: only a start reads it, and a replica that is started on another database acts beside "
    "those that run: stop all of them first"
}


@dataclass(frozen=True, slots=True)
class Rejection:
    """That a reload was rejected."""

    why: str
    at: datetime


class Ended(Protocol):
    """As ``Meter.reload``."""

    def __call__(self, *, ok: bool) -> None:
        """A reload has ended."""
        ...


class Reloading:
    """What every reload goes through.

    Args:
        load: reads the config anew.
        notifier: told that a reload begins and ends.
        faults: told of what is no fault of the config's.
        ended: told of each whether it went well.
        now: wall time, from the Clock port.
    """

    def __init__(
        self,
        load: Callable[[], Settings],
        notifier: Notifier,
        faults: Faults,
        ended: Ended,
        now: Callable[[], datetime],
    ) -> None:
        self._load = load
        self._notifier = notifier
        self._faults = faults
        self._ended = ended
        self._now = now
        self.rejection: Rejection | None = None
        """Of the last one; None after a good one."""

    def read(self, old: Settings) -> Settings:
        """The config as it is now, in place of ``old``.

        Raises:
            ConfigError: it has faults, or changes what only a start reads; ``old`` stays.
            OrderDeclined: this process keeps to the config that it began with.
        """
        self._notifier.reloading()
        try:
            new = self._load()
            _refuse_unchangeable(old, new)
        except ConfigError as error:
            self._rejected(str(error))
            log.error(  # noqa: TRY400 - the faults are the message
                "config.reload_rejected", faults=[str(f) for f in error.faults], config=error.source
            )
            raise
        except OrderDeclined:
            raise
        except Exception as error:
            why = f"a fault in fleetd kept it from being read: {self._faults.saw('reload', error)}"
            self._rejected(why)
            raise ConfigError(old.source, (Fault(old.source, why),)) from error
        finally:
            self._notifier.ready()
        self.rejection = None
        self._ended(ok=True)
        return new

    def _rejected(self, why: str) -> None:
        self.rejection = Rejection(why, self._now())
        self._ended(ok=False)


def _refuse_unchangeable(old: Settings, new: Settings) -> None:
    changed = _changed("provider", [f.name for f in fields(ProviderSettings)], old.provider, new.provider)
    changed += _changed("daemon", FOR_GOOD, old.daemon, new.daemon)
    if changed:
        faults = [Fault(path, _OTHERWISE.get(path, "changed: restart fleetd to use it")) for path in changed]
        raise ConfigError(new.source, placed(faults, Path(new.source)))


def _changed(table: str, keys: Iterable[str], old: object, new: object) -> list[str]:
    return [f"{table}.{key}" for key in keys if getattr(old, key) != getattr(new, key)]
