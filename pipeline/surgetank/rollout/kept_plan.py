"""Keeps the last known plan in a file: a worker that restarts while the topic cannot be read goes on with it."""

import json
import logging
import os
from pathlib import Path
from typing import Any

from surgetank.rollout.followed_plan import KnownPlan
from surgetank.serving_plan import Canary, ServingPlan

log = logging.getLogger(__name__)


class KeptPlan:
    """The file of a pipeline on one cluster, which all its workers on this machine share; None: nothing is kept.

    A file that cannot be read or written is logged, and costs no more than the plan.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path

    def read(self) -> KnownPlan | None:
        """Return the kept plan; None if there is none."""
        if self.path is None:
            return None
        try:
            return _decode(json.loads(self.path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
            log.warning("the last known rollout in %s cannot be read: %r", self.path, error)
            return None

    def write(self, known: KnownPlan) -> None:
        """Replace the file. Several processes may do so at once: each writes the newest plan that it knows."""
        if self.path is None:
            return
        unfinished = self.path.with_suffix(f".{os.getpid()}")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            unfinished.write_text(json.dumps(_encode(known)))
            unfinished.replace(self.path)
        except OSError as error:
            log.warning("the rollout cannot be kept in %s: %s", self.path, error.strerror or error)


def _encode(known: KnownPlan) -> dict[str, Any]:
    plan, canary = known.plan, known.plan.canary
    return {
        "model": known.model,
        "revision": known.revision,
        "primary": plan.primary,
        "shadow": plan.shadow,
        "loaded": sorted(plan.loaded),
        "canary": canary
        and {
            "version": canary.version,
            "share": canary.share,
            "salt": canary.salt,
            "allow": sorted(key.hex() for key in canary.allow),
            "deny": sorted(key.hex() for key in canary.deny),
        },
    }


def _decode(fields: dict[str, Any]) -> KnownPlan:
    """Return the plan in the fields of a file. Raises ValueError, TypeError, KeyError or AttributeError."""
    canary, shadow = fields["canary"], fields["shadow"]
    plan = ServingPlan(
        primary=_text(fields["primary"]),
        canary=None if canary is None else _canary(canary),
        shadow=None if shadow is None else _text(shadow),
        loaded=frozenset(map(_text, fields["loaded"])),
    )
    return KnownPlan(_text(fields["model"]), int(fields["revision"]), plan)


def _canary(fields: dict[str, Any]) -> Canary:
    share = float(fields["share"])
    if not 0 <= share <= 1:
        raise ValueError(f"share {share}")
    keys = {name: frozenset(map(bytes.fromhex, fields[name])) for name in ("allow", "deny")}
    return Canary(_text(fields["version"]), share, str(fields["salt"]), keys["allow"], keys["deny"])


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is no text")
    return value
