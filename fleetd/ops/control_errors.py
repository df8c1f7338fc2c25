"""How asking a running daemon fails."""

from __future__ import annotations

from fleetd.model.errors import FleetdError


class NoDaemon(FleetdError):
    """Nobody to ask on the control socket."""


class StandsBy(NoDaemon):
    """A replica listens on the control socket that does not act; the text says which."""


class NotAllowed(NoDaemon):
    """This user may not talk to the daemon."""


class NoAnswer(NoDaemon):
    """Somebody listens on the control socket, and does not answer as a daemon does."""


class NotReached(NoAnswer):
    """A process holds the state directory, and nobody listens where its control socket should be."""


class UnusableAnswer(NoAnswer):
    """Somebody answers, and what it says is not what a daemon of this version says."""


class OtherDaemon(FleetdError):
    """A daemon listens there and is not the one that was meant; nothing was done. The text says which it is."""


class OrderRefused(FleetdError):
    """The daemon declined an order; the text says why.

    Attributes:
        status: what HTTP calls it: 400 not understood, 403 not allowed, 404 no such machine, 409 declined for now,
            422 a config with faults, 503 the state directory cannot be written.
        reason: the reason code of an order that was declined; "" otherwise.
    """

    status = 0
    reason = ""

    def __init__(self, message: str, *, status: int = 0, reason: str = "") -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
