"""Many appointments on one timer."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from random import Random

from gateway.agenda import Agenda


@dataclass(eq=False)
class One:
    name: str
    at: float = inf


def names(found: list[One]) -> list[str]:
    return [one.name for one in found]


def test_who_is_due_comes_once_and_in_order() -> None:
    agenda: Agenda[One] = Agenda(0.01)
    for name, at in (("late", 3.0), ("soon", 1.0), ("next", 2.0)):
        agenda.put(One(name), at)
    assert agenda.next == 1.0
    assert names(agenda.due(2.5)) == ["soon", "next"]
    assert agenda.due(2.5) == []
    assert agenda.next == 3.0


def test_the_last_appointment_counts() -> None:
    agenda: Agenda[One] = Agenda(0.01)
    one = One("one")
    agenda.put(one, 1.0)
    agenda.put(one, 5.0)
    assert agenda.due(4.0) == []
    agenda.put(one, 4.5)
    assert names(agenda.due(4.5)) == ["one"]
    assert agenda.due(9.0) == []


def test_an_appointment_can_be_given_up() -> None:
    agenda: Agenda[One] = Agenda(0.01)
    one = One("one")
    agenda.put(one, 1.0)
    one.at = inf
    assert agenda.due(2.0) == []
    assert agenda.next == inf


def test_within_a_grain_all_wait_for_its_end() -> None:
    agenda: Agenda[One] = Agenda(0.25)
    rng = Random(1)
    for number in range(100):
        agenda.put(One(str(number)), rng.random())
    wakes = 0
    while agenda.next < inf:
        wakes += 1
        assert agenda.due(agenda.next)
    assert wakes == 4
