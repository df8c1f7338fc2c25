from __future__ import annotations

import functools
import inspect
from unittest import mock

import aiohttp
import pytest
from aioresponses import aioresponses


@pytest.fixture
def wire(monkeypatch):
    """aioresponses: answers for aiohttp's clients, without a socket."""
    if "stream_writer" in inspect.signature(aiohttp.ClientResponse).parameters:  # aiohttp 3.14; aioresponses 0.7.9
        patched = functools.partial(aiohttp.ClientResponse, stream_writer=mock.Mock(output_size=0))
        monkeypatch.setattr("aioresponses.core.ClientResponse", patched)
    with aioresponses() as mocked:
        yield mocked
