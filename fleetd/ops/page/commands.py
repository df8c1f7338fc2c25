"""Commands to copy into a shell: names are quoted for it, and one that it cannot be given is left out."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from fleetd.ops.escape import printable
from fleetd.ops.page.html import Markup, tag
from fleetd.ops.page.scene import Scene

LONGEST = 200
"""Characters of a word that a person would copy."""


def commands(scene: Scene, subject: str, lines: Sequence[Sequence[str]]) -> Markup | None:
    """A list of them, for the config that the daemon runs on; none where a word cannot be typed.

    Args:
        scene: what is shown.
        subject: the name or id that they are about; one that begins with a dash is taken for an option.
        lines: each its words.
    """
    if subject.startswith("-"):
        return None
    config = scene.known.config or scene.report.daemon.config
    whole = [[*words, "-c", config] if config else [*words] for words in lines]
    typed = [shlex.join(words) for words in whole if all(_can_be_typed(word) for word in words)]
    if not typed:
        return None
    rows = [tag("li", tag("code", line)) for line in typed]
    return tag("section", tag("h2", "Commands"), tag("ul", rows, class_="commands"), id="commands")


def _can_be_typed(word: str) -> bool:
    return len(word) <= LONGEST and printable(word, LONGEST) == word
