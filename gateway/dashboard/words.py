"""Why a request went where it went, written out. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from gateway.outcome import Outcome

BECAUSE = {
    "pixels": "its pixels",
    "cost": "its predicted cost",
    "bytes": "the size of its body, as its header could not be read",
    "default": "nothing is known of its size",
}


def explain(outcome: Outcome, *, threshold_pixels: int) -> list[str]:
    """Sentences, in the order in which things happened."""
    return [
        sentence
        for part in (
            _size(outcome, threshold_pixels),
            _wait(outcome),
            _choice(outcome),
            _attempts(outcome),
            _end(outcome),
        )
        for sentence in part
    ]


def _size(outcome: Outcome, threshold: int) -> Iterator[str]:
    if not outcome.size_class:
        yield "It was answered before it was given a size class."
        return
    what = f"A {outcome.image_format.upper()} of {_megapixels(outcome.pixels)}" if outcome.pixels else "A request"
    because = BECAUSE.get(outcome.why, outcome.why or "nothing is known of its size")
    yield f"{what}, {_bytes(outcome.body_bytes)}: {outcome.size_class} because of {because}."
    if outcome.why == "pixels":
        yield f"The threshold stands at {_megapixels(threshold)} now."
    if outcome.cost_ms:
        yield f"Predicted to cost {_ms(outcome.cost_ms)} on a node of speed 1."


def _wait(outcome: Outcome) -> Iterator[str]:
    if outcome.recv_ms >= 1:
        yield f"Its upload took {_ms(outcome.recv_ms)}."
    if outcome.attempts:
        yield f"It waited {_ms(outcome.queue_ms)} in the queue." if outcome.queue_ms >= 0.1 else "It did not wait."


def _choice(outcome: Outcome) -> Iterator[str]:
    decision = outcome.decision
    if decision is None:
        if outcome.node:
            yield f"It went to {outcome.node} in the {outcome.pool} pool."
        return
    considered = decision.considered or len(decision.candidates)
    of = f" of {considered} candidates" if considered > 1 else ""
    yield (
        f"The policy {decision.policy} chose {decision.winner} ({decision.pool} pool){of}: "
        f"predicted to answer in {_ms(decision.finish_ms)}"
        + (f", after {_ms(decision.starts_ms)} of earlier work." if decision.starts_ms >= 0.1 else ", at once.")
    )
    if decision.note:
        yield f"Outside its own pool: {decision.note}."
    others = [c for c in decision.candidates if c.node != decision.winner]
    if others:
        yield "Next best: " + ", ".join(f"{c.node} in {_ms(c.finish_ms)}" for c in others[:3]) + "."


def _attempts(outcome: Outcome) -> Iterator[str]:
    if outcome.retries:
        tries = len(outcome.retries)
        earlier = "One attempt" if tries == 1 else f"{tries} attempts"
        yield f"{earlier} before the last ended elsewhere: {', '.join(outcome.retries)}."


def _end(outcome: Outcome) -> Iterator[str]:
    if outcome.error or outcome.status >= 400:
        said = f" ({outcome.detail})" if outcome.detail else ""
        yield f"It ended with {outcome.status} {outcome.error or 'from the node'}{said} after {_ms(outcome.total_ms)}."
        return
    worked = f"; the node worked {_ms(outcome.service_ms)}" if outcome.service_ms else ""
    off = ""
    decision = outcome.decision
    if decision and decision.finish_ms and outcome.service_ms:
        late = outcome.total_ms - outcome.recv_ms - outcome.queue_ms - decision.finish_ms
        off = f", {_ms(abs(late))} {'later' if late > 0 else 'sooner'} than predicted"
    yield f"Answered {outcome.status} after {_ms(outcome.total_ms)} in all{worked}{off}."


def _ms(ms: float) -> str:
    if ms >= 1000:
        return f"{ms / 1000:.2f} s"
    return f"{ms:.0f} ms" if ms >= 10 else f"{ms:.1f} ms"


def _megapixels(pixels: int) -> str:
    return f"{pixels / 1e6:.1f} MP" if pixels >= 100_000 else f"{pixels:,} pixels"


def _bytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB" if count >= 1e3 else f"{count} bytes"
