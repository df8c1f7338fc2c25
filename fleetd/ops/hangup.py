"""A SIGHUP that comes before the daemon can read its config again: kept until it can, where it would end the process.

Imports nothing that takes time.
"""

from __future__ import annotations

import signal

_came: list[int] = []
_kept: list[bool] = []


def keep_hangups() -> None:
    """From now on a SIGHUP is remembered. Call it on the main thread, before anything slow."""
    signal.signal(signal.SIGHUP, lambda number, _frame: _came.append(number))
    _kept.append(True)


def ignore_hangups() -> None:
    """The daemon that kept them is on its way out: there is nothing to read any more."""
    if _kept:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def hangup_came() -> bool:
    """Whether one came since this was last asked."""
    came = bool(_came)
    _came.clear()
    return came
