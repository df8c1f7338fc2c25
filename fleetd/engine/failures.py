"""What a call that failed means for its intent, and when it may be made again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import structlog

from fleetd.engine.follower import Follower
from fleetd.engine.ports import Clock
from fleetd.engine.recall import Recall
from fleetd.model.errors import Ambiguous, AskHuman, Busy, CloudError, LookAgain, NotFound, RateLimited, RetryLater
from fleetd.model.fleet import Fleet
from fleetd.model.journal import Intent
from fleetd.model.plan import Skip
from fleetd.model.reasons import Outcome, Reason, Verb

log = structlog.get_logger(__name__)


class Failures:
    """Closes the intents of calls that did nothing, and has those followed whose effect is open."""

    def __init__(self, recall: Recall, follower: Follower, clock: Clock) -> None:
        self._recall = recall
        self._follower = follower
        self._clock = clock

    async def sort_out(self, intent: Intent, error: CloudError, fleet: Fleet) -> Skip:
        """Why the action is not done, or not known to be done."""
        now = self._clock.now()
        skip = Skip(
            fleet.name, intent.verb, Reason.REFUSED_RECENTLY, intent.machine_id, intent.name, detail=str(error)
        )
        match error:
            case AskHuman():
                await self._recall.departures.add(intent, now, declined=True)
                until = self._recall.refused(intent, str(error), now)
                await self._recall.verdicts.give(intent, Outcome.REFUSED, str(error), now)
                log.error("machine.action_refused", until=until.isoformat(), error=str(error), **intent.log_keys)
                return replace(skip, until=until)
            case RetryLater() if isinstance(error, RateLimited) or error.retry_after is not None:
                await self._recall.departures.add(intent, now, declined=True)
                until = self._leave_alone(intent, error, error.retry_after, now)
                await self._recall.verdicts.give(intent, Outcome.NOT_SENT, str(error), now)
                log.warning("machine.action_failed", until=until.isoformat(), error=str(error), **intent.log_keys)
                return replace(skip, reason=Reason.RATE_LIMITED, until=until)
            case RetryLater():
                await self._recall.verdicts.give(intent, Outcome.NOT_SENT, str(error), now)
                log.warning("machine.action_failed", error=str(error), **intent.log_keys)
                return replace(skip, reason=Reason.PROVIDER_FAILING)
            case Busy():
                # Nothing was done, and the next look may show why. Should it not, the attempts grow apart.
                return await self._later(intent, error, skip, now)
            case NotFound() if intent.verb is not Verb.DESTROY:
                # The look right before found it. Whatever that means, asking again at once brings no other answer.
                return await self._later(intent, error, skip, now)
            case LookAgain():
                await self._open(intent, error, now)
                create = intent.verb is Verb.CREATE
                return replace(skip, reason=Reason.CREATE_UNSETTLED if create else Reason.CALL_UNSETTLED)
            case _:  # pragma: no cover - the error tree has no other branch
                raise error

    async def _later(self, intent: Intent, error: CloudError, skip: Skip, now: datetime) -> Skip:
        await self._recall.departures.add(intent, now, declined=True)
        until = self._recall.refused(intent, str(error), now)
        await self._recall.verdicts.give(intent, Outcome.NOT_SENT, str(error), now)
        log.warning("machine.action_failed", until=until.isoformat(), error=str(error), **intent.log_keys)
        return replace(skip, until=until)

    async def _open(self, intent: Intent, error: CloudError, now: datetime) -> None:
        """Whether it was carried out is looked for; it may be repeated where that shows that it was not."""
        log.warning("machine.answer_lost", error=str(error), **intent.log_keys)
        if isinstance(error, Ambiguous) and error.retry_after:
            if intent.verb is Verb.CREATE:
                self._recall.creates_must_wait(timedelta(seconds=error.retry_after), str(error), now)
            else:
                self._leave_alone(intent, error, error.retry_after, now)
        await self._recall.journal.update_intent(intent.id, ambiguous_since=now)
        if intent.verb is Verb.UPDATE:  # safe to repeat: the next check sees what became of it
            await self._recall.setbacks.add(intent, str(error), now, forgiven=True)
            await self._recall.verdicts.give(intent, Outcome.LOST, str(error), now)
        else:
            self._follower.follow(replace(intent, ambiguous_since=now))

    def _leave_alone(self, intent: Intent, error: CloudError, seconds: float | None, now: datetime) -> datetime:
        """The provider is busy: the same call is made ever more rarely, and not before it asked for."""
        at_least = timedelta(seconds=seconds or 0)
        return self._recall.refused(intent, str(error), now, why=Reason.RATE_LIMITED, at_least=at_least)
