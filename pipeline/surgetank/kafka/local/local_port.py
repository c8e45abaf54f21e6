"""The port of a local Kafka, by the bootstrap servers that clients are given."""

import re

PORT = 9092  # without a setting, as Kafka's own default

_LOCAL = re.compile(r"(?:127\.0\.0\.1|localhost):(\d{1,5})")


def local_port(bootstrap: str) -> int | None:
    """Return the port of the first bootstrap server, None if it is not on this machine. Pure."""
    found = _LOCAL.fullmatch(bootstrap.partition(",")[0].strip())
    return int(found[1]) if found else None
