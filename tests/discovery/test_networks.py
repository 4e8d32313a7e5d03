"""Where nodes may live: an address from the registry is input."""

import socket

import pytest

from discovery.networks import allowed, own_address, parse_networks, peer_allowed
from gateway.config import Security

DEFAULT = parse_networks(Security().node_networks)
WORLD = parse_networks(["0.0.0.0/0", "::/0"])
NAMED = parse_networks(["10.0.0.0/8", "node-1", "*.nodes.svc.cluster.local"])


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3", "172.31.255.1", "192.168.0.9", "::1", "fd12:3456::1"])
def test_private_networks_are_allowed_from_the_start(host: str) -> None:
    assert allowed(host, DEFAULT)


@pytest.mark.parametrize("host", ["8.8.8.8", "172.32.0.1", "2001:db8::1", "node-1", "localhost"])
def test_strangers_and_names_are_not(host: str) -> None:
    assert not allowed(host, DEFAULT)


@pytest.mark.parametrize(
    "host",
    ["169.254.169.254", "169.254.0.1", "fe80::1", "fe80::1%lo", "0.0.0.0", "0.1.2.3", "::", "224.0.0.1", "ff02::1",
     "255.255.255.255", "::ffff:169.254.169.254", "::ffff:0.0.0.0", "2002:a9fe:a9fe::1", "64:ff9b::a9fe:a9fe",
     "fd00:ec2::254", "fd20:ce::254", "100.100.100.200", "168.63.129.16"],
)  # fmt: skip
def test_metadata_and_nowhere_are_never_allowed_even_when_the_world_is(host: str) -> None:
    assert not allowed(host, WORLD)
    assert not peer_allowed(host, WORLD)


def test_an_ipv4_address_inside_an_ipv6_one_is_judged_as_what_it_is() -> None:
    assert allowed("::ffff:10.0.0.1", DEFAULT)
    assert not allowed("::ffff:8.8.8.8", DEFAULT)


def test_names_are_allowed_whole_or_by_suffix() -> None:
    assert allowed("node-1", NAMED)
    assert allowed("NODE-1", NAMED)
    assert allowed("a.nodes.svc.cluster.local", NAMED)
    assert not allowed("node-2", NAMED)
    assert not allowed("nodes.svc.cluster.local", NAMED)
    assert not allowed("evilnodes.svc.cluster.local", NAMED)
    assert not allowed("node-1.evil.example", NAMED)


@pytest.mark.parametrize(
    "host", ["127.1", "2130706433", "0x7f000001", "0x7f.1", "0177.0.0.1", "1.2.3.4.5", "", ".", "a@node-1"]
)
def test_odd_spellings_of_addresses_are_no_names(host: str) -> None:
    assert not allowed(host, parse_networks(["0.0.0.0/0", "node-1"]))


@pytest.mark.parametrize("entry", ["*", "10.0.0.1/8", "10.0.0.0/40", "http://node", "no de", "", "*.", "127.1", "a*"])
def test_an_entry_that_is_neither_network_nor_name_is_refused(entry: str) -> None:
    with pytest.raises(ValueError, match="neither a network"):
        parse_networks([entry])


def test_an_allowed_name_must_still_lead_into_an_allowed_network() -> None:
    assert peer_allowed("10.0.0.7", NAMED)
    assert not peer_allowed("8.8.8.8", NAMED)
    assert not peer_allowed("169.254.169.254", parse_networks(["node-1"]))
    assert peer_allowed("10.0.0.7", parse_networks(["node-1"]))
    assert not peer_allowed("node-1", NAMED)


def test_our_own_address_is_one_we_can_listen_at() -> None:
    address = own_address("127.0.0.1")
    with socket.socket() as listener:
        listener.bind((address, 0))
    assert address == "127.0.0.1"
