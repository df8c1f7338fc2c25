"""``fleetd hold`` and ``release``: nothing is done to one machine until its hold ends."""

from __future__ import annotations

from fleetd.cli.options import ConfigOption, JsonOption, StateDirOption, examples
from fleetd.cli.vetoes import ForOption, MachineName, ReasonOption, VerbOption, give, lift
from fleetd.model.journal import VetoOrder
from fleetd.model.reasons import Verb, VetoKind

HOLD_EXAMPLES = examples(
    'fleetd hold training-7k3mqggq --for 4h --reason "debugging with Ada"',
    'fleetd hold training-7k3mqggq --verb stop --verb destroy --for 8h --reason "long run"',
)
RELEASE_EXAMPLES = examples("fleetd release training-7k3mqggq")


def hold(
    machine: MachineName,
    lasts: ForOption,
    reason: ReasonOption,
    verb: VerbOption = None,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forbid everything, or some verbs, on one machine until the hold ends. In force when this returns."""
    verbs = frozenset(verb) if verb else frozenset(Verb)
    give(VetoOrder(VetoKind.HOLD, machine, verbs, reason, lasts), config, state_dir, as_json=as_json)


def release(
    machine: MachineName,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """End the hold on one machine."""
    lift(VetoKind.HOLD, machine, config, state_dir, as_json=as_json)
