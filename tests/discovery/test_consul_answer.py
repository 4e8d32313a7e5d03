"""Consul's answers, read with suspicion."""

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.consul.answer import doubt, next_index, read_index, read_listing
from discovery.instance import Status
from tests.fakes.consul import entry, listing

GOOD = entry("good", "10.0.0.1", 9000, meta={"pool": "heavy", "capacity": "4"})
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(["Node", "Service", "Checks", "Address", "ID", "Port", "Meta", "Status", "CheckID"])
ENTRIES = st.dictionaries(FIELDS, st.dictionaries(FIELDS, JSON_VALUES, max_size=5) | JSON_VALUES, max_size=3)


def read(*entries: object) -> dict[str, Status]:
    return {instance.id: instance.status for instance in read_listing(listing(*entries)).instances}


@pytest.mark.parametrize(
    ("checks", "status"),
    [
        ([], Status.PASSING),
        (["passing", "passing"], Status.PASSING),
        (["passing", "warning"], Status.WARNING),
        (["warning", "critical"], Status.CRITICAL),
        (["passing", {"CheckID": "serfHealth", "Status": "critical"}], Status.CRITICAL),
        (["passing", {"CheckID": "_service_maintenance:x", "Status": "critical"}], Status.MAINTENANCE),
        (["critical", {"CheckID": "_node_maintenance", "Status": "critical"}], Status.MAINTENANCE),
        (["passing", "unheard-of"], Status.CRITICAL),
        (["passing", ""], Status.CRITICAL),
    ],
)
def test_the_worst_of_all_checks_counts(checks: list[object], status: Status) -> None:
    assert read(entry("a", checks=checks)) == {"a": status}


HOSTILE = {
    "no service": {"Node": {}, "Checks": []},
    "null": None,
    "a string": "x",
    "a list": [[]],
    "no port": entry("x", port=0),
    "negative port": entry("x", port=-5),
    "port as text": entry("x", port="9000; rm"),
    "huge port": entry("x", port=10**30),
    "float port": entry("x", port=80.5),
    "capacity as text": entry("x", meta={"capacity": "lots"}),
    "capacity without end": entry("x", meta={"capacity": "9" * 5000}),
    "meta not strings": entry("x", meta={"capacity": 4}),
    "meta a list": entry("x", meta=[1]),
    "host with user": entry("x", "root@10.0.0.1"),
    "host with path": entry("x", "10.0.0.1/latest/meta-data"),
    "host with newline": entry("x", "10.0.0.1\r\nHost: evil"),
    "id with newline": entry("x\r\nSet-Cookie: a=b"),
    "huge id": entry("x" * 100_000),
    "huge device": entry("x", meta={"device": "d" * 1_000_000}),
    "checks not a list": {**entry("x"), "Checks": "passing"},
    "deep": entry("x", meta=json.loads("[" * 500 + "]" * 500)),
}


@pytest.mark.parametrize("bad", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_entry_costs_only_itself(bad: object) -> None:
    listed = read_listing(listing(bad, GOOD))
    assert [instance.id for instance in listed.instances] == ["good"]
    assert len(listed.refused) == 1
    assert len(listed.refused[0]) < 120
    assert listed.refused[0].isprintable()


def test_names_with_markup_stay_data() -> None:
    evil = "<script>alert(1)</script>"
    assert read(entry(evil, node="agent\n<img src=x onerror=alert(1)>")) == {evil: Status.PASSING}


def test_a_service_without_an_address_lives_at_its_agents() -> None:
    (instance,) = read_listing(listing(entry("a", ""))).instances
    assert instance.host == "127.0.0.1"


@pytest.mark.parametrize("body", [b"", b"{", b"[{]", b'{"a": 1}', b"null", b"[[", b"\xff\xfe", b'[{"Service"'])
def test_what_is_no_list_is_an_error(body: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        read_listing(body)


@given(st.lists(ENTRIES, max_size=4))
def test_no_entry_whatever_it_holds_hides_a_good_one(entries: list[object]) -> None:
    assert "good" in read(*entries, GOOD)


@pytest.mark.parametrize(
    ("headers", "empty", "doubted"),
    [
        ({}, False, False),
        ({"X-Consul-KnownLeader": "true", "X-Consul-LastContact": "0"}, True, False),
        ({"X-Consul-KnownLeader": "false"}, False, True),
        ({"X-Consul-KnownLeader": "false", "X-Consul-Query-Backend": "streaming"}, False, False),
        ({"X-Consul-LastContact": "60000"}, False, True),
        ({"X-Consul-LastContact": "9999"}, False, False),
        ({"X-Consul-LastContact": "9" * 100}, False, True),
        ({"X-Consul-LastContact": "soon"}, False, False),
        ({"X-Consul-Results-Filtered-By-ACLs": "true"}, True, True),
        ({"X-Consul-Results-Filtered-By-ACLs": "true"}, False, False),
    ],
)
def test_when_an_answer_is_doubted(headers: dict[str, str], empty: bool, doubted: bool) -> None:
    assert bool(doubt(headers, empty=empty)) is doubted


@pytest.mark.parametrize(
    ("asked", "answered", "following"),
    [(0, 0, 1), (0, 7, 7), (7, 7, 7), (7, 9, 9), (100, 5, 0), (100, 0, 0), (1, 0, 0)],
)
def test_an_index_that_goes_backwards_starts_over(asked: int, answered: int, following: int) -> None:
    assert next_index(asked, answered) == following


@pytest.mark.parametrize("text", ["", "-1", "x", "1.5", "9" * 50, "٣"])
def test_an_answer_without_an_index_is_no_answer(text: str) -> None:
    with pytest.raises(ValueError, match="no index"):
        read_index({"X-Consul-Index": text})
