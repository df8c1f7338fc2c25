"""A listing that does not end is left, with its reason, and gives signs of life while it is read."""

from __future__ import annotations

import itertools
import random
import re
from urllib.parse import parse_qs, urlsplit

import anyio
import msgspec
import pytest

from fleetd.cloud import listing as reading
from fleetd.cloud.calls import HttpLimits
from fleetd.cloud.listing import MOST_SECONDS
from tests.support.clients import open_core_cloud, open_paperspace_cloud
from tests.support.scripted_server import Heard, answer, scripted
from tests.support.virtual_time import virtual


def rows(first: int, count: int):
    return [{"id": f"ps{n}", "name": "n", "state": "off"} for n in range(first, first + count)]


def core(said):
    """``said(page)`` for each page by position."""

    def say(heard: Heard):
        return answer(200, said(int(parse_qs(urlsplit(heard.target).query).get("skip", ["0"])[0]) // 1000))

    return say


def v1(said):
    """``said(page)`` gives its items and the number in its cursor."""

    def say(heard: Heard):
        after = parse_qs(urlsplit(heard.target).query).get("after", ["c0"])[0]
        items, following = said(int(after[1:]))
        return answer(200, {"hasMore": True, "items": items, "nextPage": f"c{following}"})

    return say


ENDLESS = {
    "core: skip is ignored": (open_core_cloud, core(lambda _page: rows(0, 1000)), "nothing new"),
    "core: every page is new": (open_core_cloud, core(lambda page: rows(page * 1000, 1000)), "no end|too long"),
    "core: no entry has an id": (open_core_cloud, core(lambda _page: [{}] * 1000), "nothing new"),
    "v1: the cursor stays": (open_paperspace_cloud, v1(lambda page: (rows(page, 1), page)), "leads back|nothing new"),
    "v1: the cursors turn in a circle": (
        open_paperspace_cloud,
        v1(lambda page: (rows(page, 1), (page + 1) % 3)),
        "leads back",
    ),
    "v1: new cursors, the same machine": (
        open_paperspace_cloud,
        v1(lambda page: (rows(0, 1), page + 1)),
        "nothing new",
    ),
    "v1: new cursors, no machine": (open_paperspace_cloud, v1(lambda page: ([], page + 1)), "nothing new"),
    "v1: no entry has an id": (open_paperspace_cloud, v1(lambda page: ([None], page + 1)), "nothing new"),
    "v1: every page is new": (open_paperspace_cloud, v1(lambda page: (rows(page, 1), page + 1)), "no end|too long"),
}


@pytest.mark.parametrize(("opened", "say", "why"), ENDLESS.values(), ids=ENDLESS.keys())
@pytest.mark.parametrize("per_second", [10.0, 1.0])
@virtual
async def test_a_listing_without_an_end_is_left_with_its_reason(opened, say, why, per_second):
    beats = [anyio.current_time()]
    limits = HttpLimits(max_requests_per_second=per_second)
    async with scripted(say) as server:
        cloud = opened(server.url, lambda: "k3y", rng=random.Random(1), limits=limits)
        began = anyio.current_time()
        listing = await cloud.list_machines(lambda: beats.append(anyio.current_time()))
        took = anyio.current_time() - began
        await cloud.aclose()
    assert not listing.complete
    assert re.search(why, listing.problem), listing.problem
    assert took < MOST_SECONDS + 70
    assert max(b - a for a, b in itertools.pairwise(beats)) <= 3.0, "every page is a sign of life"


def fat(first: int, count: int, size: int):
    return [{"id": f"ps{n}", "name": "n", "state": "off", "note": "x" * size} for n in range(first, first + count)]


FAT = {
    "core: long texts": (open_core_cloud, core(lambda page: fat(page * 1000, 1000, 1000))),
    "core: many values": (
        open_core_cloud,
        core(lambda page: [r | {"events": [None] * 10} for r in rows(page * 1000, 1000)]),
    ),
    "v1: long texts": (open_paperspace_cloud, v1(lambda page: (fat(page, 1, 1_000_000), page + 1))),
    "v1: many values": (open_paperspace_cloud, v1(lambda page: ([*rows(page, 1), [0] * 10_000], page + 1))),
}


@pytest.mark.parametrize(("opened", "say"), FAT.values(), ids=FAT.keys())
@virtual
async def test_many_large_pages_together_have_a_bound(monkeypatch, opened, say):
    """Each page is small enough by itself; what is held in memory is bounded all the same."""
    monkeypatch.setattr(reading, "MOST_WEIGHT", 8 * 1024 * 1024)
    monkeypatch.setattr(reading, "OF_A_MACHINE", 0)
    pages = 0

    def counted(heard: Heard):
        nonlocal pages
        pages += 1
        return say(heard)

    async with scripted(counted) as server:
        cloud = opened(
            server.url, lambda: "k3y", rng=random.Random(1), limits=HttpLimits(max_requests_per_second=1000)
        )
        listing = await cloud.list_machines()
        assert not listing.complete
        assert "too large together" in listing.problem
        assert pages <= 40
        assert (await cloud.list_machines()).machines, "the next listing has a bound of its own"
        await cloud.aclose()


ORDINARY = msgspec.json.encode([{f"field{n}": "some text" for n in range(45)}] * 1000)
"""A page of the Core API: its machines have some forty fields, and a kilobyte."""


@pytest.mark.parametrize(("pages", "body", "fits"), [(200, ORDINARY, True), (60, ORDINARY * 3, False)])
def test_a_listing_of_a_hundred_thousand_read_twice_is_within_the_bound(pages, body, fits):
    with reading.weighed(1000):
        assert all(reading.fits(body) for _ in range(pages)) is fits
