"""surgetank.kafka.local.maven_repository: the address that this machine is configured to use."""

import sys
from pathlib import Path

import pytest
from jgo.constants import MAVEN_CENTRAL_URL

from surgetank.errors import StartupError
from surgetank.kafka.local.maven_repository import MavenRepository, local_repository, maven_repository

NAMESPACE = 'xmlns="http://maven.apache.org/SETTINGS/1.2.0"'


def mirror(of: str, url: str = "http://mirror.test/m/", name: str = "own") -> str:
    """Return a mirror as an element of Maven's settings."""
    return f"<mirror><id>{name}</id><mirrorOf>{of}</mirrorOf><url>{url}</url></mirror>"


def server(password: str, name: str = "own") -> str:
    """Return the settings of a server."""
    return f"<servers><server><id>{name}</id><username>ann</username><password>{password}</password></server></servers>"


def chosen(home: Path, settings: str, **environment: str) -> MavenRepository:
    """Return the repository of a user with these settings of Maven."""
    (home / ".m2").mkdir(exist_ok=True)
    (home / ".m2" / "settings.xml").write_text(settings)
    return maven_repository({"HOME": str(home), **environment})


def test_without_settings_it_is_central(tmp_path: Path) -> None:
    """Also for a user without a home folder; the local repository is in the home folder."""
    assert maven_repository({"HOME": str(tmp_path)}).url == MAVEN_CENTRAL_URL
    assert maven_repository({}).url == MAVEN_CENTRAL_URL
    assert local_repository({"HOME": str(tmp_path)}) == tmp_path / ".m2" / "repository"
    assert not local_repository({}).exists()


@pytest.mark.parametrize("namespace", ["", NAMESPACE])
@pytest.mark.parametrize(
    ("pattern", "covers"),
    [
        *(("central", True), ("*", True), ("external:*", True), ("other, central", True), ("*,!other", True)),
        *(("other", False), ("*,!central", False), ("external:http:*", False), ("!central, *", False), ("", False)),
    ],
)
def test_a_mirror_of_central_is_used(tmp_path: Path, namespace: str, pattern: str, covers: bool) -> None:
    """By the patterns that Maven knows; a mirror of another repository is not."""
    settings = f"<settings {namespace}><mirrors>{mirror(pattern)}</mirrors></settings>"
    assert chosen(tmp_path, settings).url == ("http://mirror.test/m" if covers else MAVEN_CENTRAL_URL)


def test_the_mirror_of_exactly_central_goes_before_patterns(tmp_path: Path) -> None:
    """As in Maven; of several patterns the first counts."""
    some = mirror("*", "https://one.test") + mirror("external:*", "https://two.test")
    assert chosen(tmp_path, f"<settings><mirrors>{some}</mirrors></settings>").url == "https://one.test"
    some += mirror("central", "https://three.test")
    assert chosen(tmp_path, f"<settings><mirrors>{some}</mirrors></settings>").url == "https://three.test"


def test_the_mirrors_server_gives_user_and_password(tmp_path: Path) -> None:
    """That of its id alone; a variable of the environment is inserted."""
    settings = f"<settings><mirrors>{mirror('*')}</mirrors>{server('${env.SECRET}')}</settings>"
    assert chosen(tmp_path, settings, SECRET="x").authorization == "Basic YW5uOng="
    settings = f"<settings><mirrors>{mirror('*')}</mirrors>{server('x', 'other')}</settings>"
    assert chosen(tmp_path, settings).authorization is None


def test_an_encrypted_password_is_refused(tmp_path: Path) -> None:
    """Only Maven can read it: the message names the variable to set."""
    settings = f"<settings><mirrors>{mirror('*')}</mirrors>{server('{COQLCE6DU6GtcS5P=}')}</settings>"
    with pytest.raises(StartupError, match=r"server own .* is encrypted.*set SURGETANK_MAVEN_REPOSITORY") as raised:
        chosen(tmp_path, settings)
    assert "COQLCE" not in str(raised.value)


def test_the_variable_goes_before_the_settings(tmp_path: Path) -> None:
    """An empty one counts as not set."""
    settings = f"<settings><mirrors>{mirror('*')}</mirrors></settings>"
    assert chosen(tmp_path, settings, SURGETANK_MAVEN_REPOSITORY="https://own.test/x/").url == "https://own.test/x"
    assert chosen(tmp_path, settings, SURGETANK_MAVEN_REPOSITORY="").url == "http://mirror.test/m"


@pytest.mark.parametrize("address", ["ftp://own.test", "own.test/maven", "https://", "file:///srv/maven"])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    """The message names the variable and the form."""
    with pytest.raises(
        StartupError, match=r"repository of SURGETANK_MAVEN_REPOSITORY has no address of the form https"
    ):
        maven_repository({"SURGETANK_MAVEN_REPOSITORY": address})


@pytest.mark.parametrize(
    "settings", ["<settings>", "", "<settings><mirrors><mirror><mirrorOf>*</mirrorOf></mirror></mirrors></settings>"]
)
def test_settings_that_cannot_be_read_are_named(tmp_path: Path, settings: str) -> None:
    """Malformed XML, or a mirror without an address: the message has the path of the file."""
    with pytest.raises(StartupError, match=r"\.m2/settings\.xml .*[Cc]orrect it"):
        chosen(tmp_path, settings)


def test_there_is_neither_a_mirror_nor_jgo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra, the error says which to install, or which variable to set."""
    monkeypatch.setitem(sys.modules, "jgo.constants", None)
    with pytest.raises(StartupError, match=r"surgetank\[local\], or set SURGETANK_MAVEN_REPOSITORY"):
        maven_repository({})
    assert maven_repository({"SURGETANK_MAVEN_REPOSITORY": "https://mirror.test/m"}).url == "https://mirror.test/m"
