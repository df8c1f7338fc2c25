"""Makes a browser's screenshot small: few colours and the best compression, in pure Python (PNG: RFC 2083)."""

from __future__ import annotations

import struct
import zlib
from collections import Counter
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
COLOURS = 160
GROUNDS = 16
"""The most common ones have their own, however close to each other: a page and a card on it."""


def small(data: bytes) -> bytes:
    """The same picture with a palette. ``data``: eight bits a channel, RGB or RGBA, not interlaced."""
    width, height, depth, kind, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    assert (depth, interlaced) == (8, 0)
    channels = {2: 3, 6: 4}[kind]
    rows = [_pixels(row, channels) for row in _rows(data, width * channels, channels)]
    counts = Counter(pixel for row in rows for pixel in row)
    palette = _palette(counts)
    index = {colour: number for number, colour in enumerate(palette)}
    for colour in counts:
        if colour not in index:
            index[colour] = min(range(len(palette)), key=lambda n: _distance(palette[n], colour))
    raw = b"".join(b"\x00" + bytes(map(index.__getitem__, row)) for row in rows)
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    colours = b"".join(bytes(colour) for colour in palette)
    body = zlib.compress(raw, 9)
    return (
        SIGNATURE + _chunk(b"IHDR", header) + _chunk(b"PLTE", colours) + _chunk(b"IDAT", body) + _chunk(b"IEND", b"")
    )


def _rows(data: bytes, stride: int, channels: int) -> Iterator[bytearray]:
    """The rows with their filters undone."""
    packed, at = b"", len(SIGNATURE)
    while at < len(data):
        (length,) = struct.unpack(">I", data[at : at + 4])
        if data[at + 4 : at + 8] == b"IDAT":
            packed += data[at + 8 : at + 8 + length]
        at += 12 + length
    raw, above = zlib.decompress(packed), bytearray(stride)
    for start in range(0, len(raw), stride + 1):
        row = bytearray(raw[start + 1 : start + 1 + stride])
        _undo(raw[start], row, above, channels)
        yield row
        above = row


def _undo(filtered: int, row: bytearray, above: bytearray, channels: int) -> None:
    for i in range(len(row)) if filtered else ():
        left = row[i - channels] if i >= channels else 0
        if filtered == 1:
            guess = left
        elif filtered == 2:
            guess = above[i]
        elif filtered == 3:
            guess = (left + above[i]) // 2
        else:
            guess = _paeth(left, above[i], above[i - channels] if i >= channels else 0)
        row[i] = (row[i] + guess) & 255


def _paeth(left: int, above: int, corner: int) -> int:
    estimate = left + above - corner
    off = abs(estimate - left), abs(estimate - above), abs(estimate - corner)
    return left if off[0] <= off[1] and off[0] <= off[2] else above if off[1] <= off[2] else corner


def _pixels(row: bytearray, channels: int) -> list[tuple[int, ...]]:
    return list(zip(row[0::channels], row[1::channels], row[2::channels], strict=True))


def _palette(counts: Counter[tuple[int, ...]]) -> list[tuple[int, ...]]:
    """The most common colours, and that of each of the most common shades: what is rare but unlike others has one."""
    ordered = [colour for colour, _ in counts.most_common()]
    shades: dict[tuple[int, ...], tuple[int, ...]] = {}
    for colour in ordered:
        shades.setdefault(tuple(c >> 4 for c in colour), colour)
    return list(dict.fromkeys([*ordered[:GROUNDS], *shades.values(), *ordered]))[:COLOURS]


def _distance(one: tuple[int, ...], other: tuple[int, ...]) -> int:
    return sum((a - b) ** 2 for a, b in zip(one, other, strict=True))


def _chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
