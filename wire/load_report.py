"""ORCA load reports: how loaded a node says it is, in a header of each of its answers.

Schema: xds/data/orca/v3/orca_load_report.proto. We write the JSON form, which every reader takes, and read all:
TEXT with `:` or `=`, JSON in snake or camel case, BIN, and the header `-bin` of gRFC A51.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import inf

import msgspec

from wire import orca
from wire.headers import LOAD_REPORT, LOAD_REPORT_BIN

# A report is a few hundred bytes; longer is no report.
_LONGEST = 8192
_MOST_METRICS = 64
# gRFC A58 and Envoy: 0 counts as "no report", and without a rate there is no weight at all. So idle is not said with 0.
_IDLE = 0.001


class LoadReport(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one node said; None is not said. Utilizations: 1 is full, more is overload; rates are per second."""

    application_utilization: float | None = None
    cpu_utilization: float | None = None
    mem_utilization: float | None = None
    rps_fractional: float | None = None
    eps: float | None = None
    utilization: dict[str, float] = {}
    named_metrics: dict[str, float] = {}

    @classmethod
    def of_node(
        cls, *, inflight: int, queued: int, capacity: int, work_ms: float, utilisation: float, rps: float, eps: float
    ) -> LoadReport:
        """A report as our nodes make it: `work_ms` is predicted work not yet finished, at this node's speed.

        `utilisation`, a mean over time, is for balancers that weigh nodes by it; ours goes by the rest.
        """
        return cls(
            application_utilization=utilisation,
            rps_fractional=rps,
            eps=eps,
            named_metrics={"inflight": inflight, "queue_depth": queued, "capacity": capacity, "work_ms": work_ms},
        )

    @property
    def inflight(self) -> int | None:
        """Requests in progress on the node."""
        return self._count("inflight")

    @property
    def queue_depth(self) -> int | None:
        """Requests waiting on the node."""
        return self._count("queue_depth")

    @property
    def capacity(self) -> int | None:
        """The node's slots."""
        return self._count("capacity")

    @property
    def work_ms(self) -> float | None:
        """Predicted work not yet finished, in milliseconds."""
        return self.named_metrics.get("work_ms")

    def _count(self, name: str) -> int | None:
        value = self.named_metrics.get(name)
        return None if value is None else int(value)


_ENCODER = msgspec.json.Encoder()
# Not strict: the JSON form of protocol buffers allows numbers as strings.
_DECODER = msgspec.json.Decoder(LoadReport, strict=False)
_NOTHING = LoadReport()
# As other JSON writers of protocol buffers spell the keys.
_CAMEL_CASE = (
    ('"applicationUtilization"', '"application_utilization"'),
    ('"cpuUtilization"', '"cpu_utilization"'),
    ('"memUtilization"', '"mem_utilization"'),
    ('"rpsFractional"', '"rps_fractional"'),
    ('"namedMetrics"', '"named_metrics"'),
)


def encode(report: LoadReport) -> str:
    """The header's value. Only keys of the schema: Envoy drops a whole report for one that it does not know."""
    sound = _sound(report)
    said = LoadReport(
        application_utilization=_never_zero(sound.application_utilization),
        cpu_utilization=_never_zero(sound.cpu_utilization),
        mem_utilization=sound.mem_utilization,
        rps_fractional=_never_zero(sound.rps_fractional),
        eps=None if sound.eps is None else round(sound.eps, 6),
        utilization=sound.utilization,
        named_metrics=sound.named_metrics,
    )
    return "JSON " + _ENCODER.encode(said).decode()


def decode(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> LoadReport | None:
    """The report among an answer's headers, in any form; None when there is none, or none that can be read."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    for name, value in pairs:
        # Lengths first: this looks at every header of every answer.
        if len(name) == len(LOAD_REPORT) and name.lower() == LOAD_REPORT:
            return decode_value(value)
        if len(name) == len(LOAD_REPORT_BIN) and name.lower() == LOAD_REPORT_BIN:
            return decode_value("BIN " + value)
    return None


def decode_value(value: str) -> LoadReport | None:
    """A report from the header's value: `JSON …`, `TEXT …` or `BIN …`; None when it cannot be read."""
    if len(value) > _LONGEST:
        return None
    form, _, text = value.partition(" ")
    try:
        report = _read(form, text)
    except (ValueError, RecursionError):  # msgspec's, base64's and our own errors are ValueErrors
        return None
    return None if report is None or report == _NOTHING else report


def _read(form: str, text: str) -> LoadReport | None:
    if form == "JSON":
        report = _DECODER.decode(text)
        if report.application_utilization is None or not report.named_metrics:
            report = _DECODER.decode(_snake_case(text))
        return _sound(report)
    if form == "TEXT":
        return _sound(msgspec.convert(orca.read_text(text), LoadReport))
    if form == "BIN":
        return _sound(msgspec.convert(orca.read_binary(text), LoadReport))
    return None


def _snake_case(text: str) -> str:
    for camel, snake in _CAMEL_CASE:
        text = text.replace(camel, snake)
    return text


def _sound(report: LoadReport) -> LoadReport:
    """The same without values that are negative or no numbers."""
    named, utilization = report.named_metrics, report.utilization
    said = [
        report.application_utilization,
        report.cpu_utilization,
        report.mem_utilization,
        report.rps_fractional,
        report.eps,
        *named.values(),
        *utilization.values(),
    ]
    if _all_sound(said) and len(named) <= _MOST_METRICS and len(utilization) <= _MOST_METRICS:
        return report
    return LoadReport(
        application_utilization=_number(report.application_utilization),
        cpu_utilization=_number(report.cpu_utilization),
        mem_utilization=_number(report.mem_utilization),
        rps_fractional=_number(report.rps_fractional),
        eps=_number(report.eps),
        utilization=_numbers(report.utilization),
        named_metrics=_numbers(report.named_metrics),
    )


def _all_sound(values: list[float | None]) -> bool:
    for value in values:  # noqa: SIM110 - a generator costs as much as all the rest of reading a report
        if value is not None and not 0 <= value < inf:
            return False
    return True


def _number(value: float | None) -> float | None:
    return value if value is not None and 0 <= value < inf else None


def _numbers(values: dict[str, float]) -> dict[str, float]:
    if not values:
        return values
    return {name: value for name, value in list(values.items())[:_MOST_METRICS] if 0 <= value < inf}


def _never_zero(value: float | None) -> float | None:
    return None if value is None else max(round(value, 6), _IDLE)
