"""The trace: what came and how it went, small, rotating, and never in anybody's way."""

from __future__ import annotations

from gateway.outcome import Outcome
from gateway.trace import FLUSH_BYTES, Trace, own_path
from loadtest.simulate.recorded import fleet_of, load_of, read
from tests.fakes.routing import fleet_named


def outcome(at: float, **facts) -> Outcome:
    known = {
        "request_id": "secret-id",
        "method": "POST",
        "route": "predict",
        "path": "/v1/predict?name=somebody",
        "status": 200,
        "size_class": "light",
        "pool": "light",
        "node": "l1",
        "pixels": 1_000_000,
        "image_format": "jpeg",
        "body_bytes": 5000,
        "cost_ms": 23.0,
        "service_ms": 20.0,
        "total_ms": 30.0,
        "client": "192.0.2.7",
    }
    return Outcome(**{**known, "at": at, **facts})


def test_what_is_written_can_be_simulated(tmp_path):
    fleet = fleet_named("l1", "h1")
    fleet.backends["l1"].speed = 1.5
    trace = Trace(tmp_path / "trace.jsonl", fleet, 1 << 20, 4)
    for number in range(5):
        trace.finished(outcome(100.0 + number))
    trace.finished(
        outcome(99.0, size_class="heavy", node="h1", pool="heavy", cost_ms=500.0, service_ms=0.0, status=503)
    )
    trace.close()
    lines = read(tmp_path / "trace.jsonl")
    load = load_of(lines, "mine")
    assert [each.at for each in load.arrivals] == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert load.arrivals[0].heavy
    assert load.arrivals[0].actual_ms == 500.0  # nobody answered: as predicted
    assert load.arrivals[1].actual_ms == 30.0  # 20 ms at speed 1.5
    assert [(each.name, each.pool, each.speed) for each in fleet_of(lines).machines] == [
        ("h1", "heavy", 1.0),
        ("l1", "light", 1.5),
    ]


def test_it_names_nobody(tmp_path):
    trace = Trace(tmp_path / "t", fleet_named("l1"), 1 << 20, 4)
    trace.finished(outcome(1.0))
    trace.close()
    written = (tmp_path / "t").read_text()
    assert all(secret not in written for secret in ("secret-id", "somebody", "192.0.2.7"))


def test_requests_that_were_never_routed_are_left_out(tmp_path):
    trace = Trace(tmp_path / "t", fleet_named("l1"), 1 << 20, 4)
    trace.finished(outcome(1.0, size_class=""))
    trace.close()
    assert not (tmp_path / "t").exists()


def test_it_rotates_and_keeps_a_few_files(tmp_path):
    trace = Trace(tmp_path / "t", fleet_named("l1"), max_bytes=2 * FLUSH_BYTES, keep=3)
    for number in range(6000):
        trace.finished(outcome(float(number)))
    trace.close()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["t", "t.1", "t.2"]
    assert all(path.stat().st_size <= 3 * FLUSH_BYTES for path in tmp_path.iterdir())
    newest, older = read(tmp_path / "t"), read(tmp_path / "t.1")
    assert older[-1].at < newest[0].at


def test_a_second_start_goes_on_where_the_first_ended(tmp_path):
    for start in (0.0, 10.0):
        trace = Trace(tmp_path / "t", fleet_named("l1"), 1 << 20, 4)
        trace.finished(outcome(start))
        trace.close()
    assert len(read(tmp_path / "t")) == 2


def test_a_disk_that_refuses_ends_the_trace_and_nothing_else(tmp_path, caplog):
    (tmp_path / "file").write_text("in the way")
    trace = Trace(tmp_path / "file" / "t", fleet_named("l1"), 1 << 20, 4)
    trace.finished(outcome(1.0))
    trace.flush()
    trace.finished(outcome(2.0))
    trace.close()
    assert trace.stopped
    assert "the trace ends" in caplog.text


def test_each_worker_process_has_its_own_file(tmp_path):
    assert own_path(tmp_path / "trace.jsonl", None) == tmp_path / "trace.jsonl"
    assert own_path(tmp_path / "trace.jsonl", 3) == tmp_path / "trace-3.jsonl"
