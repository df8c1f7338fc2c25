"""What every dialect promises the engine, tested on the simulator. A new dialect is one subclass of ``Contract``."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import anyio
import pytest

from fleetd.cloud.dialects import DIALECTS
from fleetd.cloud.port import Cloud, MachineChange, MachinesApi
from fleetd.model.errors import (
    Ambiguous,
    MalformedAnswer,
    NotFound,
    RateLimited,
    Refused,
    Unauthorized,
    Unavailable,
    Unsupported,
    WaitEnded,
)
from fleetd.model.machine import Machine, Phase, SnapshotPolicy
from fleetd.model.plan import Listing
from fleetd.simulator import faults
from tests.contract.account import KEY, PARAMETERS, REGION, Account, account
from tests.support.virtual_time import virtual

NAME = "training-abc126jt"
MONTH = "2026-03"
WRITES = ("start", "stop", "restart", "destroy")


class Contract:
    """Subclass it as ``Test...`` with the dialect's name."""

    kind: str
    refused_create: Mapping[str, Any] = {"templateId": "tnone"}
    """Parameters that the provider declines."""

    def account(self, **options: Any) -> AbstractAsyncContextManager[Account]:
        return account(self.kind, **options)

    @property
    def parameters(self) -> Mapping[str, Any]:
        return PARAMETERS[self.kind]

    async def created(self, at: Account) -> Machine:
        """A machine of ours, up."""
        machine = await at.cloud.create(NAME, self.parameters)
        await anyio.sleep(250)
        return machine

    @virtual
    async def test_it_implements_both_ports_and_says_what_it_can(self) -> None:
        async with self.account() as at:
            cloud: Cloud = at.cloud
            api: MachinesApi = at.api
            assert cloud.capabilities.page_size > 0
            assert await api.list({}) == []
            assert await cloud.list_machines() == Listing(())

    @virtual
    async def test_the_life_of_a_machine(self) -> None:
        async with self.account() as at:
            cloud = at.cloud
            made = await cloud.create(NAME, self.parameters)
            assert (made.name, made.phase, made.events) == (NAME, Phase.RISING, None)
            await anyio.sleep(250)
            (listed,) = (await cloud.list_machines()).machines
            assert (listed.id, listed.state, listed.region, listed.machine_type, listed.events) == (
                made.id, "ready", REGION, "P4000", None,
            )  # fmt: skip
            assert listed.created_at is not None
            assert listed.private_ip is not None
            assert listed.network_id is not None
            await cloud.stop(made.id)
            await anyio.sleep(60)
            assert (await cloud.show(made.id)).phase is Phase.DOWN
            await cloud.start(made.id)
            await anyio.sleep(100)
            await cloud.restart(made.id)
            await anyio.sleep(200)
            shown = await cloud.show(made.id)
            assert shown.phase is Phase.UP
            assert [e.name for e in shown.events or ()][:3] == ["restart", "start", "stop"], "the newest first"
            await cloud.destroy(made.id)
            await anyio.sleep(60)
            with pytest.raises(NotFound):
                await cloud.show(made.id)
            assert await cloud.list_machines() == Listing(())

    @virtual
    async def test_an_event_is_told_from_another_by_its_handle_and_ends(self) -> None:
        async with self.account() as at:
            made = await self.created(at)
            before = (await at.cloud.show(made.id)).events or ()
            assert all(e.handle and e.created_at for e in before)
            await at.cloud.stop(made.id)
            now = (await at.cloud.show(made.id)).events or ()
            assert now[0].name == "stop"
            assert now[0].state in {"new", "in progress"}
            assert now[1].handle == before[0].handle, "what stood first before the call is still there"
            await anyio.sleep(60)
            ended = (await at.cloud.show(made.id)).events or ()
            assert (ended[0].handle, ended[0].state, ended[0].error) == (now[0].handle, "done", "")
            assert ended[0].finished_at is not None

    @pytest.mark.parametrize("verb", ["start", "stop"])
    @virtual
    async def test_what_is_there_already_is_no_failure(self, verb: str) -> None:
        async with self.account() as at:
            made = await self.created(at)
            await getattr(at.cloud, "start" if verb == "start" else "stop")(made.id)
            await getattr(at.cloud, verb)(made.id)
            await anyio.sleep(100)
            assert (await at.cloud.show(made.id)).phase is (Phase.UP if verb == "start" else Phase.DOWN)

    @virtual
    async def test_policies_are_read_as_they_were_written(self) -> None:
        async with self.account() as at:
            made = await self.created(at)
            await at.cloud.update(
                made.id,
                MachineChange(
                    shutdown_timeout_hours=24,
                    shutdown_timeout_forces=True,
                    snapshots_enabled=True,
                    snapshot_frequency="day",
                    snapshot_keep=7,
                ),
            )
            for seen in (await at.cloud.show(made.id), (await at.cloud.list_machines()).machines[0]):
                assert (seen.shutdown_timeout_hours, seen.shutdown_timeout_forces) == (24, True)
                assert seen.snapshots == SnapshotPolicy(enabled=True, frequency="day", keep=7)
            for frequency in ("hour", "week"):
                await at.cloud.update(made.id, MachineChange(snapshot_frequency=frequency))
                assert (await at.cloud.show(made.id)).snapshots.frequency == frequency
            await at.cloud.update(made.id, MachineChange(snapshots_enabled=False, snapshot_frequency="none"))
            assert (await at.cloud.show(made.id)).snapshots.enabled is False

    @virtual
    async def test_nothing_to_change_is_no_call(self) -> None:
        async with self.account(machines=1) as at:
            await at.cloud.update("ps0", MachineChange())
            assert at.asked() == []

    @pytest.mark.parametrize("verb", ["create", "start"])
    @virtual
    async def test_no_capacity_shows_in_the_events_alone(self, verb: str) -> None:
        async with self.account() as at:
            if verb == "start":
                made = await self.created(at)
                await at.cloud.stop(made.id)
                await anyio.sleep(60)
            at.server.set_faults([faults.Capacity(message="no P4000 left")])
            if verb == "start":
                await at.cloud.start(made.id)
            else:
                made = await at.cloud.create(NAME, self.parameters)
            await anyio.sleep(250)
            shown = await at.cloud.show(made.id)
            assert shown.phase is Phase.DOWN
            failed = next(e for e in shown.events or () if e.name in {"create", "start"})
            assert (failed.failed, failed.error) == (True, "no P4000 left")

    @virtual
    async def test_a_wrong_key_is_unauthorized_and_tried_once(self) -> None:
        async with self.account(key="wr0ng-key") as at:
            for call in (at.cloud.list_machines(), at.cloud.show("ps1"), at.cloud.create(NAME, self.parameters)):
                with pytest.raises(Unauthorized) as refused:
                    await call
                assert "wr0ng-key" not in str(refused.value)
            assert len(at.server.calls) <= 4
            assert KEY not in repr(list(at.server.calls))

    @virtual
    async def test_a_refusal_carries_the_providers_words(self) -> None:
        async with self.account(machines=1) as at:
            with pytest.raises(Refused, match=r"(?i)template.*not found"):
                await at.cloud.create(NAME, {**self.parameters, **self.refused_create})
            with pytest.raises(Refused):
                await at.api.update("ps0", {"nonsense": 1})
            with pytest.raises(Refused):
                await at.api.list({"nonsense": 1})

    @pytest.mark.parametrize("verb", ["show", *WRITES])
    @virtual
    async def test_an_unknown_machine_is_not_found(self, verb: str) -> None:
        async with self.account(machines=1) as at:
            with pytest.raises(NotFound):
                await getattr(at.cloud, verb)("psnone")

    @pytest.mark.parametrize("machine_id", ["", ".", ".."])
    @pytest.mark.parametrize("verb", WRITES)
    @virtual
    async def test_what_is_no_id_is_not_sent(self, verb: str, machine_id: str) -> None:
        async with self.account(machines=1) as at:
            with pytest.raises(Refused):
                await getattr(at.cloud, verb)(machine_id)
            assert at.asked() == []

    @pytest.mark.parametrize("extra", [-1, 0, 1, 2.5])
    @virtual
    async def test_listings_of_every_size_are_whole(self, extra: float) -> None:
        async with self.account() as at:
            size = at.cloud.capabilities.page_size
            count = size + int(extra) if isinstance(extra, int) else int(size * extra)
            for number in range(count):
                at.world.add_machine(f"other-{number}", "off", id=f"ps{number}")
            listing = await at.cloud.list_machines()
            assert listing.complete
            assert [m.id for m in sorted(listing.machines, key=lambda m: int(m.id[2:]))] == [
                f"ps{n}" for n in range(count)
            ]
            assert len(await at.api.list({})) == count

    @pytest.mark.parametrize("looked_for", [1, 2, 60])
    @virtual
    async def test_machines_that_are_waited_for_are_found_in_one_request_where_they_are_together(
        self, looked_for: int
    ) -> None:
        async with self.account(machines=looked_for + 5) as at:
            at.server.calls.reset()
            found = await at.cloud.find({f"ps{n}" for n in range(looked_for)})
            assert {(m, at.world.machines[m].state) for m in found.machines} == {
                (machine.id, machine.state) for machine in found.machines.values() if isinstance(machine, Machine)
            }
            assert len(found.machines) == looked_for
            assert len(at.asked()) == found.requests == 1

    @pytest.mark.parametrize("new", [1, 40])
    @virtual
    async def test_the_newest_machines_of_a_large_account_are_found_on_the_newest_page(self, new: int) -> None:
        async with self.account(machines=2 * DIALECTS[self.kind].capabilities.page_size + 7) as at:
            assert (await at.cloud.list_machines()).complete
            made = [at.world.add_machine(f"new-{n}", age_seconds=0).id for n in range(new)]
            at.server.calls.reset()
            found = await at.cloud.find(made)
            assert found.machines.keys() == set(made)
            assert len(at.asked()) == found.requests == 1

    @virtual
    async def test_what_is_not_found_is_said_and_spoils_nothing_else(self) -> None:
        async with self.account(machines=1) as at:
            found = await at.cloud.find({"ps-none"})
            assert isinstance(found.machines["ps-none"], NotFound)
            both = await at.cloud.find({"ps0", "ps-none"})
            assert isinstance(both.machines["ps0"], Machine)
            assert not isinstance(both.machines.get("ps-none"), Machine)

    @virtual
    async def test_looking_for_machines_while_the_provider_fails_leaves_each_of_them_unknown(self) -> None:
        async with self.account(machines=2, rules=[faults.ErrorAnswer(status=503)]) as at:
            found = await at.cloud.find({"ps0", "ps1"})
            assert {type(sight) for sight in found.machines.values()} == {Unavailable}
            assert found.machines.keys() == {"ps0", "ps1"}

    @pytest.mark.parametrize("by", [1, 3])
    @virtual
    async def test_pages_that_shift_are_not_taken_for_the_whole(self, by: int) -> None:
        async with self.account() as at:
            at.server.set_faults([faults.ShiftingPages(by=by)])
            for number in range(at.cloud.capabilities.page_size + 50):
                at.world.add_machine(f"other-{number}", "off")
            assert not (await at.cloud.list_machines()).complete

    @virtual
    async def test_a_later_page_that_fails_leaves_the_listing_incomplete_and_the_api_raises(self) -> None:
        async with self.account() as at:
            size = at.cloud.capabilities.page_size
            for number in range(size + 50):
                at.world.add_machine(f"other-{number}", "off")
            at.server.set_faults([faults.ErrorAnswer(operation="list", nth=tuple(range(2, 40)))])
            listing = await at.cloud.list_machines()
            assert not listing.complete
            assert len(listing.machines) >= size
            at.server.set_faults([faults.ErrorAnswer(operation="list", nth=tuple(range(2, 40)))])
            with pytest.raises(Unavailable):
                await at.api.list({})

    @virtual
    async def test_a_machine_listed_twice_counts_once(self) -> None:
        async with self.account(machines=50, rules=[faults.DuplicatedList()]) as at:
            listing = await at.cloud.list_machines()
            assert len(listing.machines) == len({m.id for m in listing.machines}) == 50
            assert len(await at.api.list({})) == 50

    @pytest.mark.parametrize(
        "rule",
        [
            faults.TimeoutAfter(operation="create"),
            faults.TimeoutBefore(operation="create"),
            faults.ResetAfter(operation="create"),
            faults.ResetBefore(operation="create"),
            faults.Truncated(operation="create"),
            faults.ErrorAnswer(operation="create", status=502, executed=True),
            faults.ErrorAnswer(operation="create", status=500),
            faults.ErrorAnswer(operation="create", status=408),
            faults.ForeignBody(operation="create", executed=True),
            faults.Unavailable(operation="create", retry_after=3),
        ],
        ids=lambda rule: f"{rule.kind}",
    )
    @virtual
    async def test_a_create_whose_answer_is_lost_is_ambiguous_and_never_repeated(self, rule: faults.Rule) -> None:
        async with self.account(rules=[rule]) as at:
            by_hand = {**self.parameters, "name" if "diskSize" in self.parameters else "machineName": NAME}
            for create in (at.cloud.create(NAME, self.parameters), at.api.create(by_hand)):
                at.server.calls.reset()
                with pytest.raises(Ambiguous):
                    await create
                assert at.asked() == ["create"]

    @virtual
    async def test_a_rate_limit_says_when_and_nothing_of_what_a_create_did(self) -> None:
        async with self.account(machines=1, rules=[faults.RateLimit(operation="write", retry_after=7)]) as at:
            with pytest.raises(RateLimited) as limited:
                await at.cloud.stop("ps0")
            assert limited.value.retry_after == 7
            with pytest.raises(Ambiguous) as open_still:
                await at.cloud.create(NAME, self.parameters)
            assert open_still.value.retry_after == 7
            assert list(at.world.machines) == ["ps0"]

    @pytest.mark.parametrize("verb", WRITES)
    @pytest.mark.parametrize(
        ("rule", "error"),
        [
            (faults.ResetAfter(operation="write"), Ambiguous),
            (faults.ErrorAnswer(operation="write"), Ambiguous),
            (faults.RateLimit(operation="write"), RateLimited),
        ],
        ids=["reset", "500", "429"],
    )
    @virtual
    async def test_the_port_never_repeats_a_write(self, verb: str, rule: faults.Rule, error: type[Exception]) -> None:
        async with self.account(machines=1, rules=[rule]) as at:
            # A rate limit says nothing of a restart, and made again it would be another.
            with pytest.raises(Ambiguous if verb == "restart" else error):
                await getattr(at.cloud, verb)("ps0")
            assert at.asked() == [verb]

    @virtual
    async def test_by_hand_what_is_safe_to_repeat_is_repeated(self) -> None:
        rule = faults.ErrorAnswer(operation="write", nth=1)
        async with self.account(machines=1, rules=[rule]) as at:
            await at.api.stop("ps0")
            assert at.asked() == ["stop", "stop"]
            at.server.set_faults([faults.ErrorAnswer(operation="write", nth=1)])
            at.server.calls.reset()
            with pytest.raises(Ambiguous):
                await at.api.restart("ps0")
            assert at.asked() == ["restart"]

    @virtual
    async def test_reads_are_repeated_after_the_time_that_was_asked_for(self) -> None:
        rules = [
            faults.ErrorAnswer(operation="show", nth=1),
            faults.RateLimit(operation="show", nth=1, retry_after=2),
        ]
        async with self.account(machines=1, rules=rules) as at:
            began = anyio.current_time()
            assert (await at.cloud.show("ps0")).id == "ps0"
            assert at.asked("show") == ["show"] * 3
            assert anyio.current_time() - began >= 2.25

    @virtual
    async def test_unknown_states_pass_through(self) -> None:
        async with self.account(machines=2, rules=[faults.UnknownState(state="quantum")]) as at:
            listing = await at.cloud.list_machines()
            assert {(m.state, m.phase) for m in listing.machines} == {("quantum", Phase.UNKNOWN)}
            assert (await at.cloud.show("ps0")).state == "quantum"

    @virtual
    async def test_somebody_elses_page_is_a_malformed_answer(self) -> None:
        async with self.account(machines=1, rules=[faults.ForeignBody()]) as at:
            for call in (at.cloud.list_machines(), at.cloud.show("ps0")):
                with pytest.raises(MalformedAnswer):
                    await call

    @virtual
    async def test_what_it_cannot_do_it_says_without_a_call(self) -> None:
        async with self.account(machines=1) as at:
            able = at.cloud.capabilities
            for can, ask in (
                (able.utilization, lambda: at.cloud.utilization("ps0", MONTH)),
                (able.snapshots_visible, lambda: at.cloud.snapshots("ps0")),
            ):
                if can:
                    await ask()
                    assert at.asked()
                else:
                    with pytest.raises(Unsupported):
                        await ask()
                    assert at.asked() == []
                at.server.calls.reset()

    @virtual
    async def test_availability_follows_capacity_where_it_can_be_asked(self) -> None:
        async with self.account() as at:
            assert await at.api.availability(REGION, "P4000") == {"available": True}
            for region in (REGION, "West Coast (CA1)", "Europe (AMS1)"):
                at.world.set_capacity(region, "P4000", available=False)
            assert await at.api.availability(REGION, "P4000") == {"available": False}
            with pytest.raises(Refused):
                await at.api.availability(REGION, "Q1")

    @virtual
    async def test_waiting_by_hand(self) -> None:
        async with self.account() as at:
            made = await at.cloud.create(NAME, self.parameters)
            up = await at.api.wait_for(made.id, "ready", timeout=600)
            assert (up["id"], up["state"]) == (made.id, "ready")
            await at.api.stop(made.id)
            assert (await at.api.wait_for(made.id, "off", timeout=600))["state"] == "off"
            with pytest.raises(WaitEnded, match="not ready within 20 s"):
                await at.api.wait_for(made.id, "ready", timeout=20)
            await at.api.destroy(made.id)
            with pytest.raises(WaitEnded) as gone:
                await at.api.wait_for(made.id, "ready", timeout=600)
            assert gone.value.verdict == "gone"

    @virtual
    async def test_access_is_given_and_taken(self) -> None:
        async with self.account(machines=1) as at:
            await at.api.set_access("ps0", "u789ghi2k", enable_access=True)
            assert at.world.machines["ps0"].accessors == ["u789ghi2k"]
            await at.api.set_access("ps0", "u789ghi2k", enable_access=False)
            assert at.world.machines["ps0"].accessors == []
