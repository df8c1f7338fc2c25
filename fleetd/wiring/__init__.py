"""The one place where everything is put together: ports meet their adapters here, and nowhere else."""

from fleetd.wiring.looking import (
    current_status,
    journal_mark,
    knows_machine,
    machine_meant,
    month_bills,
    plan_once,
    read_history,
)
from fleetd.wiring.ordering import adopt, lift, order_machine, veto
from fleetd.wiring.places import find_config, load_settings, reload_settings, state_path
from fleetd.wiring.provider import (
    ONE_SHOT_LIMIT,
    SECRETS,
    check_online,
    open_cloud,
    open_machines_api,
    serve_simulator,
)
from fleetd.wiring.reaching import ask as order
from fleetd.wiring.reaching import load_for_daemon
from fleetd.wiring.running import Engine, assemble, converge, run_daemon

__all__ = [
    "ONE_SHOT_LIMIT",
    "SECRETS",
    "Engine",
    "adopt",
    "assemble",
    "check_online",
    "converge",
    "current_status",
    "find_config",
    "journal_mark",
    "knows_machine",
    "lift",
    "load_for_daemon",
    "load_settings",
    "machine_meant",
    "month_bills",
    "open_cloud",
    "open_machines_api",
    "order",
    "order_machine",
    "plan_once",
    "read_history",
    "reload_settings",
    "run_daemon",
    "serve_simulator",
    "state_path",
    "veto",
]
