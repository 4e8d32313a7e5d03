"""Lines between gateways and a node's slots: what is written can be read, what is not sound is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wire.grants import Ask, Beat, Drop, No, Others, Yes, encode, label, read_asking, read_granting, read_label

MS = st.floats(0, 1e6)


@given(
    st.one_of(
        st.builds(Ask, st.integers(0, 1 << 50), st.floats(-1e6, 1e6), MS, st.booleans()),
        st.builds(Drop, st.integers(0, 1 << 50)),
        st.just(Beat()),
    )
)
def test_what_a_gateway_says_is_read_as_it_was_meant(said: Ask | Drop | Beat) -> None:
    assert encode(said).count(b"\n") == 1
    assert read_asking(encode(said)) == said


@given(
    st.one_of(
        st.builds(Others, st.integers(1, 300), st.lists(MS), st.lists(MS)),
        st.builds(Yes, st.integers(0, 1 << 50)),
        st.builds(No, st.integers(0, 1 << 50)),
        st.just(Beat()),
    )
)
def test_what_a_node_says_is_read_as_it_was_meant(said: Yes | No | Others | Beat) -> None:
    assert read_granting(encode(said)) == said


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"nonsense",
        b"{}",
        b'["ask"]',
        b'["ask",1,1e300,5,false]',
        b'["yes",1]',
        b'["ask",1,0,-9e9,true]',
        b"[" * 9999,
    ],
)
def test_what_no_gateway_says_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_asking(line)


@pytest.mark.parametrize(
    "line", [b'["others",0,[],[]]', b'["others",2,[-1],[]]', b'["others",2,[],[1e300]]', b'["ask",1,1,1,true]']
)
def test_what_no_node_says_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match=r".*"):
        read_granting(line)


@given(st.text("0123456789abcdef", min_size=1, max_size=32), st.integers(0, 1 << 50), MS, st.booleans())
def test_a_label_survives_the_way(gateway: str, number: int, cost_ms: float, heavy: bool) -> None:
    said = read_label(label(gateway, number, cost_ms, heavy))
    assert said is not None
    assert (said.gateway, said.number, said.heavy) == (gateway, number, heavy)
    assert said.cost_ms == pytest.approx(cost_ms, abs=0.06)


@given(st.text())
def test_any_other_text_is_no_label(text: str) -> None:
    said = read_label(text)
    assert said is None or text.count(" ") == 3


@pytest.mark.parametrize("text", ["g 1 nan light", "g -1 5 light", "g 1 inf light", "g 1 5", "g 1 5 light more"])
def test_a_label_must_be_possible(text: str) -> None:
    assert read_label(text) is None
