"""Load reports in every form that was measured with real servers and Envoy."""

from __future__ import annotations

import json
import struct
from base64 import b64encode
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.load_report import LoadReport, decode, decode_value, encode


def of_node(**changes: float) -> LoadReport:
    values = {"inflight": 1, "queued": 2, "capacity": 4, "work_ms": 31.5, "utilisation": 0.75, "rps": 10.0, "eps": 0.5}
    values |= changes
    return LoadReport.of_node(**values)  # type: ignore[arg-type]


def test_a_report_of_ours_survives_the_wire() -> None:
    report = decode({"Endpoint-Load-Metrics": encode(of_node())})
    assert report == of_node()
    assert report is not None
    assert (report.inflight, report.queue_depth, report.capacity, report.work_ms) == (1, 2, 4, 31.5)
    assert report.application_utilization == 0.75


def test_only_keys_that_envoy_knows_are_written() -> None:
    form, _, text = encode(of_node()).partition(" ")
    assert form == "JSON"
    assert set(json.loads(text)) == {"application_utilization", "rps_fractional", "eps", "named_metrics"}
    assert set(json.loads(text)["named_metrics"]) == {"inflight", "queue_depth", "capacity", "work_ms"}


def test_an_idle_node_does_not_say_zero() -> None:
    report = decode_value(encode(of_node(inflight=0, queued=0, utilisation=0, rps=0, eps=0, work_ms=0)))
    assert report is not None
    assert report.application_utilization == 0.001
    assert report.rps_fractional == 0.001
    assert (report.eps, report.inflight, report.work_ms) == (0, 0, 0)


def test_what_is_no_number_is_not_written() -> None:
    assert encode(LoadReport(application_utilization=nan, eps=inf, named_metrics={"inflight": -1.0})) == "JSON {}"


def field(number: int, kind: int, payload: bytes) -> bytes:
    return bytes([number << 3 | kind]) + payload


def double(number: int, value: float) -> bytes:
    return field(number, 1, struct.pack("<d", value))


def entry(number: int, key: bytes, value: float) -> bytes:
    inner = field(1, 2, bytes([len(key)]) + key) + double(2, value)
    return field(number, 2, bytes([len(inner)]) + inner)


PROTOBUF = (
    double(9, 0.3)
    + field(3, 0, b"\x96\x01")  # rps, deprecated
    + double(6, 10.0)
    + entry(4, b"cost", 1.0)
    + entry(5, b"gpu", 0.3)
    + entry(8, b"queue_depth", 3.0)
    + field(15, 5, b"abcd")
)
BINARY = b64encode(PROTOBUF).decode()

MAPS = '"utilization":{"gpu":0.3},"named_metrics":{"queue_depth":3}'
FORMS = {
    "text with colons": "TEXT application_utilization:0.3, rps_fractional:10.0, utilization.gpu:0.3,"
    " named_metrics.queue_depth:3.0",
    "text with equals": "TEXT application_utilization=0.3,rps_fractional=10,utilization.gpu=0.3,"
    "named_metrics.queue_depth=3,x=1",
    "JSON": f'JSON {{"application_utilization":0.3,"rps_fractional":10.0,{MAPS}}}',
    "JSON with an unknown key": f'JSON {{"application_utilization":0.3,"rps_fractional":10,{MAPS},"future":[1]}}',
    "JSON in camel case": 'JSON {"applicationUtilization":0.3,"rpsFractional":"10","utilization":{"gpu":0.3},'
    '"namedMetrics":{"queue_depth":3}}',
    "protocol buffer": "BIN " + BINARY,
    "protocol buffer without padding": "BIN " + BINARY.rstrip("="),
}
EXPECTED = LoadReport(
    application_utilization=0.3, rps_fractional=10.0, utilization={"gpu": 0.3}, named_metrics={"queue_depth": 3.0}
)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_read(form: str) -> None:
    report = decode([("Content-Type", "text/plain"), ("endpoint-load-metrics", FORMS[form])])
    assert report == EXPECTED
    assert report is not None
    assert (report.queue_depth, report.inflight, report.work_ms) == (3, None, None)


def test_the_grpc_header_is_read() -> None:
    assert decode({"endpoint-load-metrics-bin": BINARY}) == EXPECTED


GARBAGE = [
    "",
    "TEXT",
    "TEXT hello",
    "JSON",
    "JSON {",
    "JSON []",
    "JSON {}",
    'JSON {"future":1}',
    'JSON {"application_utilization":"much"}',
    'JSON {"application_utilization":-1}',
    'JSON {"application_utilization":"NaN"}',
    'JSON {"x":' + "[" * 4000,
    '{"application_utilization":0.3}',
    "BIN !!!",
    "BIN gAAA",
    "BIN " + b64encode(PROTOBUF[:5]).decode(),
    "BIN " + b64encode(b"\xff" * 12).decode(),
    "BIN " + b64encode(field(8, 2, b"\x05ab")).decode(),
    "BIN " + b64encode(field(1, 7, b"")).decode(),
    "YAML a: 1",
    "TEXT " + "application_utilization=0.3," * 400,
]


@pytest.mark.parametrize("value", GARBAGE)
def test_garbage_is_no_report(value: str) -> None:
    assert decode_value(value) is None


def test_an_answer_without_a_report_has_none() -> None:
    assert decode({"Content-Type": "application/json"}) is None


def test_a_bad_value_costs_only_itself() -> None:
    report = decode_value("TEXT application_utilization=0.5, eps=nan, rps_fractional=-3, named_metrics.inflight=inf")
    assert report == LoadReport(application_utilization=0.5)


def test_the_count_of_metrics_is_bounded() -> None:
    report = decode_value("TEXT " + ",".join(f"named_metrics.m{i}=1" for i in range(300)))
    assert report is not None
    assert len(report.named_metrics) == 64


@given(
    st.text(max_size=100).map("TEXT {}".format)
    | st.text(max_size=100).map("JSON {}".format)
    | st.binary(max_size=100).map(lambda b: "BIN " + b64encode(b).decode())
    | st.binary(max_size=60).map(lambda b: "BIN " + b64encode(PROTOBUF + b).decode())
    | st.text(max_size=100)
)
def test_any_value_gives_sound_numbers_or_nothing(value: str) -> None:
    report = decode_value(value)
    if report is not None:
        for number in (
            report.application_utilization,
            report.rps_fractional,
            report.eps,
            *report.named_metrics.values(),
        ):
            assert number is None or 0 <= number < inf
        assert report.inflight is None or isinstance(report.inflight, int)
