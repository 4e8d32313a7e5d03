"""The proxies people would use instead, each started as its own documentation advises for this job."""

from loadtest.peers.process import Peer, Target, Wanted
from loadtest.peers.table import PEERS, start

__all__ = ["PEERS", "Peer", "Target", "Wanted", "start"]
