"""Sharing out what a pass may call among its fleets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from fleetd.model.plan import Action, Skip
from fleetd.model.reasons import Reason, Verb

LOOK_AND_CALL = 2
"""Requests of a write to a machine that is there; a create needs no look."""


def share_out(actions: Sequence[Action], requests: int) -> tuple[list[Action], list[Skip]]:
    """What is called in this pass, fleets in turn and operators' orders first; the rest is left to the next one.

    Every fleet has one action at least, whatever it costs.
    """
    queues: dict[str, list[Action]] = defaultdict(list)
    for action in actions:
        queues[action.fleet].append(action)
    for queue in queues.values():
        queue.sort(key=lambda a: a.reason is not Reason.OPERATOR_REQUEST)
    kept: list[Action] = []
    left = requests
    for turn in range(max(map(len, queues.values()), default=0)):
        for queue in queues.values():
            if turn < len(queue):
                cost = 1 if queue[turn].verb is Verb.CREATE else LOOK_AND_CALL
                if turn == 0 or queue[turn].reason is Reason.OPERATOR_REQUEST or left >= cost:
                    kept.append(queue[turn])
                    left -= cost
    chosen = {id(action) for action in kept}
    return kept, [
        Skip(a.fleet, a.verb, Reason.CALLS_USED_UP, a.machine, a.name) for a in actions if id(a) not in chosen
    ]
