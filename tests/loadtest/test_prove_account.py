"""The table of a proof counts what happened to whom, and when."""

from __future__ import annotations

from pathlib import Path

import msgspec

from loadtest.openloop.histogram import Histogram
from loadtest.openloop.verdict import Kind
from loadtest.prove.account import lost, rows
from loadtest.prove.results import Hit, ProveRun, Trial
from loadtest.prove.words import markdown
from loadtest.report import prove_page


def hit(due: float, ms: float = 20.0, **changes: object) -> Hit:
    facts = {"size_class": "small", "kind": Kind.ANSWERED, "why": "", "attempts": 1, "resent": 0, **changes}
    return Hit(due=due, ms=ms, **facts)  # type: ignore[arg-type]


def proof(hits: list[Hit], noticed: float | None = 11.5) -> ProveRun:
    trial = Trial(name="a node killed", begin=5.0, harm=10.0, repaired=13.0, noticed=noticed, recovered=20.0, end=25.0)
    return ProveRun(
        made="2026-01-01 00:00:00", machine="m", fleet="f", rate=1.0, trials=[trial], hits=hits, late=Histogram(),
        left_out=["a thing | not done"],
    )  # fmt: skip


def test_requests_are_counted_by_when_they_were_due() -> None:
    hits = [hit(4.9, 900.0), hit(6.0, 20.0), hit(12.0, 500.0), hit(15.0, 400.0), hit(22.0, 30.0), hit(25.0, 900.0)]
    (row,) = rows(proof(hits))
    assert (row.sent, row.answered, row.lost, row.refused) == (4, 4, 0, 0)
    assert [round(ms) for ms in (row.before_ms, row.during_ms, row.after_ms)] == [20, 500, 30]
    assert (row.noticed_seconds, row.recovered_seconds) == (1.5, 10.0)


def test_an_error_instead_of_an_answer_is_lost_and_a_refusal_is_not() -> None:
    hits = [
        hit(11.0, kind=Kind.FAILED, why="502 node-unreachable"),
        hit(11.1, kind=Kind.LOST, why="connection reset"),
        hit(11.2, kind=Kind.WRONG, why="dog instead of cat"),
        hit(11.3, kind=Kind.REFUSED, why="503 no-node"),
        hit(11.4, attempts=2),
        hit(11.5, resent=1),
    ]
    (row,) = rows(proof(hits))
    assert (row.sent, row.answered, row.refused, row.lost, row.retried) == (6, 2, 1, 3, 2)
    assert lost(proof(hits)) == 3
    assert row.why["refused: 503 no-node"] == 1


def test_what_was_never_noticed_has_a_dash() -> None:
    (row,) = rows(proof([hit(6.0)], noticed=None))
    assert row.cells[9] == "–"


def test_everything_is_written_and_nothing_is_executed(tmp_path: Path) -> None:
    run = proof([hit(11.0), hit(11.2, kind=Kind.REFUSED, why="<script>alert(1)</script>")])
    prove_page.write(run, tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert "Of 2 requests none was lost." in text
    assert (tmp_path / "timeline.svg").read_text().startswith("<?xml")
    assert (tmp_path / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert "| a node killed | 2 | 1 | 1 | 0 |" in markdown(run)
    assert msgspec.json.decode(msgspec.json.encode(run), type=ProveRun) == run
