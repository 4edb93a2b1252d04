"""Who loses a connection when there are too many: the accounts, without sockets."""

import pytest
from bytereel.service.admission import Admission, peer_of
from hypothesis import given
from hypothesis import strategies as st

PEER_MAX, ALL_MAX = 3, 5


def admission() -> Admission[str]:
    return Admission(PEER_MAX, ALL_MAX)


def test_up_to_both_bounds_nobody_goes() -> None:
    accounts = admission()
    gone = [accounts.enter("a", f"a{number}", waited_for=True) for number in range(PEER_MAX)]
    gone += [accounts.enter("b", f"b{number}", waited_for=True) for number in range(ALL_MAX - PEER_MAX)]
    assert gone == [None] * ALL_MAX
    assert len(accounts) == ALL_MAX


def test_one_more_of_a_peer_costs_it_the_connection_waited_for_longest() -> None:
    accounts = admission()
    for name in ("a0", "a1", "a2"):
        accounts.enter("a", name, waited_for=True)
    accounts.enter("a", "a0", waited_for=True)  # its head came: it waits for a body now
    assert accounts.enter("a", "a3", waited_for=True) == "a1"
    assert len(accounts) == PEER_MAX


def test_one_more_of_all_costs_whoever_has_most() -> None:
    accounts = admission()
    for peer, name in (("b", "b0"), ("a", "a0"), ("a", "a1"), ("a", "a2"), ("c", "c0")):
        accounts.enter(peer, name, waited_for=True)
    assert accounts.enter("d", "d0", waited_for=True) == "a0"
    assert accounts.enter("e", "e0", waited_for=True) == "a1"
    assert accounts.enter("f", "f0", waited_for=True) == "b0", "all have one: the oldest goes"


def test_what_is_being_answered_goes_only_where_nothing_else_is() -> None:
    accounts = admission()
    accounts.enter("a", "a0", waited_for=False)
    accounts.enter("a", "a1", waited_for=True)
    accounts.enter("a", "a2", waited_for=False)
    assert accounts.enter("a", "a3", waited_for=True) == "a1"
    accounts.enter("a", "a3", waited_for=False)
    assert accounts.enter("a", "a4", waited_for=True) == "a0", "never the newcomer"


def test_who_left_counts_no_longer_and_leaving_twice_is_nothing() -> None:
    accounts = admission()
    for name in ("a0", "a1", "a2"):
        accounts.enter("a", name, waited_for=True)
    accounts.leave("a", "a1")
    accounts.leave("a", "a1")
    accounts.leave("nobody", "n0")
    assert len(accounts) == 2
    assert accounts.enter("a", "a3", waited_for=True) is None


@given(
    st.lists(
        st.tuples(st.sampled_from("abcdef"), st.integers(0, 5), st.sampled_from(["wait", "answer", "leave"])),
        max_size=80,
    )
)
def test_the_bounds_hold_and_a_newcomer_always_gets_in(moves: list[tuple[str, int, str]]) -> None:
    accounts, inside = admission(), set[tuple[str, str]]()
    for peer, number, move in moves:
        connection = f"{peer}{number}"
        if move == "leave":
            accounts.leave(peer, connection)
            inside.discard((peer, connection))
            continue
        gone = accounts.enter(peer, connection, waited_for=move == "wait")
        inside.add((peer, connection))
        if gone is not None:
            assert gone != connection
            inside.remove((gone[0], gone))
        assert len(accounts) == len(inside) <= ALL_MAX
        assert all(sum(each == peer for each, _ in inside) <= PEER_MAX for peer in "abcdef")


@pytest.mark.parametrize(
    ("address", "peer"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("::1", "::/64"),
        ("2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::", "2001:db8:1:2::/64"),
        ("2001:db8:1:3::", "2001:db8:1:3::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("", ""),
        ("somewhere", "somewhere"),
    ],
)
def test_a_peer_is_an_address_or_the_network_that_everybody_has_who_has_one(address: str, peer: str) -> None:
    assert peer_of(address) == peer
