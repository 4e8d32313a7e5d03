"""Finds the image in a call's body from its first bytes, whatever the call's encoding."""

from wire.sniff.result import Sniffed
from wire.sniff.sniffer import LOOK_BYTES, TIFF_LOOK_BYTES, Sniffer

__all__ = ["LOOK_BYTES", "TIFF_LOOK_BYTES", "Sniffed", "Sniffer"]
