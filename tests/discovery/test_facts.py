"""Instances as strings and back, and what no registry may say."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from discovery.facts import checked, distinct, instance_id, shown, to_facts, to_instance, valid_host
from discovery.instance import Instance, Status

NAME = st.from_regex(r"\A[a-z][a-z0-9._@-]{0,60}\Z")
INSTANCES = st.builds(
    Instance,
    id=NAME,
    host=st.sampled_from(["10.1.2.3", "node-1", "fd00::7", "my_service_1"]),
    port=st.integers(1, 65535),
    pool=st.sampled_from(["light", "heavy"]),
    models=st.lists(NAME, max_size=40).map(tuple),
    capacity=st.integers(1, 65535),
    max_pixels=st.integers(1, 10**12),
    device=NAME,
    speed=st.integers(1, 1_000_000).map(lambda thousandths: thousandths / 1000),
    protocol=st.sampled_from(["fleetgate", "oip"]),
    tls=st.booleans(),
)


@given(INSTANCES)
def test_facts_and_back_is_the_same_instance(instance: Instance) -> None:
    facts = to_facts(instance)
    assert all(len(value) <= 512 for value in facts.values()), "Consul's limit"
    assert to_instance(instance.host, instance.port, facts, id=instance.id) == instance


def test_more_models_than_one_value_holds_are_spread_over_several() -> None:
    models = tuple(f"model-number-{number}@1" for number in range(100))
    facts = to_facts(Instance(id="a", host="h", port=1, models=models))
    assert {"models", "models2", "models3"} <= set(facts)
    assert to_instance("h", 1, facts, id="a").models == models


def test_a_service_without_facts_is_a_node_with_defaults() -> None:
    assert to_instance("10.0.0.1", 80, {}, id="x") == Instance(id="x", host="10.0.0.1", port=80)


@pytest.mark.parametrize(
    ("facts", "says"),
    [
        ({"capacity": "many"}, "capacity"),
        ({"capacity": "0"}, "capacity"),
        ({"capacity": "-1"}, "capacity"),
        ({"capacity": "1e9"}, "capacity"),
        ({"capacity": "9" * 400}, "capacity"),
        ({"capacity": "1_000"}, "capacity"),
        ({"capacity": "٣"}, "capacity"),
        ({"max_pixels": ""}, "max_pixels"),
        ({"speed": "nan"}, "speed"),
        ({"speed": "inf"}, "speed"),
        ({"speed": "0"}, "speed"),
        ({"speed": "1e400"}, "speed"),
        ({"tls": "yes"}, "tls"),
        ({"pool": "vip"}, "pool"),
        ({"protocol": "gopher"}, "protocol"),
        ({"device": "gpu\x1b[31m"}, "device"),
        ({"device": "x" * 500}, "device"),
        ({"models": "a/b@1"}, "models"),
        ({"models": "a b@1"}, "models"),
    ],
)
def test_a_bad_fact_is_refused_by_name(facts: dict[str, str], says: str) -> None:
    with pytest.raises(ValueError, match=rf"^{says}"):
        to_instance("10.0.0.1", 80, facts, id="x")


@pytest.mark.parametrize("port", [0, -1, 65536, 10**20])
def test_a_bad_port_is_refused(port: int) -> None:
    with pytest.raises(ValueError, match="port"):
        to_instance("10.0.0.1", port, {}, id="x")


@pytest.mark.parametrize("id", ["", "a\r\nX-Evil: 1", "a\x00", "a\u2028b", "x" * 500])
def test_an_id_that_could_break_a_header_or_a_log_line_is_refused(id: str) -> None:
    with pytest.raises(ValueError, match="id"):
        to_instance("10.0.0.1", 80, {}, id=id)


def test_markup_in_an_id_stays_data() -> None:
    assert to_instance("h", 80, {}, id="<img src=x onerror=alert(1)>").id == "<img src=x onerror=alert(1)>"


@pytest.mark.parametrize("host", ["10.0.0.1", "::1", "fd00::1", "node", "node-1.pool.internal", "my_app_1", "A.b"])
def test_hosts_that_can_be(host: str) -> None:
    assert valid_host(host)


@pytest.mark.parametrize(
    "host",
    ["", " ", "a b", "user@host", "host/path", "host:80", "[::1]", "fe80::1%eth0", "-a", "a-", "a..b", ".a", "a.",
     "a\n", "hö", "x" * 300, "http://a", "a?b", "a#b"],
)  # fmt: skip
def test_hosts_that_cannot_be(host: str) -> None:
    assert not valid_host(host)


def test_a_node_listed_twice_counts_once_and_by_its_better_half() -> None:
    dead = Instance(id="a", host="10.0.0.1", port=1, status=Status.CRITICAL)
    alive = msgspec.structs.replace(dead, status=Status.PASSING)
    assert distinct([dead, alive]) == distinct([alive, dead]) == frozenset({alive})


def test_what_is_shown_is_short_and_on_one_line() -> None:
    text = shown("evil\n\x1b[2J" + "x" * 1000)
    assert len(text) <= 80
    assert text.isprintable()


def test_ids_are_stable_over_restarts() -> None:
    assert instance_id("fleetgate-node", "10.0.0.1", 9000) == "fleetgate-node-10.0.0.1-9000"


def test_a_checked_instance_is_itself() -> None:
    instance = Instance(id="a", host="h", port=1)
    assert checked(instance) is instance
