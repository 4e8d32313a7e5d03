"""URLs of registries, and what a wrong one says."""

from pathlib import Path

import pytest

from discovery.config import RegistryConfig
from discovery.consul.registrar import ConsulRegistrar
from discovery.consul.watcher import ConsulWatcher
from discovery.directory.registrar import DirectoryRegistrar
from discovery.directory.watcher import DirectoryWatcher
from discovery.registry import announced_host, open_registrar, open_watcher
from discovery.static import StaticRegistrar, StaticWatcher


@pytest.mark.parametrize(
    ("url", "watcher", "registrar"),
    [
        ("consul://127.0.0.1:8500", ConsulWatcher, ConsulRegistrar),
        ("consul://consul", ConsulWatcher, ConsulRegistrar),
        ("consul://[::1]:8500/", ConsulWatcher, ConsulRegistrar),
        ("consuls://consul.internal", ConsulWatcher, ConsulRegistrar),
        ("dir:var/registry", DirectoryWatcher, DirectoryRegistrar),
        ("dir:///tmp/registry", DirectoryWatcher, DirectoryRegistrar),
        ("dir:/tmp/registry", DirectoryWatcher, DirectoryRegistrar),
        ("static:127.0.0.1:9000", StaticWatcher, StaticRegistrar),
    ],
)
async def test_the_url_names_the_kind(url: str, watcher: type, registrar: type) -> None:
    assert type(open_watcher(RegistryConfig(url=url))) is watcher
    assert type(open_registrar(RegistryConfig(url=url))) is registrar


@pytest.mark.parametrize(
    "url",
    ["", "consul", "http://127.0.0.1:8500", "zookeeper://h", "consul://", "consul://:8500", "consul://h:port",
     "consul://h:99999", "consul://h:8500/v1", "consul://h?dc=x", "consul://root:secret@h", "dir:", "dir:///",
     "dir://host/path", "static:", "static:nohost", "static:h:1,h:1", "static:h:1/vip", "static:h:1?capacity=x",
     "static:h:0", "static:user@h:1", "static:[::1:9000"],
)  # fmt: skip
def test_a_url_that_cannot_be_right_is_one_clear_line(url: str) -> None:
    for opened in (open_watcher, open_registrar):
        with pytest.raises(ValueError, match=r"registry\.url") as told:
            opened(RegistryConfig(url=url))
        assert "\n" not in str(told.value)
        assert "secret" not in str(told.value)


@pytest.mark.parametrize("option", ["ca_file", "cert_file", "token_file"])
def test_a_missing_file_is_told_at_start(option: str, tmp_path: Path) -> None:
    config = RegistryConfig(**{"url": "consuls://h:1", option: str(tmp_path / "missing")})
    with pytest.raises(ValueError, match="cannot be used"):
        open_watcher(config)


def test_a_file_that_is_no_certificate_is_told_at_start(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("no certificate")
    with pytest.raises(ValueError, match="cannot be used"):
        open_watcher(RegistryConfig(url="consuls://h:1", ca_file=str(tmp_path / "ca.pem")))


def test_times_by_which_living_nodes_would_seem_dead_are_refused() -> None:
    with pytest.raises(ValueError, match="stale_seconds"):
        open_watcher(RegistryConfig(url="dir:x", refresh_seconds=6, stale_seconds=10))


@pytest.mark.parametrize(
    ("bound", "url", "announced"),
    [
        ("10.1.2.3", "consul://127.0.0.1:8500", "10.1.2.3"),
        ("0.0.0.0", "consul://127.0.0.1:8500", "127.0.0.1"),
        ("::", "dir:var/registry", "127.0.0.1"),
    ],
)
def test_a_wildcard_is_not_announced(bound: str, url: str, announced: str) -> None:
    assert announced_host(bound, RegistryConfig(url=url)) == announced


async def test_a_static_list_is_one_snapshot_with_its_facts() -> None:
    config = RegistryConfig(
        url="static:10.0.0.1:9000, triton:8000/heavy?protocol=oip&models=a@1%2Cb@2&capacity=4,[::1]:9002"
    )
    watcher = open_watcher(config)
    snapshots = watcher.snapshots()
    snapshot = await anext(snapshots)
    by_address = {instance.address: instance for instance in snapshot.instances}
    assert set(by_address) == {"10.0.0.1:9000", "triton:8000", "[::1]:9002"}
    triton = by_address["triton:8000"]
    assert (triton.pool, triton.protocol, triton.models, triton.capacity) == ("heavy", "oip", ("a@1", "b@2"), 4)
    assert triton.id == "fleetgate-node-triton-8000"
    assert (snapshot.stale, watcher.age()) == ("", 0.0)
    await watcher.close()
    assert [snapshot async for snapshot in snapshots] == []
