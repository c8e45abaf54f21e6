"""The folder of a version is there with all its files or not at all, whoever dies or writes at the same time."""

import multiprocessing
import os
import signal
import threading
from pathlib import Path

import pytest

from surgetank.errors import ModelError
from surgetank.serving.bundle import versions_in
from surgetank.serving.version_folder import VersionExists, new_version_folder

FORK = multiprocessing.get_context("fork")


def write(directory: Path, version: str, text: str, *, replace: bool = False) -> None:
    """Write a version of two files."""
    with new_version_folder(directory, "m", version, replace=replace) as folder:
        (folder / "a").write_text(text)
        (folder / "b").write_text(text)


def killed(directory: Path) -> None:
    """Die in the middle of writing version 1."""
    with new_version_folder(directory, "m", "1") as folder:
        (folder / "a").write_text("half")
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_writer_leaves_no_version(tmp_path: Path) -> None:
    """The next one removes what is left, and succeeds."""
    process = FORK.Process(target=killed, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert len(list((tmp_path / "m").iterdir())) == 1
    assert versions_in(tmp_path, "m") == []
    write(tmp_path, "2", "whole")
    assert [each.name for each in (tmp_path / "m").iterdir()] == ["2"]


def test_a_writer_that_raises_leaves_nothing(tmp_path: Path) -> None:
    """Neither a version nor a part of one."""

    def failing() -> None:
        with new_version_folder(tmp_path, "m", "1") as folder:
            (folder / "a").write_text("half")
            raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        failing()
    assert list((tmp_path / "m").iterdir()) == []


def test_one_of_several_writers_of_a_version_wins(tmp_path: Path) -> None:
    """The others are refused, and the files are those of one."""
    start, outcomes = threading.Barrier(6), []

    def race(number: int) -> None:
        start.wait()
        try:
            write(tmp_path, "1", str(number))
            outcomes.append(number)
        except VersionExists:
            outcomes.append(-1)

    threads = [threading.Thread(target=race, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (winner,) = [each for each in outcomes if each >= 0]
    assert len(outcomes) == 6
    assert {(tmp_path / "m" / "1" / name).read_text() for name in "ab"} == {str(winner)}


def test_a_version_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Files of the former one are gone."""
    write(tmp_path, "1", "old")
    (tmp_path / "m" / "1" / "c").write_text("old")
    write(tmp_path, "1", "new", replace=True)
    assert {each.name: each.read_text() for each in (tmp_path / "m" / "1").iterdir()} == {"a": "new", "b": "new"}
    assert [each.name for each in (tmp_path / "m").iterdir()] == ["1"]


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    """A file is in its place."""
    (tmp_path / "m").write_text("")
    with pytest.raises(ModelError, match=r"model directory .*m cannot be written: File exists"):
        write(tmp_path, "1", "x")
