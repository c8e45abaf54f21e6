"""What the drill of coming back concludes from what it saw."""

from dataclasses import replace

from surgetank.drills.restore_drill import RestoreRate, RestoreRound, goals

BACK = RestoreRound(started=0.1, accepted=6.0, served=12.0, restored=1_200_000, restoring=5.0, cpu=4.0)


def test_the_rate_of_a_restore_is_that_of_its_rise() -> None:
    """It lasts from the last look that found nothing to the first one that found all of it."""
    restoring = RestoreRate()
    for at, records in enumerate([0, 0, 100, 900, 1000, 1000, 1000]):
        restoring.sample(records, float(at), at / 2)

    assert (restoring.records, restoring.seconds, restoring.cpu) == (1000, 3.0, 1.5)


def test_nothing_restored_has_no_rate() -> None:
    """A worker whose disk has all restores nothing."""
    restoring = RestoreRate()
    restoring.sample(0, 1.0, 1.0)

    assert (restoring.records, restoring.seconds) == (0, 0.0)
    assert replace(BACK, restored=0, restoring=0.0).rate == 0.0
    assert replace(BACK, restored=0, cpu=0.0).cpu_rate == 0.0


def test_goals_are_judged_by_medians() -> None:
    """One slow return of three misses no goal; two do. The own disk counts from when the worker was accepted."""
    slow = replace(BACK, served=17.0, restoring=50.0)
    own = replace(BACK, accepted=6.0, served=9.0)

    assert list(goals(6.0, [BACK, BACK, slow], [own, own, slow]).values()) == [True, True, True]
    assert list(goals(6.0, [BACK, slow, slow], [own, slow, slow]).values()) == [False, False, False]
