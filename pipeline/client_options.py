"""Options that are passed on to librdkafka. Some of them are secrets, which nothing prints."""

import re
from typing import Any

OPTIONS = "kafka.client"  # the setting that holds them: below it all names are librdkafka's, with their dots
SECRET = re.compile(r"password|secret|credential|token|\.key|\.pem|sasl\.jaas|sasl\.oauthbearer\.config", re.IGNORECASE)


class ClientOptions(dict[str, str]):
    """librdkafka options by name. Its text, wherever it is printed, shows stars for the values of secret options."""

    def __repr__(self) -> str:
        return repr(masked(OPTIONS, dict(self)))

    __str__ = __repr__


def masked(dotted: str, value: Any) -> Any:
    """Return the value fit for a screen or a log: those of secret options are stars."""
    if isinstance(value, dict):
        return {name: masked(f"{dotted}.{name}", each) for name, each in value.items()}
    return "***" if dotted.startswith(f"{OPTIONS}.") and SECRET.search(dotted) else value
