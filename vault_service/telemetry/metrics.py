"""Metrics for Prometheus, in a registry of this process's own.

Two ways to add one. What happens often is pushed: a method of a meter (``meters``) with its labels
made once. What something knows anyway, a size or a plain count, is read when it is scraped: one
row of ``app/meters.py``. Either way it stands in docs/reference/metrics.md after ``make docs``.

Labels are bounded: enumerations, names in the code, or ``Capped``. A tenant, grant, owner or caller
is never one; that is what the record and the logs are for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST
OTHER: Final = "other"

# Of a token from memory (0.4 ms) to the longest call (120 s).
DURATIONS_S: Final = (
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
)  # fmt: skip
SIZES: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256)

Kind = Literal["counter", "gauge", "histogram"]
Numbers = Mapping[tuple[str, ...], float]  # by label values; () for a metric without labels


@dataclass(frozen=True, slots=True)
class Described:
    """What one metric is."""

    name: str
    kind: Kind
    help: str
    labels: tuple[str, ...]


class Metrics:
    """The metrics of one process. Asking for a name again gives the same metric."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        self._counters: dict[str, Counter] = {}
        self._histograms: dict[str, Histogram] = {}
        self._described: dict[str, Described] = {}
        ProcessCollector(registry=self._registry)

    def counter(self, name: str, says: str, labels: Sequence[str] = ()) -> Counter:
        """A pushed counter; the name ends in _total."""
        if name not in self._counters:
            self._describe(Described(name, "counter", says, tuple(labels)))
            self._counters[name] = Counter(name, says, labels, registry=self._registry)
        return self._counters[name]

    def histogram(
        self, name: str, says: str, labels: Sequence[str] = (), buckets: Sequence[float] = ()
    ) -> Histogram:
        """A pushed histogram; of seconds unless ``buckets`` say otherwise."""
        if name not in self._histograms:
            self._describe(Described(name, "histogram", says, tuple(labels)))
            self._histograms[name] = Histogram(
                name, says, labels, registry=self._registry, buckets=buckets or DURATIONS_S
            )
        return self._histograms[name]

    def read(
        self,
        name: str,
        kind: Literal["counter", "gauge"],
        says: str,
        labels: Sequence[str],
        numbers: Callable[[], Numbers],
    ) -> None:
        """Ask ``numbers`` whenever it is scraped. ValueError for a name that is there already."""
        described = Described(name, kind, says, tuple(labels))
        if name in self._described:
            raise ValueError(f"{name} is there already")
        self._describe(described)
        self._registry.register(_Read(described, numbers))

    def described(self) -> list[Described]:
        """What there is, by name."""
        return [self._described[name] for name in sorted(self._described)]

    def render(self) -> bytes:
        """All of it, in Prometheus' text format (``CONTENT_TYPE``)."""
        return generate_latest(_WithoutBirthdays(self._registry))

    def _describe(self, described: Described) -> None:
        self._described[described.name] = described


class Capped:
    """The first ``limit`` values of a label that others choose; whatever comes later is "other",
    until the process starts anew."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._known: set[str] = set()

    def label(self, value: str) -> str:
        """The value, or "other"."""
        if value in self._known:
            return value
        if len(self._known) >= self._limit:
            return OTHER
        self._known.add(value)
        return value


class _Collected(Protocol):
    def collect(self) -> Iterable[Metric]: ...


class _Read(Collector):
    """A metric that is asked for when it is scraped."""

    def __init__(self, described: Described, numbers: Callable[[], Numbers]) -> None:
        self._described = described
        self._numbers = numbers

    def collect(self) -> Iterable[Metric]:
        of = self._described
        family = CounterMetricFamily if of.kind == "counter" else GaugeMetricFamily
        made = family(of.name, of.help, labels=of.labels)
        for labels, value in self._numbers().items():
            made.add_metric(labels, value)
        yield made


class _WithoutBirthdays:
    """The registry without the _created series, which double what is stored for nothing."""

    def __init__(self, registry: _Collected) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        for metric in self._registry.collect():
            metric.samples = [s for s in metric.samples if not s.name.endswith("_created")]
            yield metric
