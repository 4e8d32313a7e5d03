"""Locust users: mostly small photos and some oversized ones, over three protocols, every answer checked.

    locust -f loadtest/locustfile.py --headless -u 20 -r 10 -t 60s --host http://127.0.0.1:8080

Tags: small, oversized, and the protocols; one protocol only: name its user class at the end of the line.
With `loadtest/shapes/….py` instead of this file the number of users moves. The run fails (exit code 1) when a size
class misses its `--slo-…` option or more requests fail than `--slo-failures` allows.
"""

from __future__ import annotations

import random
from typing import Any, ClassVar

import gevent  # type: ignore[import-untyped]
from locust import FastHttpUser, between, events, tag, task
from locust.runners import WorkerRunner

from loadtest.calls import PROTOCOLS
from loadtest.gate import Slo, judge
from loadtest.headers import BadHeader, own_headers
from loadtest.images import Photo, photos
from loadtest.openloop.verdict import Kind
from loadtest.openloop.verdict import judge as judge_answer
from loadtest.table import size_classes

PHOTOS: dict[str, list[Photo]] = {}


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:  # Locust passes it by this very name
    group = parser.add_argument_group("fleetgate")
    group.add_argument("--slo-small-ms", type=float, default=0, help="p95 of small photos; 0: no gate")
    group.add_argument("--slo-oversized-ms", type=float, default=0, help="p95 of oversized photos; 0: no gate")
    group.add_argument("--slo-failures", type=float, default=0.0, help="share of failed requests allowed")
    group.add_argument("--knee-ms", type=float, default=1000, help="shapes/knee.py: p99 of small photos that is borne")
    group.add_argument("--seed", type=int, default=1, help="of the photos' sizes")
    group.add_argument("--any-label", action="store_true", help="do not check labels: another model is served")
    group.add_argument("--key", default="", env_var="FLEETGATE_KEY", help="sent as X-Api-Key")
    group.add_argument("--header", action="append", default=[], help="NAME: VALUE, as Authorization: Bearer …")


@events.init.add_listener
def _before_the_clock_runs(environment: Any, **_: Any) -> None:
    options = environment.parsed_options
    try:
        own_headers(options.key, options.header)
    except BadHeader as error:
        raise SystemExit(f"locust: {error}") from None
    if not isinstance(environment.runner, WorkerRunner):  # a worker learns its seed from the master, at the start
        _make_photos(environment)


@events.test_start.add_listener
def _make_photos(environment: Any, **_: Any) -> None:
    if not PHOTOS:
        # In a thread: a worker whose loop stands still for seconds is taken for dead.
        PHOTOS.update(gevent.get_hub().threadpool.apply(photos, (environment.parsed_options.seed,)))


@events.quitting.add_listener
def _finish(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):  # the master speaks for all
        return
    options = environment.parsed_options
    rows = size_classes(environment.stats)
    missed = judge(rows, Slo(options.slo_small_ms, options.slo_oversized_ms, options.slo_failures))
    rows.show(missed)
    environment.process_exit_code = 1 if missed else 0


class PhotoUser(FastHttpUser):
    """Sends a photo, waits a little, sends another."""

    abstract = True
    protocol: ClassVar[str]
    wait_time = between(0.01, 0.2)
    connection_timeout = 10.0
    network_timeout = 60.0

    def on_start(self) -> None:
        """What every request of ours carries; a worker has it from its master."""
        options = self.environment.parsed_options
        self.own = own_headers(options.key, options.header)

    @tag("small")
    @task(19)
    def small(self) -> None:
        """What most people send."""
        self._send("small")

    @tag("oversized")
    @task(1)
    def oversized(self) -> None:
        """What would make everybody wait, elsewhere."""
        self._send("oversized")

    def _send(self, size_class: str) -> None:
        options = self.environment.parsed_options
        encode, best_label = PROTOCOLS[self.protocol]
        photo = random.choice(PHOTOS[size_class])
        call = encode(photo.body, "")
        with self.client.post(
            call.path,
            data=call.body,  # type: ignore[arg-type] # bytes are sent as they are
            headers={**call.headers, **self.own},
            name=f"{self.protocol} {size_class}",
            catch_response=True,
        ) as answer:
            if not answer.status_code:
                answer.failure(f"no answer: {answer.error}")
                return
            label = "" if options.any_label else photo.label
            verdict = judge_answer(answer.status_code, answer.content or b"", label, best_label)
            if verdict.kind is not Kind.ANSWERED:
                answer.failure(f"{verdict.kind}: {verdict.why}")


class PlainUser(PhotoUser):
    """curl-like clients."""

    protocol = "plain"
    weight = 6


class OipUser(PhotoUser):
    """Triton, KServe and MLServer clients."""

    protocol = "oip"
    weight = 3


class TensorFlowServingUser(PhotoUser):
    """TensorFlow Serving clients."""

    protocol = "tfs"
    weight = 1
