"""Answers that need no session: health, metadata, metrics, the text page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from node import page
from node.batcher import Batcher
from node.engine import Engine, State
from node.exchange import Answer
from node.load import Load
from node.metrics import CONTENT_TYPE, Metrics
from node.models import Models
from node.protocols import oip, tfserving
from wire import oip_answers
from wire.errors import Draining, NoNode
from wire.paths import Call, Kind


@dataclass(slots=True)
class Leaving:
    """How far the node is in leaving; monotonic seconds, 0: not yet."""

    announced: float = 0.0  # gateways have been told; all is still served
    refusing: float = 0.0  # heads that began later are refused


class Telling:
    """What the node says about itself. `answer` raises rows of the error table."""

    def __init__(self, models: Models, load: Load, batcher: Batcher, metrics: Metrics, leaving: Leaving) -> None:
        self._models = models
        self._load = load
        self._batcher = batcher
        self._metrics = metrics
        self._leaving = leaving
        self._answers: dict[Kind, Callable[[Call], Answer]] = {
            Kind.LIVE: self._live,
            Kind.HEALTHZ: self._live,
            Kind.READY: self._ready,
            Kind.READYZ: self._ready,
            Kind.PING: self._ready,
            Kind.METRICS: lambda _: Answer([self._metrics.page()], CONTENT_TYPE),
            Kind.INDEX: self._page,
            Kind.OIP_METADATA: lambda _: Answer([oip_answers.server_metadata("fleetgate-node", page.VERSION)]),
            Kind.OIP_MODEL: self._metadata,
            Kind.OIP_CONFIG: lambda call: oip.config(self._engine(call)),
            Kind.OIP_MODEL_READY: self._model_ready,
            Kind.TFS_STATUS: self._status,
            Kind.TFS_METADATA: lambda call: tfserving.metadata(self._engine(call)),
        }

    def answer(self, call: Call) -> Answer:
        """To any call that is no inference."""
        return self._answers[call.kind](call)

    def _engine(self, call: Call) -> Engine:
        return self._models.find(call.model, call.version, call.label)

    def _live(self, _call: Call) -> Answer:
        """No while only a new process can help: whoever started this one will start another."""
        for engine in self._models.engines:
            if engine.hopeless:
                raise NoNode(f"{engine.title}: {engine.why}")
        return Answer([oip_answers.server_live(True)])

    def _ready(self, _call: Call) -> Answer:
        if self._leaving.announced:
            raise Draining("this node is leaving")
        for engine in self._models.unready:
            raise NoNode(f"{engine.title} is not ready: {engine.why}")
        return Answer([oip_answers.server_ready(True)])

    def _page(self, _call: Call) -> Answer:
        return Answer([page.text(self._models, self._load, self._batcher, self._leaving.announced > 0)], page.TYPE)

    def _metadata(self, call: Call) -> Answer:
        versions = [engine.manifest.version for engine in self._models.versions(call.model)]
        return oip.metadata(self._engine(call), versions)

    def _model_ready(self, call: Call) -> Answer:
        engine = self._engine(call)
        if engine.state is not State.READY:
            raise NoNode(f"{engine.title} is not ready: {engine.why}")
        return Answer([oip_answers.model_ready(engine.manifest.name, True)])

    def _status(self, call: Call) -> Answer:
        if call.version or call.label:
            return tfserving.status([self._engine(call)])
        return tfserving.status(self._models.versions(call.model))
