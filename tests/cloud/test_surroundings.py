"""What stands between fleetd and the provider: proxies, and certificates."""

from __future__ import annotations

import random
import ssl
from unittest import mock

import aiohttp
import pytest

from fleetd.cli.failures import ExitCode, exit_code, explanation
from fleetd.cloud.calls import HttpLimits
from fleetd.cloud.core.cloud import CoreCloud
from fleetd.cloud.retry import RetryPolicy
from fleetd.model.errors import Ambiguous, AskHuman, Unavailable, Untrusted
from tests.support.clients import core_client
from tests.support.scripted_server import answer, scripted
from tests.support.virtual_time import virtual

NOWHERE = "http://provider.example.test"


def cloud_at(url, **limits):
    policy = RetryPolicy(attempts=3, first_wait=0.1)
    return CoreCloud(
        core_client(url, lambda: "k3y", rng=random.Random(1), limits=HttpLimits(**limits), retries=policy)
    )


@virtual
async def test_the_provider_is_reached_through_the_proxy():
    async with scripted(answer(200, [])) as proxy:
        cloud = cloud_at(NOWHERE, proxy=proxy.url)
        assert (await cloud.list_machines()).complete
        await cloud.aclose()
    (heard,) = proxy.requests
    assert heard.target.startswith(f"{NOWHERE}/machines/getMachines")


@virtual
async def test_the_environments_proxy_is_not_used(monkeypatch):
    async with scripted(answer(200, [])) as server, scripted(answer(500)) as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        cloud = cloud_at(server.url)
        assert (await cloud.list_machines()).complete
        await cloud.aclose()
    assert proxy.requests == []


@virtual
async def test_a_proxy_that_cannot_be_reached_lets_nothing_out():
    cloud = cloud_at(NOWHERE, proxy="http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="no connection"):
        await cloud.create("n", {})
    await cloud.aclose()


@virtual
async def test_a_proxy_that_declines_to_connect_lets_nothing_out():
    async with scripted(answer(407), answer(502)) as proxy:
        cloud = cloud_at("https://provider.example.test", proxy=proxy.url)
        for status in ("407", "502"):
            with pytest.raises(Unavailable, match=status):
                await cloud.create("n", {})
        await cloud.aclose()
    assert [heard.method for heard in proxy.requests] == ["CONNECT", "CONNECT"]


@pytest.mark.parametrize("why", ["certificate has expired", "Hostname mismatch", "self-signed certificate"])
@pytest.mark.parametrize("call", ["list", "show", "stop", "create"])
async def test_a_certificate_that_is_not_accepted_is_a_persons_matter(wire, why, call):
    refused = aiohttp.ClientConnectorCertificateError(
        mock.Mock(host="provider.example.test", port=443), ssl.SSLCertVerificationError(1, why)
    )
    url = "https://provider.example.test/machines"
    wire.get(f"{url}/getMachines", exception=refused, repeat=True)
    wire.get(f"{url}/getMachinePublic?machineId=ps1", exception=refused, repeat=True)
    wire.post(f"{url}/ps1/stop", exception=refused, repeat=True)
    wire.post(f"{url}/createSingleMachinePublic", exception=refused, repeat=True)
    cloud = cloud_at("https://provider.example.test")
    calls = {
        "list": cloud.list_machines,
        "show": lambda: cloud.show("ps1"),
        "stop": lambda: cloud.stop("ps1"),
        "create": lambda: cloud.create("n", {}),
    }
    with pytest.raises(Untrusted, match=why) as caught:
        await calls[call]()
    await cloud.aclose()
    assert sum(map(len, wire.requests.values())) == 1, "trying again changes nothing"
    assert isinstance(caught.value, AskHuman)
    assert not isinstance(caught.value, Ambiguous), "nothing was sent"
    assert exit_code(caught.value) == ExitCode.ERROR
    assert "Try again later" not in " ".join(explanation(caught.value))
    assert "renewed certificate" in " ".join(explanation(caught.value))
