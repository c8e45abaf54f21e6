"""The commands of a rollout, and their encoding in Kafka: one JSON object per record (ops/decisions/0040). Pure.

{"format": 1, "id": "8c0e…", "model": "flights-late", "action": "canary", "version": "2", "percent": 5.0,
 "allow": null, "deny": null, "primary": "1", "who": "alice@host", "at": 1795865131250, "reason": "less drift",
 "revision": 0, "force": false}
"""

import json
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

KEYS_MAX = 1000  # of a list: a record has at most a megabyte
KEY_BYTES_MAX = 400


class Action(StrEnum):
    """The actions of a rollout command."""

    DEPLOY = "deploy"  # this version answers from now on
    SHADOW = "shadow"  # this version scores beside the one that answers
    CANARY = "canary"  # this version answers for a share of the keys
    PROMOTE = "promote"  # the candidate answers for all keys
    ROLLBACK = "rollback"  # the candidate goes; without one, the version before answers again
    PAUSE = "pause"  # no promotion and no other share
    RESUME = "resume"


# A version is a folder and a label of metrics.
Version = Annotated[str, StringConstraints(pattern=r"^[!-\-0-~][ -.0-~]{0,99}$")]
Keys = tuple[Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2})*$", max_length=2 * KEY_BYTES_MAX)], ...]
_Text = Annotated[str, StringConstraints(max_length=1000)]
_NEEDED = {Action.DEPLOY: "version", Action.SHADOW: "version", Action.CANARY: "percent"}


class Command(BaseModel):
    """One command. Fields that this version of the engine does not know are ignored.

    ``id`` is unique: a record that was written twice counts once. ``revision`` is that of the state against which the
    command was made; a command with ``force`` is carried out whatever the revision is. ``version`` is the version to
    deploy, shadow or canary; for a promotion or a rollback it is optional, and the version that is to answer then.
    ``percent`` is the share of the keys for a canary, 0 to 100. ``allow`` and ``deny`` are keys as hexadecimal digits;
    None leaves the lists of a running canary as they are. ``primary`` is the version that answers as long as the topic
    has no command. ``at`` is milliseconds since the epoch on the clock of ``who``.
    """

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", allow_inf_nan=False)

    format: Literal[1] = 1
    id: Annotated[str, StringConstraints(min_length=1, max_length=100)]
    model: Annotated[str, StringConstraints(min_length=1, max_length=249)]
    action: Action
    who: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    at: Annotated[int, Field(ge=0, le=253_402_300_799_999)]  # until the year 9999
    reason: _Text = ""
    revision: Annotated[int, Field(ge=0)]
    force: bool = False
    version: Version | None = None
    percent: Annotated[float, Field(ge=0, le=100)] | None = None
    allow: Annotated[Keys, Field(max_length=KEYS_MAX)] | None = None
    deny: Annotated[Keys, Field(max_length=KEYS_MAX)] | None = None
    primary: Version | None = None

    @model_validator(mode="after")
    def _complete(self) -> Self:
        needed = _NEEDED.get(self.action)
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f"{self.action} needs {needed}")
        return self

    def encode(self) -> bytes:
        """Return the value of the Kafka record."""
        return json.dumps(self.model_dump(mode="json")).encode()


def decode(value: bytes | None) -> Command:
    """Decode the value of a Kafka record. Raises ValueError, with the first fault, if it is not a command."""
    if value is None:
        raise ValueError("the record has no value")
    try:
        return Command.model_validate_json(value)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def key_bytes(keys: Keys) -> frozenset[bytes]:
    """Return the keys of a list of a command."""
    return frozenset(map(bytes.fromhex, keys))
