"""The flags every program shares, tried on the real command."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def fleetgate(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fleetgate", *arguments],
        cwd=ROOT,
        env={"PATH": "/usr/bin:/bin", **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_print_config_shows_the_result_and_starts_nothing() -> None:
    run = fleetgate("gateway", "--port", "9", "--print-config", FLEETGATE_ROUTING__AGING="7")
    assert run.returncode == 0, run.stderr
    assert "port = 9  # from a flag" in run.stdout
    assert "aging = 7.0  # from the environment (FLEETGATE_ROUTING__AGING)" in run.stdout


def test_check_config_says_yes_or_names_the_fault() -> None:
    assert fleetgate("node", "--check-config").stdout == "The configuration is good.\n"
    run = fleetgate("node", "--set", "listen.port=many", "--check-config")
    assert run.returncode == 2
    assert run.stderr == "fleetgate node: option listen.port (from a flag): Expected int, got str\n"


def test_a_flag_without_a_value_is_explained() -> None:
    run = fleetgate("gateway", "--set", "listen.port", "--check-config")
    assert run.returncode == 2
    assert "write it as section.key=value" in run.stderr


def test_help_lists_every_command_and_an_unknown_one_is_refused() -> None:
    text = fleetgate("--help").stdout
    for command in ("up", "gateway", "node", "freeze", "simulate", "status"):
        assert command in text
    assert fleetgate("fly").returncode == 2


def test_a_missing_dependency_is_one_clear_line() -> None:
    code = "import sys; sys.modules['aiohttp'] = None; from fleetgate.main import main; sys.exit(main(['up']))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr == "fleetgate up needs aiohttp, which is not installed; see README.md\n"


def test_the_gateway_starts_without_tensorflow_and_numpy() -> None:
    code = "import sys, fleetgate.gateway; print({'tensorflow', 'numpy', 'PIL', 'matplotlib'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert run.stdout == "set()\n"
