"""The token and the certificates of HTTP endpoints, which are read again when their files change.

One object per process: its server checks requests with it, and its requests to other workers carry the same token.
"""

import ssl
from pathlib import Path
from typing import NamedTuple

from surgetank.errors import SettingsError
from surgetank.http.access import is_loopback, request_headers
from surgetank.http.tls import client_context, server_context
from surgetank.settings import HttpSettings

CHECK_SECONDS = 10.0  # between two looks at the files


class ClientAccess(NamedTuple):
    """What a client needs for its requests: the token, and contexts of TLS.

    On this machine the name in a server's certificate does not matter (``loopback``), its authority does.
    """

    token: str | None
    remote: ssl.SSLContext
    loopback: ssl.SSLContext

    def headers(self, url: str) -> dict[str, str]:
        """Return the headers of a request to this URL."""
        return request_headers(url, self.token)

    def context(self, host: str) -> ssl.SSLContext:
        """Return the context for connections to this host."""
        return self.loopback if is_loopback(host) else self.remote


def client_access(http: HttpSettings) -> ClientAccess:
    """Return what a client needs by these settings. Raises SettingsError for a file that cannot be used."""
    loopback = client_context(http)
    loopback.check_hostname = False
    return ClientAccess(http.bearer_token(), client_context(http), loopback)


class _Loaded(NamedTuple):
    """What the files of the settings gave."""

    files: dict[Path, bytes]
    server: ssl.SSLContext | None
    expires: float  # of the server's certificate, in seconds since the epoch
    client: ClientAccess


class EndpointSecurity:
    """Token and TLS of the server of a process and of its clients. Raises SettingsError for files that cannot be used.

    ``renew`` is for one thread; the properties are for any.
    """

    def __init__(self, http: HttpSettings) -> None:
        self._http = http
        self._loaded = self._load()
        self._reported = ""

    @property
    def token(self) -> str | None:
        """The token that requests must carry."""
        return self._loaded.client.token

    @property
    def client_certificates(self) -> bool:
        """Whether requests need a certificate of the client."""
        return self._http.client_ca_file is not None

    @property
    def tls(self) -> bool:
        """Whether the server serves TLS."""
        return self._loaded.server is not None

    @property
    def server_context(self) -> ssl.SSLContext:
        """The context for new connections to a server that serves TLS. Raises SettingsError if it does not."""
        if self._loaded.server is None:
            raise SettingsError("http.cert_file is not set")
        return self._loaded.server

    @property
    def client(self) -> ClientAccess:
        """What requests to other workers need."""
        return self._loaded.client

    def check_exposure(self, host: str) -> None:
        """Raise SettingsError if clients of a server bound to this host would send the token in clear text."""
        if self.token is not None and not self.tls and not is_loopback(host):
            raise SettingsError(
                f"the token of the HTTP endpoints would cross the network in clear text, because they listen on {host} "
                "without TLS: set http.cert_file and http.key_file, or listen on 127.0.0.1"
            )

    def renew(self, now: float) -> str:
        """Read the files again if they have changed. Return a new problem in a sentence, "" if there is none.

        With files that cannot be used, everything stays as it was. ``now``: seconds since the epoch.
        """
        problem = ""
        try:
            if self._contents() != self._loaded.files:
                self._loaded = self._load()
        except (SettingsError, OSError) as error:  # OSError: a file vanished while it was loaded
            problem = f"{error}; the HTTP endpoints keep the token and the certificates that they have"
        if not problem and now > self._loaded.expires:
            problem = f"http.cert_file: {self._http.cert_file} has expired: clients refuse it until it is renewed"
        new, self._reported = problem != self._reported, problem
        return problem if new else ""

    def _load(self) -> _Loaded:
        files = self._contents()
        server, expires = server_context(self._http) or (None, float("inf"))
        return _Loaded(files, server, expires, client_access(self._http))

    def _contents(self) -> dict[Path, bytes]:
        """Return the content of each file; the reader of a file that cannot be read says why."""
        http = self._http
        found = {}
        for path in (http.token_file, http.cert_file, http.key_file, http.client_ca_file, http.ca_file):
            if path is not None:
                try:
                    found[path] = path.read_bytes()
                except OSError:
                    found[path] = b""
        return found
