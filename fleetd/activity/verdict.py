"""The JSON that exec and http sources answer with: ``{"idle": true, "evidence": "no job since 18:02"}``."""

from __future__ import annotations

import msgspec

from fleetd.planner.idle import Activity

LONGEST_EVIDENCE = 300
"""Characters of evidence that are kept."""


class _Verdict(msgspec.Struct):
    idle: bool
    evidence: str = ""


def parse_verdict(body: bytes) -> tuple[Activity, str]:
    """A verdict and its evidence; unknown for anything but a JSON object with a boolean ``idle``."""
    try:
        found = msgspec.json.decode(body, type=_Verdict)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        return Activity.UNKNOWN, f"not the JSON that was asked for: {error}"
    evidence = found.evidence[:LONGEST_EVIDENCE] or ("idle" if found.idle else "in use")
    return (Activity.IDLE if found.idle else Activity.ACTIVE), evidence
