"""A silent or emptied registry never empties the fleet."""

from discovery.instance import Instance, Snapshot, Status
from discovery.trust import Trust


def node(name: str, status: Status = Status.PASSING) -> Instance:
    return Instance(id=name, host="10.0.0.1", port=9000, status=status)


A, B = node("a"), node("b")
A_LEAVING = node("a", Status.MAINTENANCE)


def ids(snapshot: Snapshot) -> set[str]:
    return {instance.id for instance in snapshot.instances}


def test_a_first_empty_answer_is_an_empty_fleet() -> None:
    assert Trust().answered(frozenset()) == Snapshot(instances=frozenset())


def test_a_failure_before_any_answer_is_an_empty_stale_fleet() -> None:
    assert Trust().failed("gone") == Snapshot(instances=frozenset(), stale="gone")


def test_a_failure_keeps_the_last_good_set() -> None:
    trust = Trust()
    trust.answered(frozenset({A, B}))
    assert trust.failed("gone") == Snapshot(instances=frozenset({A, B}), stale="gone")


def test_sudden_emptiness_keeps_the_last_good_set_as_often_as_it_is_said() -> None:
    trust = Trust()
    trust.answered(frozenset({A, B}))
    for _ in range(3):
        snapshot = trust.answered(frozenset())
        assert ids(snapshot) == {"a", "b"}
        assert "suddenly" in snapshot.stale


def test_emptiness_after_everybody_said_goodbye_is_believed() -> None:
    trust = Trust()
    trust.answered(frozenset({A_LEAVING}))
    assert trust.answered(frozenset()) == Snapshot(instances=frozenset())


def test_sudden_emptiness_lets_those_go_who_said_goodbye() -> None:
    trust = Trust()
    trust.answered(frozenset({A_LEAVING, B}))
    assert ids(trust.answered(frozenset())) == {"b"}


def test_emptiness_is_believed_when_the_end_of_each_is_known() -> None:
    trust = Trust()
    trust.answered(frozenset({A, B}))
    assert trust.answered(frozenset(), departed={"a", "b"}) == Snapshot(instances=frozenset())


def test_a_smaller_answer_is_an_answer() -> None:
    trust = Trust()
    trust.answered(frozenset({A, B}))
    assert trust.answered(frozenset({B})) == Snapshot(instances=frozenset({B}))


def test_the_first_instance_after_emptiness_ends_the_doubt() -> None:
    trust = Trust()
    trust.answered(frozenset({A}))
    trust.answered(frozenset())
    assert trust.answered(frozenset({B})) == Snapshot(instances=frozenset({B}))


def test_a_doubtful_answer_changes_nothing_once_there_is_a_good_one() -> None:
    trust = Trust()
    trust.answered(frozenset({A}))
    assert ids(trust.doubtful(frozenset({B}), "no leader")) == {"a"}


def test_a_doubtful_answer_is_better_than_nothing() -> None:
    assert Trust().doubtful(frozenset({B}), "no leader") == Snapshot(instances=frozenset({B}), stale="no leader")
