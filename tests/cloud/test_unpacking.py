"""A body piece by piece, packed or not, up to a length and no further."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from fleetd.cloud import unpacking
from fleetd.cloud.unpacking import BadCoding, read_body

BODY = b"some text, and some more of it" * 10


class Response:
    """An answer of these pieces."""

    def __init__(self, *pieces: bytes, coding: str | None = None) -> None:
        self.headers = {} if coding is None else {"Content-Encoding": coding}
        self.pieces, self.read, self.closed = pieces, 0, False
        self.content = SimpleNamespace(iter_any=self.iter_any)

    async def iter_any(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            self.read += 1
            yield piece

    def close(self) -> None:
        self.closed = True


async def read(*pieces: bytes, coding: str | None = None, longest: int = 10_000) -> tuple[bytes, bool]:
    response: Any = Response(*pieces, coding=coding)
    return await read_body(response, longest=longest)


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[n : n + size] for n in range(0, len(body), size)]


@pytest.mark.parametrize("step", [1, 7, 256 * 1024])
@pytest.mark.parametrize("size", [1, 10, 10_000])
@pytest.mark.parametrize(
    ("coding", "packed"),
    [
        (None, BODY),
        ("identity", BODY),
        ("", BODY),
        (" Identity ", BODY),
        ("gzip", gzip.compress(BODY)),
        ("GZIP", gzip.compress(BODY)),
        ("x-gzip", gzip.compress(BODY)),
        ("deflate", zlib.compress(BODY)),
    ],
)
async def test_a_body_is_read_in_however_many_pieces_it_comes(
    monkeypatch: pytest.MonkeyPatch, coding: str | None, packed: bytes, size: int, step: int
) -> None:
    monkeypatch.setattr(unpacking, "STEP", step)
    assert await read(*cut(packed, size), coding=coding) == (BODY, True)


@pytest.mark.parametrize("coding", [None, "gzip", "deflate"])
async def test_an_empty_body_is_whole(coding: str | None) -> None:
    assert await read(coding=coding) == (b"", True)
    assert await read(b"", coding=coding) == (b"", True)


@pytest.mark.parametrize(("longest", "whole"), [(300, True), (301, True), (299, False), (10, False)])
@pytest.mark.parametrize("coding", [None, "gzip"])
async def test_no_more_is_read_than_so_much(coding: str | None, longest: int, whole: bool) -> None:
    packed = BODY if coding is None else gzip.compress(BODY)
    response: Any = Response(*cut(packed, 10), b"more" if whole is False else b"", coding=coding)
    assert await read_body(response, longest=longest) == (BODY[:longest], whole)
    assert response.closed is not whole


async def test_what_packs_gigabytes_is_unpacked_as_far_as_it_is_read() -> None:
    bomb = zlib.compress(b"\0" * 50_000_000, 9)
    assert await read(bomb, coding="deflate", longest=1000) == (b"\0" * 1000, False)


async def test_what_follows_the_end_of_what_is_packed_is_nothing() -> None:
    assert await read(gzip.compress(BODY) + b"and more", b"and more", coding="gzip") == (BODY, True)


@pytest.mark.parametrize(
    ("coding", "pieces", "why"),
    [
        ("br", [BODY], "the answer is packed in a way that was not asked for (br)"),
        ("x" * 30, [BODY], "the answer is packed in a way that was not asked for (" + "x" * 20 + ")"),
        ("gzip, gzip", [BODY], "the answer is packed in a way that was not asked for (gzip, gzip)"),
        ("gzip", [gzip.compress(BODY)[:-1]], "the gzip of the answer ends too early"),
        ("deflate", [zlib.compress(BODY)[:-9]], "the deflate of the answer ends too early"),
    ],
)
async def test_what_cannot_be_unpacked_says_why(coding: str, pieces: list[bytes], why: str) -> None:
    with pytest.raises(BadCoding) as caught:
        await read(*pieces, coding=coding)
    assert str(caught.value) == why


async def test_what_is_packed_otherwise_than_it_says_is_said_so() -> None:
    with pytest.raises(BadCoding, match="the answer cannot be unpacked: "):
        await read(BODY, coding="gzip")
