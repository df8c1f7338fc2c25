"""Answers that are JSON but not what was asked for."""

from __future__ import annotations

import random

import pytest

from fleetd.model.errors import Ambiguous, MalformedAnswer
from tests.support.clients import open_core_api, open_core_cloud
from tests.support.core_page import CREATED, SHOWN
from tests.support.scripted_server import answer, scripted
from tests.support.virtual_time import virtual


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"id": "ps1"}, "not an array"),
        (None, "not JSON"),
        ({"machines": []}, "not an array"),
    ],
)
@virtual
async def test_a_listing_that_is_none(content, said):
    async with scripted(answer(200, content)) as server:
        cloud = open_core_cloud(server.url, lambda: "k3y", rng=random.Random(1))
        with pytest.raises(MalformedAnswer, match=said):
            await cloud.list_machines()
        await cloud.aclose()


@virtual
async def test_a_show_of_another_machine_is_not_believed():
    async with scripted(answer(200, SHOWN)) as server:
        cloud = open_core_cloud(server.url, lambda: "k3y", rng=random.Random(1))
        assert (await cloud.show(SHOWN["id"])).id == SHOWN["id"]
        with pytest.raises(MalformedAnswer, match="asked about ps1"):
            await cloud.show("ps1")
        await cloud.aclose()


@pytest.mark.parametrize("content", [{}, [], {"id": 5}, {"error": {"status": 400}}, {**CREATED, "state": None}])
@virtual
async def test_a_create_that_is_answered_with_no_machine_is_ambiguous(content):
    async with scripted(answer(200, content)) as server:
        cloud = open_core_cloud(server.url, lambda: "k3y", rng=random.Random(1))
        with pytest.raises(Ambiguous):
            await cloud.create("n", {})
        await cloud.aclose()
    assert len(server.requests) == 1


@virtual
async def test_a_write_may_be_answered_with_anything():
    for content in ([1], "fine", {"ok": True}):
        async with scripted(answer(200, content)) as server:
            api = open_core_api(server.url, lambda: "k3y", rng=random.Random(1))
            assert await api.start("ps1") == (content if isinstance(content, dict) else None)
            await api.aclose()
