"""The bare loops: one process whose threads share a session, as our node is built, or a process for every core."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from loadtest.serving import photos
from loadtest.serving.contenders import ROOT
from loadtest.serving.model import ARTEFACT
from loadtest.serving.sample import Sample, cores_busy

NAMES = ("bare loop, threads", "bare loop, processes")


class Bare:
    """`with Bare(…) as bare:` is warm inside the block."""

    def __init__(self, name: str, artefact: Path) -> None:
        self.name = name
        cores = len(os.sched_getaffinity(0))
        self._threads, self._count = (cores, 1) if name == NAMES[0] else (1, cores)
        self._environ = {**os.environ, "PYTHONPATH": str(ROOT), ARTEFACT: str(artefact)}
        self._folder = tempfile.TemporaryDirectory(prefix="bare-")
        self._processes: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Bare:
        command = [sys.executable, "-m", "loadtest.serving.programs.bare", str(self._threads)]
        for _ in range(self._count):
            self._processes.append(
                subprocess.Popen(
                    command,
                    env=self._environ,
                    text=True,
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                )
            )
        for process in self._processes:
            self._line(process)
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()
        self._folder.cleanup()

    def sample(self, kind: str, seconds: float) -> Sample:
        """One run over one kind of images."""
        files = " ".join(map(str, self._files(kind)))
        busy = cores_busy()
        for process in self._processes:
            assert process.stdin is not None
            process.stdin.write(f"{seconds} {files}\n")
            process.stdin.flush()
        found = [json.loads(self._line(process)) for process in self._processes]
        answered = sum(each["answered"] for each in found)
        took = max(each["seconds"] for each in found)
        cpu = sum(each["cpu_seconds"] for each in found)
        return Sample(
            server=self.name,
            images=kind,
            setting="no HTTP",
            answered=answered,
            per_second=answered / took,
            cpu_ms=cpu * 1e3 / max(1, answered),
            others=max(0.0, busy() - cpu / took),
        )

    def _files(self, kind: str) -> list[Path]:
        files = []
        for number, body in enumerate(photos.cycle(kind)):
            files.append(Path(self._folder.name) / f"{kind.replace(' ', '-')}-{number}.jpg")
            if not files[-1].exists():
                files[-1].write_bytes(body)
        return files

    def _line(self, process: subprocess.Popen[str]) -> str:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:
            raise RuntimeError(f"the {self.name} ended with {process.wait()}")
        return line
