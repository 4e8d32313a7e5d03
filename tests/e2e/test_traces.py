"""One trace across two processes: a real gateway and a real node tell a collector what became of a request."""

from tests.fakes.collector import collector
from tests.fakes.fleet import SAMPLES, Up

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def test_a_request_is_one_trace_from_the_client_to_the_session() -> None:
    with (
        collector() as sink,
        Up("--light", "1", "--heavy", "0", FLEETGATE_TRACING__ENDPOINT=sink.url) as fleet,
    ):
        headers = {"traceparent": f"00-{TRACE}-{CALLER}-01", "Content-Type": "image/jpeg"}
        status, answered, _ = fleet.post((SAMPLES / "cat.jpg").read_bytes(), headers=headers)
        spans = sink.until(6)
    assert status == 200
    tree = {span.span_id: span for span in spans}
    assert {span.trace_id for span in spans} == {TRACE}

    (server,) = [span for span in spans if span.parent_id == CALLER]
    (attempt,) = [span for span in spans if span.name == "attempt"]
    (node,) = [span for span in spans if span.parent_id == attempt.span_id]
    inside = [span for span in spans if span.parent_id == node.span_id]
    assert (server.service, server.kind) == ("fleetgate-gateway", "server")
    assert (attempt.service, attempt.kind, attempt.parent_id) == ("fleetgate-gateway", "client", server.span_id)
    assert (node.service, node.kind) == ("fleetgate-node", "server")
    names = [span.name for span in inside]
    assert [name for name in names if name != "queue"] == ["decode", "infer"]
    assert len(tree) == len(spans)

    # Both programs run on one clock here: each part lies within its whole, give or take the rounding of two clocks.
    slack = 5_000_000
    for span in spans:
        whole = tree.get(span.parent_id)
        assert whole is None or whole.start - slack <= span.start <= span.end <= whole.end + slack
    wanted = {
        "http.response.status_code": 200,
        "fleetgate.image_format": "jpeg",
        "fleetgate.model": "efficientnet-lite0@1",
    }
    assert wanted.items() <= node.attributes.items()
    assert server.attributes["fleetgate.node"] == answered["x-fleetgate-node"] == attempt.attributes["fleetgate.node"]
    assert server.attributes["fleetgate.pixels"] == node.attributes["fleetgate.pixels"]
