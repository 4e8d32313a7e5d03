"""status, top, drain and explain against a real operator listener."""

import asyncio
import json
import subprocess
import sys

from tests.fakes.fleet import ENVIRONMENT
from tests.fakes.operators import SMALL_FLEET, TOKEN, Desk, desk, node
from tests.fakes.outcomes import outcome


async def fleetgate(made: Desk, *arguments: str, token: str = TOKEN, url: str = "") -> subprocess.CompletedProcess[str]:
    """The command as a process; the listener serves on meanwhile."""
    environment = {**ENVIRONMENT, "FLEETGATE_OPERATOR_URL": url or made.url, "FLEETGATE_OPERATOR__TOKEN": token}
    command = [sys.executable, "-m", "fleetgate", *arguments]
    return await asyncio.to_thread(subprocess.run, command, env=environment, capture_output=True, text=True, timeout=60)


async def test_status_shows_the_verdict_and_every_node() -> None:
    hostile = node("[red]\x1b[2Jevil[/red]")
    async with desk([*SMALL_FLEET, hostile]) as made:
        made.dies("heavy-1")
        done = await fleetgate(made, "status")
    assert done.returncode == 0
    assert "Serving. Heavy pool down" in done.stdout
    assert all(name in done.stdout for name in ("light-1", "light-2", "heavy-1", "ejected", "evil"))
    assert "probe failed: connection refused" in done.stdout
    assert "\x1b[2J" not in done.stdout


async def test_status_tells_scripts_how_it_is() -> None:
    async with desk(SMALL_FLEET[:1]) as made:
        made.dies("light-1")
        down = await fleetgate(made, "status", "--json")
        gone = await fleetgate(made, "status", url="http://127.0.0.1:1")
    assert down.returncode == 1
    assert json.loads(down.stdout)["verdict"]["level"] == "down"
    assert gone.returncode == 2
    assert gone.stderr.startswith("fleetgate status: no gateway answers at http://127.0.0.1:1")
    assert len(gone.stderr.splitlines()) == 1


async def test_top_looks_again_and_outlives_a_gateway_that_went_away() -> None:
    async with desk() as made:
        done = await fleetgate(made, "top", "--looks", "2", "--seconds", "0.1", "--json")
        gone = await fleetgate(made, "top", "--looks", "1", url="127.0.0.1:1")
        shown = await fleetgate(made, "top", "--looks", "1")
    assert [json.loads(line)["verdict"]["level"] for line in done.stdout.splitlines()] == ["ok", "ok"]
    assert "no gateway answers" in gone.stdout
    assert "Serving. All 3 nodes healthy." in shown.stdout
    assert {done.returncode, gone.returncode, shown.returncode} == {0}


async def test_drain_there_and_back() -> None:
    async with desk() as made:
        done = await fleetgate(made, "drain", "light-1", "--reason", "new disk", "--by", "Ada")
        assert (done.returncode, done.stdout) == (0, "light-1: drain by an operator\n")
        assert made.fleet.backends["light-1"].standing.state == "draining"
        done = await fleetgate(made, "drain", "light-1", "--undo", "--reason", "disk is in")
        assert done.returncode == 0
        assert made.fleet.backends["light-1"].standing.state == "healthy"
        done = await fleetgate(made, "drain", "light-1", "--weight", "0.5", "--reason", "noisy neighbour")
        assert done.stdout == "light-1: weight set to 0.5\n"
        refused = await fleetgate(made, "drain", "light-2", "--reason", "just so", token="wrong")
        unknown = await fleetgate(made, "drain", "nobody/../x", "--reason", "just so")
    assert (refused.returncode, refused.stderr) == (1, "fleetgate drain: The operator token is missing or wrong\n")
    assert (unknown.returncode, unknown.stderr) == (1, "fleetgate drain: No node 'nobody/../x'\n")


async def test_explain_writes_the_reasons_out() -> None:
    async with desk() as made:
        made.journal.finished(outcome(request_id="wanted"))
        done = await fleetgate(made, "explain", "wanted")
        assert "light because of its pixels." in done.stdout
        assert "It went to light-1 in the light pool." in done.stdout
        assert json.loads((await fleetgate(made, "explain", "wanted", "--json")).stdout)["request"]["node"] == "light-1"
        missing = await fleetgate(made, "explain", "unknown")
    assert missing.returncode == 1
    assert "not remembered" in missing.stderr
