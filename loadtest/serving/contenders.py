"""Every server of the comparison: how it is started, and how it wants to be asked."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from loadtest import calls
from loadtest.images import Photo
from loadtest.openloop.mix import Sendable
from loadtest.peers import Peer
from loadtest.serving.model import ARTEFACT, PLAIN

ROOT = Path(__file__).resolve().parents[2]
PEERS = Path(os.environ.get("SERVING_PEERS", ROOT / ".venv-peers")) / "bin"
PATIENCE = 120.0  # seconds until it serves: TensorFlow is imported and every batch size warmed, in several processes
PROGRAMS = "loadtest.serving.programs"
_BOUNDARY = "fleetgate-photo"


@dataclass(frozen=True, slots=True)
class Contender:
    """`command` without the port, which `{port}` stands for; `field` names the form's file, "" when the body is raw."""

    command: tuple[str, ...]
    path: str
    setting: str  # what was chosen, in a few words
    field: str = ""
    best_label: Callable[[bytes], str] = calls.plain_label
    plain: bool = False  # decodes as its own documentation does, in full

    def sendable(self, photo: Photo) -> Sendable:
        """One photo as this server wants it."""
        body, kind = (_form(self.field, photo.body), _FORM) if self.field else (photo.body, "image/jpeg")
        headers = f"Content-Type: {kind}\r\n"
        return Sendable(self.path, headers, body, photo.size_class, photo.label, self.best_label)


def _label_in_list(answer: bytes) -> str:
    return str(json.loads(answer)[0][0]["label"])


CONTENDERS: dict[str, Contender] = {
    "fleetgate": Contender(
        (sys.executable, "-m", "fleetgate", "node", "--port", "{port}", "--registry", "dir:{folder}/registry",
         "--set", "log.level=warning"),
        "/v1/predict",
        "one process, its defaults",
    ),
    "mosec": Contender(
        (str(PEERS / "python"), "-m", f"{PROGRAMS}.mosec_server", "--port", "{port}", "--address", "127.0.0.1",
         "--timeout", "60000", "--log-level", "warning"),
        "/v1/predict",
        "a worker per core, batches to 4, 1 ms",
    ),
    "LitServe": Contender(
        (str(PEERS / "python"), "-m", f"{PROGRAMS}.lit", "{port}"),
        "/predict",
        "a worker per core, batches to 4, 2 ms, fast queue",
        field="image",
    ),
    "BentoML": Contender(
        (str(PEERS / "bentoml"), "serve", f"{PROGRAMS}.bento:Classifier", "--host", "127.0.0.1", "--port", "{port}"),
        "/classify",
        "a worker per core, adaptive batches to 4",
        field="images",
        best_label=_label_in_list,
    ),
    "Ray Serve": Contender(
        (str(PEERS / "python"), "-m", f"{PROGRAMS}.ray_serve", "{port}"),
        "/",
        "a replica per core, batches to 4, throughput-optimised",
    ),
}  # fmt: skip
# The fastest two once more.
TWICE = {f"{name}, plain Pillow": name for name in ("mosec", "LitServe")}
CONTENDERS |= {twin: replace(CONTENDERS[name], plain=True) for twin, name in TWICE.items()}
_FORM = f"multipart/form-data; boundary={_BOUNDARY}"
_ENVIRON = {
    "BENTOML_DO_NOT_TRACK": "True",
    "BENTOML_HOME": "{folder}/bentoml",
    "RAY_AUTH_MODE": "disabled",  # else it writes a token into the home directory
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1",
}


def start(name: str, artefact: Path) -> Peer:
    """A server ready to be entered; it may listen before it can serve."""
    port = _free_port()
    command = [part.replace("{port}", str(port)) for part in CONTENDERS[name].command]
    if name == "fleetgate":
        command += ["--artefact", str(artefact)]
    plain = "1" if CONTENDERS[name].plain else ""
    environ = {**_ENVIRON, ARTEFACT: str(artefact), PLAIN: plain, "PYTHONPATH": str(ROOT)}
    return Peer(name, port, {}, command, None, environ, patience=PATIENCE)


def _form(field: str, image: bytes) -> bytes:
    head = (
        f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="photo.jpg"\r\n'
        "Content-Type: image/jpeg\r\n\r\n"
    )
    return head.encode() + image + f"\r\n--{_BOUNDARY}--\r\n".encode()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
