"""surgetank.serving.key_share: which keys a canary gets."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from surgetank.records import large_binary
from surgetank.serving.key_share import KeyShare
from surgetank.serving_plan import Canary

KEYS = [f"N{number}XY".encode() for number in range(40_000)]
COLUMN, ROWS = large_binary(KEYS), np.arange(len(KEYS), dtype=np.int64)
shares = st.floats(0, 1)
keys_of_any_kind = st.lists(st.one_of(st.none(), st.binary(max_size=20)), max_size=40)


def chosen(canary: Canary, keys: list[bytes | None]) -> list[bool]:
    """Return which of the keys get the canary."""
    found: list[bool] = KeyShare(canary).chosen(large_binary(keys), np.arange(len(keys), dtype=np.int64)).tolist()
    return found


def test_the_choice_is_the_same_in_every_process() -> None:
    """These keys are in by definition: another hash would move keys of running canaries to another version."""
    first = KeyShare(Canary("2", 0.01, salt="2")).chosen(COLUMN, ROWS)
    program = (
        "from tests.unit.serving.test_key_share import *\n"
        "print(np.flatnonzero(KeyShare(Canary('2', 0.01, salt='2')).chosen(COLUMN, ROWS)).tolist())"
    )
    again = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert str(np.flatnonzero(first).tolist()) == again.stdout.strip()
    assert np.flatnonzero(first)[:4].tolist() == PINNED


PINNED = [167, 296, 409, 438]


@given(keys_of_any_kind, shares, shares, st.text(max_size=5))
def test_raising_the_share_keeps_the_keys_that_were_in(
    keys: list[bytes | None], one: float, other: float, salt: str
) -> None:
    """So a key never goes back to the primary while a rollout proceeds."""
    low, high = sorted((one, other))
    few, many = chosen(Canary("2", low, salt), keys), chosen(Canary("2", high, salt), keys)
    assert all(is_in for was_in, is_in in zip(few, many, strict=True) if was_in)


@given(keys_of_any_kind, st.randoms(use_true_random=False), shares)
def test_the_choice_depends_on_the_key_alone(keys: list[bytes | None], random: object, share: float) -> None:
    """Not on its place in the column, nor on the rows beside it."""
    canary = Canary("2", share, salt="x")
    together = chosen(canary, keys)
    assert together == [chosen(canary, [key])[0] for key in keys]
    rows = np.array([1, 0, 1], dtype=np.int64)
    if len(keys) > 1:
        picked = KeyShare(canary).chosen(large_binary(keys), rows).tolist()
        assert picked == [together[1], together[0], together[1]]


@pytest.mark.parametrize("share", [0.0, 1e-4, 0.01, 0.05, 0.25, 0.5, 0.99, 1.0])
def test_the_share_seen_approaches_the_share_configured(share: float) -> None:
    """Within four standard deviations of a random choice of 40,000 keys; 0 and 1 exactly."""
    for salt in ("", "2", "rollout 17"):
        seen = KeyShare(Canary("2", share, salt)).chosen(COLUMN, ROWS).mean()
        assert abs(seen - share) <= 4 * np.sqrt(share * (1 - share) / len(KEYS)) + 1e-12


def test_shares_of_two_salts_are_independent() -> None:
    """The keys of one canary are not those of the next one."""
    one, other = (KeyShare(Canary("2", 0.2, salt)).chosen(COLUMN, ROWS) for salt in ("1", "2"))
    assert abs((one & other).mean() - 0.04) < 4 * np.sqrt(0.04 * 0.96 / len(KEYS))


def test_a_change_in_one_byte_is_a_new_choice() -> None:
    """Keys that count up are spread as any others: neighbours do not go together."""
    found = KeyShare(Canary("2", 0.5)).chosen(COLUMN, ROWS)
    assert abs((found[1:] == found[:-1]).mean() - 0.5) < 4 * np.sqrt(0.25 / len(KEYS))


@given(keys_of_any_kind, shares)
def test_lists_of_keys_come_before_the_share(keys: list[bytes | None], share: float) -> None:
    """Allowed keys are in, denied ones are not, also if both lists have them; events without a key never are."""
    named = [key for key in keys if key is not None]
    allow, deny = frozenset(named[::2]), frozenset(named[::3])
    found = chosen(Canary("2", share, allow=allow, deny=deny), keys)
    plain = chosen(Canary("2", share), keys)
    for key, is_in, would_be in zip(keys, found, plain, strict=True):
        if key is None or key in deny:
            assert not is_in
        elif key in allow:
            assert is_in
        else:
            assert is_in == would_be


def test_an_empty_key_is_a_key_and_a_missing_one_is_none() -> None:
    """With the whole share only events without a key stay with the primary."""
    assert chosen(Canary("2", 1.0, allow=frozenset({b""})), [b"", None, b"a"]) == [True, False, True]
