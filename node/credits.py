"""Who may send the node a request when several gateways want to: the node is the authority on its slots (pure).

There are `slots` + 1 credits: a request for each slot, and one on its way to the slot that frees next. A gateway with
nobody beside it holds them all and asks for nothing. Several are told of each other's requests as they change; to a
free slot a new request may be sent at once, and is refused if another one was faster. Whoever has waited, and whoever
sends ahead, asks first, and the most urgent of all gateways is told yes.
"""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapreplace
from math import inf

from wire.grants import Ask, Asking, Drop, Granting, Label, No, Others, Yes

SPARE = 1  # requests on their way to a slot that is about to free
GATHER = 0.002  # seconds in which asks for the spare credit are compared; the slot is not free yet anyway
EXPIRY = 1.0  # seconds after which a grant that was not used is taken back: its gateway hangs
USUAL_MS = 100.0  # of a request that nobody says anything about, until it is understood


class Seat:
    """One gateway's stream."""

    __slots__ = ("gateway", "told")

    def __init__(self, gateway: str) -> None:
        self.gateway = gateway
        self.told: Others | None = None  # None: it is to be told anew

    def __repr__(self) -> str:
        return f"<Seat {self.gateway}>"


class Stay:
    """A credit in use: granted, and from its arrival on a request. Seconds on the node's clock."""

    __slots__ = ("arrived", "began", "cost", "gateway", "heavy", "number", "until")

    def __init__(self, gateway: str, number: int, cost: float, heavy: bool) -> None:
        self.gateway = gateway  # "": nobody's
        self.number = number
        self.cost = cost
        self.heavy = heavy
        self.arrived = False
        self.began: float | None = None  # since when it has a slot
        self.until = inf  # when the grant expires


class _Asked:
    __slots__ = ("ask", "key", "seat", "since")

    def __init__(self, seat: Seat, ask: Ask, now: float) -> None:
        self.seat = seat
        self.ask = ask
        self.since = now
        self.key = now - ask.age_ms * 1e-3


Outbox = list[tuple[Seat, Granting]]


class Credits:
    """All credits of one node. After any call but the last two, call `settle` and deliver what it returns."""

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.seats: list[Seat] = []
        self.stays: list[Stay] = []  # in the order in which they get slots
        self.news = False  # whether `settle` has anything to do
        self._asked: list[_Asked] = []
        self.answers = {"yes": 0, "no": 0, "expired": 0, "refused": 0}

    def __repr__(self) -> str:
        return f"<Credits {len(self.stays)}/{self.slots} of {len(self.seats)} gateways, {len(self._asked)} ask>"

    @property
    def shared(self) -> bool:
        """Whether several gateways are there."""
        return len(self.seats) > 1

    @property
    def reserved(self) -> int:
        """Grants whose requests have not come yet."""
        return sum(not stay.arrived for stay in self.stays)

    # ---- streams ---------------------------------------------------------------------------------------------------

    def attach(self, gateway: str, now: float) -> Seat:
        """A stream has opened. A gateway's earlier one, half open perhaps, is over."""
        for seat in [each for each in self.seats if each.gateway == gateway]:
            self.detach(seat, now)
        seat = Seat(gateway)
        self.seats.append(seat)
        self._tell_all()
        return seat

    def detach(self, seat: Seat, now: float) -> None:
        """A stream is gone, and with it all that was asked and granted on it; requests that have come go on."""
        if seat not in self.seats:
            return
        self.seats.remove(seat)
        self._tell_all()
        self._asked = [each for each in self._asked if each.seat is not seat]
        self._remove([stay for stay in self.stays if stay.gateway == seat.gateway and not stay.arrived], now)

    def hear(self, seat: Seat, said: Asking, now: float) -> None:
        """A gateway asks, or does not need any more what it asked for."""
        if seat not in self.seats:
            return
        if isinstance(said, Ask):
            self._asked.append(_Asked(seat, said, now))
            self.news = True
        elif isinstance(said, Drop):
            number = said.number
            self._asked = [each for each in self._asked if each.seat is not seat or each.ask.number != number]
            granted = self._granted(seat.gateway, number)
            if granted is not None:
                self._remove([granted], now)

    # ---- requests --------------------------------------------------------------------------------------------------

    def arrive(self, label: Label | None, now: float) -> Stay | None:
        """The head of a request has come; None when it must be refused."""
        if label is not None:
            granted = self._granted(label.gateway, label.number)
            if granted is not None:
                granted.arrived, granted.until = True, inf
                return granted
            # Who may not know of the others is let in as if there were none: the node's own bound holds for it.
            if self.shared and len(self.stays) >= self.slots:
                self._believed_in_room(label)
                return None
        stay = self._stay(label)
        stay.arrived = True
        self._add(stay, now)
        return stay

    def expect(self, stay: Stay, cost_ms: float) -> None:
        """What a request will take, now that it is understood; a gateway's own word goes before."""
        if stay.cost <= 0.0:
            stay.cost = cost_ms * 1e-3
            self._changed(stay.gateway)

    def leave(self, stay: Stay, now: float) -> None:
        """A request is answered, or its client is gone."""
        self._remove([stay], now)

    # ---- what follows ----------------------------------------------------------------------------------------------

    def settle(self, now: float) -> Outbox:
        """Grant what can be granted now; what is to be told to whom. Needed when there is news, and at `next_wake`."""
        self.news = False
        expired = [stay for stay in self.stays if stay.until <= now]
        if expired:
            self.answers["expired"] += len(expired)
            self._remove(expired, now)
        answers: Outbox = []
        while self._asked and self._answer_one(answers, now):
            pass
        # Those told no look elsewhere at once: they must know of the others before.
        return [*self._told(now), *answers]

    def next_wake(self) -> float:
        """When `settle` should be called though nothing happens; infinity when it need not."""
        wake = min((stay.until for stay in self.stays), default=inf)
        if self._asked:
            wake = min(wake, min(each.since for each in self._asked) + GATHER)
        return wake

    def _answer_one(self, answers: Outbox, now: float) -> bool:
        taken = len(self.stays)
        if taken >= self.slots + SPARE:
            answers.extend((each.seat, No(each.ask.number)) for each in self._asked)
            self.answers["no"] += len(self._asked)
            self._asked.clear()
            return False
        if taken >= self.slots and now < min(each.since for each in self._asked) + GATHER:
            return False
        best = min(self._asked, key=lambda each: each.key)
        self._asked.remove(best)
        ask = best.ask
        stay = Stay(best.seat.gateway, ask.number, ask.cost_ms * 1e-3, ask.heavy)
        stay.until = now + EXPIRY
        self._add(stay, now)
        self.answers["yes"] += 1
        answers.append((best.seat, Yes(ask.number)))
        return True

    def _told(self, now: float) -> Outbox:
        outbox: Outbox = []
        ends: list[tuple[Stay, float]] | None = None
        for seat in self.seats:
            if seat.told is not None:
                continue
            if self.shared and ends is None:
                ends = list(self._ends(now))
            seat.told = self._others(seat, ends or (), now)
            outbox.append((seat, seat.told))
        return outbox

    def _others(self, seat: Seat, ends: Iterable[tuple[Stay, float]], now: float) -> Others:
        light: list[float] = []
        heavy: list[float] = []
        for stay, end in ends:
            if stay.gateway != seat.gateway:
                (heavy if stay.heavy else light).append(round((end - now) * 1e3, 1))
        return Others(len(self.seats), light, heavy)

    def _ends(self, now: float) -> Iterable[tuple[Stay, float]]:
        """When each should be done. Who is late by x is expected to be late by x more."""
        free = [now] * max(0, self.slots - len(self.stays))
        for stay in self.stays:
            cost = stay.cost or USUAL_MS * 1e-3
            if len(free) < self.slots:
                end = (now if stay.began is None else stay.began) + cost
                end = max(end, 2.0 * now - end)
                free.append(end)
                if len(free) == self.slots:
                    free.sort()
            else:
                end = free[0] + cost
                heapreplace(free, end)
            yield stay, end

    # ---- bookkeeping -----------------------------------------------------------------------------------------------

    def _believed_in_room(self, label: Label) -> None:
        self.answers["refused"] += 1
        for seat in self.seats:
            if seat.gateway == label.gateway:
                self._tell(seat)  # the line that it lacked may be on its way: one more does no harm

    def _stay(self, label: Label | None) -> Stay:
        if label is not None:
            return Stay(label.gateway, label.number, label.cost_ms * 1e-3, label.heavy)
        return Stay(self.seats[0].gateway if len(self.seats) == 1 else "", 0, 0.0, False)

    def _granted(self, gateway: str, number: int) -> Stay | None:
        for stay in self.stays:
            if not stay.arrived and stay.number == number and stay.gateway == gateway:
                return stay
        return None

    def _add(self, stay: Stay, now: float) -> None:
        if len(self.stays) < self.slots:
            stay.began = now
        self.stays.append(stay)
        self._changed(stay.gateway)

    def _remove(self, gone: list[Stay], now: float) -> None:
        for stay in gone:
            self.stays.remove(stay)
            self._changed(stay.gateway)
        for stay in self.stays[: self.slots]:
            if stay.began is None:
                stay.began = now

    def _changed(self, gateway: str) -> None:
        if self.shared:
            for seat in self.seats:
                if seat.gateway != gateway:
                    self._tell(seat)

    def _tell_all(self) -> None:
        for seat in self.seats:
            self._tell(seat)

    def _tell(self, seat: Seat) -> None:
        seat.told = None
        self.news = True
