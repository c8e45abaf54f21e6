"""The settings of HTTP endpoints with TLS, by the certificates of ``tests/support/certificates``."""

from pathlib import Path
from typing import Any

from surgetank.settings import HttpSettings

FOLDER = Path(__file__).with_name("certificates")
AUTHORITY = FOLDER / "ca.pem"


def tls(name: str = "server", **more: Any) -> HttpSettings:
    """Return settings with the certificate of this name and the authority of all but ``stranger``."""
    own: dict[str, Any] = {
        "cert_file": FOLDER / f"{name}.pem",
        "key_file": FOLDER / f"{name}.key",
        "ca_file": AUTHORITY,
    }
    return HttpSettings(**(own | more))
