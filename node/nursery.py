"""Imported by the fork server alone, before it forks the first worker process: TensorFlow is then there for all.

A worker is ready in half a second, where importing takes three, and shares the memory of what was imported. Nothing
that starts a thread may run here.
"""

from __future__ import annotations

import signal

# A signal to all processes of a container or terminal is the node's to act upon: it finishes its requests first.
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, signal.SIG_IGN)

import node.member  # noqa: E402
import node.runner  # noqa: E402, F401 - for what it imports
