"""Which Maven repository this machine uses: Maven Central, or the mirror that it is configured to use instead."""

import base64
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit, urlunsplit
from urllib.request import Request
from xml.etree import ElementTree

from surgetank.errors import StartupError

VARIABLE = "SURGETANK_MAVEN_REPOSITORY"
MIRROR = f"Set {VARIABLE} to the address of a mirror of Maven Central"


@dataclass(frozen=True, slots=True)
class MavenRepository:
    """A remote repository: its address without a trailing slash, and the value of the header Authorization."""

    url: str
    authorization: str | None = field(default=None, repr=False)

    def request(self, path: str) -> Request:
        """Return the request for a file by its path in the repository."""
        request = Request(f"{self.url}/{quote(path)}", headers={"User-Agent": "surgetank"})
        if self.authorization:
            request.add_unredirected_header("Authorization", self.authorization)
        return request


def maven_repository(environment: Mapping[str, str] = os.environ) -> MavenRepository:
    """Return the repository that jars are downloaded from.

    The first of these: SURGETANK_MAVEN_REPOSITORY; the mirror of Central in Maven's settings (~/.m2/settings.xml), with
    user and password of its server; Maven Central. Raises StartupError if an address or the settings cannot be used.
    """
    if own := environment.get(VARIABLE):
        return _repository(own, VARIABLE)
    settings = _maven_home(environment) / "settings.xml"
    try:
        root = ElementTree.parse(settings).getroot()
    except OSError:
        return _central()
    except ElementTree.ParseError as error:
        raise StartupError(f"{settings} cannot be read: {error}. Correct it, or set {VARIABLE}") from None
    mirror = _mirror_of_central(root)
    if mirror is None:
        return _central()
    url = _interpolated(mirror.findtext("{*}url"), environment)
    return _repository(url, str(settings), _credentials(root, mirror.findtext("{*}id"), environment))


def _central() -> MavenRepository:
    """Return Maven Central, whose address jgo knows. Imported at first use: jgo imports its HTTP client."""
    try:
        from jgo.constants import MAVEN_CENTRAL_URL
    except ImportError:
        raise StartupError(
            f"no address to download Apache Kafka's jars from: install surgetank[local], or set {VARIABLE} to the "
            "address of Maven Central or of a mirror of it"
        ) from None
    return MavenRepository(MAVEN_CENTRAL_URL)


def local_repository(environment: Mapping[str, str] = os.environ) -> Path:
    """Return the folder in which Maven keeps what it has downloaded on this machine; it may not exist."""
    return _maven_home(environment) / "repository"


def _maven_home(environment: Mapping[str, str]) -> Path:
    return Path(environment.get("HOME") or os.devnull) / ".m2"  # below /dev/null is nothing


def _mirror_of_central(settings: ElementTree.Element) -> ElementTree.Element | None:
    """Return the mirror that Maven chooses: that of exactly this repository, else the first whose pattern has it."""
    mirrors = settings.findall("{*}mirrors/{*}mirror")
    exact = [mirror for mirror in mirrors if _patterns(mirror) == ["central"]]
    return next(iter(exact + [mirror for mirror in mirrors if _covers_central(_patterns(mirror))]), None)


def _patterns(mirror: ElementTree.Element) -> list[str]:
    return [pattern.strip() for pattern in (mirror.findtext("{*}mirrorOf") or "").split(",")]


def _covers_central(patterns: list[str]) -> bool:
    return "!central" not in patterns and not {"*", "external:*", "central"}.isdisjoint(patterns)


def _credentials(
    settings: ElementTree.Element, server: str | None, environment: Mapping[str, str]
) -> tuple[str, str] | None:
    for each in settings.findall("{*}servers/{*}server"):
        if server and each.findtext("{*}id") == server and each.findtext("{*}username"):
            user = _interpolated(each.findtext("{*}username"), environment)
            password = _interpolated(each.findtext("{*}password"), environment)
            if password.startswith("{") and password.endswith("}"):
                raise StartupError(
                    f"the password of server {server} in Maven's settings is encrypted, and only Maven can read it: "
                    f"set {VARIABLE} to https://USER:PASSWORD@HOST/PATH"
                )
            return user, password
    return None


def _interpolated(text: str | None, environment: Mapping[str, str]) -> str:
    """Replace ``${env.NAME}`` by the variable, as Maven does."""
    return re.sub(r"\$\{env\.(\w+)\}", lambda found: environment.get(found[1], found[0]), (text or "").strip())


def _repository(address: str, origin: str, credentials: tuple[str, str] | None = None) -> MavenRepository:
    parts = urlsplit(address)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise StartupError(f"the Maven repository of {origin} has no address of the form https://HOST/PATH: correct it")
    if parts.username:
        credentials = unquote(parts.username), unquote(parts.password or "")
    url = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path.rstrip("/"), "", ""))
    if credentials is None:
        return MavenRepository(url)
    return MavenRepository(url, "Basic " + base64.b64encode(":".join(credentials).encode()).decode())
