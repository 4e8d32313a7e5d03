"""Worker processes that take another configuration, another program, other certificates, and lose nothing by it."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import signal
import socket
import sys
from pathlib import Path

from aiohttp import web

from gateway.workers.member import Member
from gateway.workers.process import Process
from gateway.workers.programs import Programs
from gateway.workers.told import FAMILIES_PATH, STREAM_PATH
from tests.fakes.authority import Authority
from tests.fakes.gateway import jpeg, request
from tests.fakes.gateway_process import alive, gateway_process, load, more, serving
from tests.fakes.node import FakeNode, Reply
from tests.fakes.raw_client import exchange, raw_client

BODY = jpeg(size=3000)
TWO = {"count": 2, "handover_seconds": 1.0}


async def test_a_reload_changes_what_it_can_at_once_and_the_rest_by_new_workers_without_losing_anything(tmp_path: Path):
    async with FakeNode() as node, gateway_process(tmp_path, node, workers=TWO) as gateway:
        first = await gateway.workers()
        async with load(gateway, BODY) as done:
            gateway.configure(routing={"oversize_pixels": 5_000_000})
            gateway.signal(signal.SIGHUP)
            await gateway.until(lambda document: document["rules"]["oversize_pixels"] == 5_000_000)
            assert await gateway.workers() == first
            gateway.configure(limits={"body_bytes": 2048}, workers={"count": 3})
            gateway.signal(signal.SIGHUP)
            await gateway.until(lambda document: len(serving(document) - first) == 3 and len(document["workers"]) == 3)
            await more(done, 50)
        assert done.lost == []
        assert done.statuses == {200, 413}
        assert not any(map(alive, first))
        assert await gateway.number("fleetgate_http_requests_total", route="predict") >= done.answered


async def test_a_bad_configuration_changes_nothing_and_says_why(tmp_path: Path):
    async with FakeNode() as node, gateway_process(tmp_path, node, workers={**TWO, "start_seconds": 8.0}) as gateway:
        first = await gateway.workers()
        sound = {name: dict(options) for name, options in gateway.sections.items()}
        async with load(gateway, BODY, clients=2) as done:
            for number, (section, why) in enumerate(
                (
                    ({"limits": {"body_bytes": 1}}, "limits.body_bytes"),
                    ({"routing": {"policy": "fastest"}}, "no policy"),
                    ({"tls": {"cert_file": "gone.pem"}}, "No such file"),
                    ({"registry": {"url": "static:127.0.0.1:1"}}, "not ready within"),
                    ({"security": {"node_networks": ["10.0.0.0/99"]}}, "10.0.0.0/99"),
                    ({"listen": {"host": "x" * 80}}, "no name of a host"),
                ),
                1,
            ):
                gateway.configure(**section)
                gateway.signal(signal.SIGHUP)
                assert why in (await gateway.not_taken(number))[-1]
                gateway.sections.clear()
                gateway.configure(**sound)
            assert await gateway.workers() == first
        assert (done.lost, done.statuses) == ([], {200})


async def test_a_storm_of_reloads_loses_nothing_and_leaves_no_process_behind(tmp_path: Path):
    quick = {**TWO, "handover_seconds": 0.5}
    async with FakeNode() as node, gateway_process(tmp_path, node, workers=quick) as gateway:
        first = await gateway.workers()
        async with load(gateway, BODY, clients=4) as done:
            for storm in range(3):
                gateway.configure(limits={"keepalive_requests": 1000 + storm})
                for _ in range(20):
                    gateway.signal(signal.SIGHUP)
                await asyncio.sleep(0.2)
            await gateway.until(lambda document: not serving(document) & first and len(document["workers"]) == 2)
        assert (done.lost, done.statuses) == ([], {200})
        pids = await gateway.workers()
    assert not any(map(alive, pids))


async def test_another_program_takes_over_in_the_same_process_and_nothing_is_lost(tmp_path: Path):
    async with FakeNode() as node, FakeNode() as other, gateway_process(tmp_path, node, other, workers=TWO) as gateway:
        first, pid = await gateway.workers(), gateway.process.pid
        drained = (await gateway.fleet())["nodes"][0]["id"]
        await gateway.order(f"/api/nodes/{drained}/drain")
        async with load(gateway, BODY) as done:
            await more(done, 50)
            for _ in range(2):
                before = await gateway.workers()
                gateway.signal(signal.SIGUSR2)
                gone = lambda document, before=before: not before & serving(document) and len(document["workers"]) == 2  # noqa: E731
                await gateway.until(gone)
            document = await gateway.fleet()
        assert (done.lost, done.statuses) == ([], {200})
        assert gateway.process.pid == pid
        assert gateway.process.returncode is None
        assert not any(map(alive, first))
        assert {each["id"]: each["state"] for each in document["nodes"]}[drained] == "draining"
        counted = await gateway.number("fleetgate_http_requests_total", route="predict")
        assert done.answered <= counted <= done.answered + 8, "the last question of each client may have no reader"
        kinds = [event["kind"] for event in (await gateway.get("/api/journal"))["events"]]
        assert kinds.count("upgrade") == 2
        assert "action" in kinds


async def test_a_program_that_could_not_start_does_not_take_over(tmp_path: Path):
    async with FakeNode() as node, gateway_process(tmp_path, node, workers=TWO) as gateway:
        first = await gateway.workers()
        gateway.file.write_text("[listen]\nport = 'many'\n")
        gateway.signal(signal.SIGUSR2)
        assert "listen.port" in (await gateway.not_taken())[0]
        assert await gateway.workers() == first


async def test_a_file_that_breaks_its_reader_changes_nothing(tmp_path: Path):
    async with FakeNode() as node, gateway_process(tmp_path, node, workers=TWO) as gateway:
        first = await gateway.workers()
        gateway.file.write_text(f"deep = {'[' * 5000}")
        gateway.signal(signal.SIGHUP)
        assert "RecursionError" in (await gateway.not_taken())[0]
        assert await gateway.workers() == first


async def test_a_program_that_is_away_does_not_take_over(tmp_path: Path):
    assert "No such file" in await Programs([str(tmp_path / "python")], []).unfit()


async def test_a_program_that_hangs_does_not_take_over_and_is_ended(tmp_path: Path):
    mark = tmp_path / "pid"
    hanging = f"import os, sys, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    why = await Programs([sys.executable, "-c", hanging], [], check_seconds=2.0).unfit()

    assert why == "it has not checked the configuration within 2 s"
    assert not alive(int(mark.read_text()))


async def test_a_check_is_ended_when_the_gateway_is_told_to_stop(tmp_path: Path):
    mark = tmp_path / "pid"
    hanging = f"import os, sys, time; open({str(mark)!r}, 'w').write(str(os.getpid())); time.sleep(600)"
    checking = asyncio.create_task(Programs([sys.executable, "-c", hanging], []).unfit())
    while not mark.exists() or not mark.read_text():
        await asyncio.sleep(0.01)
    checking.cancel()
    await asyncio.gather(checking, return_exceptions=True)

    assert checking.cancelled()
    assert not alive(int(mark.read_text()))


async def test_a_folder_that_was_swept_away_is_made_anew(tmp_path: Path):
    async with FakeNode() as node, gateway_process(tmp_path, node, workers=TWO) as gateway:
        first = await gateway.workers()
        folder = re.search(r'[^"=]*/fleetgate-\w+', gateway.log.read_text())
        assert folder is not None
        shutil.rmtree(folder[0])
        async with load(gateway, BODY) as done:
            gateway.signal(signal.SIGUSR2)
            await gateway.until(lambda document: len(serving(document) - first) == 2 and len(document["workers"]) == 2)
        assert (done.lost, done.statuses) == ([], {200})


async def test_a_worker_of_a_program_that_spoke_otherwise_breaks_nothing(tmp_path: Path):
    async def otherwise(_request: web.Request) -> web.Response:
        return web.Response(body=(3).to_bytes(4) + b"???")

    app = web.Application()
    app.add_routes([web.get(STREAM_PATH, otherwise), web.get(FAMILIES_PATH, otherwise)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.UnixSite(runner, tmp_path / "worker").start()
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    process = Process(1, 0, os.getpid(), ours, tmp_path / "worker")
    member = Member(process, lambda _: None)
    assert await member.count() == []
    assert not member.speaks
    theirs.close()
    await process.ended.wait()
    await member.close()
    await runner.cleanup()


async def test_a_reload_while_it_stops_is_too_late(tmp_path: Path):
    async with FakeNode(lambda call: Reply(delay=1.0)) as node, gateway_process(tmp_path, node, workers=TWO) as gateway:
        async with raw_client(gateway.public) as client:
            await client.send(request(BODY))
            await node.wait(lambda node: len(node.calls) == 1)
            gateway.configure(limits={"body_bytes": 4096})
            gateway.signal(signal.SIGHUP)
            gateway.signal(signal.SIGTERM)
            gateway.signal(signal.SIGHUP)
            gateway.signal(signal.SIGUSR2)
            assert (await client.reply()).status == 200
        assert await gateway.process.wait() == 0


async def test_one_worker_with_a_parent_is_reloaded_without_losing_anything(tmp_path: Path):
    alone = {"count": 1, "parent": "always", "handover_seconds": 0.5}
    async with FakeNode() as node, gateway_process(tmp_path, node, workers=alone) as gateway:
        first = await gateway.workers()
        async with load(gateway, BODY) as done:
            gateway.configure(limits={"request_seconds": 20})
            gateway.signal(signal.SIGHUP)
            await gateway.until(lambda document: not serving(document) & first and len(document["workers"]) == 1)
        assert (done.lost, done.statuses) == ([], {200})


async def test_other_addresses_are_taken_by_a_reload(tmp_path: Path):
    async with FakeNode() as node, gateway_process(tmp_path, node, workers=TWO) as gateway:
        gateway.configure(listen={"host": "127.0.0.2"}, operator={"host": "127.0.0.3"})
        gateway.signal(signal.SIGHUP)
        public, operators = "", ""
        async with asyncio.timeout(60):
            while not operators:
                await asyncio.sleep(0.05)
                lines = [line for line in gateway.log.read_text().splitlines() if '"moved"' in line]
                for line in lines:
                    public, operators = (
                        line.split('"public":"')[1].split('"')[0],
                        line.split('"operators":"')[1].split('"')[0],
                    )
        assert public.startswith("127.0.0.2:")
        assert (await exchange(public, request(BODY))).status == 200
        gateway.operators = operators
        await gateway.until(lambda document: len(serving(document)) == 2)


async def test_certificates_are_read_again_by_all_workers(tmp_path: Path):
    authority = Authority(tmp_path)
    cert, key = authority.issue("public")
    tls = {"cert_file": str(cert), "key_file": str(key), "look_seconds": 3600.0}
    async with FakeNode() as node, gateway_process(tmp_path, node, workers=TWO, tls=tls) as gateway:
        before = await gateway.number("fleetgate_tls_certificate_expiry_timestamp_seconds")
        authority.issue("public", days=2)
        gateway.signal(signal.SIGHUP)
        after = before
        while after == before:
            after = await gateway.number("fleetgate_tls_certificate_expiry_timestamp_seconds")
        shown = set()
        for _ in range(6):
            async with raw_client(gateway.public, authority.client()) as client:
                shown.add(client.writer.get_extra_info("ssl_object").getpeercert()["serialNumber"])
                await client.send(request(BODY))
                assert (await client.reply()).status == 200
        assert len(shown) == 1


async def test_a_single_process_takes_over_what_it_can(tmp_path: Path):
    async with FakeNode() as node, gateway_process(tmp_path, node) as gateway:
        assert (await gateway.fleet())["workers"] == []
        gateway.configure(routing={"policy": "p2c"}, limits={"body_bytes": 4096})
        gateway.signal(signal.SIGHUP)
        await gateway.until(lambda document: document["rules"]["policy"] == "p2c")
        assert "limits.body_bytes" in gateway.log.read_text()
        gateway.file.write_text("[routing]\npolicy = 'fastest'\n")
        gateway.signal(signal.SIGHUP)
        async with asyncio.timeout(20):
            while "no policy" not in gateway.log.read_text():
                await asyncio.sleep(0.02)
        assert (await exchange(gateway.public, request(BODY))).status == 200
