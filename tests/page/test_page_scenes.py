"""What the screenshots show is what the engine did, and the tools that take them work."""

from __future__ import annotations

import re
import struct
import zlib

import pytest

from fleetd.ops.page.scene import Scene
from tests.page.everything import every_page
from tests.page.png import SIGNATURE, small
from tests.page.scenes import make_scenes
from tests.support.fake_handle import AT, a_machine, a_report


def converged(name: str = "training-7k3mqggq") -> Scene:
    machines = [
        a_machine(name, up_since="2026-03-02T09:00:00Z", type=name),
        a_machine(f"{name}2", owned=False, fleet=None),
    ]
    return Scene(a_report(machines=machines), AT, version="1.2.3")


def test_eight_moments_of_real_fleets() -> None:
    scenes = make_scenes()
    assert list(scenes) == ["parked", "converged", "converging", "blocked", "troubled", "blind", "doubted", "frozen"]
    pages = {name: every_page(scene) for name, scene in scenes.items()}
    for name, words in {
        "parked": ("2 fleets are at target, notebooks is parked.", "parked until 07:00 Berlin", "4 at 07:00 Berlin"),
        "converged": ("All 3 fleets are at target.", "parks at 20:00 Berlin"),
        "blocked": ("training 24 of 28 up. 1 thing may need a person.", "want of capacity", "short 12 min"),
        "blind": ("the provider does not answer. Last seen 15:24:54 UTC: ", "does not answer (list: Service"),
        "doubted": ("Blind since ", "which show finds in state ready. Last seen ", "is not believed, nothing is"),
        "frozen": ("freeze on everything by ", "frozen, short"),
    }.items():
        for said in words:
            assert said in re.sub("</?span[^>]*>", "", pages[name]["/"]), (name, said)
    for name, texts in pages.items():
        for path, text in texts.items():
            assert not re.search(r"[a-z]\.\.|\.\)\.", text), (name, path)
    for name in ("blind", "doubted"):
        assert "at target" not in "".join(pages[name].values())
    assert 'class="parked"' in pages["parked"]["fleet notebooks"]
    assert 'class="blank"' in pages["blind"]["fleet training"]
    assert 'class="mark-outage"' in pages["frozen"]["fleet training"]
    assert "training: Last 24 h: 6 to 16 up" in pages["converged"]["/"]
    assert "6 at 20:00 Berlin" in pages["converged"]["/"]
    assert re.search(r"Not at target since \S+ UTC: training 16 of 24 up\.", pages["converging"]["/"])
    assert pages["converging"]["fleet training"].count('data-key="step ') == 8
    assert 'class="mark-reload"' in pages["converging"]["fleet training"]
    troubled = "".join(pages["troubled"].values())
    for words in (
        "hibernating",
        "insufficient capacity",
        "a person stopped it",
        "held",
        "kept off",
        "by hand",
        "Freeze on inference",
    ):
        assert words in troubled


def picture(width: int, height: int, filters: bytes) -> bytes:
    """A PNG of few colours, each row with another filter."""
    rows = [bytes((x * 7 + y) % 5 * 40 for x in range(width * 3)) for y in range(height)]
    raw, above = b"", bytes(width * 3)
    for number, row in enumerate(rows):
        kind = filters[number % len(filters)]
        raw += bytes([kind]) + bytes((row[i] - _guess(kind, row, above, i)) & 255 for i in range(len(row)))
        above = row
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)),
        (b"IDAT", zlib.compress(raw)),
        (b"IEND", b""),
    ]
    return SIGNATURE + b"".join(
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks
    )


def _guess(kind: int, row: bytes, above: bytes, i: int) -> int:
    left, up, corner = (row[i - 3] if i >= 3 else 0), above[i], (above[i - 3] if i >= 3 else 0)
    nearest = min((left, up, corner), key=lambda v: abs(left + up - corner - v))
    return [0, left, up, (left + up) // 2, nearest][kind]


@pytest.mark.parametrize("kind", range(5))
def test_a_small_picture_is_the_same_picture(kind: int) -> None:
    made = small(picture(9, 6, bytes([kind])))
    plain = small(picture(9, 6, b"\x00"))
    assert made == plain
    colours = made[made.index(b"PLTE") + 4 :][:15]
    length = struct.unpack(">I", made[made.index(b"IDAT") - 4 :][:4])[0]
    raw = zlib.decompress(made[made.index(b"IDAT") + 4 :][:length])
    rows = [raw[y * 10 + 1 : y * 10 + 10] for y in range(6)]
    assert b"".join(colours[i * 3 : i * 3 + 3] for i in rows[2]) == bytes((x * 7 + 2) % 5 * 40 for x in range(27))
