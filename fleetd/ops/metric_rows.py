"""Series by the thousand: what prometheus-client exposes, written a hundred times faster.

With a thousand fleets there are thousands of series, and a scrape must not hold the event loop up. Each line's name
and labels are spelt once; a scrape puts the numbers behind them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]


class Rows(Collector):
    """One metric's series, all with the same labels; a gauge, or a counter when it says so.

    Args:
        name: without ``_total``.
        says: its help.
        labels: their names.
        counts: whether it is a counter.
    """

    def __init__(self, name: str, says: str, labels: Labels, *, counts: bool = False) -> None:
        self.name = name
        self._says = says
        self._labels = labels
        self._counts = counts
        self._values: dict[Labels, float] = {}
        self._spelt: dict[Labels, str] = {}

    def __contains__(self, labels: object) -> bool:
        return labels in self._values

    def fill(self, values: Mapping[Labels, float], *, always: Iterable[Labels] = ()) -> None:
        """Have these series and no others. ``always``: those that are 0 where there is no value."""
        self._values = {**dict.fromkeys(always, 0.0), **values}
        if len(self._spelt) > 2 * len(self._values) + 1000:  # fleets come and go with the config
            self._spelt = {}

    def begin(self, labels: Labels) -> None:
        """Show it with 0 from now on, if it is not shown."""
        self._values.setdefault(labels, 0.0)

    def add(self, labels: Labels) -> None:
        """One more."""
        self._values[labels] = self._values.get(labels, 0.0) + 1.0

    def firsts(self, count: int) -> list[Labels]:
        """The first so many labels of each series, each once."""
        return list(dict.fromkeys(labels[:count] for labels in self._values))

    def collect(self) -> Iterable[Metric]:
        """The series for a registry."""
        kind = CounterMetricFamily if self._counts else GaugeMetricFamily
        family = kind(self.name, self._says, labels=self._labels)
        for labels, value in self._values.items():
            family.add_metric(labels, value)
        yield family

    def text(self) -> str:
        """The series as Prometheus reads them."""
        name, kind = (f"{self.name}_total", "counter") if self._counts else (self.name, "gauge")
        lines = [f"# HELP {name} {_escaped(self._says, '')}", f"# TYPE {name} {kind}"]
        spelt = self._spelt
        for labels, value in self._values.items():
            head = spelt.get(labels)
            if head is None:
                pairs = (f'{label}="{_escaped(said)}"' for label, said in zip(self._labels, labels, strict=True))
                head = spelt[labels] = f"{name}{{{','.join(pairs)}}} " if labels else f"{name} "
            lines.append(head + (_NUMBERS.get(value) or _number(value)))
        lines.append("")
        return "\n".join(lines)


def _number(value: float) -> str:
    return str(floatToGoString(value))  # type: ignore[no-untyped-call]


_NUMBERS = {float(n): _number(n) for n in range(100)}


def _escaped(text: str, quote: str = '"') -> str:
    text = text.replace("\\", r"\\").replace("\n", r"\n")
    return text.replace(quote, rf"\{quote}") if quote else text
