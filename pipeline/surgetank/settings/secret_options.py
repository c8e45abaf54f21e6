"""Which settings hold secrets, by their names, and how a secret is shown.

The secrets of a Kafka client are librdkafka options, whose names this project does not choose: words in them
mark a secret.
"""

import re
from typing import Any

from pydantic import SecretStr

MASK = "***"
_SECRET = re.compile(
    r"password|passphrase|secret|credential|token|jaas|oauthbearer\.config|(?<![a-z])(key|pem)(?![a-z])", re.IGNORECASE
)
_PUBLIC = re.compile(r"\.(location|file|url|client\.id)$", re.IGNORECASE)  # where a secret is, not the secret


def is_secret(name: str) -> bool:
    """Return whether the setting or librdkafka option of this name holds a secret."""
    return _SECRET.search(name) is not None and _PUBLIC.search(name) is None


def masked(name: str, value: Any) -> Any:
    """Return the value as it may be shown: a secret that is set becomes ``***``, a mapping is masked by entry."""
    if isinstance(value, dict):
        return {each: masked(f"{name}.{each}", inner) for each, inner in value.items()}
    return MASK if value is not None and (isinstance(value, SecretStr) or is_secret(name)) else value


def protected(name: str, value: Any) -> Any:
    """Return the value with the text of a secret wrapped in SecretStr; a mapping is treated entry by entry."""
    if isinstance(value, dict):
        return {each: protected(f"{name}.{each}", inner) for each, inner in value.items()}
    return SecretStr(value) if isinstance(value, str) and is_secret(name) else value


def revealed(value: str | SecretStr) -> str:
    """Return the text itself, of a secret too. Only for the client that must send it."""
    return value.get_secret_value() if isinstance(value, SecretStr) else value
