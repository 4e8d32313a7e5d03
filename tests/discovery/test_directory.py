"""The directory registry: files that come, age, vanish and lie."""

import asyncio
import os
import shutil
import time
from pathlib import Path

import msgspec
import pytest

from discovery.config import RegistryConfig
from discovery.directory.files import file_name, sweep, write
from discovery.directory.registrar import DirectoryRegistrar
from discovery.directory.watcher import Look, Shelf
from discovery.instance import Snapshot, Status
from discovery.registry import open_registrar, open_watcher
from tests.fakes.nodes import instance
from tests.fakes.watching import watching

NOW = 1_700_000_000.0


def config(folder: Path, **more: float) -> RegistryConfig:
    return RegistryConfig(url=f"dir:{folder}", **{"refresh_seconds": 0.1, "stale_seconds": 0.5, **more})


def put(folder: Path, port: int, wall: float = NOW, **facts: object) -> Path:
    """A node's file, last refreshed at this clock time."""
    path = folder / file_name(instance(port).id)
    write(path, instance(port, **facts))
    os.utime(path, (wall, wall))
    return path


def read_one(folder: Path) -> dict[str, object]:
    (path,) = folder.iterdir()
    return msgspec.json.decode(path.read_bytes())


def ports(look: Look) -> set[int]:
    return {one.port for one in look.instances}


def test_an_old_file_at_first_sight_is_a_dead_process(tmp_path: Path) -> None:
    put(tmp_path, 1, NOW - 5)
    put(tmp_path, 2, NOW - 60)
    look = Shelf(tmp_path, 10).look(0, NOW)
    assert ports(look) == {1}
    assert look.expired == {instance(2).id}


def test_a_file_that_nobody_refreshes_ages_away(tmp_path: Path) -> None:
    put(tmp_path, 1)
    put(tmp_path, 2)
    shelf = Shelf(tmp_path, 10)
    shelf.look(0, NOW)
    for second in range(1, 16):
        put(tmp_path, 2, NOW + second)
        look = shelf.look(1, NOW + second)
        assert ports(look) == ({1, 2} if second <= 10 else {2})


def test_a_file_that_is_refreshed_again_is_back_at_once(tmp_path: Path) -> None:
    put(tmp_path, 1, NOW - 60)
    shelf = Shelf(tmp_path, 10)
    assert ports(shelf.look(0, NOW)) == set()
    put(tmp_path, 1, NOW - 59)
    assert ports(shelf.look(1, NOW)) == {1}


@pytest.mark.parametrize("jump", [3600.0, -3600.0, 1e9])
def test_a_clock_that_jumps_ends_nobody(tmp_path: Path, jump: float) -> None:
    put(tmp_path, 1)
    shelf = Shelf(tmp_path, 10)
    shelf.look(0, NOW)
    assert ports(shelf.look(0.2, NOW + jump)) == {1}
    put(tmp_path, 1, NOW + jump)
    assert ports(shelf.look(0.2, NOW + jump)) == {1}


HOSTILE = {
    "empty.json": b"",
    "half.json": b'{"id": "x", "ho',
    "list.json": b"[]",
    "no-host.json": b'{"id": "x", "port": 1}',
    "port.json": b'{"id": "x", "host": "h", "port": 99999}',
    "host.json": b'{"id": "x", "host": "root@h/x", "port": 9}',
    "status.json": b'{"id": "x", "host": "h", "port": 9, "status": "excellent"}',
    "speed.json": b'{"id": "x", "host": "h", "port": 9, "speed": -1}',
    "id.json": b'{"id": "x\\r\\nEvil: 1", "host": "h", "port": 9}',
    "binary.json": b"\xff\xfe\x00",
    "deep.json": b"[" * 10_000,
    "huge.json": b'{"id": "' + b"x" * 200_000 + b'"}',
}


def test_hostile_files_cost_only_themselves(tmp_path: Path) -> None:
    for name, content in HOSTILE.items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "folder.json").mkdir()
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "link.json").symlink_to(put(tmp_path / "elsewhere", 7))
    (tmp_path / "evil\n\x1b[2J.json").write_bytes(b"{}")
    put(tmp_path, 1)
    look = Shelf(tmp_path, 10).look(0, NOW)
    assert ports(look) == {1}
    assert len(look.refused) == len(HOSTILE) + 4
    assert all(line.isprintable() and len(line) < 200 for line in look.refused)


def test_what_is_not_ours_is_not_read(tmp_path: Path) -> None:
    for name in ("README", ".a.json.123.tmp", ".hidden.json", "a.json~"):
        (tmp_path / name).write_text("{")
    assert Shelf(tmp_path, 10).look(0, NOW).refused == []


def test_an_unchanged_file_is_not_read_again(tmp_path: Path) -> None:
    path = put(tmp_path, 1)
    shelf = Shelf(tmp_path, 10)
    shelf.look(0, NOW)
    before = path.stat().st_atime_ns
    os.utime(path, ns=(1, path.stat().st_mtime_ns))
    shelf.look(0.2, NOW)
    assert path.stat().st_atime_ns == 1 != before


@pytest.mark.parametrize("id", ["a/../../etc/passwd", "..", "a\x00b", "x" * 5000, "<img>", "ü", "a_b", "a<b"])
def test_any_id_makes_a_plain_file_name(id: str) -> None:
    name = file_name(id)
    assert len(name) < 200
    assert name == Path(name).name
    assert not name.startswith(".")
    assert name.isascii()
    assert name.isprintable()


def test_ids_that_look_alike_do_not_share_a_file() -> None:
    assert len({file_name(id) for id in ("a<b", "a>b", "a_b", "a b")}) == 4


def test_files_of_the_long_dead_are_swept_and_no_others(tmp_path: Path) -> None:
    young, old = put(tmp_path, 1, NOW - 60), put(tmp_path, 2, NOW - 7200)
    stray = tmp_path / "README"
    stray.write_text("")
    os.utime(stray, (1, 1))
    sweep(tmp_path, NOW)
    assert (young.exists(), old.exists(), stray.exists()) == (True, False, True)


def test_a_write_that_fails_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = put(tmp_path, 1)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        write(path, instance(1, device=object()))
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


async def test_a_killed_node_is_gone_after_a_while_without_alarm(tmp_path: Path) -> None:
    registrar = open_registrar(config(tmp_path))
    await registrar.announce(instance(1))
    async with watching(open_watcher(config(tmp_path))) as watched:
        await watched.until(lambda snapshot: snapshot.instances)
        await registrar._keeper.stop()  # as SIGKILL would
        assert await watched.until(lambda snapshot: not snapshot.instances) == Snapshot(instances=frozenset())


async def test_a_wiped_directory_empties_nobody_and_is_filled_again(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    registrar = open_registrar(config(folder, refresh_seconds=1, stale_seconds=5))
    await registrar.announce(instance(1))
    async with watching(open_watcher(config(folder, stale_seconds=5))) as watched:
        await watched.until(lambda snapshot: snapshot.instances)
        shutil.rmtree(folder)
        await watched.until(lambda snapshot: len(watched.snapshots) > 1 and not snapshot.stale)
        assert all(len(snapshot.instances) == 1 for snapshot in watched.snapshots)
    await registrar.close()


async def test_a_directory_that_cannot_be_read_keeps_the_fleet(tmp_path: Path) -> None:
    folder = tmp_path / "registry"
    put(folder, 1, time.time())
    async with watching(open_watcher(config(folder, stale_seconds=60))) as watched:
        await watched.until(lambda snapshot: snapshot.instances)
        folder.rename(tmp_path / "away")
        folder.write_text("a file now")  # root reads whatever the mode says, but not a file as a directory
        stale = await watched.until(lambda snapshot: snapshot.stale)
        assert len(stale.instances) == 1
        assert "cannot be read" in stale.stale
        folder.unlink()
        (tmp_path / "away").rename(folder)
        await watched.until(lambda snapshot: not snapshot.stale and snapshot.instances)


async def test_a_directory_that_cannot_be_written_fails_no_node(tmp_path: Path, caplog) -> None:
    folder = tmp_path / "registry"
    folder.write_text("in the way")
    registrar = open_registrar(config(folder))
    await registrar.announce(instance(1))
    folder.unlink()
    async with watching(open_watcher(config(folder))) as watched:
        await watched.until(lambda snapshot: snapshot.instances)
    await registrar.withdraw()
    await registrar.close()
    own = [record.levelname for record in caplog.records if record.name == "discovery.directory.registrar"]
    assert own == ["WARNING"], "losing it is one line, however often it is tried"


async def test_nothing_is_written_after_close(tmp_path: Path) -> None:
    registrar = DirectoryRegistrar(tmp_path, config(tmp_path, refresh_seconds=0.01))
    await registrar.announce(instance(1))
    await registrar.close()
    await asyncio.sleep(0.1)
    assert os.listdir(tmp_path) == []


async def test_leaving_is_written_at_once(tmp_path: Path) -> None:
    registrar = open_registrar(config(tmp_path, refresh_seconds=60, stale_seconds=600))
    await registrar.announce(instance(1))
    await registrar.withdraw()
    assert read_one(tmp_path)["status"] == Status.MAINTENANCE
    await registrar.close()


async def test_three_hundred_nodes_are_one_snapshot(tmp_path: Path) -> None:
    for port in range(1, 301):
        put(tmp_path, port, time.time())
    async with watching(open_watcher(config(tmp_path, stale_seconds=60))) as watched:
        first = await watched.until(lambda _: True)
        assert len(first.instances) == 300
