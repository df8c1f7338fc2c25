"""What a command hears that asked the replica which has the lease, and got no answer in time."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("psycopg")

from fleetd.model.answers import Lifted, VetoTaken
from fleetd.model.report import Report
from fleetd.ops.control_errors import NoDaemon, NotReached, UnusableAnswer
from fleetd.store.postgres.holder import Holder
from fleetd.wiring import replicas
from tests.support.rig import settings

ACTS = Holder("a, pid 1", 1, None, over=False, given_back=False, reason="", previous="", left=10.0)
OVER = replace(ACTS, over=True, left=0.0)
NEXT = replace(ACTS, about="b, pid 2", epoch=2)
SAID = (200, b'{"removed": 1, "left": []}')


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Any:
    """``ask_holder``, where looks find these holders one after the other, and the request comes to this answer."""

    async def ask(method: str, holders: list[Holder], answer: object, kind: Any = VetoTaken) -> tuple[Any, int]:
        left = list(holders)
        requests: list[str] = []

        class Requester:
            def __init__(self, _address: object) -> None:
                pass

            async def ask(self, method: str, path: str, *_: object, seconds: float) -> object:
                assert seconds > 0
                requests.append(f"{method} {path}")
                return answer

        async def look(_address: object) -> Holder:
            return left.pop(0)

        monkeypatch.setattr(replicas.requests, "Requester", Requester)
        monkeypatch.setattr(replicas, "_last_holder", look)
        base = settings()
        here = replace(base, daemon=replace(base.daemon, state="postgresql://db/fleetd"))
        try:
            return await replicas.ask_holder(here, kind, method, "/veto", {}), len(requests)
        except (NoDaemon, NotReached) as error:
            return error, len(requests)
        finally:
            assert left == [], "it did not look again"

    return ask


@pytest.mark.parametrize(
    ("method", "holders", "answer", "kind", "words"),
    [
        pytest.param("POST", [OVER], None, NoDaemon, "no replica has the lease", id="nobody: not even asked"),
        pytest.param("POST", [ACTS, OVER], True, NoDaemon, "no replica has the lease", id="it died: given elsewhere"),
        pytest.param("POST", [ACTS, ACTS], True, NotReached, "was withdrawn", id="it hangs"),
        pytest.param("POST", [ACTS, NEXT], True, NotReached, "was withdrawn", id="it died, and another acts"),
        pytest.param("POST", [ACTS], False, NotReached, "it may still carry this out", id="it had begun"),
        pytest.param("GET", [ACTS], False, NotReached, "was withdrawn", id="a look does nothing"),
    ],
)
async def test_what_was_asked_in_vain_is_said_to_be_what_it_is(
    asked: Any, method: str, holders: list[Holder], answer: object, kind: type[Exception], words: str
) -> None:
    """``NoDaemon`` has a veto given in the database itself: only where the request was withdrawn, and nobody acts."""
    error, requests = await asked(method, holders, answer)
    assert type(error) is kind
    assert words in str(error)
    assert requests == (len(holders) > 1 or answer is not None)
    if kind is NotReached:
        assert "a, pid 1" in str(error)


async def test_an_answer_is_taken_for_what_it_is(asked: Any) -> None:
    lifted, _ = await asked("POST", [ACTS], SAID, Lifted)
    assert lifted == Lifted(removed=1, left=())


async def test_an_answer_of_another_version_is_not_taken_for_a_dead_holders(asked: Any) -> None:
    error, _ = await asked("GET", [ACTS], (200, b"{}"), Report)
    assert isinstance(error, UnusableAnswer)
