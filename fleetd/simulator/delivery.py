"""How an answer reaches the client, or does not: the faults below HTTP."""

from __future__ import annotations

import asyncio
import socket
import struct
from weakref import WeakKeyDictionary

import anyio
import msgspec
from aiohttp import web

from fleetd.simulator.faults import (
    AnswerRule,
    ResetAfter,
    ResetBefore,
    SlowDrip,
    StrayAnswer,
    TimeoutAfter,
    TimeoutBefore,
    Truncated,
)
from fleetd.simulator.wire import Answer

_NO_CONTENT = 204
_RST = struct.pack("ii", 1, 0)


class Strays:
    """Second answers that wait for the next request on their connection."""

    def __init__(self) -> None:
        self._waiting: WeakKeyDictionary[asyncio.Transport, list[bytes]] = WeakKeyDictionary()

    def keep(self, transport: asyncio.Transport, raw: bytes) -> None:
        """Send this before the next answer on that connection."""
        self._waiting.setdefault(transport, []).append(raw)

    def arrived(self, request: web.BaseRequest) -> None:
        """A request has arrived: what waits on its connection goes out now."""
        transport = request.transport
        if transport is not None:
            for raw in self._waiting.pop(transport, []):
                transport.write(raw)


async def deliver(
    request: web.BaseRequest,
    answer: Answer,
    fault: AnswerRule | None,
    closing: anyio.Event,
    strays: Strays | None = None,
) -> web.StreamResponse:
    """Send the answer the way the fault has it. Hanging ends at once when the server closes."""
    match fault:
        case StrayAnswer() if strays is not None and answer.status:
            return await _twice(request, answer, fault, closing, strays)
        case TimeoutBefore() | TimeoutAfter():
            with anyio.move_on_after(fault.seconds):
                await closing.wait()
            return await _break_off(request, closing)
        case ResetBefore() | ResetAfter():
            return await _break_off(request, closing, reset=True)
        case Truncated() if answer.body:
            await _send(request, answer, answer.body[: len(answer.body) // 2])
            return await _break_off(request, closing)
        case Truncated():  # without a body: cut short before the status
            return await _break_off(request, closing)
        case SlowDrip():
            return await _drip(request, answer, fault, closing)
        case _:
            return web.Response(
                status=answer.status,
                body=answer.body,
                headers=dict(answer.headers),
                content_type=answer.content_type if answer.body else None,
            )


def never_answers(fault: AnswerRule | None, answer: Answer) -> bool:
    """Whether the client sees no status at all."""
    silent = isinstance(fault, TimeoutBefore | TimeoutAfter | ResetBefore | ResetAfter)
    return silent or (isinstance(fault, Truncated) and not answer.body)


async def _send(request: web.BaseRequest, answer: Answer, part: bytes) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.status, headers=dict(answer.headers))
    if answer.status != _NO_CONTENT:
        response.content_type = answer.content_type
        response.content_length = len(answer.body)
    await response.prepare(request)
    if part:
        await response.write(part)
    return response


async def _twice(
    request: web.BaseRequest, answer: Answer, fault: StrayAnswer, closing: anyio.Event, strays: Strays
) -> web.StreamResponse:
    response = await _send(request, answer, answer.body)
    await response.write_eof()
    transport, raw = request.transport, _raw(answer, fault)
    if transport is None:
        return response
    if fault.seconds is None:
        strays.keep(transport, raw)
        return response
    with anyio.move_on_after(fault.seconds):
        await closing.wait()
    if not transport.is_closing():
        transport.write(raw)
    return response


def _raw(answer: Answer, fault: StrayAnswer) -> bytes:
    status, body = fault.status, answer.body
    if fault.body is None:
        status = answer.status
    else:
        body = fault.body.encode() if isinstance(fault.body, str) else msgspec.json.encode(fault.body)
    head = f"HTTP/1.1 {status} Late\r\nContent-Type: application/json\r\n"
    if status != _NO_CONTENT:
        head += f"Content-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + body


async def _drip(
    request: web.BaseRequest, answer: Answer, fault: SlowDrip, closing: anyio.Event
) -> web.StreamResponse:
    size = max(1, -(-len(answer.body) // fault.chunks))
    pieces = [answer.body[at : at + size] for at in range(0, len(answer.body), size)]
    if not pieces:
        with anyio.move_on_after(fault.seconds):
            await closing.wait()
        return web.Response(status=answer.status)
    response = await _send(request, answer, pieces[0])
    for piece in pieces[1:]:
        with anyio.move_on_after(fault.seconds / len(pieces)):
            await closing.wait()
        if closing.is_set():
            return await _break_off(request, closing)
        await response.write(piece)
    await response.write_eof()
    return response


async def _break_off(request: web.BaseRequest, closing: anyio.Event, *, reset: bool = False) -> web.StreamResponse:
    transport = request.transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if reset and sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST)
            transport.abort()
        else:
            transport.close()
    # losing the connection cancels this handler; a server that closes does not wait for that
    await closing.wait()
    raise asyncio.CancelledError
