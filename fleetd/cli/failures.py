"""Errors as exit codes and as lines that say what to do: the one place where that is decided."""

from __future__ import annotations

import errno
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from http import HTTPStatus

import typer

from fleetd.cli.output import OutputClosed
from fleetd.model.errors import (
    Ambiguous,
    ApplyBlocked,
    ApplyInterrupted,
    ApplyTimedOut,
    Busy,
    CloudError,
    ConfigError,
    FleetdError,
    KeyUnusable,
    LockLost,
    MalformedAnswer,
    NotFound,
    RateLimited,
    RetryLater,
    StateAway,
    StateLocked,
    StateMoved,
    SteppedDown,
    Unauthorized,
    Untrusted,
    WaitEnded,
)
from fleetd.model.reasons import Outcome
from fleetd.ops.control_errors import NoAnswer, NoDaemon, NotAllowed, OrderRefused, OtherDaemon

UsageError: type[Exception] = typer.BadParameter.__mro__[1]
"""What typer raises for a command line that it cannot read; typer itself does not name it."""


class ExitCode(IntEnum):
    """How a command ends; those from 64 to 78 are sysexits(3)'s."""

    OK = 0
    ERROR = 1
    CHANGES_PENDING = 2
    """Only ``plan --detailed-exitcode``."""
    USAGE = 64
    PROVIDER_UNAVAILABLE = 69
    TEMPORARY = 75
    KEY_REFUSED = 77
    CONFIG = 78
    INTERRUPTED = 130
    """128 + SIGINT, as a shell has it."""
    BROKEN_PIPE = 141
    """128 + SIGPIPE: whoever read the output went away before its end."""


def exit_code(error: BaseException) -> ExitCode:
    """The exit code of a command that ended in ``error``."""
    match leaf(error):
        case KeyboardInterrupt() | ApplyInterrupted():
            return ExitCode.INTERRUPTED
        case BrokenPipeError():
            return ExitCode.BROKEN_PIPE
        case Unauthorized() | KeyUnusable():
            return ExitCode.KEY_REFUSED
        case ConfigError() | OtherDaemon() | OrderRefused(status=422) | StateMoved():
            return ExitCode.CONFIG
        case RetryLater() | MalformedAnswer():
            return ExitCode.PROVIDER_UNAVAILABLE
        case NoAnswer() | OrderRefused(status=409 | 503) | StateLocked() | LockLost() | StateAway() | SteppedDown():
            return ExitCode.TEMPORARY
        case ApplyTimedOut() | ApplyBlocked(temporary=True) | WaitEnded(verdict=Outcome.TIMED_OUT):
            return ExitCode.TEMPORARY
        case other if isinstance(other, UsageError) or _names_nothing(other):
            return ExitCode.USAGE
        case _:
            return ExitCode.ERROR


def explanation(error: BaseException) -> list[str]:
    """What went wrong, and what to do about it, a line each; none where the help has been shown instead.

    Text from outside in it is not escaped yet.
    """
    match leaf(error):
        case KeyboardInterrupt():
            return ["interrupted"]
        case typer.Abort() | EOFError():
            return ["not confirmed; nothing was done"]
        case FleetdError() as known:
            return [*str(known).splitlines(), *_advice(known)]
        case other if isinstance(other, UsageError):
            return list(_usage(other))
        case OSError(errno=errno.EMFILE | errno.ENFILE) as short:
            limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
            return [
                f"no descriptor is left ({short.strerror}; the limit is {limit})",
                "Raise it: LimitNOFILE= in the unit, ulimit -n in a shell; what was begun is in the journal.",
            ]
        case OSError(errno=errno.ENOSPC | errno.EDQUOT) as full:  # the state directory's have been named before
            return [f"the output cannot be written: {full.strerror}", "Make room where it goes to, and try again."]
        case OutputClosed():
            return [
                "the output cannot be written: it is closed",
                "What the command did is done; >/dev/null is for no output.",
            ]
        case unexpected:
            said = str(unexpected)
            what = f"{type(unexpected).__name__}: {said}" if said else type(unexpected).__name__
            return [f"unexpected: {what}", "This is a fault in fleetd; FLEETD_DEBUG=1 shows where it is."]


@contextmanager
def usage() -> Iterator[None]:
    """Turns "no such machine" into a usage error, whether the daemon or this command found out."""
    try:
        yield
    except OrderRefused as error:
        if error.status != HTTPStatus.NOT_FOUND:
            raise
        raise typer.BadParameter(str(error)) from error
    except BaseException as error:
        unknown = leaf(error)
        if type(unknown) is not LookupError:
            raise
        raise typer.BadParameter(str(unknown)) from error


def leaf(error: BaseException) -> BaseException:
    """The error that a group of them comes down to: a Ctrl-C first, then the first that fleetd raised on purpose."""
    leaves = list(_leaves(error))
    for wanted in (KeyboardInterrupt, FleetdError):
        for found in leaves:
            if isinstance(found, wanted):
                return found
    return leaves[0]


def _names_nothing(error: BaseException) -> bool:
    """Whether nothing is called as the command has it, or more than one machine."""
    return isinstance(error, OrderRefused) and error.status == HTTPStatus.NOT_FOUND


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


def _advice(error: FleetdError) -> Iterator[str]:
    match error:
        case CloudError():
            yield from _advice_on_provider(error)
        case NoAnswer():
            yield "Try again later; systemctl restart fleetd ends a daemon that hangs, and its journal stays."
        case NoDaemon() if not isinstance(error, NotAllowed):
            yield "Start the one that is meant to run (systemctl start fleetd); one is enough for an account. "
            yield "fleetd machines works by hand without one."
        case OtherDaemon():
            yield "If that one is meant, name its config with -c, or its state directory with --state-dir."
        case LockLost():
            yield "No call is made that cannot be journaled; the next fleetd settles by looking what is under way."
        case OrderRefused(reason="busy" | "activity_unknown"):
            yield "--even-if-busy does it all the same."
        case OrderRefused(reason="held"):
            yield "Ask whoever holds it. fleetd release MACHINE ends the hold."
        case OrderRefused(reason="frozen"):
            yield "Ask whoever froze it. fleetd unfreeze [FLEET] ends the freeze; fleetd status says what is frozen."
        case ConfigError(source=source, faults=faults) if any(f.path == source for f in faults):
            yield "Name a config with -c or in FLEETD_CONFIG; fleetd demo needs none."


def _advice_on_provider(error: CloudError) -> Iterator[str]:
    match error:
        case Unauthorized():
            yield "The provider refuses the API key: see where provider.api_key in the config takes it from."
        case Untrusted():
            yield "Trying again changes nothing; a renewed certificate does, or this host's clock or CA certificates."
        case RateLimited(retry_after=seconds):
            after = "" if seconds is None else f", in {seconds:.0f} s"
            yield f"The provider asks for fewer requests: try again later{after}."
        case RetryLater():
            yield "Try again later; provider.base_url in the config says where the provider is looked for."
        case Ambiguous():
            yield "It may have been done: look (fleetd machines list) before you repeat it."
        case Busy():
            yield "Nothing was done: wait until it is where it is going (fleetd machines wait-for), and try again."
        case NotFound():
            yield "fleetd machines list has the ids; what the key may not see is answered in the same way."


def _usage(error: Exception) -> Iterator[str]:
    context = getattr(error, "ctx", None)
    text = error.format_message() if hasattr(error, "format_message") else str(error)
    at_top = context is not None and context.parent is None
    if at_top and getattr(error, "option_name", None) in {"-c", "--config"}:
        text += "; it stands after the command: fleetd plan -c FILE"
    yield from text.splitlines()
    if text and context is not None:
        yield f"{context.command_path} --help says what can be given."
