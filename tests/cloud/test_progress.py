"""How far a request came, and that aiohttp makes it once."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any
from unittest import mock

import aiohttp
import pytest

from fleetd.cloud.progress import Broken, Progress, only_once, trace_config
from fleetd.model.errors import Withheld

KEY: Any = mock.Mock(host="h", port=1, ssl=True)
NO_CONNECTION = aiohttp.ClientConnectorError(KEY, OSError("refused"))


@pytest.mark.parametrize(
    ("begun", "sent", "error", "unsent"),
    [
        (False, False, OSError(), False),
        (True, False, OSError(), True),
        (True, True, OSError(), False),
        (False, True, OSError(), False),
        (True, True, NO_CONNECTION, True),
        (True, True, aiohttp.ConnectionTimeoutError(), True),
        (True, True, aiohttp.InvalidURL("x"), True),
        (True, True, aiohttp.ClientHttpProxyError(KEY, ()), True),
        (True, True, aiohttp.ServerDisconnectedError(), False),
    ],
)
def test_whether_it_is_certain_that_nothing_was_sent(begun: bool, sent: bool, error: Exception, unsent: bool) -> None:
    assert Progress(begun=begun, sent=sent).unsent(error) is unsent


@pytest.mark.parametrize(
    ("status", "succeeded"), [(None, False), (199, False), (200, True), (299, True), (300, False), (404, False)]
)
def test_whether_the_head_of_a_success_has_come(status: int | None, succeeded: bool) -> None:
    assert Progress(status=status).succeeded is succeeded


async def test_a_trace_fills_it_in_and_asks_right_before_the_first_byte() -> None:
    config = trace_config()
    (begun,), (sent,) = config.on_request_start, config.on_request_headers_sent
    session: Any = None
    progress = Progress(leave=mock.Mock(side_effect=[None, Withheld("frozen")]))
    context = SimpleNamespace(trace_request_ctx=progress)
    assert (progress.begun, progress.sent) == (False, False)
    await begun(session, context, None)
    assert (progress.begun, progress.sent) == (True, False)
    await sent(session, context, None)
    assert progress.sent
    progress.sent = False
    with pytest.raises(Withheld):
        await sent(session, context, None)
    assert not progress.sent


def test_nobody_is_asked_unless_somebody_wants_to_be() -> None:
    Progress().leave()


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (aiohttp.ClientOSError("reset"), "reset"),
        (aiohttp.ClientOSError(), "ClientOSError"),
        (aiohttp.ServerDisconnectedError("gone"), "gone"),
        (NO_CONNECTION, None),
        (aiohttp.ConnectionTimeoutError("slow"), None),
        (aiohttp.ClientPayloadError("cut"), None),
    ],
)
async def test_what_aiohttp_would_make_again_comes_through_under_another_name(
    error: Exception, message: str | None
) -> None:
    handler = mock.AsyncMock(side_effect=error)
    with pytest.raises(type(error) if message is None else Broken) as caught:
        await only_once(mock.sentinel.request, handler)
    if message is None:
        assert caught.value is error
    else:
        assert (str(caught.value), caught.value.__cause__) == (message, error)
    handler.assert_awaited_once_with(mock.sentinel.request)


async def test_an_answer_comes_through() -> None:
    assert await only_once(mock.sentinel.request, mock.AsyncMock(return_value=mock.sentinel.answer)) is (
        mock.sentinel.answer
    )
