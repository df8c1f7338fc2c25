"""Which calls are made again, and whose answer has to be read."""

from __future__ import annotations

import pytest

from fleetd.cloud.calls import Call, Effect, HttpLimits, KeyHeader
from fleetd.model.settings import ProviderSettings


@pytest.mark.parametrize(
    ("effect", "repeat_write", "patient", "repeatable"),
    [
        (Effect.READ, False, True, True),
        (Effect.READ, True, False, False),
        (Effect.REPEATABLE, True, True, True),
        (Effect.REPEATABLE, True, False, True),
        (Effect.REPEATABLE, False, True, False),
        (Effect.ONCE, True, True, False),
        (Effect.ONCE, False, True, False),
    ],
)
def test_what_is_made_again(effect: Effect, repeat_write: bool, patient: bool, repeatable: bool) -> None:
    assert Call("x", "GET", "/", effect, repeat_write=repeat_write, patient=patient).repeatable is repeatable


@pytest.mark.parametrize(
    ("effect", "needs", "matters"),
    [
        (Effect.READ, False, True),
        (Effect.READ, True, True),
        (Effect.REPEATABLE, False, False),
        (Effect.ONCE, False, False),
        (Effect.ONCE, True, True),
    ],
)
def test_whose_body_matters(effect: Effect, needs: bool, matters: bool) -> None:
    assert Call("x", "GET", "/", effect, needs_body=needs).body_matters is matters


def test_a_call_is_a_read_that_names_no_machine_unless_it_says_so() -> None:
    plain = Call("x", "GET", "/")
    assert (plain.effect, dict(plain.query), plain.body) == (Effect.READ, {}, None)
    assert (plain.names_machine, plain.repeat_write, plain.patient, plain.needs_body) == (False, False, True, False)


def test_the_limits_are_those_that_a_config_has_by_default() -> None:
    limits, provider = HttpLimits(), ProviderSettings(kind="paperspace", base_url="", api_key=None)
    assert limits.max_requests_per_second == provider.max_requests_per_second
    assert limits.max_concurrency == provider.max_concurrency
    assert limits.request_timeout == provider.request_timeout.total_seconds()
    assert limits.proxy is None


def test_a_key_has_no_prefix_and_is_not_shown() -> None:
    header = KeyHeader("x-api-key", lambda: "s3cr3t")
    assert (header.prefix, "lambda" in repr(header)) == ("", False)
