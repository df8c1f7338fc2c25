"""From a call to its verdict: one task follows each transition and closes its intent."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta

import structlog
from anyio.abc import TaskGroup

from fleetd.engine.faults import Faults
from fleetd.engine.poller import Poller
from fleetd.engine.ports import Clock, Meter
from fleetd.engine.recall import Recall
from fleetd.engine.setbacks import say_backed_off
from fleetd.model.errors import StoreError
from fleetd.model.fleet import Fleet, Guards
from fleetd.model.journal import Intent
from fleetd.model.machine import Phase
from fleetd.model.plan import Observation
from fleetd.model.reasons import Outcome, Verb, known
from fleetd.planner.ownership import UNSEEN
from fleetd.planner.transitions import Ending, came_to_nothing, goal_of

log = structlog.get_logger(__name__)


class Follower:
    """Follows intents in the task group that it is given."""

    def __init__(
        self,
        poller: Poller,
        recall: Recall,
        clock: Clock,
        meter: Meter,
        faults: Faults,
    ) -> None:
        self._faults = faults
        self._poller = poller
        self._recall = recall
        self._clock = clock
        self._meter = meter
        self.on_end: Callable[[Intent, Ending], None] = lambda _intent, _ending: None
        """Called with every verdict: the daemon wakes its next pass by it."""
        self._group: TaskGroup | None = None
        self._followed: dict[int, str] = {}
        """By intent that is followed, its fleet."""
        self.endings = 0
        """Verdicts so far."""
        self.fleets: Mapping[str, Fleet] = {}

    def attach(self, group: TaskGroup) -> None:
        """Run followers in ``group`` from now on."""
        self._group = group

    def with_others(self, intent: Intent) -> bool:
        """Whether others of its fleet are followed."""
        return any(fleet == intent.fleet for other, fleet in self._followed.items() if other != intent.id)

    def saw(self, observation: Observation, asked_at: float) -> None:
        """Take what a pass has seen; see ``Poller.saw``. What is not believed of it says nothing."""
        if self._followed and observation.sane:
            doubtful = observation.unverified.keys() | observation.leaving
            self._poller.saw((m for m in observation.machines if m.id not in doubtful), asked_at)

    def follow(self, intent: Intent) -> None:
        """Follow an intent that has a machine, once; one that has its verdict gets no second."""
        if (
            self._group is None
            or intent.machine_id is None
            or intent.id in self._followed
            or self._recall.verdicts.given(intent.id)
        ):
            return
        if not known(intent.verb):  # what it leads to is not known; the pass closes it when its time is over
            return
        self._followed[intent.id] = intent.fleet
        self._group.start_soon(self._follow, intent, name=f"follow-{intent.id}")

    async def _follow(self, intent: Intent) -> None:
        fleet = self.fleets.get(intent.fleet)
        settle = fleet.guards.settle if fleet is not None else Guards().settle
        try:
            ending = await self._poller.wait_for(intent, settle=settle, unseen=self._is_unseen(intent))
            if ending.outcome is Outcome.GONE and self._is_unseen(intent):
                # One that turns up under its name all the same is ours by that, whatever id it has.
                ending = Ending(
                    Outcome.LOST,
                    f"{intent.machine_id} was the answer, and no machine of that id and name has been seen",
                )
            await self._close(intent, ending, fleet)
        except StoreError as error:
            # The intent stays open in the journal; the next pass finds it and follows it again.
            log.error("journal.failed", intent=intent.id, error=str(error))  # noqa: TRY400 - no traceback wanted
        except Exception as error:  # noqa: BLE001 - as above: followed again from the next pass on
            self._faults.saw("follower", error)
        else:
            self.endings += 1
            self.on_end(intent, ending)
        finally:
            self._followed.pop(intent.id, None)

    async def _close(self, intent: Intent, ending: Ending, fleet: Fleet | None) -> None:
        now = self._clock.now()
        await self._recall.ended(intent, ending.outcome, ending.error, now)
        backoff = None
        key = intent.capacity_key or (None if fleet is None else fleet.capacity_key)
        if key is not None and intent.verb.raises_cost:
            if ending.outcome is Outcome.FAILED_TO_START:
                backoff = await self._recall.no_capacity(*key, ending.error or "", now)
            elif ending.outcome is Outcome.REACHED and intent.ends_up:
                await self._recall.has_capacity(*key)
        back = None
        if came_to_nothing(intent, ending):
            if ending.outcome is not Outcome.WRONG_STATE:  # that has had its effect
                await self._recall.departures.add(intent, now)
            # The answer may have been lost on the way there, just once.
            forgiven = ending.outcome is Outcome.LOST and intent.verb is not Verb.CREATE
            back = await self._recall.setbacks.add(intent, ending.error or "", now, forgiven=forgiven)
        elif ending.outcome is Outcome.REACHED:
            back = await self._recall.setbacks.worked(intent, now)
        if not await self._recall.verdicts.give(intent, ending.outcome, ending.error, now):
            return
        took = max(now - intent.created_at, timedelta(0))  # the wall clock may have been set back meanwhile
        self._report(intent, ending, took)
        say_backed_off(intent, back)
        if backoff is not None:
            log.warning(
                "capacity.backed_off",
                fleet=intent.fleet,
                region=backoff.region,
                machine_type=backoff.machine_type,
                until=backoff.until.isoformat(),
                error=ending.error,
            )

    def _is_unseen(self, intent: Intent) -> bool:
        fact = self._recall.facts.get(intent.machine_id or "")
        return fact is not None and fact.last_state == UNSEEN

    def _report(self, intent: Intent, ending: Ending, took: timedelta) -> None:
        seconds = round(took.total_seconds(), 3)
        keys = intent.log_keys | {"reason": str(intent.reason), "duration_s": seconds}
        match ending.outcome:
            case Outcome.REACHED if intent.verb is Verb.UPDATE:
                log.info("machine.was_updated", **keys)
            case Outcome.REACHED:
                self._meter.transition(verb=intent.verb, seconds=took.total_seconds())
                log.info(_REACHED[_goal_name(intent)], **keys)
            case Outcome.FAILED_TO_START:
                log.error("machine.start_failed", error=ending.error, **keys)
            case Outcome.TIMED_OUT:
                log.error("machine.transition_timed_out", error=ending.error, **keys)
            case _:
                log.warning("machine.transition_ended", outcome=str(ending.outcome), error=ending.error, **keys)


_REACHED = {"up": "machine.became_ready", "down": "machine.became_off", "gone": "machine.became_gone"}


def _goal_name(intent: Intent) -> str:
    if intent.verb is Verb.DESTROY:
        return "gone"
    return "down" if goal_of(intent) is Phase.DOWN else "up"
