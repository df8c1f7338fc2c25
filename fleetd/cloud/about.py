"""Whether an answer is about what was asked. One that names something else is not understood, whatever its status.

An answer can come to the wrong call: a proxy mixes two up, a cache gives an old one, a connection has one too many.
"""

from __future__ import annotations

from collections.abc import Iterator

from fleetd.cloud.port import Json
from fleetd.model.errors import Ambiguous, MalformedAnswer


def must_be_about(machine_id: str, content: object, *, operation: str, write: bool = False) -> None:
    """Check the answer to a call about one machine; one that names none passes.

    Raises:
        MalformedAnswer: the answer to a read names another machine.
        Ambiguous: the answer to a write does.
    """
    for named in _named(content):
        if named != machine_id:
            kind = Ambiguous if write else MalformedAnswer
            raise kind(f"asked about {machine_id}, answered about {named}", operation=operation)


def must_be_made(name: object, made: Json) -> None:
    """Check the machine in the answer to a create.

    Raises:
        Ambiguous: it has another name than was asked for.
    """
    if made.get("name") != name:
        raise Ambiguous(f"asked for {name}, answered with {made.get('name')}", operation="create")


def _named(content: object) -> Iterator[object]:
    """The ids of machines in an answer: a machine, a thing of a machine's, or v1's ``data`` and ``event``."""
    if not isinstance(content, dict):
        return
    if "machineId" in content:
        yield content["machineId"]
    elif "event" in content or "data" in content:
        yield from _named(content.get("data"))
        event = content.get("event")
        if isinstance(event, dict) and event.get("machineId") is not None:  # its id is its own
            yield event["machineId"]
    elif content.get("id") is not None:
        yield content["id"]
