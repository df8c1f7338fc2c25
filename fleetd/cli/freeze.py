"""``fleetd freeze`` and ``unfreeze``: nothing is done to a fleet, or to all of them, until the freeze ends."""

from __future__ import annotations

from typing import Annotated

import typer

from fleetd import wiring
from fleetd.cli.options import ConfigOption, JsonOption, StateDirOption, examples
from fleetd.cli.vetoes import ForOption, ReasonOption, VerbOption, give, lift, must_be_known
from fleetd.model.journal import VetoOrder
from fleetd.model.reasons import Verb, VetoKind

FREEZE_EXAMPLES = examples(
    'fleetd freeze training --for 2h --reason "incident 42"',
    'fleetd freeze --for 30m --reason "provider maintenance"  # everything',
    'fleetd freeze training --verb stop --verb destroy --for 8h --reason "long run"',
)
UNFREEZE_EXAMPLES = examples("fleetd unfreeze training", "fleetd unfreeze  # everything that was frozen as a whole")
Fleet = Annotated[str | None, typer.Argument(metavar="[FLEET]", help="A fleet's name; without one: everything.")]


def freeze(
    lasts: ForOption,
    reason: ReasonOption,
    fleet: Fleet = None,
    verb: VerbOption = None,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Forbid everything, or some verbs, on a fleet or on all of them. In force when this returns."""
    settings = wiring.load_for_daemon(wiring.find_config(config), state_dir)
    if fleet is not None:
        must_be_known(settings, fleet)
    verbs = frozenset(verb) if verb else frozenset(Verb)
    give(VetoOrder(VetoKind.FREEZE, fleet, verbs, reason, lasts), config, state_dir, as_json=as_json)


def unfreeze(
    fleet: Fleet = None,
    config: ConfigOption = None,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """End the freeze of a fleet, or of everything."""
    lift(VetoKind.FREEZE, fleet, config, state_dir, as_json=as_json)
