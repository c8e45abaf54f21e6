"""surgetank.drills.state_check: which keys may be absent from the state because they expired."""

from surgetank import Events, Pipeline, Scores, Table, seconds
from surgetank.drills.state_check import _scores_may_have_expired
from surgetank.processing.stateful_features import HOUR_MS
from surgetank.settings import StateSettings

PIPELINE = Pipeline(
    name="payments",
    events=Events("events", schema="event", key="key", time="t"),
    features=(Table("cards", ttl=seconds(60)).last("a"),),
    model="m",
    scores=Scores("scores"),
    predictions=True,
)
SETTINGS = StateSettings(past_days_max=1, future_hours_max=1)
NOW_MS = 1_700_000_000_000


def may_have_expired(*times_ms: int) -> list[bool]:
    """Return the result for keys of one partition with these event times, all scored now."""
    scores = {(0, b"%d" % number): (0.5, time, NOW_MS, b"1") for number, time in enumerate(times_ms)}
    return [bool(each) for each in _scores_may_have_expired(scores, PIPELINE, SETTINGS)]


def test_a_time_of_a_wrong_clock_excuses_no_missing_last_score() -> None:
    """A time beyond the limit lets nothing expire; one within it lets scores expire that are old enough."""
    old = NOW_MS - 26 * HOUR_MS
    assert may_have_expired(old, NOW_MS + HOUR_MS) == [True, False]
    assert may_have_expired(old, NOW_MS + HOUR_MS + 1) == [False, False]
    assert may_have_expired(NOW_MS + 2 * HOUR_MS) == [False]
