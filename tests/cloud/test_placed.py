"""A place passes every call on to its client, with itself; and has none of its own to give."""

from __future__ import annotations

from typing import Any

import pytest

from fleetd.cloud.calls import Answer, Call, HttpLimits
from fleetd.cloud.placed import Held, Placed
from fleetd.cloud.rate import Place

CALL, ANSWER = Call("stop", "POST", "/machines/ps1/stop"), Answer(200, b"{}")
LIMITS = HttpLimits(max_concurrency=3)


def leave() -> None:
    raise AssertionError


class Client:
    """Tells each call, and answers with its own token."""

    limits = LIMITS

    def __init__(self) -> None:
        self.told: list[Any] = []
        self.token = object()

    async def send(self, call: Call, held: Held | None = None) -> Any:
        self.told.append((call, held))
        return self.token

    def _tell(self, *args: Any, **kwargs: Any) -> Any:
        self.told.append((*args, kwargs))
        return self.token

    read_json = declined = malformed = _tell

    async def aclose(self) -> None:
        raise AssertionError("others go on with it")


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.fixture
def held() -> Held:
    return Held(Place(1), leave)


@pytest.mark.parametrize(
    ("name", "args", "kwargs", "told"),
    [
        ("read_json", (CALL, ANSWER), {}, (CALL, ANSWER, {})),
        ("declined", (CALL, ANSWER), {}, (CALL, ANSWER, {})),
        ("malformed", (CALL, "no"), {}, (CALL, "no", {"status": None})),
        ("malformed", (CALL, "no"), {"status": 201}, (CALL, "no", {"status": 201})),
    ],
)
def test_what_it_asks_of_the_client(client: Any, held: Held, name: str, args: Any, kwargs: Any, told: Any) -> None:
    assert getattr(Placed(client, held), name)(*args, **kwargs) is client.token
    assert client.told == [told]


async def test_a_call_goes_out_from_the_place(client: Any, held: Held) -> None:
    assert await Placed(client, held).send(CALL) is client.token
    assert client.told == [(CALL, held)]
    assert (held.place.paid, held.leave) == (1, leave)


async def test_it_has_the_clients_limits_and_does_not_close_it(client: Any, held: Held) -> None:
    placed = Placed(client, held)
    assert placed.limits is LIMITS
    await placed.aclose()
    assert client.told == []


def test_who_holds_a_place_waits_for_no_other(client: Any, held: Held) -> None:
    with pytest.raises(RuntimeError, match="held already"):
        Placed(client, held).place(1, behind=1, create=True, leave=leave)
    assert client.told == []
