"""The one place where everything is put together: ports meet their adapters here, and nowhere else.

A name is imported when it is first used: a command that asks a running daemon needs neither engine nor simulator.
"""

from __future__ import annotations

from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fleetd.wiring.daemon_lookup import load_for_daemon
    from fleetd.wiring.dry_run import adoption_advice, machine_meant, month_bills, plan_once
    from fleetd.wiring.extra import database_advice, move_state
    from fleetd.wiring.loops import run_awake
    from fleetd.wiring.orders import adopt, lift, order_machine, reload, step_down, veto
    from fleetd.wiring.places import find_config, load_settings, reload_settings, state_path
    from fleetd.wiring.provider import (
        check_online,
        open_cloud,
        open_machines_api,
        serve_simulator,
        within,
    )
    from fleetd.wiring.queries import current_status, journal_mark, knows_machine, read_history
    from fleetd.wiring.running import Engine, assemble, converge, run_daemon
    from fleetd.wiring.secrecy import SECRETS

_HOMES = MappingProxyType(
    {
        "dry_run": ("adoption_advice", "machine_meant", "month_bills", "plan_once"),
        "queries": ("current_status", "journal_mark", "knows_machine", "read_history"),
        "orders": ("adopt", "lift", "order_machine", "reload", "step_down", "veto"),
        "places": ("find_config", "load_settings", "reload_settings", "state_path"),
        "provider": ("check_online", "open_cloud", "open_machines_api", "serve_simulator", "within"),
        "daemon_lookup": ("load_for_daemon",),
        "extra": ("database_advice", "move_state"),
        "loops": ("run_awake",),
        "running": ("Engine", "assemble", "converge", "run_daemon"),
        "secrecy": ("SECRETS",),
    }
)
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> object:
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME_OF[name]}"), name)


__all__ = [
    "SECRETS",
    "Engine",
    "adopt",
    "adoption_advice",
    "assemble",
    "check_online",
    "converge",
    "current_status",
    "database_advice",
    "find_config",
    "journal_mark",
    "knows_machine",
    "lift",
    "load_for_daemon",
    "load_settings",
    "machine_meant",
    "month_bills",
    "move_state",
    "open_cloud",
    "open_machines_api",
    "order_machine",
    "plan_once",
    "read_history",
    "reload",
    "reload_settings",
    "run_awake",
    "run_daemon",
    "serve_simulator",
    "state_path",
    "step_down",
    "veto",
    "within",
]
