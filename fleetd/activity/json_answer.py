"""The JSON that exec and http sources answer with: ``{"idle": true, "evidence": "no job since 18:02"}``."""

from __future__ import annotations

import msgspec

from fleetd.activity.asking import Said
from fleetd.model.reasons import Activity
from fleetd.model.singlekeys import refuse_doubled_keys

LONGEST_EVIDENCE = 300
"""Characters of evidence that are kept."""


_WHOSE = frozenset({"machine", "id", "machineid"})


class _Verdict(msgspec.Struct):
    idle: bool
    evidence: str = ""


def parse_verdict(body: bytes, machine_id: str) -> Said:
    """A verdict and its evidence; unknown for anything but a JSON object with a boolean ``idle``.

    An answer may say whose it is, as ``machine``, ``id`` or the vendor's ``machineId``, in any spelling: the verdict
    of another machine, or of none (null), says nothing of this one. Nor does one that says a thing twice, or an
    ``error``.
    """
    try:
        found = msgspec.json.decode(body, type=_Verdict)
        told = refuse_doubled_keys(body)
    except (msgspec.MsgspecError, ValueError) as error:
        return Activity.UNKNOWN, f"not the JSON that was asked for: {error}"
    except RecursionError:
        return Activity.UNKNOWN, "not the JSON that was asked for: nested too deep"
    keys = [_plain(key) for key in told]
    if len(set(keys)) < len(keys):
        return Activity.UNKNOWN, "not the JSON that was asked for: a key stands there in two spellings"
    other = next((str(of) for key, of in told.items() if _plain(key) in _WHOSE and of != machine_id), None)
    if other is not None:
        return Activity.UNKNOWN, f"the answer is about {other[:60]!r}, and {machine_id} was asked about"
    failed = next((str(words) for key, words in told.items() if words and _plain(key) == "error"), None)
    if failed is not None:
        return Activity.UNKNOWN, f"it could not tell: {failed[:LONGEST_EVIDENCE]}"
    evidence = found.evidence[:LONGEST_EVIDENCE] or ("idle" if found.idle else "in use")
    return (Activity.IDLE if found.idle else Activity.ACTIVE), evidence


def _plain(key: str) -> str:
    """A key as people mean it, whichever way they spell it."""
    return key.casefold().replace("_", "").replace("-", "")
