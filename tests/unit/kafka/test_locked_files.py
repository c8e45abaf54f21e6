"""surgetank.kafka.local.locked_files: downloads from a server on loopback that fails in every way."""

import errno
import hashlib
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from surgetank.errors import StartupError
from surgetank.kafka.local.locked_files import LockedFile, download, read_lock
from surgetank.kafka.local.maven_repository import MavenRepository, maven_repository
from tests.support.file_server import CUT, FileServer, file_server

CONTENTS = {f"org/x/{name}/1/{name}-1.jar": name.encode() * 10_000 for name in ("a", "b", "c")}
FILES = tuple(LockedFile(path, hashlib.sha256(content).hexdigest()) for path, content in CONTENTS.items())
A, B, C = CONTENTS
ABSENT = Path("/nonexistent")
NO_PAUSES = (0.0, 0.0)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FileServer]:
    """A server that has all files; a proxy in the environment is not asked."""
    monkeypatch.setenv("no_proxy", "*")
    with file_server() as server:
        server.files |= CONTENTS
        yield server


def fetched(server: FileServer, folder: Path, local: Path = ABSENT) -> None:
    """Download all files without pauses between attempts."""
    download(FILES, folder, local, MavenRepository(server.url), NO_PAUSES)


def there(folder: Path) -> dict[str, bytes]:
    """Return the contents of the jars, after a check that nothing else but the lock is in the folder."""
    assert {path.suffix for path in folder.iterdir() if path.name != ".lock"} <= {".jar"}
    return {path.name: path.read_bytes() for path in folder.glob("*.jar")}


ALL = {path.rpartition("/")[2]: content for path, content in CONTENTS.items()}


def test_all_files_are_downloaded_once(server: FileServer, tmp_path: Path) -> None:
    """Under their bare names; what is there is not asked for again."""
    fetched(server, tmp_path)
    fetched(server, tmp_path)
    assert there(tmp_path) == ALL
    assert server.asked == dict.fromkeys(CONTENTS, 1)


def test_a_download_of_jars_is_cut(server: FileServer, tmp_path: Path) -> None:
    """It is tried again; after the last attempt what is complete is kept, and the next call fetches the rest."""
    server.faults[B] = [CUT, CUT]
    fetched(server, tmp_path / "again")
    assert there(tmp_path / "again") == ALL
    assert server.asked[B] == 3

    server.faults[B] = [CUT, CUT, CUT]
    with pytest.raises(StartupError, match=rf"{B} cannot be downloaded: IncompleteRead.*next attempt fetches the rest"):
        download(FILES[1:], tmp_path / "cut", ABSENT, MavenRepository(server.url), NO_PAUSES)
    assert "b-1.jar" not in there(tmp_path / "cut")
    server.asked.clear()
    fetched(server, tmp_path / "cut")
    assert there(tmp_path / "cut") == ALL
    assert C not in server.asked


def test_a_mirror_serves_another_file_for_a_jar(server: FileServer, tmp_path: Path) -> None:
    """It is refused with address and both checksums after one attempt, and not kept."""
    server.files[A] = b"<html>Please log in</html>"
    wrong = hashlib.sha256(server.files[A]).hexdigest()
    with pytest.raises(
        StartupError, match=rf"{server.url}/{A} is not the file .*{wrong}.*{FILES[0].sha256}.*Set SURGE"
    ):
        download(FILES[:1], tmp_path, ABSENT, MavenRepository(server.url), NO_PAUSES)
    assert there(tmp_path) == {}
    assert server.asked[A] == 1


def test_the_repository_lacks_a_jar(server: FileServer, tmp_path: Path) -> None:
    """One attempt; the message has the address and says which repository is needed."""
    del server.files[A]
    with pytest.raises(StartupError, match=rf"{server.url}/{A} .*answers 404 .*mirror that has all of it"):
        download(FILES[:1], tmp_path, ABSENT, MavenRepository(server.url), NO_PAUSES)
    assert server.asked[A] == 1


@pytest.mark.parametrize(("status", "attempts", "said"), [(503, 3, "Try again later"), (401, 1, "user and password")])
def test_a_refusal_of_the_server_is_quoted(
    server: FileServer, tmp_path: Path, status: int, attempts: int, said: str
) -> None:
    """An overloaded server is asked again, one that demands a password is not."""
    server.faults[A] = [status] * 3
    with pytest.raises(StartupError, match=rf"answers {status} .*{said}"):
        download(FILES[:1], tmp_path, ABSENT, MavenRepository(server.url), NO_PAUSES)
    assert server.asked[A] == attempts


def test_the_machine_has_no_network(server: FileServer, tmp_path: Path) -> None:
    """Nobody listens: the message has the address, the reason, and what to check."""
    repository = MavenRepository(server.url.replace("127.0.0.1", "127.0.0.1.invalid"))
    with pytest.raises(StartupError, match=r"invalid.*cannot be downloaded: .*Check the network, and https_proxy"):
        download(FILES[:1], tmp_path, ABSENT, repository, NO_PAUSES)


def test_a_file_in_mavens_local_repository_is_used_if_it_is_the_pinned_one(server: FileServer, tmp_path: Path) -> None:
    """A damaged one is downloaded instead."""
    local = tmp_path / "repository"
    for path, content in CONTENTS.items():
        (local / path).parent.mkdir(parents=True)
        (local / path).write_bytes(content if path != B else content[:-1])
    fetched(server, tmp_path / "jars", local)
    assert there(tmp_path / "jars") == ALL
    assert server.asked == {B: 1}


def test_processes_that_race_for_the_files_all_get_them(server: FileServer, tmp_path: Path) -> None:
    """Eight at once: each finds all files when its call ends, and each file is downloaded once."""
    found = []

    def run() -> None:
        fetched(server, tmp_path)
        found.append(there(tmp_path))

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [ALL] * 8
    assert server.asked == dict.fromkeys(CONTENTS, 1)


def test_a_full_disk_leaves_no_half_file(server: FileServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither under the name of a jar nor under another one; the error is that of the disk, not of the network."""

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        fetched(server, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]
    monkeypatch.undo()
    fetched(server, tmp_path)
    assert there(tmp_path) == ALL


def test_user_and_password_are_sent_and_not_shown(server: FileServer, tmp_path: Path) -> None:
    """Those of the address, as of a company's mirror; an error shows the address without them."""
    address = server.url.replace("//", "//ann:s%40cret@")
    repository = maven_repository({"SURGETANK_MAVEN_REPOSITORY": address})
    download(FILES[:2], tmp_path, ABSENT, repository, NO_PAUSES)
    assert server.authorizations == {"Basic YW5uOnNAY3JldA=="}
    del server.files[C]
    with pytest.raises(StartupError) as raised:
        download(FILES, tmp_path, ABSENT, repository, NO_PAUSES)
    assert "cret" not in f"{raised.value} {repository}"
    assert f"{server.url}/{C}" in str(raised.value)


def test_a_lock_file_is_read(tmp_path: Path) -> None:
    """Its lines are those of sha256sum, two spaces between."""
    (tmp_path / "x.lock").write_text("".join(f"{file.sha256}  {file.path}\n" for file in FILES))
    assert read_lock(tmp_path / "x.lock") == FILES
