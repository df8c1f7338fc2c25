"""Rules about how a call is answered."""

from __future__ import annotations

from typing import Any, ClassVar

from fleetd.simulator.fault_base import AnswerRule

_HTML = "<html><head><title>502 Bad Gateway</title></head><body><h1>502 Bad Gateway</h1></body></html>"


class ErrorAnswer(AnswerRule, frozen=True, kw_only=True, tag="error"):
    """An error status with a body: the dialect's own error, or ``body`` as it stands (text, or a table as JSON)."""

    status: int = 500
    message: str = "Internal Server Error"
    body: str | dict[str, Any] | None = None
    executed: bool = False
    """Whether the call is carried out all the same."""


class Unauthorized(AnswerRule, frozen=True, kw_only=True, tag="unauthorized"):
    """As if the key were wrong; with ``after`` and ``until``: a key revoked for a while."""


class RateLimit(AnswerRule, frozen=True, kw_only=True, tag="rate_limit"):
    """429, with Retry-After when ``retry_after`` (real seconds) is given."""

    retry_after: float | None = None
    executed: bool = False
    """Whether the call is carried out all the same."""


class Unavailable(AnswerRule, frozen=True, kw_only=True, tag="unavailable"):
    """503, with Retry-After when ``retry_after`` (real seconds) is given."""

    retry_after: float | None = None
    executed: bool = False
    """Whether the call is carried out all the same."""


class TimeoutBefore(AnswerRule, frozen=True, kw_only=True, tag="timeout_before"):
    """No answer for ``seconds`` (real), then a closed connection; nothing is carried out."""

    seconds: float = 300.0


class TimeoutAfter(AnswerRule, frozen=True, kw_only=True, tag="timeout_after"):
    """The call is carried out; its answer never comes."""

    executes: ClassVar[bool] = True
    seconds: float = 300.0


class ResetBefore(AnswerRule, frozen=True, kw_only=True, tag="reset_before"):
    """The connection is reset; nothing is carried out."""


class ResetAfter(AnswerRule, frozen=True, kw_only=True, tag="reset_after"):
    """The call is carried out, then the connection is reset."""

    executes: ClassVar[bool] = True


class Truncated(AnswerRule, frozen=True, kw_only=True, tag="truncated"):
    """The call is carried out; its answer breaks off half-way."""

    executes: ClassVar[bool] = True


class SlowDrip(AnswerRule, frozen=True, kw_only=True, tag="slow_drip"):
    """The call is carried out; its answer trickles in over ``seconds`` (real)."""

    executes: ClassVar[bool] = True
    seconds: float = 30.0
    chunks: int = 20


class ForeignBody(AnswerRule, frozen=True, kw_only=True, tag="foreign_body"):
    """Somebody else's HTML with a status of its own, e.g. from a proxy."""

    status: int = 200
    body: str = _HTML
    executed: bool = False


class OtherMachine(AnswerRule, frozen=True, kw_only=True, tag="other_machine"):
    """The call is carried out, or not; its answer is the JSON of another machine.

    The other one is drawn from those that ``of`` (id or name, ``*`` and ``?`` allowed) matches, the one asked about
    left out; where there is none, it is one that does not exist.
    """

    usual: ClassVar[tuple[str, ...]] = ("create", "show", "start", "stop", "restart", "destroy", "update")
    of: str = "*"
    keep_name: bool = False
    """Whether the answer carries the name that was asked for, so that its id alone is wrong."""
    executed: bool = True
    """Whether the call is carried out."""


class StrayAnswer(AnswerRule, frozen=True, kw_only=True, tag="stray_answer"):
    """The call is carried out and answered; later a second answer comes on the same connection, of its own accord.

    It stands before the answer to the next request on that connection, or comes ``seconds`` (real) after the first.
    """

    executes: ClassVar[bool] = True
    seconds: float | None = None
    status: int = 200
    body: str | dict[str, Any] | None = None
    """None: the first answer once more."""
