"""One deadline over all attempts: waits for a lease, tries a node, tries another when nothing was lost.

Who gets a node and when is the scheduler's decision; here are the futures that wait for it, the timer that wakes it
and the one place where every lease ends.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from random import Random
from typing import Protocol

from gateway.backend import Backend
from gateway.catalogue import serves
from gateway.fleet import Fleet
from gateway.grants import Grants
from gateway.lease import Lease
from gateway.node_answer import Answer, Refused
from gateway.outcome import Outcome
from gateway.rate import Rate
from gateway.request import Request
from gateway.retry_budget import RetryBudget
from gateway.scheduler import Scheduler
from gateway.ticket import Ticket
from gateway.traced import Traced
from gateway.verdicts import Verdict, judge
from wire.errors import ClientGone, DeadlineMissed, NodeBusy, NodeGarbage, NodeUnreachable, NoNode, WireError
from wire.grants import GRANT

# A deadline shorter than a node may need is the client's choice; one missed by far is the node's fault.
_PATIENCE_SECONDS = 1.0
_PATIENCE_FACTOR = 3.0
# Decisions of undisturbed requests that are written down for the operators' page.
_DECISIONS_PER_SECOND = 20.0


class Client(Protocol):
    """Who makes one attempt; NodeClient is one."""

    async def attempt(self, backend: Backend, request: Request, budget_ms: float) -> Answer:
        """The node's answer, or a wire error."""
        ...


class Served:
    """An answer on its way to the client. Its node is held until the last byte of a long one has passed.

    `complaint` is the error code of an answer that another node might have given better, "" otherwise.
    """

    __slots__ = ("_dispatcher", "answer", "complaint", "lease")

    def __init__(self, answer: Answer, complaint: str, lease: Lease | None, dispatcher: Dispatcher) -> None:
        self.answer = answer
        self.complaint = complaint
        self.lease = lease  # None for what took no slot
        self._dispatcher = dispatcher

    def finish(self, error: BaseException | None = None) -> None:
        """The rest has passed, or broke off with `error`."""
        if error is not None:
            self.answer.discard()
        lease = self.lease
        if lease is None or lease.ending:
            return
        if error is None:
            self._dispatcher.succeed(lease, self.answer)
        elif isinstance(error, NodeUnreachable | NodeGarbage | DeadlineMissed):  # the node broke off, not the client
            self._dispatcher.blame(lease, error.code)
        else:
            self._dispatcher.abandon(lease)


class Dispatcher:
    """Brings requests to nodes; `attempts` in all per request, never the same node twice.

    `suspect` is told the id of a node that failed.
    """

    def __init__(
        self,
        scheduler: Scheduler,
        fleet: Fleet,
        client: Client,
        budget: RetryBudget,
        attempts: int,
        suspect: Callable[[str], None],
        grants: Grants,
        rng: Random,
    ) -> None:
        self._scheduler = scheduler
        self._fleet = fleet
        self._client = client
        self._budget = budget
        self._attempts = attempts
        self._suspect = suspect
        self._grants = grants
        self._rng = rng
        self._kept = Rate(_DECISIONS_PER_SECOND)
        self._waiting: dict[Ticket, asyncio.Future[Lease]] = {}
        self._asked: dict[Ticket, Lease] = {}  # of the waiting ones, those that a node was asked to take
        self._stirred = False
        self._timer: asyncio.TimerHandle | None = None
        self._wake_at = 0.0
        self._loop = asyncio.get_running_loop()

    async def dispatch(self, request: Request, outcome: Outcome) -> Served:
        """A node's answer within the ticket's deadline; `outcome` learns what happened on the way.

        Raises the wire error that the client is to see. When cancelled, the queue entry or the attempt ends too.
        """
        self._budget.deposit(time.monotonic())
        request.ticket.asks_first = not request.body.complete  # what passes through once must not be refused
        lease = await self._claim(request.ticket, outcome)
        while True:
            result = await self._attempt(lease, request, outcome)
            if isinstance(result, Served) and not result.complaint:
                break
            if not self._may_retry(result, lease, request, outcome):
                break
            try:
                lease = await self._claim(request.ticket, outcome)
            except NoNode:
                break
        if isinstance(result, WireError) or outcome.retries or request.ticket.explain or self._kept.allows(outcome.at):
            outcome.decision = lease.decision
        if isinstance(result, WireError):
            raise result
        return result

    async def ask(self, request: Request, outcome: Outcome) -> Served:
        """The answer of any node that serves the ticket's model, without a slot: for questions that cost nothing."""
        ticket = request.ticket
        model = ticket.model or self._fleet.default_model
        able = [
            each
            for each in self._fleet.backends.values()
            if each.usable and serves(each.instance.models, model, ticket.version)
        ]
        self._rng.shuffle(able)
        error: WireError = NoNode("no node can answer this now", headers={"Retry-After": "1"})
        for backend in able[: self._attempts]:
            outcome.attempts += 1
            outcome.node, outcome.pool = backend.id, backend.pool
            try:
                answer = await self._client.attempt(backend, request, (ticket.deadline - time.monotonic()) * 1000)
            except WireError as failure:
                error = failure
                if not failure.retry_elsewhere:
                    break
            else:
                return Served(answer, "", None, self)
        raise error

    # Waiting for a lease.

    async def _claim(self, ticket: Ticket, outcome: Outcome) -> Lease:
        now = time.monotonic()
        lease = self._scheduler.submit(ticket, now)
        if lease is None or lease.ask:
            try:
                lease = await self._wait(ticket, lease, now)
            finally:
                outcome.queue_ms += (time.monotonic() - now) * 1000
        outcome.attempts += 1
        outcome.node = lease.backend.id
        outcome.pool = lease.backend.pool
        return lease

    async def _wait(self, ticket: Ticket, lease: Lease | None, now: float) -> Lease:
        """For a node; with a lease, for the node to agree."""
        waiter: asyncio.Future[Lease] = self._loop.create_future()
        self._waiting[ticket] = waiter
        if lease is None:
            self._arm(now)
        else:
            self._ask(lease, now)
        try:
            return await waiter
        except asyncio.CancelledError:
            self._waiting.pop(ticket, None)
            if ticket in self._asked:
                self._give_back(self._asked.pop(ticket))
            elif not waiter.done() or waiter.cancelled():
                self._scheduler.cancel(ticket)
            elif waiter.exception() is None:  # it was granted in the same moment
                self._give_back(waiter.result())
            self.pump()
            raise

    def _give_back(self, lease: Lease) -> None:
        if lease.grant:
            self._grants.drop(lease)
        lease.abandoned(time.monotonic())

    def _ask(self, lease: Lease, now: float) -> None:
        self._asked[lease.ticket] = lease
        if not self._grants.ask(lease, now):
            self._loop.call_soon(self.decided, lease, False)

    def decided(self, lease: Lease, yes: bool) -> None:
        """A node that was asked agrees, or does not: then the request looks for another place, as old as it is."""
        ticket = lease.ticket
        if self._asked.get(ticket) is not lease:
            return
        del self._asked[ticket]
        now = time.monotonic()
        result: Lease | WireError | None = lease
        if not yes:
            lease.denied(now)
            try:
                result = self._scheduler.submit(ticket, now)
            except WireError as error:
                result = error
        if result is not None and not self._hand(ticket, result) and isinstance(result, Lease):
            self._give_back(result)
        self.pump()

    def stir(self) -> None:
        """Something changed elsewhere: `pump` once, however much more changes in this turn of the loop."""
        if self._waiting and not self._stirred:
            self._stirred = True
            self._loop.call_soon(self.pump)

    def pump(self) -> None:
        """Hand out what the scheduler grants or refuses now: after every change of load, fleet or time."""
        self._stirred = False
        if not self._waiting:
            return
        now = time.monotonic()
        granted = self._scheduler.bind(now)
        while granted:
            too_late = [result for ticket, result in granted if not self._hand(ticket, result)]
            for lease in too_late:
                if isinstance(lease, Lease):
                    lease.abandoned(now)
            granted = self._scheduler.bind(now) if too_late else []
        self._arm(now)

    def _hand(self, ticket: Ticket, result: Lease | WireError) -> bool:
        waiter = self._waiting.pop(ticket, None)
        if waiter is None or waiter.done():
            return False
        if isinstance(result, Lease) and result.ask and not result.grant:
            self._waiting[ticket] = waiter
            self._ask(result, time.monotonic())
            return True
        if isinstance(result, WireError):
            waiter.set_exception(result)
        else:
            waiter.set_result(result)
        return True

    def _arm(self, now: float) -> None:
        wake = self._scheduler.next_wake(now) if self._waiting else None
        if self._timer is not None:
            if wake == self._wake_at:
                return
            self._timer.cancel()
            self._timer = None
        if wake is not None:
            self._wake_at = wake
            self._timer = self._loop.call_later(max(0.0, wake - now), self._woken)

    def _woken(self) -> None:
        self._timer = None
        self.pump()

    # One attempt.

    async def _attempt(self, lease: Lease, request: Request, outcome: Outcome) -> Served | WireError:
        held = False
        result: Served | WireError | None = None
        plain = request.lines
        if lease.grant or lease.backend.gateways > 1:
            request.lines = f"{plain}{GRANT}: {self._grants.label(lease)}\r\n"
        try:
            budget_ms = (request.ticket.deadline - time.monotonic()) * 1000
            answer = await self._client.attempt(lease.backend, request, budget_ms)
            result = self._answered(lease, answer, outcome)
            held = answer.rest is not None
            return result
        except WireError as error:
            result = self._failed(lease, request, error)
            return result
        finally:
            request.lines = plain
            if not (held or lease.ending):
                self.abandon(lease)
            if outcome.traced is not None:
                _note(outcome.traced, lease, result)
            if lease.grant and lease.ending not in ("", "succeeded"):
                self._grants.drop(lease)  # it may not have been sent

    def _answered(self, lease: Lease, answer: Answer, outcome: Outcome) -> Served:
        outcome.connect_ms += answer.connect_ms
        outcome.service_ms = _service_ms(answer) or 0.0
        if answer.report is not None:
            self._fleet.reported(lease.backend.id, answer.report, time.monotonic())
        complaint = ""
        if answer.status >= 500:
            verdict, code = judge(answer)
            if verdict is Verdict.BUSY:
                self._busy(lease)
            elif verdict is not Verdict.GOOD:
                self.blame(lease, code)
            complaint = "" if verdict in (Verdict.GOOD, Verdict.FAULT) else code
        if not lease.ending and answer.rest is None:
            self.succeed(lease, answer)
        return Served(answer, complaint, lease, self)

    def _failed(self, lease: Lease, request: Request, error: WireError) -> WireError:
        if request.body.fault is not None:  # the client's doing, whatever the node made of it
            self.abandon(lease)
            return request.body.fault
        if isinstance(error, NodeBusy):
            if isinstance(error, Refused) and error.report is not None:
                self._fleet.reported(lease.backend.id, error.report, time.monotonic())
            self._busy(lease)
            return NodeBusy(error.detail, headers={"Retry-After": "1", **error.headers})
        if error.retry_elsewhere or (isinstance(error, DeadlineMissed) and _far_too_late(lease, time.monotonic())):
            self.blame(lease, error.code)
        else:
            self.abandon(lease)
        return error

    def _may_retry(self, result: Served | WireError, lease: Lease, request: Request, outcome: Outcome) -> bool:
        if isinstance(result, Served):
            code = result.complaint if result.answer.rest is None else ""
        else:
            code = result.code if result.retry_elsewhere else ""
        ticket = request.ticket
        now = time.monotonic()
        if not code or not request.body.replayable or now >= ticket.deadline:
            return False
        if lease.ending == "busy" and lease.backend.gateways > 1 and not ticket.asks_first:
            ticket.asks_first = True  # another gateway was faster: no failure, and from now on it asks first
            ticket.attempts -= 1
            outcome.retries += (code,)
            return True
        if ticket.attempts >= self._attempts or not self._budget.withdraw(now):
            return False
        if lease.ending != "busy":
            ticket.tried.add(lease.backend.id)
        outcome.retries += (code,)
        if outcome.traced is not None:
            request.lines = outcome.traced.again(request.lines)
        return True

    # How leases end. After each the freed slot goes to whoever waits for it.

    def succeed(self, lease: Lease, answer: Answer) -> None:
        """The node did its work. What it says about an input it refused teaches nothing about its speed."""
        lease.succeeded(time.monotonic(), _service_ms(answer) if answer.status < 400 else None)
        if self._waiting:
            self.pump()

    def blame(self, lease: Lease, code: str) -> None:
        """The node failed."""
        lease.failed(time.monotonic(), code)
        self._suspect(lease.backend.id)
        self.pump()

    def abandon(self, lease: Lease) -> None:
        """Nobody failed."""
        lease.abandoned(time.monotonic())
        self.pump()

    def _busy(self, lease: Lease) -> None:
        lease.busy(time.monotonic())
        self.pump()


def _note(traced: Traced, lease: Lease, result: Served | WireError | None) -> None:
    """One attempt, for the trace; without a result the client hung up."""
    if isinstance(result, Served):
        status, error = result.answer.status, result.complaint
    else:
        status, error = 0, ClientGone.code if result is None else result.code
    traced.attempted(lease.backend.instance, lease.claimed, time.monotonic(), status, error)


def _service_ms(answer: Answer) -> float | None:
    """What the node worked, of its own word and without its queue; None when it does not say."""
    infer = answer.timing.get("infer")
    return None if infer is None else infer + answer.timing.get("decode", 0.0)


def _far_too_late(lease: Lease, now: float) -> bool:
    return now - lease.claimed > _PATIENCE_SECONDS + _PATIENCE_FACTOR * max(0.0, lease.finish - lease.claimed)
