"""``fleetd adopt``: a person confirms that a machine is fleetd's."""

from __future__ import annotations

import anyio

from fleetd import wiring
from fleetd.cli.failures import usage
from fleetd.cli.options import ConfigOption, JsonOption, StateDirOption, examples
from fleetd.cli.output import say, show_json
from fleetd.cli.vetoes import MachineName, ReasonOption
from fleetd.model.report import document
from fleetd.ops.escape import printable

ADOPT_EXAMPLES = examples('fleetd adopt training-7k3mqggq --reason "ours: the journal was lost on Monday"')


def adopt(
    machine: MachineName,
    reason: ReasonOption,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Confirm that a recovered machine is fleetd's, or one that a pattern of adopt took.

    It is ours already, by its name or by that pattern, and is counted, started and stopped; confirmed it may be
    destroyed like every other machine of its fleet. A machine that is nobody's goes into adopt in the config.
    """
    settings = wiring.load_for_daemon(wiring.find_config(config), state_dir)
    with usage():
        adopted = anyio.run(wiring.adopt, settings, machine, reason)
    if as_json:
        show_json(document(adopted))
        return
    name, fleet = printable(adopted.name), printable(adopted.fleet)
    done = "is confirmed" if adopted.confirmed else "needs no confirmation; nothing was changed: it is"
    say(f"{name} {done} as a machine of fleet {fleet}")
