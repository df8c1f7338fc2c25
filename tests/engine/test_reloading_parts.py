"""Reading the config again: what of it may change, who is told, and what is remembered of one that was rejected."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from fleetd.engine.reloading import Rejection, Reloading
from fleetd.model.errors import ConfigError, Fault, OrderDeclined
from fleetd.model.fleet import Costs
from fleetd.model.settings import DaemonSettings, ProviderSettings, Settings
from tests.support.build import NOW, fleet
from tests.support.rig import settings

P = pytest.param
OLD = settings()
WRONG = ConfigError("new.toml", (Fault("fleets.a.target", "must be 0 or more", 4),))
KEEPS = OrderDeclined("this process keeps to its config")


class World:
    """Those that are told of a reload; ``new``: what the file says, or why it cannot be read."""

    def __init__(self, new: Any = OLD) -> None:
        self.new, self.told = new, list[Any]()
        notifier: Any = SimpleNamespace(
            reloading=lambda: self.told.append("reloading"), ready=lambda: self.told.append("ready")
        )
        faults: Any = SimpleNamespace(saw=self._saw)
        self.reloading = Reloading(self._load, notifier, faults, self._ended, lambda: NOW)

    def _load(self) -> Settings:
        self.told.append("load")
        if isinstance(self.new, Exception):
            raise self.new
        return self.new  # type: ignore[no-any-return]

    def _ended(self, *, ok: bool) -> None:
        self.told.append(ok)

    def _saw(self, where: str, error: Exception) -> str:
        self.told.append((where, str(error)))
        return f"{where}: {error}"

    def rejected(self) -> ConfigError:
        with pytest.raises(ConfigError) as caught:
            self.reloading.read(OLD)
        return caught.value


def changed(what: type, old: Any) -> dict[str, Any]:
    """``old`` with each of its fields changed, by the field's name."""
    others: dict[str, Any] = {"simulator": {"speed": 2.0}, "state_dir": Path("/elsewhere"), "api_key": object()}
    found = {}
    for field in fields(what):
        was = getattr(old, field.name)
        now = was * 2 if isinstance(was, int | float | timedelta) else others.get(field.name, "another")
        found[field.name] = replace(old, **{field.name: now})
    return found


STARTS = {"poll", "state_dir", "state", "state_password", "listen"}
PROVIDERS = changed(ProviderSettings, OLD.provider)
DAEMONS = changed(DaemonSettings, OLD.daemon)


@pytest.mark.parametrize(
    ("new", "path"),
    [
        *(P(replace(OLD, provider=p), f"provider.{name}", id=f"provider {name}") for name, p in PROVIDERS.items()),
        *(P(replace(OLD, daemon=d), f"daemon.{n}", id=f"daemon {n}") for n, d in DAEMONS.items() if n in STARTS),
    ],
)
def test_what_only_a_start_reads_is_refused_with_its_key(new: Settings, path: str) -> None:
    world = World(new)
    (fault,) = world.rejected().faults
    assert fault.path == path
    other = "changed: only a start reads it, and a replica that is started on another database"
    assert fault.problem.startswith(other if path == "daemon.state" else "changed: restart fleetd to use it")


@pytest.mark.parametrize(
    "new",
    [
        P(OLD, id="nothing"),
        P(replace(OLD, fleets=(fleet(target=9),), costs=Costs(), source="new.toml"), id="the fleets"),
        *(P(replace(OLD, daemon=d), id=f"daemon {n}") for n, d in DAEMONS.items() if n not in STARTS),
    ],
)
def test_what_else_has_changed_is_taken_whole(new: Settings) -> None:
    world = World(new)
    assert world.reloading.read(OLD) is new
    assert world.told == ["reloading", "load", "ready", True]
    assert world.reloading.rejection is None


def test_each_key_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "fleetd.toml"
    path.write_text('[provider]\nkind = "x"\nmax_concurrency = 9\n\n[daemon]\nlisten = ""\n')
    provider, daemon = replace(OLD.provider, max_concurrency=9), replace(OLD.daemon, listen="")
    error = World(replace(OLD, provider=provider, daemon=daemon, source=str(path))).rejected()
    assert error.source == str(path)
    assert [(f.path, f.line) for f in error.faults] == [("provider.max_concurrency", 3), ("daemon.listen", 6)]


def test_a_config_with_faults_is_rejected_and_that_is_remembered_until_a_good_one() -> None:
    world = World(WRONG)
    with capture_logs() as logs:
        assert world.rejected() is WRONG
    assert world.told == ["reloading", "load", False, "ready"]
    assert logs == [
        {
            "event": "config.reload_rejected", "log_level": "error", "config": "new.toml",
            "faults": ["line 4: fleets.a.target: must be 0 or more"],
        }
    ]  # fmt: skip
    assert world.reloading.rejection == Rejection(str(WRONG), NOW)
    world.new = OLD
    assert world.reloading.read(OLD) is OLD
    assert world.reloading.rejection is None


def test_a_process_that_keeps_to_its_config_says_so_and_has_rejected_none() -> None:
    world = World(KEEPS)
    with pytest.raises(OrderDeclined):
        world.reloading.read(OLD)
    assert world.told == ["reloading", "load", "ready"]
    assert world.reloading.rejection is None


def test_a_fault_of_fleetd_s_own_is_said_as_such_and_rejects_it() -> None:
    world = World(ValueError("odd"))
    error = world.rejected()
    words = "a fault in fleetd kept it from being read: reload: odd"
    assert (error.source, error.faults) == ("test.toml", (Fault("test.toml", words),))
    assert isinstance(error.__cause__, ValueError)
    assert world.told == ["reloading", "load", ("reload", "odd"), False, "ready"]
    assert world.reloading.rejection == Rejection(words, NOW)
