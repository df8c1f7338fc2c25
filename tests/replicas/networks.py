"""Hosts that are network namespaces: each has one cable to the database and one to the provider, and both can be cut.

What is cut is the link itself: nothing answers any more, and nobody is told.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CABLES = ("database", "provider")


class Network:
    """One host. Its addresses are this process's own, so that two runs at a time do not meet."""

    def __init__(self, name: str, number: int) -> None:
        self.name = f"fleetd-{os.getpid()}-{name}"
        self.within = ("ip", "netns", "exec", self.name)
        """Before a command: run it on this host."""
        self._names = Path("/etc/netns") / self.name
        """What ``ip netns exec`` puts over /etc: the provider is localhost there, for plain http reaches no other."""
        self._links = {cable: f"fd{os.getpid()}{name}{cable[0]}"[-15:] for cable in CABLES}
        place = os.getpid() % 4096 * 4 + number * 2
        self._nets = {
            cable: f"10.{192 + (place + at) // 256}.{(place + at) % 256}" for at, cable in enumerate(CABLES)
        }

    def far(self, cable: str) -> str:
        """The address at the other end of a cable, where the database or the provider is reached."""
        return f"{self._nets[cable]}.1"

    def lay(self) -> None:
        """Make the host and its cables.

        Raises:
            CalledProcessError, OSError: namespaces cannot be had here.
        """
        self._names.mkdir(parents=True)
        (self._names / "hosts").write_text(f"{self.far('provider')} localhost\n")
        _ip("netns", "add", self.name)
        _ip("-n", self.name, "link", "set", "lo", "up")
        for cable, link in self._links.items():
            _ip("link", "add", link, "type", "veth", "peer", "name", cable, "netns", self.name)
            _ip("address", "add", f"{self.far(cable)}/24", "dev", link)
            _ip("-n", self.name, "address", "add", f"{self._nets[cable]}.2/24", "dev", cable)
            _ip("-n", self.name, "link", "set", cable, "up")
            self.mend(cable)

    def cut(self, cable: str) -> None:
        _ip("link", "set", self._links[cable], "down")

    def mend(self, cable: str) -> None:
        _ip("link", "set", self._links[cable], "up")

    def remove(self) -> None:
        for link in self._links.values():
            with suppress(subprocess.CalledProcessError):
                _ip("link", "delete", link)
        with suppress(subprocess.CalledProcessError):
            _ip("netns", "delete", self.name)
        shutil.rmtree(self._names, ignore_errors=True)


@contextmanager
def networks(names: str) -> Iterator[dict[str, Network]]:
    """A host for each letter.

    Raises:
        CalledProcessError, OSError: namespaces cannot be had here.
    """
    made = {name: Network(name, number) for number, name in enumerate(names)}
    try:
        for network in made.values():
            network.lay()
        yield made
    finally:
        for network in made.values():
            network.remove()


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
