"""`fleetgate load`, `fleetgate report` and Locust as people start them, against a real server."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import re
import sys
from pathlib import Path

import pytest

from fleetgate.main import main
from fleetgate.supervisor import free_port
from tests.fakes.labels import Labels
from tests.fakes.node import Call, FakeNode, Reply

ROOT = Path(__file__).resolve().parents[2]
CAT = ROOT / "samples" / "cat.jpg"


async def run(*command: str) -> tuple[int, str]:
    """Exit code and everything it said."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *command, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    return process.returncode or 0, output.decode()


def here(*command: str) -> tuple[int, str]:
    """The same of a fleetgate command that needs no server: in this process, as it is much faster."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            code = main(command)
        except SystemExit as error:
            code = int(error.code or 0)
    return code, said.getvalue()


def any_cat(call: Call) -> Reply:
    return Reply(body=b'[{"label": "cat", "score": 0.9}]')


async def test_a_run_is_shown_kept_as_a_page_and_compared(tmp_path: Path) -> None:
    json_a, json_b, html = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "a.html"
    steps = ("--rate", "100", "--seconds", "1", "--schedule", "steps", "--image", str(CAT))
    async with FakeNode(any_cat) as node:
        url = f"http://127.0.0.1:{node.port}"
        code, said = await run("fleetgate", "load", url, *steps, "--json", str(json_a), "--html", str(html))
        assert code == 0, said
        node.behave = lambda call: Reply(body=b'[{"label": "cat"}]', delay=0.2)
        code, said = await run("fleetgate", "load", url, *steps, "--json", str(json_b), "--slo-small-ms", "50")
    assert code == 1
    assert re.search(r"missed: p95 of small photos is \d+ ms, the goal is 50 ms", said)
    assert "step 5" in said
    assert "from due" in said
    assert "from send" in said
    assert "The client: late by p50" in said
    kept = json.loads(json_a.read_text())
    assert kept["phases"][4]["small"]["ended"]["answered"] > 5
    page = html.read_text()
    assert page.count("<svg") == 2
    assert not re.search(r'(src|href)="(?!#)', page)  # nothing from outside

    page_ab = tmp_path / "ab.html"
    code, said = here("report", str(json_a), str(json_b), "--html", str(page_ab), "--tolerance", "0.5")
    assert code == 1, said
    assert "small: p50" in said
    assert "<svg" in page_ab.read_text()
    code, said = here("report", str(json_a), str(json_a), "--tolerance", "0")
    assert code == 0, said
    code, said = here("report", str(json_a))
    assert code == 0
    assert "step 5" in said


async def test_the_key_and_the_deadline_reach_the_target() -> None:
    async with FakeNode(any_cat) as node:
        url = f"http://127.0.0.1:{node.port}/some/path"
        options = ("--rate", "20", "--seconds", "0.3", "--image", str(CAT), "--key", "s3cret", "--deadline-ms", "900")
        code, said = await run("fleetgate", "load", url, *options)
    assert code == 0, said
    assert "s3cret" not in said
    assert {call.header("X-Api-Key") for call in node.calls} == {"s3cret"}
    assert {call.header("X-Request-Timeout-Ms") for call in node.calls} == {"900"}
    assert {call.target for call in node.calls} == {"/some/path"}


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("http://127.0.0.1:9", "--rate", "0"), 2, "argument --rate: 0 must be above 0"),
        (("http://127.0.0.1:9", "--seconds", "forever"), 2, "'forever' is no number"),
        (("http://127.0.0.1:9", "--image", "README.md"), 2, "README.md: not the beginning of a JPEG"),
        (("http://127.0.0.1:1", "--image", str(CAT)), 1, "fleetgate load: http://127.0.0.1:1: no connection: refused"),
        (("http://127.0.0.1:9", "--header", "Host: x"), 2, "Host is written by the generator"),
        (("http://127.0.0.1:9", "--header", "A B: x"), 2, "no header's name"),
        (("http://127.0.0.1:9", "--key", "a\r\nB: c"), 2, "the value of X-Api-Key holds characters"),
        (("telnet://x",), 2, "the scheme must be http or https"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(arguments: tuple[str, ...], code: int, words: str) -> None:
    got, said = here("load", *arguments)
    assert got == code, said
    assert words in said


def test_files_that_are_no_results_are_refused(tmp_path: Path) -> None:
    for text in (
        "",
        "[]",
        "{}",
        '{"kind": "fleetgate load", "version": 9}',
        '{"kind": "fleetgate load", "version": 1}',
    ):
        (tmp_path / "x.json").write_text(text)
        code, said = here("report", str(tmp_path / "x.json"))
        assert code == 2, said
        assert "x.json" in said


async def locust(node: FakeNode, *arguments: str) -> tuple[int, str]:
    url = f"http://127.0.0.1:{node.port}"
    return await run("loadtest.run", "--host", url, "--exclude-tags", "oversized", *arguments, "PlainUser")


async def test_locust_checks_labels_and_writes_its_files(tmp_path: Path) -> None:
    async with FakeNode(Labels()) as node:
        code, said = await locust(node, "-t", "2", "--csv", str(tmp_path / "run"), "--html", str(tmp_path / "run.html"))
    assert code == 0, said
    assert re.search(r"│ small +│ +[1-9]\d+ │ +0 │", said), said
    assert (tmp_path / "run_stats.csv").read_text().count("plain small") == 1
    assert (tmp_path / "run.html").exists()


async def test_locust_fails_on_wrong_labels_and_missed_goals() -> None:
    async with FakeNode(any_cat) as node:
        code, said = await locust(node, "-t", "1", "--slo-small-ms", "0.5", "--slo-failures", "1")
    assert code == 1
    assert "missed: p95 of small photos is" in said
    async with FakeNode(lambda call: Reply(body=b"rubbish")) as node:
        code, said = await locust(node, "-t", "1")
    assert code == 1
    assert re.search(r"missed: \d+ of \d+ small requests failed", said)
    assert "200 without a label" in said
    assert "Traceback" not in said


async def test_locust_works_in_several_processes_and_by_a_shape() -> None:
    async with FakeNode(Labels()) as node:
        code, said = await locust(node, "--shape", "steps", "-u", "5", "-t", "5", "--processes", "2")
    assert code == 0, said
    assert said.count("reported as ready") == 2
    assert len(set(re.findall(r"Shape test updating to (\d) users", said))) >= 3
    assert said.count("│ small") == 1  # the master speaks for all
    assert len({call.connection for call in node.calls}) >= 3


async def test_locust_works_from_several_machines_with_a_key() -> None:
    """A master and two workers that only know its address, as they would stand on three machines."""
    port = str(free_port("127.0.0.1"))
    file = ("locust", "-f", "loadtest/locustfile.py")
    async with FakeNode(Labels()) as node:
        options = ("--headless", "--only-summary", "-u", "4", "-r", "4", "-t", "4", "--exclude-tags", "oversized")
        keys = ("--key", "s3cret", "--header", "Authorization: Bearer t0ken")
        bound = ("--master", "--master-bind-port", port, "--expect-workers", "2")
        url = f"http://127.0.0.1:{node.port}"
        master = run(*file, *bound, *options, *keys, "--host", url, "PlainUser")
        workers = [run(*file, "--worker", "--master-port", port, "PlainUser") for _ in range(2)]
        (code, said), *others = await asyncio.gather(master, *workers)
    assert code == 0, said
    assert [ended for ended, _ in others] == [0, 0], others
    assert said.count("│ small") == 1
    assert {call.header("X-Api-Key") for call in node.calls} == {"s3cret"}
    assert {call.header("Authorization") for call in node.calls} == {"Bearer t0ken"}
    assert "s3cret" not in said
    assert "t0ken" not in said


@pytest.mark.parametrize("shape", ["spike", "soak", "diurnal"])
async def test_every_shape_moves_the_users(shape: str) -> None:
    async with FakeNode(Labels()) as node:
        code, said = await locust(node, "--shape", shape, "-u", "6", "-t", "5")
    assert code == 0, said
    numbers = [int(number) for number in re.findall(r"Shape test updating to (\d+) users", said)]
    assert len(set(numbers)) >= 2, said
    assert max(numbers) == 6


async def test_the_knee_is_found() -> None:
    def slow_when_many(call: Call) -> Reply:
        return Reply(body=b'[{"label": "cat"}]', delay=0.01 if len(node.open) < 4 else 0.4)

    async with FakeNode(slow_when_many) as node:
        code, said = await locust(node, "--shape", "knee", "-u", "10", "-t", "20", "--knee-ms", "200", "--any-label")
    assert code == 0, said
    assert re.search(r"\d users were borne; more were too many: p99 of small photos was \d+ ms", said), said
