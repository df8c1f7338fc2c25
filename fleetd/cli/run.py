"""``fleetd run``: the daemon in the foreground. ``reload`` has it read its config again, ``step-down`` hand over."""

from __future__ import annotations

import anyio

from fleetd import wiring
from fleetd.cli.logs import log_to_stderr
from fleetd.cli.options import ConfigOption, JsonOption, StateDirOption, examples
from fleetd.cli.output import say, show_json
from fleetd.ops.escape import printable


def run(config: ConfigOption = None) -> None:
    """Keep every fleet at its target, in the foreground, until SIGTERM or Ctrl-C.

    Log lines go to stderr: JSON off a terminal, coloured on one. SIGHUP, or fleetd reload, reads the config again.
    """
    path = wiring.find_config(config)
    settings = wiring.load_settings(path)
    log_to_stderr("info")

    async def keep() -> None:
        await wiring.run_daemon(settings, lambda: wiring.reload_settings(path))

    wiring.run_awake(keep)


def reload(config: ConfigOption = None, state_dir: StateDirOption = None) -> None:
    """Have the running daemon read its config again: swapped whole, or not at all when it has a fault.

    Of several replicas it is the one on this host, whether it acts or stands by: each reads its own file.
    """
    settings = wiring.load_for_daemon(wiring.find_config(config), state_dir, of_standby=True)
    read = anyio.run(wiring.reload, settings)
    again = f"has read {printable(read.config or settings.source)} again"
    if read.replica is None:
        say(f"the daemon {again}")
        return
    who = printable(read.replica)
    say(f"the replica that acts ({who}) {again}" if read.acts else f"the replica that stands by here ({who}) {again}")


def step_down(config: ConfigOption = None, state_dir: StateDirOption = None, as_json: JsonOption = False) -> None:
    """Have the replica that acts hand over to one that stands by; it stands by itself then.

    It lets the calls under way end, gives the lease back, and ends; its unit starts it again. Ends with 75 where no
    replica stands by, or where the journal is in a file, which one daemon alone can act on.
    """
    settings = wiring.load_for_daemon(wiring.find_config(config), state_dir)
    before, now = anyio.run(wiring.step_down, settings)
    if as_json:
        show_json({"stepped_down": before, "holder": now})
        return
    if now is None:
        say(f"{printable(before)} steps down; fleetd status says who acts then")
        return
    say(f"{printable(before)} has stepped down: {printable(now)} acts")


RUN_EXAMPLES = examples("fleetd run -c fleetd.toml", "systemctl start fleetd  # the same, by deploy/fleetd.service")

RELOAD_EXAMPLES = examples("fleetd reload -c fleetd.toml", "systemctl reload fleetd  # the same")

STEP_DOWN_EXAMPLES = examples("fleetd step-down", "fleetd step-down && sudo apt upgrade  # on the host that acted")
