"""The address at which other workers and commands reach this worker's HTTP server.

For a server bound to all addresses of its machine (0.0.0.0, ::) it is the local address of the route to Kafka, because
all workers of a pipeline reach the same brokers.
"""

import ipaddress
import socket
from urllib.parse import urlsplit

from surgetank.errors import SettingsError
from surgetank.settings import Settings

ADVICE = "set telemetry.address to where other workers reach this one, as http://host:port, or https://host:port"


def peer_address(settings: Settings, url: str) -> str:
    """Return ``scheme://host:port``: the address from the settings, else ``url``, the bound one, with a reachable host.

    Raises SettingsError if the set address is invalid, or if no address can be derived.
    """
    if settings.telemetry.address:
        return _checked(settings.telemetry.address)
    bound = urlsplit(url)
    if not _is_wildcard(str(bound.hostname)):
        return url
    family = socket.AF_INET6 if ":" in str(bound.hostname) else socket.AF_INET
    host = _address_towards(settings.kafka.bootstrap, family)
    if host is None and family == socket.AF_INET6:  # the IPv6 wildcard accepts IPv4 too
        host = _address_towards(settings.kafka.bootstrap, socket.AF_INET)
    if host is None:
        raise SettingsError(
            f"telemetry.host={bound.hostname} is every address of this machine, and none of them leads to "
            f"{settings.kafka.bootstrap}: {ADVICE}"
        )
    return f"{bound.scheme}://[{host}]:{bound.port}" if ":" in host else f"{bound.scheme}://{host}:{bound.port}"


def _checked(address: str) -> str:
    try:
        parts = urlsplit(address)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable:
        raise SettingsError(f"telemetry.address={address!r} is no address: {ADVICE}")
    if _is_wildcard(str(parts.hostname)):
        raise SettingsError(f"telemetry.address={address!r} is every address and reaches nobody: {ADVICE}")
    return address.rstrip("/")


def _is_wildcard(host: str) -> bool:
    try:
        return host == "" or ipaddress.ip_address(host).is_unspecified
    except ValueError:  # a host name
        return False


def _address_towards(bootstrap: str, family: socket.AddressFamily) -> str | None:
    """Return the local address of the route to the first reachable bootstrap server, without sending anything."""
    for server in bootstrap.split(","):
        name, _, port = server.strip().rpartition("://")[2].rpartition(":")
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.connect((name.strip("[]"), int(port)))
                return str(probe.getsockname()[0])
        except (OSError, ValueError):
            continue
    return None
