"""The error tree, named after what the caller does next.

::

    FleetdError
    ├── CloudError                  a call to the provider did not answer as asked
    │   ├── RetryLater              nothing happened; the same call may be made again later
    │   │   ├── RateLimited         ... not before ``retry_after``
    │   │   ├── Unavailable         no connection, or a server error on a call without effect
    │   │   └── Withheld            fleetd itself held it back at the last moment
    │   ├── LookAgain               what happened is not known from this answer
    │   │   ├── NotFound            the provider does not know the id, or hides it
    │   │   ├── Busy                nothing was done: the machine is in a state that the call does not fit
    │   │   ├── Ambiguous           a write may or may not have been carried out
    │   │   ├── MalformedAnswer     a read was answered with something unreadable
    │   │   └── WaitEnded           a machine waited for did not get there, ``verdict`` says how
    │   └── AskHuman                repeating changes nothing
    │       ├── Unauthorized        the key is refused
    │       ├── Untrusted           whoever answers cannot prove to be the provider
    │       ├── Refused             the provider understood and declined, ``message`` says why
    │       └── Unsupported         this dialect has no such call
    ├── StoreError                  the state directory
    │   ├── StateLocked             another daemon acts on it
    │   ├── LockLost                it was taken from under this process, which ends
    │   ├── VetoStands              a veto that this process has not read yet forbids the intent: read them again
    │   └── StateUnusable           unwritable, full or damaged
    │       ├── StateAway           the database does not answer now: the same may be tried again later
    │       └── StateMoved          the journal is somewhere else than the config says
    ├── ConfigError                 the config file, with every fault in it
    │   └── KeyUnusable             the file is sound, but the key is not where it says
    ├── NotYet                      an order before the first pass: nobody knows yet what it is about
    ├── OrderDeclined               an operator's order that the planner does not carry out now, ``reason`` says why
    ├── ListenFailed                an address of ours is taken, or is not this machine's: another one has to be named
    └── PassFailed                  a fault in fleetd's own code ended a pass; the next one tries again

Library exceptions (aiohttp, sqlite3, pydantic) stop at the adapter that met them and continue as one of these.
"""

from __future__ import annotations

from dataclasses import dataclass


class FleetdError(Exception):
    """Base of everything that fleetd raises on purpose."""


class CloudError(FleetdError):
    """A provider call failed.

    Attributes:
        operation: the call, by its name on the port ("create", "list", ...).
        status: HTTP status, or the status inside the body where the two differ; None without an answer.
        message: what the provider said, or what the transport reported. Never holds the API key.
    """

    def __init__(self, message: str, *, operation: str = "", status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.operation = operation
        self.status = status

    def __str__(self) -> str:
        where = f"{self.operation}: " if self.operation else ""
        return f"{where}{self.message}"


class RetryLater(CloudError):
    """Nothing happened; the same call may be made again."""

    def __init__(
        self,
        message: str,
        *,
        operation: str = "",
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message, operation=operation, status=status)
        self.retry_after = retry_after
        """Seconds to wait first, as the provider asked; None when it did not say."""


class RateLimited(RetryLater):
    """Too many requests."""


class Unavailable(RetryLater):
    """The provider could not be reached, or failed on a call that had no effect."""


class Withheld(RetryLater):
    """Nothing was sent: fleetd held the call back right before its first byte left."""


class LookAgain(CloudError):
    """What happened is not known from this answer; observe before acting."""


class NotFound(LookAgain):
    """The provider says that it does not know the id. Alone this never proves that a machine is gone."""


class Busy(LookAgain):
    """The provider declined because of the machine's state, in transition perhaps: nothing was done."""


class Ambiguous(LookAgain):
    """The answer to a write was lost, or is about something else: it may have been carried out."""

    retry_after: float | None = None
    """Seconds before the next such write, as the provider asked; None when it did not say."""


class MalformedAnswer(LookAgain):
    """A read was answered with something that cannot be understood."""


class WaitEnded(LookAgain):
    """A machine that was waited for did not reach the state.

    Attributes:
        verdict: an ``Outcome`` other than ``reached``, as text.
        state: the machine's last seen state; None when it was not seen.
    """

    def __init__(self, message: str, *, verdict: str, state: str | None) -> None:
        super().__init__(message, operation="wait_for")
        self.verdict = verdict
        self.state = state


class AskHuman(CloudError):
    """Repeating the call changes nothing; a person has to act."""


class Unauthorized(AskHuman):
    """The API key is refused."""


class Untrusted(AskHuman):
    """The certificate of whoever answers has expired, or is not the provider's. Nothing was sent."""


class Refused(AskHuman):
    """The provider understood the call and declined it; ``message`` is its reason."""


class Unsupported(AskHuman):
    """This dialect of the provider's API has no such call."""


class StoreError(FleetdError):
    """The state directory cannot be used."""


class StateLocked(StoreError):
    """Another daemon acts on this state directory."""


class LockLost(StoreError):
    """The state directory is not this process's any more: it ends at once, and writes nothing."""


class VetoStands(StoreError):
    """A hold or freeze that this process has not read yet forbids the intent: it is not written, no call is made."""


class StateUnusable(StoreError):
    """The state directory is unwritable, full or damaged; the message says which and what to do."""


class StateAway(StateUnusable):
    """The database does not answer, or not in time; the same may be tried again later."""


class StateMoved(StateUnusable):
    """The journal is not where the config says, or two of them are: a person says which counts."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault in a config file."""

    path: str
    """Dotted path to the key, e.g. ``fleets.training.guards.max_shrink``; "" where the text is not valid TOML."""
    problem: str
    """What is wrong, and what would be right."""
    line: int | None = None
    """Where the key stands in the file, from 1; for one that is missing, where its table stands."""
    column: int | None = None
    """Only of a text that is not valid TOML."""

    def __str__(self) -> str:
        place = f"line {self.line}" if self.line is not None else ""
        place += f", column {self.column}" if self.column is not None else ""
        return ": ".join(part for part in (place, self.path, self.problem) if part)

    def within(self, source: str) -> str:
        """With the file's name before it, as compilers write it: ``fleetd.toml:12: fleets.a.target: ...``."""
        place = ":".join(str(part) for part in (source, self.line, self.column) if part is not None)
        return ": ".join(part for part in (place, self.path if self.path != source else "", self.problem) if part)


class ConfigError(FleetdError):
    """The config file cannot be used. Carries every fault at once."""

    def __init__(self, source: str, faults: tuple[Fault, ...]) -> None:
        self.source = source
        self.faults = faults
        count = f"{len(faults)} fault{'s' if len(faults) != 1 else ''}"
        super().__init__("\n".join([f"{source}: {count}", *(f"  {f.within(source)}" for f in faults)]))


class KeyUnusable(ConfigError):
    """The config is sound, but the API key cannot be read from where it says."""


class NotYet(FleetdError):
    """The daemon has only just started: no pass has told it what there is. The same order may be given again."""


class OrderDeclined(FleetdError):
    """An operator's order for one machine is not carried out; nothing is kept for later.

    Attributes:
        reason: a ``Reason`` as text; "" where a pass failed before it could decide.
    """

    def __init__(self, message: str, *, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class PassFailed(FleetdError):
    """A fault in fleetd's own code ended a pass. The process goes on, and the next pass tries again."""


class ListenFailed(FleetdError):
    """``daemon.listen`` cannot be listened on."""


class SteppedDown(FleetdError):
    """This replica has given the lease to another, as it was told to; started again, it stands by."""


class ApplyTimedOut(FleetdError):
    """Not every fleet is at its target in the time given; a later run goes on where this one ended."""


class ApplyInterrupted(ApplyTimedOut):
    """Somebody ended it early, by Ctrl-C or SIGTERM."""


class ApplyBlocked(FleetdError):
    """Nothing that fleetd may do brings the fleets to their targets.

    Attributes:
        temporary: whether that ends by itself or by ``unfreeze``, as against a fault that a person has to mend.
    """

    def __init__(self, message: str, *, temporary: bool) -> None:
        super().__init__(message)
        self.temporary = temporary
