"""The metrics of several workers as one. Pure.

Counters and histograms are added up, and what a process had counted when it ended stays in the sum: a sum that falls
looks like a restart to Prometheus, which would count everything again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from prometheus_client.core import Metric
from prometheus_client.samples import Exemplar

from gateway.workers.told import Family, Sample

SUMMED_KINDS = frozenset({"counter", "histogram", "summary", "gaugehistogram"})
# Gauges that are the property of a process; any other that the parent does not know itself is shown at its largest.
SUMMED_GAUGES = frozenset(
    {
        "process_resident_memory_bytes",
        "process_virtual_memory_bytes",
        "process_open_fds",
        "process_max_fds",
    }
)
SMALLEST_GAUGES = frozenset({"process_start_time_seconds", "fleetgate_tls_certificate_expiry_timestamp_seconds"})

_Key = tuple[str, tuple[tuple[str, str], ...]]


class Sum:
    """Families of one name, added up."""

    def __init__(self, family: Family) -> None:
        self.family = family
        self._samples: dict[_Key, Sample] = {}
        self.add(family)

    def add(self, family: Family) -> None:
        """What another process says under this name."""
        for sample in family.samples:
            key = sample.name, tuple(sorted(sample.labels.items()))
            before = self._samples.get(key)
            self._samples[key] = sample if before is None else self._joined(before, sample)

    def _joined(self, one: Sample, other: Sample) -> Sample:
        kind, name = self.family.kind, self.family.name
        if kind in SUMMED_KINDS or name in SUMMED_GAUGES:
            value = one.value + other.value
        elif name in SMALLEST_GAUGES:
            value = min(one.value, other.value)
        else:
            value = max(one.value, other.value)
        return Sample(one.name, one.labels, value, _later(one, other))

    @property
    def result(self) -> Family:
        """All of it."""
        return Family(self.family.name, self.family.text, self.family.kind, list(self._samples.values()))


def _later(one: Sample, other: Sample) -> tuple[dict[str, str], float, float | None] | None:
    if one.exemplar is None or other.exemplar is None:
        return one.exemplar or other.exemplar
    return max(one.exemplar, other.exemplar, key=lambda exemplar: exemplar[2] or 0.0)


def added(processes: Iterable[Iterable[Family]]) -> list[Family]:
    """What all of them say together."""
    sums: dict[str, Sum] = {}
    for families in processes:
        for family in families:
            if family.name in sums:
                sums[family.name].add(family)
            else:
                sums[family.name] = Sum(family)
    return [each.result for each in sums.values()]


def remains(family: Family, nodes: frozenset[str]) -> Family | None:
    """What of a process that ended must stay in the sums: nothing of gauges, nor of nodes that have left."""
    if family.kind not in SUMMED_KINDS:
        return None
    kept = [sample for sample in family.samples if sample.labels.get("node", "") in nodes | {""}]
    return Family(family.name, family.text, family.kind, kept)


def shown(families: Iterable[Family], own: Mapping[str, Metric]) -> Iterator[Metric]:
    """For an encoder. What the parent sees better itself, its `own` by name, stands for what workers say of it."""
    told = set()
    for family in families:
        told.add(family.name)
        yield own[family.name] if family.name in own else _metric(family)
    yield from (metric for name, metric in own.items() if name not in told)


def _metric(family: Family) -> Metric:
    metric = Metric(family.name, family.text, family.kind)
    for sample in family.samples:
        exemplar = Exemplar(*sample.exemplar) if sample.exemplar else None
        metric.add_sample(sample.name, sample.labels, sample.value, exemplar=exemplar)
    return metric
