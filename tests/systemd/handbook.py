"""docs/operations.md: its commands, to be run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

from tests.systemd.machine import Machine

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
ELSEWHERE = "## Run several replicas\n"
"""A section whose commands need a database, which the booted system has not: ``tests/replicas`` and
``tests/cli/test_cli_state_move.py`` do what it says."""


def commands() -> list[str]:
    """Every command line in the ``sh`` blocks, without its comment."""
    before, _, after = OPERATIONS.read_text().partition(ELSEWHERE)
    text = before + after.partition("\n## ")[2]
    blocks = re.findall(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"(^|\s{2,})# .*", "", line).rstrip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


class Handbook:
    """Runs documented commands on a machine whose project lies in ``tree``; remembers which."""

    def __init__(self, machine: Machine, tree: str, **environment: str) -> None:
        self._machine = machine
        self._tree = tree
        self._environment = environment
        self._left = set(commands())

    @property
    def left(self) -> set[str]:
        """Commands that nobody has run yet."""
        return self._left

    def run(self, command: str, *, stdin: str | None = None, **replace: str) -> str:
        """Run one command as root.

        Args:
            command: as it stands in the document.
            stdin: what ``sudoedit`` leaves in the file.
            replace: what is written in capitals in the document, and what stands for it here.
        """
        assert command in commands(), f"docs/operations.md does not say: {command}"
        self._left.discard(command)
        for placeholder, text in replace.items():
            assert placeholder in command
            command = command.replace(placeholder, text)
        command = re.sub(r"\bsudo (?=\w)", "", command)
        if stdin is not None:
            assert command.startswith("sudoedit ")
            file = command.removeprefix("sudoedit ")
            assert self._machine.run(f"test -e {file}").returncode == 0, "it is there to be edited"
            command = f"cat >{file} <<'END'\n{stdin}\nEND"
        return self._machine.sh(f"cd {self._tree} && {command}", **self._environment)
