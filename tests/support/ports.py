"""Ports of the loopback interface that nobody else takes meanwhile: other tests run beside this one."""

from __future__ import annotations

import itertools
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

# Below what Linux hands out by itself (from 32,768 on): no connection, no other server gets one of these by chance.
_FIRST, _EACH, _WORKERS = 12_000, 1_000, 20
_WORKER = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
_NEXT = itertools.count(os.getpid())


def free_port() -> int:
    """A port for a server that is still to come. Each worker of a test run draws from its own thousand."""
    for _ in range(_EACH):
        port = _FIRST + _WORKER % _WORKERS * _EACH + next(_NEXT) % _EACH
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        return port
    raise OSError(f"no port is free among the {_EACH} from {_FIRST + _WORKER % _WORKERS * _EACH} on")


@contextmanager
def nobody_listens() -> Iterator[int]:
    """A port where connections are refused, for as long as the block lasts: bound, so that no server gets it."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield held.getsockname()[1]
