"""``step-down`` over the control socket: who cannot says why, and who can answers before it ends."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from fleetd.cli.failures import ExitCode, exit_code
from fleetd.model.answers import SteppingDown
from fleetd.model.errors import OrderDeclined, SteppedDown
from fleetd.ops.control import serve_control
from fleetd.ops.control_client import ControlClient
from fleetd.ops.control_errors import OrderRefused
from fleetd.wiring.handover import ANSWERED, HAS_AN_END, NOBODY, Handover
from tests.support.fake_handle import FakeHandle
from tests.support.virtual_time import run_virtual

ANSWER = SteppingDown(holder="a, pid 1", epoch=3, standbys=("b, pid 2",))


async def nobody(_actor: str) -> SteppingDown:
    raise OrderDeclined(NOBODY)


async def somebody(_actor: str) -> SteppingDown:
    return ANSWER


@pytest.mark.parametrize(
    ("handover", "why"),
    [
        (Handover, "journal in a file"),
        (lambda: Handover(HAS_AN_END), "ends by itself"),
        (lambda: Handover(begin=nobody), "no replica stands by"),
    ],
)
def test_who_cannot_says_why_and_goes_on(tmp_path: Path, handover: type[Handover], why: str) -> None:
    async def ask() -> None:
        one = handover()
        async with serve_control(FakeHandle(), tmp_path / "s", reads=one.routes()):
            with pytest.raises(OrderRefused, match=why) as refused:
                await ControlClient(tmp_path / "s").ask(SteppingDown, "POST", "/step-down")
        assert exit_code(refused.value) == ExitCode.TEMPORARY
        assert not one.asked

    run_virtual(ask)


def test_who_can_answers_and_then_ends(tmp_path: Path) -> None:
    async def ask() -> None:
        one, ended = Handover(begin=somebody), []
        async with (
            serve_control(FakeHandle(), tmp_path / "s", reads=one.routes()),
            anyio.create_task_group() as group,
        ):
            group.start_soon(one.obey, lambda: ended.append(anyio.current_time()))
            await anyio.sleep(100)
            assert ended == []
            assert await ControlClient(tmp_path / "s").ask(SteppingDown, "POST", "/step-down") == ANSWER
            assert one.asked
            assert ended == []
            asked_at = anyio.current_time()
            await anyio.sleep(2 * ANSWERED)
            assert len(ended) == 1
            assert asked_at <= ended[0] <= asked_at + ANSWERED
            group.cancel_scope.cancel()

    run_virtual(ask)


def test_the_process_ends_as_one_that_lost_the_lease() -> None:
    assert exit_code(SteppedDown("stepped down")) == ExitCode.TEMPORARY
