"""A Consul that misbehaves: whatever it answers, the fleet that was known stays (faults B10 to B13)."""

import logging
import time

import pytest

from discovery.config import RegistryConfig
from discovery.consul.client import ConsulClient, Endpoint, RegistryUnavailable
from discovery.instance import Snapshot
from discovery.registry import open_registrar, open_watcher
from tests.fakes.consul import FakeConsul, Reply, entry, fake_consul, listing
from tests.fakes.nodes import instance
from tests.fakes.watching import hasty_consul, watching

TWO = listing(entry("a", port=1), entry("b", port=2))
THREE = listing(entry("a", port=1), entry("b", port=2), entry("c", port=3))
GOOD = Reply(TWO, index=10)


def config(fake: FakeConsul, **more: object) -> RegistryConfig:
    return RegistryConfig(url=fake.url, **{"wait_seconds": 0.5, "refresh_seconds": 0.1, **more})


def ids(snapshot: Snapshot) -> set[str]:
    return {instance.id for instance in snapshot.instances}


FAULTS = {
    "no cluster leader": Reply(b"No cluster leader", status=500),
    "known leader is false": Reply(b"[]", index=11, headers={"X-Consul-KnownLeader": "false"}),
    "another list without a leader": Reply(listing(entry("z")), index=11, headers={"X-Consul-KnownLeader": "false"}),
    "last contact long ago": Reply(b"[]", index=11, headers={"X-Consul-LastContact": "60000"}),
    "half a JSON": Reply(TWO[: len(TWO) // 2], index=11),
    "half an answer": Reply(TWO[:20], promised=len(TWO), index=11),
    "ten megabytes": Reply(b'["' + b"x" * 10_000_000 + b'"]', index=11),
    "redirect": Reply(b"", status=302, headers={"Location": "http://127.0.0.1:1/"}),
    "empty list": Reply(b"[]", index=11),
    "empty list and index 1": Reply(b"[]", index=1),
    "no index": Reply(TWO, index=None),
    "index as text": Reply(TWO, index="soon"),
    "token lost": Reply(b"ACL not found", status=403),
    "rate limited": Reply(b"slow down", status=429),
    "an object": Reply(b'{"a": 1}', index=11),
    "garbage": Reply(raw=b"\x00\x01\x02 garbage\r\n\r\n"),
    "closed without a word": Reply(raw=b""),  # aiohttp asks once more by itself
    "endless header": Reply(raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_a_fault_keeps_the_fleet_and_says_so_until_it_is_over(fault: Reply) -> None:
    again = [fault] if fault.raw == b"" else []
    async with fake_consul(GOOD, fault, *again) as fake, watching(hasty_consul(config(fake))) as watched:
        stale = await watched.until(lambda snapshot: snapshot.stale)
        assert ids(stale) == {"a", "b"}
        assert len(stale.stale) < 250
        assert stale.stale.isprintable()
        await fake.say(Reply(THREE, index=12))
        fresh = await watched.until(lambda snapshot: not snapshot.stale)
        assert ids(fresh) == {"a", "b", "c"}
        assert [snapshot.stale == "" for snapshot in watched.snapshots] == [True, False, True]


async def test_an_agent_that_is_gone_from_the_start_is_an_empty_stale_fleet_until_it_comes() -> None:
    async with (
        fake_consul(Reply(status=500, body=b"starting"), GOOD) as fake,
        watching(hasty_consul(config(fake))) as watched,
    ):
        first = await watched.until(lambda _: True)
        assert (first.instances, first.stale) == (frozenset(), "Consul answered 500: starting")
        await watched.until(lambda snapshot: ids(snapshot) == {"a", "b"} and not snapshot.stale)


async def test_a_leaderless_list_is_better_than_none_at_the_start() -> None:
    leaderless = Reply(TWO, headers={"X-Consul-KnownLeader": "false"})
    async with fake_consul(leaderless) as fake, watching(hasty_consul(config(fake))) as watched:
        first = await watched.until(lambda _: True)
        assert (ids(first), first.stale) == ({"a", "b"}, "Consul knows no leader")


async def test_the_index_starts_over_when_it_goes_backwards() -> None:
    script = [Reply(TWO, index=100), Reply(TWO, index=5), Reply(TWO, index=5), Reply(THREE, index=6)]
    async with fake_consul(*script) as fake, watching(hasty_consul(config(fake))) as watched:
        await watched.until(lambda snapshot: "c" in ids(snapshot))
        await fake.wait_asked(5)
        assert [asked.query.get("index") for asked in fake.watched[:5]] == [None, "100", None, "5", "6"]
        assert all(not snapshot.stale for snapshot in watched.snapshots)


async def test_an_index_of_zero_never_asks_without_blocking() -> None:
    async with fake_consul(Reply(TWO, index=0), Reply(TWO, index=0)) as fake, watching(hasty_consul(config(fake))):
        await fake.wait_asked(3)
        assert [asked.query.get("index") for asked in fake.watched[:3]] == [None, "1", None]


async def test_a_registry_that_answers_at_once_for_ever_is_asked_once_a_second() -> None:
    async with fake_consul() as fake:
        await fake.say_forever(GOOD)
        async with watching(open_watcher(config(fake))) as watched:
            await fake.wait_asked(4)
            times = [asked.at for asked in fake.watched]
            assert times[3] - times[0] > 1.5, "two at once, then one a second"
            assert len(watched.snapshots) == 1, "and unchanged is not news"


async def test_every_question_says_how_long_it_waits() -> None:
    async with fake_consul(GOOD) as fake, watching(hasty_consul(config(fake, service="my-nodes"))):
        await fake.wait_asked(2)
        first, second = fake.watched[:2]
        assert first.path == "/v1/health/service/my-nodes"
        assert first.query == {}, "all instances, whatever their health"
        assert second.query == {"index": "10", "wait": "500ms"}


async def test_hostile_entries_are_one_log_line_and_the_rest_is_served(caplog: pytest.LogCaptureFixture) -> None:
    evil = [entry(f"x\r\n{number}", "evil host\x1b[2J") for number in range(20)]
    body = listing(*evil, entry("a"))
    script = [Reply(body, index=1), Reply(body, index=2), Reply(body, index=3)]
    with caplog.at_level(logging.WARNING, logger="discovery"):
        async with fake_consul(*script) as fake, watching(hasty_consul(config(fake))) as watched:
            await fake.wait_asked(4)
            assert ids(watched.last) == {"a"}
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 1, "not one per entry, not one per answer"
    assert lines[0].startswith("skipped 20 unreadable entries")
    assert lines[0].isprintable()


async def test_losing_and_finding_the_registry_is_one_line_each(caplog: pytest.LogCaptureFixture) -> None:
    down = Reply(b"No cluster leader", status=500)
    with caplog.at_level(logging.INFO, logger="discovery"):
        script = [GOOD, down, down, Reply(b"other", status=503), GOOD]
        async with fake_consul(*script) as fake, watching(hasty_consul(config(fake))) as watched:
            await watched.until(lambda snapshot: snapshot.stale)
            await watched.until(lambda snapshot: not snapshot.stale)
    levels = [record.levelname for record in caplog.records if record.name.startswith("discovery")]
    assert levels == ["WARNING", "INFO"]


async def test_the_age_grows_while_there_is_no_answer_to_be_believed() -> None:
    async with fake_consul() as fake, watching(hasty_consul(config(fake))) as watched:
        assert watched.watcher.age() == float("inf")
        await fake.say(GOOD)
        await watched.until(lambda snapshot: snapshot.instances)
        before = watched.watcher.age()
        await fake.say(Reply(status=500))
        await watched.until(lambda snapshot: snapshot.stale)
        assert watched.watcher.age() > before


async def test_closing_ends_a_question_under_way() -> None:
    async with fake_consul(GOOD) as fake, watching(hasty_consul(config(fake, wait_seconds=60))) as watched:
        await fake.wait_asked(2)
        began = time.monotonic()
        await watched.watcher.close()
    assert time.monotonic() - began < 5


async def test_a_token_goes_with_every_call_and_a_rotated_one_is_read_again(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "from-the-environment")
    file = tmp_path / "token"
    file.write_text("first\n")
    async with fake_consul(GOOD) as fake:
        async with watching(hasty_consul(config(fake, token_file=str(file)))):
            await fake.wait_asked(2)
            file.write_text("second\n")
            await fake.say(Reply(THREE, index=11))
            await fake.wait_asked(3)
        assert [asked.headers.get("x-consul-token") for asked in fake.watched[:3]] == ["first", "first", "second"]


@pytest.mark.parametrize(("configured", "sent"), [("mine", "mine"), ("", "from-the-environment")])
async def test_the_environment_stands_in_only_for_a_token_never_told(configured, sent, monkeypatch) -> None:
    monkeypatch.setenv("CONSUL_HTTP_TOKEN", "from-the-environment")
    async with fake_consul(GOOD) as fake, watching(hasty_consul(config(fake, token=configured))):
        await fake.wait_asked(1)
        assert fake.watched[0].headers["x-consul-token"] == sent


async def test_a_node_whose_registry_is_away_starts_all_the_same(caplog: pytest.LogCaptureFixture) -> None:
    async with fake_consul() as fake:
        fake.agent = Reply(b"No cluster leader", status=500)
        registrar = open_registrar(config(fake))
        with caplog.at_level(logging.INFO, logger="discovery"):
            await registrar.announce(instance(9000))
            fake.agent = Reply(b"{}")
            await fake.wait_asked_for("/v1/agent/service/register")
            await registrar.announce(instance(9000))
            await registrar.close()
    assert [record.levelname for record in caplog.records if record.name.startswith("discovery")] == ["WARNING", "INFO"]


async def test_a_refused_token_is_an_error_that_says_what_is_needed(caplog: pytest.LogCaptureFixture) -> None:
    async with fake_consul() as fake:
        fake.agent = Reply(b"Permission denied", status=403)
        registrar = open_registrar(config(fake, service="my-nodes", token="secret-token"))
        with caplog.at_level(logging.INFO, logger="discovery"):
            await registrar.announce(instance(9000))
            await registrar.close()
    (error,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert 'service "my-nodes" { policy = "write" }' in error.getMessage()
    assert "secret-token" not in caplog.text


async def test_facts_that_cannot_be_true_are_refused_before_anything_is_sent() -> None:
    async with fake_consul() as fake:
        registrar = open_registrar(config(fake))
        with pytest.raises(ValueError, match="capacity"):
            await registrar.announce(instance(9000, capacity=0))
        await registrar.close()
        assert fake.asked == []


async def test_every_failure_is_one_kind_of_error() -> None:
    async with fake_consul() as fake:
        client = ConsulClient(Endpoint("127.0.0.1", int(fake.url.rpartition(":")[2]), False), config(fake))
        fake.agent = Reply(raw=b"")
        with pytest.raises(RegistryUnavailable):
            await client.agent.services()
        await client.close()
        with pytest.raises(RegistryUnavailable, match="closed"):
            await client.agent.services()
