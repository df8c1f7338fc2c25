"""The body of an answer, unpacked no further than it is read: a few kilobytes can unpack to gigabytes."""

from __future__ import annotations

import zlib

import aiohttp
import anyio.lowlevel

STEP = 256 * 1024
"""Bytes that are unpacked before other tasks have their turn."""

_WINDOWS = {"gzip": 31, "x-gzip": 31, "deflate": 15}


class BadCoding(aiohttp.ClientError):
    """It is packed in a way that was not asked for, or not as it says."""


async def read_body(response: aiohttp.ClientResponse, *, longest: int) -> tuple[bytes, bool]:
    """A body of at most ``longest`` bytes, and whether that is all of it. The session must not unpack by itself.

    Raises:
        BadCoding: it cannot be unpacked.
        aiohttp.ClientError, OSError: the connection broke.
    """
    coding = response.headers.get("Content-Encoding", "identity").strip().lower()
    unpacker = None if coding in {"", "identity"} else _unpacker(coding)
    body = bytearray()
    async for piece in response.content.iter_any():
        if unpacker is None:
            body += piece
        else:
            await _unpack(unpacker, piece, body, longest)
        if len(body) > longest:
            response.close()
            return bytes(body[:longest]), False
    if unpacker is not None and not unpacker.eof and body:
        raise BadCoding(f"the {coding} of the answer ends too early")
    return bytes(body), True


async def _unpack(unpacker: zlib._Decompress, piece: bytes, body: bytearray, longest: int) -> None:
    while piece and len(body) <= longest and not unpacker.eof:
        try:
            body += unpacker.decompress(piece, STEP)
        except zlib.error as e:
            raise BadCoding(f"the answer cannot be unpacked: {e}") from e
        piece = unpacker.unconsumed_tail
        await anyio.lowlevel.checkpoint()


def _unpacker(coding: str) -> zlib._Decompress:
    if coding not in _WINDOWS:
        raise BadCoding(f"the answer is packed in a way that was not asked for ({coding[:20]})")
    return zlib.decompressobj(_WINDOWS[coding])
