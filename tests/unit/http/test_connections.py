"""Which connection makes room for a new one."""

from typing import NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from surgetank.http.connections import connection_to_close


class Connection(NamedTuple):
    """A connection as a value."""

    peer: str
    answering: bool


CONNECTIONS = st.lists(st.builds(Connection, st.sampled_from("abc"), st.booleans()), min_size=1, max_size=20)


@given(CONNECTIONS)
def test_it_belongs_to_the_client_that_has_the_most(connections: list[Connection]) -> None:
    """A client that holds few connections loses none to one that holds many."""
    peers = [each.peer for each in connections]
    chosen = connections[connection_to_close(connections)]
    assert peers.count(chosen.peer) == max(map(peers.count, peers))


@given(CONNECTIONS)
def test_it_is_the_oldest_that_has_not_asked_yet(connections: list[Connection]) -> None:
    """A request that is being answered is cut only if all are, and of two alike the older one goes."""
    index = connection_to_close(connections)
    chosen = connections[index]
    assert chosen not in connections[:index]
    if chosen.answering:
        assert all(each.answering for each in connections if each.peer == chosen.peer)
