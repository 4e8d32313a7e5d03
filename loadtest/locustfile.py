"""Locust users: mostly small photos and some oversized ones, over three protocols, every answer checked.

    locust -f loadtest/locustfile.py --headless -u 20 -r 10 -t 60s --host http://127.0.0.1:8080

Tags: small, oversized. The run fails (exit code 1) when a size class misses its `--slo-…` option.
"""

from __future__ import annotations

import os
import random
from typing import Any, ClassVar

from locust import FastHttpUser, between, events, tag, task

from loadtest.calls import PROTOCOLS, Call
from loadtest.gate import Slo, judge
from loadtest.images import Photo, photos
from loadtest.table import size_classes

PHOTOS: dict[str, list[Photo]] = {}


@events.init_command_line_parser.add_listener
def _options(parser: Any) -> None:  # Locust passes it by this very name
    group = parser.add_argument_group("fleetgate")
    group.add_argument("--slo-small-ms", type=float, default=0, help="p95 of small photos; 0: no gate")
    group.add_argument("--slo-oversized-ms", type=float, default=0, help="p95 of oversized photos; 0: no gate")
    group.add_argument("--slo-failures", type=float, default=0.0, help="share of failed requests allowed")
    group.add_argument("--seed", type=int, default=1, help="of the photos' sizes")
    group.add_argument("--key", default="", env_var="FLEETGATE_KEY", help="sent as X-Api-Key")


@events.test_start.add_listener
def _make_photos(environment: Any, **_: Any) -> None:
    PHOTOS.update(photos(environment.parsed_options.seed))


@events.quitting.add_listener
def _finish(environment: Any, **_: Any) -> None:
    if os.environ.get("LOCUST_WORKER"):  # the master speaks for all
        return
    rows = size_classes(environment.stats)
    options = environment.parsed_options
    slo = Slo(options.slo_small_ms, options.slo_oversized_ms, options.slo_failures)
    missed = judge(rows, slo)
    rows.show(missed)
    if missed:
        environment.process_exit_code = 1


class PhotoUser(FastHttpUser):
    """Sends a photo, waits a little, sends another."""

    abstract = True
    protocol: ClassVar[str]
    wait_time = between(0.01, 0.2)
    connection_timeout = 10.0
    network_timeout = 60.0

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
        encode, best_label = PROTOCOLS[self.protocol]
        photo = random.choice(PHOTOS[size_class])
        call: Call = encode(photo.body)
        headers = {**call.headers, **({"X-Api-Key": key} if (key := self.environment.parsed_options.key) else {})}
        name = f"{self.protocol} {size_class}"
        with self.client.post(
            call.path,
            data=call.body,  # type: ignore[arg-type] # bytes are sent as they are
            headers=headers,
            name=name,
            catch_response=True,
        ) as answer:
            if answer.status_code != 200:
                answer.failure(f"status {answer.status_code}")
            elif (label := best_label(answer.content)) != photo.label:
                answer.failure(f"{label} instead of {photo.label}")


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
