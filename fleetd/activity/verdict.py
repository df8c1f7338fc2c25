"""The JSON that exec and http sources answer with: ``{"idle": true, "evidence": "no job since 18:02"}``."""

from __future__ import annotations

import msgspec

from fleetd.activity.asking import Said
from fleetd.model.singlekeys import refuse_doubled_keys
from fleetd.planner.idle import Activity

LONGEST_EVIDENCE = 300
"""Characters of evidence that are kept."""


class _Verdict(msgspec.Struct):
    idle: bool
    evidence: str = ""
    machine: str | msgspec.UnsetType = msgspec.UNSET
    id: str | msgspec.UnsetType = msgspec.UNSET


def parse_verdict(body: bytes, machine_id: str) -> Said:
    """A verdict and its evidence; unknown for anything but a JSON object with a boolean ``idle``.

    An answer may say whose it is, as ``machine`` or ``id``: the verdict of another machine, or of none (null), says
    nothing of this one. Nor does one that says a thing twice.
    """
    try:
        found = msgspec.json.decode(body, type=_Verdict)
        refuse_doubled_keys(body)
    except (msgspec.MsgspecError, ValueError) as error:
        return Activity.UNKNOWN, f"not the JSON that was asked for: {error}"
    except RecursionError:
        return Activity.UNKNOWN, "not the JSON that was asked for: nested too deep"
    other = next((told for told in (found.machine, found.id) if told not in {msgspec.UNSET, machine_id}), None)
    if other is not None:
        return Activity.UNKNOWN, f"the answer is about {other[:60]!r}, and {machine_id} was asked about"
    evidence = found.evidence[:LONGEST_EVIDENCE] or ("idle" if found.idle else "in use")
    return (Activity.IDLE if found.idle else Activity.ACTIVE), evidence
