"""Answers of idle sources as a broken exporter, agent, script or proxy gives them. Each trick starts from the truth.

What none of them does is to state a lie that is complete and plausible: nobody could tell that from the truth.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

Samples = dict[float, float | str]
Series = list[tuple[dict[str, str], Samples]]
"""Labels and samples."""


@dataclass(frozen=True)
class Told:
    """An answer on the wire."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0.0
    """Seconds until it comes; more than any timeout for a question that hangs."""
    reset: bool = False
    cut: bool = False
    """The connection ends in the middle of the body."""
    twice: bool = False
    """It is sent twice on one connection."""

    def at(self, wall: datetime) -> Told:
        """With a Date."""
        return replace(self, headers={"Date": format_datetime(wall.astimezone(UTC), usegmt=True), **self.headers})


HANG = 1e4


@dataclass
class Asked:
    """A question to a Prometheus, and what it takes to answer it."""

    ip: str
    start: float
    end: float
    step: float
    series: list[Samples]
    rng: random.Random
    others: Callable[[], tuple[str, list[Samples]]]
    """Another machine's address and series."""
    earlier: tuple[float, bytes] | None
    """(end, body) of an older answer about the same machine, from before anything happened to it."""


def honest(asked: Asked) -> bytes:
    """The answer of a sound Prometheus."""
    return matrix([(labels(asked.ip, gpu), samples) for gpu, samples in enumerate(asked.series) if samples])


def labels(ip: str, gpu: int) -> dict[str, str]:
    """A series' labels."""
    return {"instance": f"{ip}:9400", "gpu": str(gpu)}


def matrix(series: Series, **more: object) -> bytes:
    """A body with these series."""
    result = [{"metric": metric, "values": pairs(samples)} for metric, samples in series]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": result}, **more}).encode()


def pairs(samples: Samples) -> list[list[object]]:
    """Samples as they are written."""
    return [[round(at, 3), v if isinstance(v, str) else f"{v:g}"] for at, v in sorted(samples.items())]


def busy(samples: Samples) -> bool:
    """Whether a series says that its GPU was used."""
    return any(isinstance(v, str) or v >= 0.02 for v in samples.values())


def prometheus(trick: str, asked: Asked, wall: datetime) -> Told | None:
    """The answer to ``asked`` after a trick; None where the trick has nothing to play with."""
    told = _common(trick, Told(honest(asked)).at(wall), matrix(_idle(asked)))
    if told is not None:
        return told
    if trick in {"stale", "stale_redated"}:
        return _stale(asked, wall, redated=trick == "stale_redated")
    body = _BODIES[trick](asked)
    return None if body is None else Told(body).at(wall)


def agent(trick: str, *, idle: bool, machine: str, other: str, wall: datetime) -> Told:
    """An agent's answer, by http."""
    plain = Told(verdict(idle=idle, machine=machine)).at(wall)
    false = verdict(idle=True, machine=machine)
    told = _common(trick, plain, false)
    if told is not None:
        return told
    whole = {
        "nothing": replace(plain, body=b"", status=204),
        "html": replace(plain, body=b"<html>log in</html>"),
        "cached_age": Told(false, headers={"Age": "3600", "Date": plain.headers["Date"]}),
        "cached_date": Told(false).at(wall - timedelta(hours=1)),
    }
    return whole.get(trick) or replace(plain, body=said(trick, idle=idle, machine=machine, other=other))


def script(trick: str, *, idle: bool, machine: str, other: str) -> tuple[bytes, int, float]:
    """A command's output, exit status and how long it takes."""
    true, false = verdict(idle=idle, machine=machine), verdict(idle=True, machine=machine)
    whole: dict[str, tuple[bytes, int, float]] = {
        "honest": (true, 0, 0.1),
        "slow": (true, 0, 3.0),
        "hang": (true, 0, HANG),
        "exit_1": (false, 1, 0.1),
        "cut": (false[:-3], 0, 0.1),
        "noise": (b"Warning: host key changed\n" + false, 0, 0.1),
        "much": (b" " * 70_000 + false, 0, 0.1),
        "nothing": (b"", 0, 0.1),
    }
    return whole.get(trick) or (said(trick, idle=idle, machine=machine, other=other), 0, 0.1)


def said(trick: str, *, idle: bool, machine: str, other: str) -> bytes:
    """A verdict's body after a trick."""
    true = str(idle).lower()
    match trick:
        case "other":
            return verdict(idle=True, machine=other)
        case "null_machine":
            return b'{"idle": true, "machine": null}'
        case "key_twice":
            return f'{{"machine": "{machine}", "idle": {true}, "idle": true}}'.encode()
        case "text":
            return f'{{"machine": "{machine}", "idle": "true"}}'.encode()
        case "number":
            return f'{{"machine": "{machine}", "idle": 1}}'.encode()
        case "nested":
            return b'{"idle":' + b"[" * 30_000
    raise ValueError(trick)


def verdict(*, idle: bool, machine: str) -> bytes:
    """The honest one."""
    return json.dumps({"idle": idle, "machine": machine, "evidence": "so it is"}).encode()


def _common(trick: str, true: Told, false: bytes) -> Told | None:
    """What can befall any answer over HTTP; whatever says by itself that it is none has a lie in its body."""
    headers = true.headers
    return {
        "honest": true,
        "slow": replace(true, delay=3.0),
        "hang": replace(true, delay=HANG),
        "doubled_answer": replace(true, twice=True),
        "reset": replace(true, reset=True),
        "cut": replace(true, body=false, cut=True),
        "status_404": replace(true, body=false, status=404),
        "status_429": replace(true, body=false, status=429, headers={**headers, "Retry-After": "5"}),
        "status_500": replace(true, body=false, status=500),
        "status_502": replace(true, body=b"<html>502 Bad Gateway</html>", status=502),
        "redirect": replace(true, body=false, status=302, headers={**headers, "Location": "/idle/10.0.0.1"}),
        "packed": replace(true, body=false, headers={**headers, "Content-Encoding": "gzip"}),
    }.get(trick)


def _stale(asked: Asked, wall: datetime, *, redated: bool) -> Told | None:
    """What was answered some time ago, from a cache: as of then, or with a Date of now."""
    if asked.earlier is None or asked.end - asked.earlier[0] < 2.6 * asked.step:
        return None
    made = wall if redated else wall - timedelta(seconds=asked.end - asked.earlier[0])
    return Told(asked.earlier[1]).at(made)


def _named(asked: Asked) -> Series:
    return [(labels(asked.ip, gpu), samples) for gpu, samples in enumerate(asked.series) if samples]


def _idle(asked: Asked) -> Series:
    """All of it, and nothing of use in it: what is wrong with it must be told from something else."""
    return [(metric, dict.fromkeys(samples, 0.0)) for metric, samples in _named(asked)]


def _unused(asked: Asked) -> Series:
    """Without the series that say use; where that leaves none, all of them as idle."""
    return [(metric, samples) for metric, samples in _named(asked) if not busy(samples)] or _idle(asked)


def _with(asked: Asked, value: float | str) -> bytes:
    """Use is told as another value."""
    return matrix([(m, {t: value if v else 0.0 for t, v in samples.items()}) for m, samples in _named(asked)])


def _times(asked: Asked) -> list[float]:
    count = int((asked.end - asked.start) / asked.step + 1e-6) + 1
    return [asked.start + n * asked.step for n in range(count)]


def _vector(asked: Asked) -> bytes:
    rows = [{"metric": metric, "value": pairs(samples)[-1]} for metric, samples in _idle(asked)]
    return json.dumps({"status": "success", "data": {"resultType": "vector", "result": rows}}).encode()


def _other(asked: Asked) -> bytes:
    ip, series = asked.others()
    return matrix([(labels(ip, gpu), samples) for gpu, samples in enumerate(series)])


def _key_twice(asked: Asked) -> bytes:
    whole = honest(asked).decode()
    return (whole[:-2] + ', "result": ' + json.dumps(_result(_idle(asked))) + whole[-2:]).encode()


def _thinned(asked: Asked) -> bytes:
    return matrix([(m, {t: v for n, (t, v) in enumerate(sorted(s.items())) if n % 3 == 0}) for m, s in _idle(asked)])


def _busy_series_dropped(asked: Asked) -> bytes | None:
    named = _named(asked)
    lost = [(metric, samples) for metric, samples in named if not busy(samples)]
    return matrix(lost) if 0 < len(lost) < len(named) else None


def _histograms(asked: Asked) -> bytes:
    rows = [{"metric": m, "values": pairs(s), "histograms": [[asked.end, {"count": "0"}]]} for m, s in _idle(asked)]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": rows}}).encode()


_BODIES: Mapping[str, Callable[[Asked], bytes | None]] = {
    "no_series": lambda _asked: matrix([]),
    "vector": _vector,
    "part": lambda asked: matrix(_unused(asked), isPartial=True),
    "warning": lambda asked: matrix(_unused(asked), warnings=["some blocks could not be read"]),
    "error": lambda _asked: b'{"status": "error", "errorType": "timeout", "error": "query timed out"}',
    "one_time": lambda asked: _raw([(m, [[asked.end, "0"]] * len(_times(asked))) for m, _ in _idle(asked)]),
    "outside": lambda asked: _raw([(m, [[at - 3600, "0"] for at in _times(asked)]) for m, _ in _idle(asked)]),
    "other": _other,
    "twice": lambda asked: matrix([*_named(asked), *_idle(asked)]),
    "key_twice": _key_twice,
    "negative": lambda asked: _with(asked, -1.0),
    "nan": lambda asked: _with(asked, "NaN"),
    "not_a_number": lambda asked: _with(asked, "n/a"),
    "thinned": _thinned,
    "busy_dropped": lambda asked: matrix([(metric, _without_use(s)) for metric, s in _named(asked)]),
    "busy_series_dropped": _busy_series_dropped,
    "histograms": _histograms,
}


def _result(series: Series) -> list[object]:
    return [{"metric": metric, "values": pairs(samples)} for metric, samples in series]


def _raw(series: list[tuple[dict[str, str], list[list[object]]]]) -> bytes:
    rows = [{"metric": metric, "values": values} for metric, values in series]
    return json.dumps({"status": "success", "data": {"resultType": "matrix", "result": rows}}).encode()


def _without_use(samples: Samples) -> Samples:
    """Every sample that says use is missing, and the one after it: a single one may be forgiven."""
    rows = sorted(samples.items())
    used = {n for n, (_, v) in enumerate(rows) if isinstance(v, str) or v >= 0.02}
    dropped = used | {n + 1 for n in used}
    return {at: v for n, (at, v) in enumerate(rows) if n not in dropped}
