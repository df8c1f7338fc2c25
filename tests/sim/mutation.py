"""What a broken build is, and how it is put in place.

A mutation replaces a piece of fleetd's source by another, in this process and for as long as the block lasts. Each
comes with the short story in which the promise hangs on that piece.
"""

from __future__ import annotations
import __future__ as future

import inspect
import sys
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from tests.sim.spec import Beat, FleetSpec
from tests.sim.story import CALM, DAY, Story

HOUR = 3600.0
LENGTH = 2 * HOUR + CALM
FLEET = FleetSpec("training", target=6, stops="50%")


def story(*beats: Beat, fleets: tuple[FleetSpec, ...] = (FLEET,), **fields: Any) -> Story:
    """A short story at noon, UTC."""
    fields.setdefault("rules", ())
    fields.setdefault("foreign", ())
    fields.setdefault("interval", 120)
    fields.setdefault("page_size", None)
    return Story(
        seed="mutation",
        machines=8,
        days=LENGTH / DAY,
        poll=15,
        vendor_timer=False,
        latency=(0.005, 0.02),
        fleets=fleets,
        beats=beats,
        epoch_offset=12 * HOUR,
        **fields,
    )


@dataclass(frozen=True)
class Mutation:
    """A broken build."""

    promise: int
    name: str
    piece: Any
    """The function, method or property that is broken."""
    old: str
    new: str
    story: Story = field(default_factory=story)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """With the piece replaced wherever it is known by name."""
        with rewritten(self.piece, self.old, self.new):
            yield


@contextmanager
def rewritten(piece: Any, old: str, new: str) -> Iterator[None]:
    """A function with a part of its source replaced; the part must be there."""
    function = piece.fget if isinstance(piece, property) else piece
    function = inspect.unwrap(getattr(function, "__func__", function))
    source = textwrap.dedent(inspect.getsource(function))
    assert old in source, f"{function.__qualname__} does not read {old!r} any more: mend the mutation"
    module = sys.modules[function.__module__]
    text = source.replace(old, new)
    code = compile(text, inspect.getfile(function), "exec", flags=future.annotations.compiler_flag, dont_inherit=True)
    made: dict[str, Any] = {}
    exec(code, module.__dict__, made)
    owner, _, name = function.__qualname__.rpartition(".")
    known_in = [getattr(module, owner)] if owner else [m for m in _modules() if getattr(m, name, None) is function]
    with ExitStack() as stack:
        for cached in [c for c in vars(module).values() if hasattr(c, "cache_clear")]:
            cached.cache_clear()
            stack.callback(cached.cache_clear)
        for place in known_in:
            stack.enter_context(mock.patch.object(place, name, made[name]))
        yield


def _modules() -> list[Any]:
    return [module for name, module in list(sys.modules.items()) if name.startswith("fleetd.")]
