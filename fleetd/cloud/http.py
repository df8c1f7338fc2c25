"""HTTP to a provider, whatever its dialect: one session, a rate, a concurrency, time limits, retries, typed errors.

A dialect says what a call is and what its refusals mean. What a failure means for a call depends on the call's
effect and is decided here:

=================================  ===============  ================  =================================
what happened                      read             repeatable write  once (create, restart)
=================================  ===============  ================  =================================
no connection                      Unavailable      Unavailable       Unavailable
certificate expired or not its own Untrusted        Untrusted         Untrusted
timeout, reset, cut off later on   Unavailable      Ambiguous         Ambiguous
429                                RateLimited      RateLimited       Ambiguous
503 with Retry-After               RateLimited      RateLimited       Ambiguous
any other 5xx, 408                 Unavailable      Ambiguous         Ambiguous
3xx (redirects are not followed)   Refused          Refused           Ambiguous
403 in the API's own words         Unavailable      Refused           Refused
403 of a proxy, or without words   Unavailable      Ambiguous         Ambiguous
403 that speaks of a rate limit    RateLimited      RateLimited       Ambiguous
2xx, body unreadable               MalformedAnswer  a success         Ambiguous, if the body is needed
2xx, about something else          MalformedAnswer  Ambiguous         Ambiguous
=================================  ===============  ================  =================================

A refused key is ``Unauthorized`` for every call: a 401, or words that name the key. A 403 alone is none.

A 429 says that there were too many requests, not that this one was left undone: a gateway may say it of an answer
that it did not wait for. Made once more, a create would be a second machine.

Once the answer to a write that is made again was lost, only a success tells what happened: every other end of it
is ``Ambiguous``.
"""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

import aiohttp
import anyio
import msgspec
import structlog
import yarl

from fleetd import __version__
from fleetd.cloud.calls import Answer, Call, Classify, Effect, HttpLimits, KeyHeader, OnRequest
from fleetd.cloud.decoding import NotJson, decode
from fleetd.cloud.listing import fits
from fleetd.cloud.placed import Held, Placed
from fleetd.cloud.port import Leave
from fleetd.cloud.progress import Progress, only_once, trace_config
from fleetd.cloud.rate import FIRST, Admission
from fleetd.cloud.retry import IN_PLACE, Attempts, RetryPolicy, retry_after
from fleetd.cloud.text import leaks_secret, presentable
from fleetd.cloud.unpacking import BadCoding, read_body
from fleetd.model.errors import (
    Ambiguous,
    Busy,
    CloudError,
    MalformedAnswer,
    NotFound,
    RateLimited,
    Refused,
    RetryLater,
    Unauthorized,
    Unavailable,
    Untrusted,
    Withheld,
)
from fleetd.model.httpdate import http_date

log = structlog.get_logger(__name__)

BODY_LIMIT = 16 * 1024 * 1024
"""Bytes of an answer that are read, unpacked. A page of 1000 machines has about one megabyte."""

FORBIDDEN = 403

CONNECT_TIMEOUT = 5.0
"""Seconds for name look-up, TCP and TLS together, so that all attempts fit well into a request timeout of 30 s."""

READS_WAIT = 3.0
"""Seconds by which a look at one machine stands behind the writes and listings that came with it."""

SPACING = 0.25
"""Seconds by which a write stands behind the one before it of the same fleet, so that fleets go side by side."""


class HttpClient:
    """One provider behind one key. The session is opened by the first call, on the loop that makes it.

    Args:
        base_url: scheme, host and perhaps a path, with or without a slash at the end.
        key: the key's header.
        classify: the dialect's reading of answers that are no success.
        rng: jitter.
        limits: rate, concurrency, time.
        retries: for calls that are safe to repeat.
        on_request: told of every HTTP request, for metrics.
        now: wall time, UTC; used for a Retry-After date only, where the answer itself carries no Date.

    Raises:
        ValueError: the base URL is none.
    """

    def __init__(
        self,
        base_url: str,
        key: KeyHeader,
        classify: Classify,
        *,
        rng: random.Random,
        limits: HttpLimits | None = None,
        retries: RetryPolicy | None = None,
        on_request: OnRequest = lambda _operation, _code, _seconds: None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.limits = limits or HttpLimits()
        url = yarl.URL(base_url)
        if url.scheme not in {"http", "https"} or not url.host:
            raise ValueError(f"{base_url!r} is no base URL: it needs a scheme, http or https, and a host")
        self._base = base_url.rstrip("/")
        self._key = key
        self._classify = classify
        self._rng = rng
        self._retries = retries or RetryPolicy()
        self._on_request = on_request
        self._now = now
        self._told: tuple[datetime, float] | None = None
        """What the last answer's Date said, and when that came by the loop's clock."""
        self._admission = Admission(self.limits.max_requests_per_second, self.limits.max_concurrency)
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    def now(self) -> datetime:
        """Wall time by the provider's clock, which dates what it tells; by ours before it has told its own."""
        if self._told is None:
            return self._now()
        theirs, ticks = self._told
        return theirs + timedelta(seconds=anyio.current_time() - ticks)

    @asynccontextmanager
    async def place(
        self, requests: int, *, behind: int = 0, create: bool = False, leave: Leave
    ) -> AsyncIterator[Placed]:
        """A place for a write and what belongs to it: one slot is held, and so many requests are paid for.

        ``behind``, ``create`` and ``leave``: see ``port.Cloud.place``.
        """
        due = anyio.current_time() + behind * SPACING
        async with self._admission.place(requests, due=due, create=create) as place:
            yield Placed(self, Held(place, leave))

    async def send(self, call: Call, held: Held | None = None) -> Answer:
        """Make a call, again where that is safe, and give its 2xx answer. ``held``: the place that it goes from.

        Raises:
            CloudError: every other outcome, see the table at the head of this module.
            RuntimeError: the client is closed.
        """
        attempts = Attempts(self.limits.request_timeout)
        if not call.repeatable:
            return await self._attempt(call, attempts, held)
        retries = self._retries if held is None else IN_PLACE
        for attempt in range(1, retries.attempts):
            try:
                return await self._attempt(call, attempts, held)
            except CloudError as error:
                asked = error.retry_after if isinstance(error, RetryLater) else None
                wait = self._retries.wait(attempt, asked, self._rng)
                if not attempts.hopeful or min(attempts.left, retries.patience) <= wait:
                    raise
            await anyio.sleep(wait)
        return await self._attempt(call, attempts, held)

    def read_json(self, call: Call, answer: Answer) -> Any:
        """An answer's body as JSON. None for a write without a readable one, unless the call needs it.

        Raises:
            MalformedAnswer: a read's body is not JSON.
            Ambiguous: the body that a write needs is not JSON.
        """
        try:
            return decode(answer.body)
        except NotJson as e:
            problem = str(e)
        if not call.body_matters:
            return None
        raise self.malformed(call, f"the answer is not JSON: {problem}", status=answer.status)

    def declined(self, call: Call, answer: Answer) -> CloudError:
        """The error that an answer's body stands for although its status says success."""
        return self._declined(call, answer.status, {}, answer.body).error

    def malformed(self, call: Call, message: str, *, status: int | None = None) -> CloudError:
        """The error for a success that cannot be understood. A read did nothing; what a write did is open."""
        kind = MalformedAnswer if call.effect is Effect.READ else Ambiguous
        return kind(self._presentable(message), operation=call.operation, status=status)

    async def aclose(self) -> None:
        """Close connections. Idempotent."""
        self._closed = True
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def _attempt(self, call: Call, attempts: Attempts, held: Held | None) -> Answer:
        headers = self._headers(call)
        if held is None:
            async with self._admission.place(due=self._due(call)) as place:
                await self._admission.pay(place)
                outcome = await self._exchange(call, headers, attempts.begin())
        else:
            await self._admission.pay(held.place)
            outcome = await self._exchange(call, headers, attempts.begin(), held.leave)
        if isinstance(outcome, Answer):
            return outcome
        # Raised out here, where no exception of the HTTP library is being handled that would come along as context.
        raise attempts.settle(outcome.error) from outcome.cause

    def _due(self, call: Call) -> float:
        """Where a call without a place stands in the queue: a pass and the poller wait for their listings."""
        if call.effect is not Effect.READ:
            return anyio.current_time()
        return FIRST if call.operation == "list" else anyio.current_time() + READS_WAIT

    def _headers(self, call: Call) -> dict[str, str]:
        key = self._key.key()
        if not (key and key.isascii() and key.isprintable()):
            raise Unauthorized("the API key is empty or holds characters that no key has", operation=call.operation)
        headers = {
            self._key.name: self._key.prefix + key,
            "Accept": "application/json",
            "Accept-Encoding": "gzip, deflate",
        }
        return headers if call.body is None else headers | {"Content-Type": "application/json"}

    async def _exchange(
        self, call: Call, headers: Mapping[str, str], seconds: float, leave: Leave = lambda: None
    ) -> Answer | _Failure:
        if seconds <= 0:
            return _Failure(Unavailable("no time was left to try again", operation=call.operation))
        started = anyio.current_time()
        progress = Progress() if call.effect is Effect.READ else Progress(leave)
        code, outcome = await self._request(call, headers, seconds, progress)
        took = anyio.current_time() - started
        self._on_request(call.operation, code, took)
        told = {"operation": call.operation, "method": call.method, "path": call.path, "code": code}
        if isinstance(outcome, _Failure):
            kind = type(outcome.error).__name__
            log.debug("request.failed", **told, duration_s=round(took, 3), kind=kind, error=outcome.error.message)
        else:
            log.debug("request.answered", **told, duration_s=round(took, 3))
        return outcome

    async def _request(
        self, call: Call, headers: Mapping[str, str], seconds: float, progress: Progress
    ) -> tuple[str, Answer | _Failure]:
        """One HTTP request: its code for the metrics, and what came of it."""
        try:
            async with self._open_session().request(
                call.method,
                self._url(call),
                headers=headers,
                data=None if call.body is None else msgspec.json.encode(call.body),
                proxy=self.limits.proxy,
                allow_redirects=False,  # nobody else is shown the key
                timeout=aiohttp.ClientTimeout(total=seconds, connect=CONNECT_TIMEOUT),
                trace_request_ctx=progress,
            ) as response:
                progress.status = response.status
                told = http_date(response.headers.get("Date", ""))
                if told is not None:
                    self._told = (told, anyio.current_time())
                    self.limits.on_date(told)
                body, whole = await read_body(response, longest=BODY_LIMIT)
        except Withheld as e:
            return "withheld", _Failure(Withheld(e.message, operation=call.operation))
        except (aiohttp.ClientError, OSError) as e:
            return self._unanswered(call, e, progress, seconds)
        code = str(response.status)
        if not progress.succeeded:
            return code, self._declined(call, response.status, response.headers, body)
        if whole and not fits(body):
            return code, _Failure(self.malformed(call, "the pages of the listing are too large together"))
        if whole or not call.body_matters:
            return code, Answer(response.status, body)
        return code, _Failure(self.malformed(call, f"the answer has more than {BODY_LIMIT} bytes"))

    def _url(self, call: Call) -> yarl.URL:
        # A space travels as %20, as in the vendors' own clients, and not as the plus sign of a form.
        query = f"?{urlencode(call.query, quote_via=quote)}" if call.query else ""
        return yarl.URL(f"{self._base}{call.path}{query}", encoded=True)

    def _open_session(self) -> aiohttp.ClientSession:
        if self._closed:
            raise RuntimeError("the client is closed")
        if self._session is None:
            self._session = aiohttp.ClientSession(
                # Each request has a connection of its own: what comes late on another's is nobody's answer.
                connector=aiohttp.TCPConnector(limit=self.limits.max_concurrency, force_close=True),
                headers={"User-Agent": f"fleetd/{__version__}"},
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trace_configs=[trace_config()],
                middlewares=(only_once,),
            )
        return self._session

    def _unanswered(
        self, call: Call, e: aiohttp.ClientError | OSError, progress: Progress, seconds: float
    ) -> tuple[str, Answer | _Failure]:
        if progress.status is not None and progress.succeeded and not call.body_matters:
            return str(progress.status), Answer(progress.status, b"")
        unsent, timed_out = progress.unsent(e), isinstance(e, TimeoutError)
        said = str(e) or type(e).__name__
        match unsent, timed_out:
            case _ if isinstance(e, BadCoding):
                code, problem = "lost", said
            case True, False if isinstance(e, aiohttp.ClientConnectorCertificateError):
                said = str(e.certificate_error)
                problem = f"the provider's certificate is not accepted, and nothing was sent: {said}"
                return "unreachable", _Failure(Untrusted(self._presentable(problem), operation=call.operation))
            case True, True:
                code, problem = "unreachable", f"no connection within {min(seconds, CONNECT_TIMEOUT):.3g} s"
            case True, False:
                code, problem = "unreachable", f"no connection: {said}"
            case False, True:
                code, problem = "timeout", f"no answer within {seconds:.3g} s"
            case _:
                code, problem = "lost", f"the connection broke before the answer was complete: {said}"
        kind = Unavailable if unsent or call.effect is Effect.READ else Ambiguous
        error = kind(self._presentable(problem), operation=call.operation)
        return code, _Failure(error, None if leaks_secret(e, self._secrets()) else e)

    def _declined(self, call: Call, status: int, headers: Mapping[str, str], body: bytes) -> _Failure:
        found = self._classify(status, headers, body)
        kind, message = type(found), found.message
        redirected = 300 <= status < 400
        if redirected:
            kind, message = Refused, f"redirected to {headers.get('Location', 'nowhere')}: check the base URL"
        if kind in {NotFound, Busy} and not call.names_machine:
            kind = Refused
        if kind is Refused and found.status == FORBIDDEN and call.effect is Effect.READ:
            kind = Unavailable  # what may be read today may be read tomorrow: a person is told, and it is tried again
        failed = kind in {Unavailable, RateLimited} or any(
            code >= 500 or code == 408 for code in (status, found.status or 0)
        )
        if (call.effect is Effect.ONCE and (failed or redirected)) or (
            call.effect is Effect.REPEATABLE and kind is Unavailable
        ):
            kind = Ambiguous
        error = kind(self._presentable(message), operation=call.operation, status=found.status or status)
        if isinstance(error, RetryLater | Ambiguous):
            error.retry_after = retry_after(headers, self._now())
        return _Failure(error)

    def _presentable(self, text: str) -> str:
        return presentable(text, secrets=self._secrets())

    def _secrets(self) -> tuple[str, ...]:
        return (self._key.key(),)


@dataclass(frozen=True, slots=True)
class _Failure:
    error: CloudError
    cause: BaseException | None = None
    """What the HTTP library raised; None where that would show the key, as a request's headers do."""
