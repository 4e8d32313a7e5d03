"""The way out for spans: off, on, and when nobody takes them."""

import subprocess
import sys
import time

import pytest

from tests.fakes.collector import collector
from tracing.config import Tracing
from tracing.exporter import open_exporter
from tracing.span import Kind, Sampler, Span, route_of


def span(name: str = "one") -> Span:
    return Span(
        name=name, kind=Kind.SERVER, trace_id="0" * 31 + "1", span_id="0" * 15 + "2", start=1, end=2, attributes={}
    )


async def test_what_is_left_is_sent_at_the_end() -> None:
    with collector() as sink:
        exporter = open_exporter(Tracing(endpoint=sink.url), "service", "1")
        assert exporter is not None
        exporter.put([span("one"), span("two")])
        await exporter.close()
        assert {seen.name for seen in sink.until(2)} == {"one", "two"}
        assert sink.spans[0].service == "service"


async def test_a_collector_that_is_not_there_holds_nobody_up() -> None:
    exporter = open_exporter(Tracing(endpoint="http://127.0.0.1:9"), "service", "1")
    assert exporter is not None
    exporter.put([span()])
    began = time.monotonic()
    await exporter.close()
    assert time.monotonic() - began < 10  # two seconds, and a busy machine


def test_no_endpoint_is_no_exporter_and_no_import() -> None:
    assert open_exporter(Tracing(), "service", "1") is None
    program = "import sys, gateway.app, node.app; sys.exit('opentelemetry.sdk' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_without_the_extra_the_reason_is_one_line() -> None:
    program = (
        "import sys; sys.modules['opentelemetry.exporter'] = None\n"
        "from tracing.config import Tracing; from tracing.exporter import open_exporter\n"
        "open_exporter(Tracing(endpoint='http://127.0.0.1:9'), 's', '1')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ValueError: tracing.endpoint needs the extra otel" in done.stderr


@pytest.mark.parametrize(("ratio", "taken"), [(0.0, False), (1.0, True)])
def test_the_ends_of_the_ratio_are_nobody_and_everybody(ratio: float, taken: bool) -> None:
    for trace_id in ("0" * 31 + "1", "f" * 32, "8" * 32):
        assert Sampler(ratio).takes(trace_id) is taken


def test_a_trace_is_chosen_by_its_id() -> None:
    sampler = Sampler(0.5)
    assert sampler.takes("f" * 16 + "7" + "f" * 15)
    assert not sampler.takes("0" * 16 + "8" + "0" * 15)


def test_routes_hold_no_names() -> None:
    assert route_of("/v1/models/cats/versions/3:classify", "tfs") == "/v1/models/{model}:classify"
    assert route_of("/v2/models/cats/infer", "infer") == "/v2/models/{model}/infer"
    assert route_of("/whatever", "other") == ""
