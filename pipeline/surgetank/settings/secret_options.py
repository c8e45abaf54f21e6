"""Which settings hold secrets, by their names, and how a secret is shown.

The secrets of a Kafka client are librdkafka options, whose names this project does not choose: words in them
mark a secret. Beside each there is an option of the same name with ``_file`` appended: the file that holds the secret.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from surgetank.errors import SettingsError

MASK = "***"
_SECRET = re.compile(
    r"password|passphrase|secret|credential|token|jaas|oauthbearer\.config|(?<![a-z])(key|pem)(?![a-z])", re.IGNORECASE
)
_PUBLIC = re.compile(r"([._]file|\.(location|url|client\.id))$", re.IGNORECASE)  # where a secret is, not the secret
_FILE = "_file"
# Options of librdkafka itself.
_LIBRDKAFKA_FILES = {"sasl.oauthbearer.assertion.private.key.file", "sasl.oauthbearer.assertion.jwt.template.file"}


def is_secret(name: str) -> bool:
    """Return whether the setting or librdkafka option of this name holds a secret."""
    return _SECRET.search(name) is not None and _PUBLIC.search(name) is None


def option_of_variable(name: str) -> str:
    """Return the librdkafka option that the last part of a variable stands for, in which underscores are dots."""
    dotted = name.replace("_", ".")
    stem = dotted.removesuffix(".file")
    if stem != dotted and dotted not in _LIBRDKAFKA_FILES and is_secret(stem):
        return stem + _FILE
    return dotted


def file_clashes(options: Mapping[str, Any]) -> list[str]:
    """Return the secrets that are given both themselves and by their file."""
    return [name for name in options if is_secret(name) and name + _FILE in options]


def with_secrets_of_files(options: Mapping[str, str]) -> dict[str, str]:
    """Return librdkafka options in which the files of secrets are replaced by the secrets, without a final line feed.

    Raises SettingsError, which names the option and the file, if a file is empty or cannot be read.
    """
    return dict(_with_secret(name, value) for name, value in options.items())


def _with_secret(name: str, value: str) -> tuple[str, str]:
    secret = name.removesuffix(_FILE)
    if secret == name or not is_secret(secret):
        return name, value
    try:
        text = Path(value).read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise SettingsError(f"kafka.client.{name}: {value}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise SettingsError(f"kafka.client.{name}: {value}: not UTF-8") from None
    if not text:
        raise SettingsError(f"kafka.client.{name}: {value}: the file is empty")
    return secret, text


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
