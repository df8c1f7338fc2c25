"""Where a fleet, a machine and their histories are: addresses that no name from outside can bend.

Relative to the page that has them, so that the whole of it can stand under another path, behind a proxy.
"""

from __future__ import annotations

import hashlib
from urllib.parse import quote

from fleetd.model.report import MachineReport

LONGEST = 400
"""Characters of one name in an address; what is longer goes by its digest."""


def fleet_path(name: str) -> str:
    """``fleet/NAME``, from the page at ``/``."""
    return f"fleet/{_segment(name)}"


def machine_path(machine: MachineReport) -> str:
    """``machine/ID``; by its name while nobody knows its id."""
    return machine_word_path(machine.id or machine.name)


def machine_word_path(word: str) -> str:
    """``machine/WORD``: an id, or a name."""
    return f"machine/{_segment(word)}"


def history_path(*, fleet: str | None = None, machine: str | None = None, since: str | None = None) -> str:
    """``history?...`` with these filters."""
    filters = {"fleet": fleet, "machine": machine, "since": since}
    asked = [f"{key}={_segment(word)}" for key, word in filters.items() if word]
    return f"history?{'&'.join(asked)}" if asked else "history"


def says(said: str, word: str) -> bool:
    """Whether a part of an address, decoded, means this name or id."""
    return said == word or (said.startswith("~") and said == _address(word))


def _segment(word: str) -> str:
    return quote(_address(word), safe="")


def _address(word: str) -> str:
    """The word; of one that an address cannot hold, "~" and its digest.

    A browser takes a dot or two for a step up the path, whatever they are spelt as.
    """
    if word and set(word) != {"."} and not word.startswith("~"):
        try:
            if len(quote(word, safe="")) <= LONGEST:
                return word
        except UnicodeEncodeError:
            pass
    return f"~{hashlib.sha256(word.encode(errors='surrogatepass')).hexdigest()[:24]}"
