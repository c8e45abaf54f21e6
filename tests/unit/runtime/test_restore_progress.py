"""surgetank.runtime.restore_progress: how far workers are, from their pages."""

from surgetank.runtime.restore_progress import RestoreProgress, WorkerRestore

PAGE = """# HELP surgetank_tasks Tasks.
surgetank_tasks{state="running"} 3.0
surgetank_tasks{state="restoring"} 2.0
surgetank_restore_records_total 1200.0
surgetank_restore_remaining_records 800.0
"""


def test_a_page_says_how_far_a_worker_is() -> None:
    """Tasks that wait, records that came, offsets that are left; a page without them says nothing."""
    assert WorkerRestore.of("http://a", PAGE) == WorkerRestore("http://a", 2, 1200, 800)
    assert WorkerRestore.of("http://a", "") == WorkerRestore("http://a", 0, 0, 0)


def test_the_course_begins_at_the_first_look() -> None:
    """What was restored before does not count, nor does what another process at that address did."""
    course = RestoreProgress()
    assert course({"a": WorkerRestore("a", 1, 500, 100)}) == {"a": (0, 100)}
    assert course({"a": WorkerRestore("a", 1, 560, 40), "b": WorkerRestore("b", 1, 0, 7)}) == {
        "a": (60, 100),
        "b": (0, 7),
    }
    assert course({"a": WorkerRestore("a", 1, 10, 90)}) == {"a": (0, 90)}
