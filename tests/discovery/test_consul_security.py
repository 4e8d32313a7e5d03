"""Consul behind ACLs and TLS: what a token may not see is no empty fleet, a stranger's certificate no Consul."""

import logging
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from discovery.config import RegistryConfig
from discovery.registry import open_registrar, open_watcher
from tests.fakes.nodes import health_face, instance
from tests.fakes.real_consul import RealConsul, real_consul
from tests.fakes.watching import watching
from tests.get_consul import obtain

DENY = {"acl": {"enabled": True, "default_policy": "deny"}}


@dataclass
class Guarded:
    """An agent that denies by default."""

    agent: RealConsul
    root: str

    def token(self, name: str, rules: str) -> str:
        """A new token that may do just this."""
        self.agent.call("PUT", "/v1/acl/policy", {"Name": name, "Rules": rules}, self.root)
        made = self.agent.call("PUT", "/v1/acl/token", {"Policies": [{"Name": name}]}, self.root)
        return str(made["SecretID"])

    def forbid(self, name: str) -> None:
        """Every token of this policy may see nothing from now on."""
        (policy,) = [one for one in self.agent.call("GET", "/v1/acl/policies", token=self.root) if one["Name"] == name]
        self.agent.call("PUT", f"/v1/acl/policy/{policy['ID']}", {"Name": name, "Rules": ""}, self.root)

    def config(self, token: str = "", **more: object) -> RegistryConfig:
        return RegistryConfig(url=self.agent.url, **{"token": token, "wait_seconds": 1, "refresh_seconds": 0.2, **more})


@contextmanager
def guarded_consul() -> Iterator[Guarded]:
    with real_consul(DENY) as agent:
        root = str(agent.call("PUT", "/v1/acl/bootstrap")["SecretID"])
        agent.call("PUT", "/v1/agent/token/agent", {"Token": root}, root)
        yield Guarded(agent, root)


READ = 'service_prefix "fleetgate-node" { policy = "read" } node_prefix "" { policy = "read" }'
WRITE = 'service "fleetgate-node" { policy = "write" }'


async def test_tokens_of_least_right_suffice_and_losing_one_is_not_an_empty_fleet(tmp_path: Path) -> None:
    with guarded_consul() as guarded:
        (tmp_path / "token").write_text(guarded.token("nodes", WRITE))
        async with health_face() as face:
            registrar = open_registrar(guarded.config(token_file=str(tmp_path / "token")))
            await registrar.announce(instance(face.port))
            reader = guarded.token("gateways", READ)
            async with watching(open_watcher(guarded.config(reader))) as watched:
                await watched.until(lambda snapshot: snapshot.instances and not snapshot.stale)
                guarded.forbid("gateways")  # from now on Consul answers 200 with an empty list
                stale = await watched.until(lambda snapshot: snapshot.stale)
                assert len(stale.instances) == 1
                await registrar.withdraw()
            await registrar.close()
        assert guarded.agent.call("GET", "/v1/catalog/service/fleetgate-node", token=guarded.root) == []


async def test_a_token_nobody_knows_is_told_plainly_on_both_sides(caplog: pytest.LogCaptureFixture) -> None:
    with guarded_consul() as guarded, caplog.at_level(logging.INFO, logger="discovery"):
        unknown = guarded.config("11111111-2222-3333-4444-555555555555")
        async with watching(open_watcher(unknown)) as watched:
            first = await watched.until(lambda _: True)
            assert first.stale == "Consul refused the token (403); watching needs service and node read"
        registrar = open_registrar(unknown)
        await registrar.announce(instance(9000))
        await registrar.close()
    assert [record.levelname for record in caplog.records].count("ERROR") == 1
    assert "11111111" not in caplog.text


@dataclass
class Papers:
    """Files of one certificate authority."""

    ca: Path
    server: tuple[Path, Path]
    client: tuple[Path, Path]


def make_papers(folder: Path) -> Papers:
    """A certificate authority, a server's and a client's certificate, made by Consul's own tool."""
    folder.mkdir()
    for command in (["ca", "create"], ["cert", "create", "-server"], ["cert", "create", "-client"]):
        subprocess.run([obtain(), "tls", *command], cwd=folder, check=True, capture_output=True)
    return Papers(
        folder / "consul-agent-ca.pem",
        (folder / "dc1-server-consul-0.pem", folder / "dc1-server-consul-0-key.pem"),
        (folder / "dc1-client-consul-0.pem", folder / "dc1-client-consul-0-key.pem"),
    )


def tls_settings(papers: Papers) -> dict[str, object]:
    """Consul shows its certificate and wants one from whoever calls over HTTPS."""
    return {
        "ca_file": str(papers.ca),
        "cert_file": str(papers.server[0]),
        "key_file": str(papers.server[1]),
        "verify_incoming_https": True,
    }


async def test_tls_with_certificates_on_both_sides(tmp_path: Path) -> None:
    ours, theirs = make_papers(tmp_path / "ours"), make_papers(tmp_path / "theirs")
    with real_consul(tls_settings(ours), tls=True) as agent:

        def config(trusted: Papers, shown: Papers | None) -> RegistryConfig:
            cert, key = (str(shown.client[0]), str(shown.client[1])) if shown else ("", "")
            return RegistryConfig(url=agent.url, ca_file=str(trusted.ca), cert_file=cert, key_file=key, wait_seconds=1)

        registrar = open_registrar(config(ours, ours))
        async with health_face() as face:
            await registrar.announce(instance(face.port))
            async with watching(open_watcher(config(ours, ours))) as watched:
                assert (await watched.until(lambda _: True)).instances == {instance(face.port)}
            for wrong in (config(theirs, ours), config(ours, None), config(ours, theirs)):
                async with watching(open_watcher(wrong)) as watched:
                    first = await watched.until(lambda _: True)
                    assert (first.instances, first.stale != "") == (frozenset(), True)
            await registrar.close()


async def test_new_certificates_are_read_after_the_old_ones_failed(tmp_path: Path) -> None:
    ours, theirs = make_papers(tmp_path / "ours"), make_papers(tmp_path / "theirs")
    trusted = tmp_path / "ca.pem"
    trusted.write_bytes(theirs.ca.read_bytes())
    with real_consul(tls_settings(ours) | {"verify_incoming_https": False}, tls=True) as agent:
        agent.call("PUT", "/v1/agent/service/register", {"ID": "a", "Name": "fleetgate-node", "Port": 1})
        config = RegistryConfig(url=agent.url, ca_file=str(trusted), wait_seconds=1)
        async with watching(open_watcher(config)) as watched:
            first = await watched.until(lambda _: True)
            assert "certificate verify failed" in first.stale
            trusted.write_bytes(ours.ca.read_bytes())
            await watched.until(lambda snapshot: snapshot.instances and not snapshot.stale)
