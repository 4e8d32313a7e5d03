"""What a gateway wrote down under load is what `fleetgate simulate` plays again."""

from __future__ import annotations

import asyncio
import json

from fleetgate.main import main
from loadtest.simulate.recorded import read
from tests.fakes.gateway import jpeg, running
from tests.fakes.node import FakeNode, Reply

BIG = jpeg(4000, 3000)
ROUNDS = 12


def nodes() -> tuple[FakeNode, FakeNode, FakeNode]:
    """Two light nodes that say 20 ms, a heavy one that says 200 ms."""
    slow, fast = "queue;dur=0.0, decode;dur=150, infer;dur=50", "queue;dur=0.0, decode;dur=5, infer;dur=15"
    light = [FakeNode(lambda _: Reply(timing=fast), name=f"light-{number}", capacity=1) for number in range(2)]
    return (*light, FakeNode(lambda _: Reply(timing=slow), name="heavy-0", pool="heavy", capacity=2))


async def test_a_trace_written_under_load_is_simulated(tmp_path, capsys):
    path = tmp_path / "traces" / "mine.jsonl"
    one, two, heavy = nodes()
    async with one, two, heavy, running(one, two, heavy, log={"trace": str(path)}) as gateway:
        for _ in range(ROUNDS):
            bodies = [jpeg(1000, 800), jpeg(1000, 800), BIG, b"no image at all"]
            replies = await asyncio.gather(*[gateway.post(body) for body in bodies])
            assert [reply.status for reply in replies] == [200, 200, 200, 415]
        outcomes = [each for each in gateway.outcomes.all if each.size_class]
    lines = read(path)
    assert len(lines) == len(outcomes) == 3 * ROUNDS
    assert {each.node for each in lines} <= {one.instance().id, two.instance().id, heavy.instance().id}
    assert sorted(each.cost_ms for each in lines) == sorted(round(each.cost_ms, 3) for each in outcomes)

    assert main(["simulate", "--trace", str(path), "--json"]) == 0
    floor, again = json.loads(capsys.readouterr().out)
    counted = again["result"]["light"]["requests"] + again["result"]["heavy"]["requests"]
    assert counted == 3 * ROUNDS - 3 * ROUNDS // 10  # the first tenth warms up
    assert again["result"]["heavy"]["requests"] >= ROUNDS - 2
    assert floor["result"]["refused"] == 0.0


async def test_what_came_is_on_disk_before_the_gateway_ends(tmp_path):
    path = tmp_path / "mine.jsonl"
    async with FakeNode() as node, running(node, log={"trace": str(path)}) as gateway:
        assert (await gateway.post(jpeg())).status == 200
        await gateway.until(lambda: path.exists() and path.stat().st_size)
        assert len(read(path)) == 1


async def test_nothing_is_written_unless_it_is_asked_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    async with FakeNode() as node, running(node) as gateway:
        assert (await gateway.post(jpeg())).status == 200
    assert list(tmp_path.iterdir()) == []


def test_a_smallest_fleet_is_found_for_a_trace(tmp_path, capsys):
    path = tmp_path / "t"
    line = (
        '{{"at":{at},"pixels":1000000,"format":"jpeg","bytes":90000,"cost_ms":40,"service_ms":40,"speed":1,"node":"n"}}'
    )
    path.write_text("\n".join(line.format(at=number * 0.01) for number in range(400)) + "\n")
    assert main(["simulate", "--trace", str(path), "--smallest", "0.99", "--most", "10", "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert answers
    assert all(4.0 < each["light"] + 2.0 * each["heavy"] <= 8.0 for each in answers)  # 100 a second of 40 ms each
