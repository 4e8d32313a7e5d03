"""The three ways to an answer. Each is entered with nothing running; `answer` blocks, and many threads may call it."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Protocol

from loadtest.calls import plain_label
from loadtest.peers import Peer
from loadtest.serving.contenders import ROOT, start
from loadtest.serving.model import ARTEFACT

_PROGRAM = [sys.executable, "-m", "loadtest.cold.program"]
_SECONDS = 120.0


class Way(Protocol):
    """How an image gets its answer."""

    def __enter__(self) -> Way: ...

    def __exit__(self, *_: object) -> None: ...

    def answer(self, image: Path) -> str:
        """The best label."""
        ...


class Script:
    """Start Python, import TensorFlow, load the model, run it, exit: for every image."""

    def __init__(self, artefact: Path) -> None:
        self._environ = _environ(artefact)

    def __enter__(self) -> Script:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing is left running."""

    def answer(self, image: Path) -> str:
        """The best label."""
        done = subprocess.run(
            [*_PROGRAM, str(image)],
            env=self._environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            check=True,
            timeout=_SECONDS,
        )
        return plain_label(done.stdout)


class Piped:
    """One process that keeps its standard input open: warm, but one image at a time, for one parent."""

    def __init__(self, artefact: Path) -> None:
        self._environ = _environ(artefact)
        self._turn = threading.Lock()

    def __enter__(self) -> Piped:
        self._process = subprocess.Popen(
            _PROGRAM,
            env=self._environ,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def answer(self, image: Path) -> str:
        """The best label."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._turn:
            self._process.stdin.write(f"{image}\n".encode())
            self._process.stdin.flush()
            return plain_label(self._process.stdout.readline())


class Node:
    """`fleetgate node`, asked over HTTP on connections kept alive."""

    def __init__(self, artefact: Path) -> None:
        self._peer: Peer = start("fleetgate", artefact)
        self._mine = threading.local()

    def __enter__(self) -> Node:
        self._peer.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._peer.__exit__()

    def answer(self, image: Path) -> str:
        """The best label; asks again while the node is not ready."""
        while True:
            connection = self._connection()
            connection.request("POST", "/v1/predict", image.read_bytes())
            answer = connection.getresponse()
            body = answer.read()
            if answer.status == 200:
                return plain_label(body)
            if answer.status != 503:
                raise RuntimeError(f"the node answered {answer.status}: {body[:200]!r}")
            threading.Event().wait(0.05)

    def _connection(self) -> http.client.HTTPConnection:
        if not hasattr(self._mine, "connection"):
            self._mine.connection = http.client.HTTPConnection(self._peer.address, timeout=_SECONDS)
        connection: http.client.HTTPConnection = self._mine.connection
        return connection


WAYS: dict[str, type[Script | Piped | Node]] = {
    "a script per request": Script,
    "a process with its input open": Piped,
    "the node": Node,
}


def _environ(artefact: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT), ARTEFACT: str(artefact)}
