"""The versions of a model that a worker serves: primary, canary, shadow, loaded."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Canary:
    """A second version that answers for a share of the keys.

    ``share`` is the share of keys, 0 to 1, chosen by a stable hash of the key and of ``salt``. Keys of ``allow`` always
    get this version, keys of ``deny`` never; a key that both contain is denied. Events without a key get the primary.
    """

    version: str
    share: float
    salt: str = ""
    allow: frozenset[bytes] = frozenset()
    deny: frozenset[bytes] = frozenset()


@dataclass(frozen=True, slots=True)
class ServingPlan:
    """The versions that serve one pipeline.

    ``primary`` answers for every event that the canary does not answer for. ``shadow`` scores the same rows beside
    them; its scores never reach the score topic. ``loaded`` are further versions that stay in memory, so that a
    rollback needs no loading.
    """

    primary: str
    canary: Canary | None = None
    shadow: str | None = None
    loaded: frozenset[str] = frozenset()

    @property
    def versions(self) -> frozenset[str]:
        """All versions that must be in memory."""
        named = {self.primary, *self.loaded}
        if self.canary is not None:
            named.add(self.canary.version)
        if self.shadow is not None:
            named.add(self.shadow)
        return frozenset(named)
