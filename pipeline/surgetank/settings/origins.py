"""Remembers which source each setting came from, while sources are laid one over another."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from surgetank.errors import SettingsError
from surgetank.settings.names import above


@dataclass(slots=True)
class Origins:
    """Which source each dotted name was set by. Sources are recorded from the lowest priority to the highest."""

    _by_name: dict[str, str] = field(default_factory=dict)
    _values: dict[str, Any] = field(default_factory=dict)

    def record(self, origin: str, values: Mapping[str, Any]) -> None:
        """Record what a source sets, by dotted name. Raises SettingsError for a name below one that has a value."""
        for name in sorted(values):
            for outer in above(name):
                if not isinstance(self._values.get(outer, {}), Mapping):
                    raise SettingsError(f"setting {name!r} from {origin}: {outer.split('.')[-1]!r} is not a section")
            if not isinstance(values[name], Mapping):
                for replaced in self.names_below(name):
                    del self._by_name[replaced], self._values[replaced]
            self._by_name[name] = origin
            self._values[name] = values[name]

    def within(self, name: str) -> list[str]:
        """Return the sources of a setting or of what lies in it, each once, lowest priority first."""
        return list(dict.fromkeys(self._by_name[each] for each in self.names_below(name)))

    def of(self, name: str) -> str:
        """Return the source of a setting, or of the first value in it."""
        return self._by_name.get(name) or next(iter(self.within(name)), "the settings")

    def names_below(self, name: str) -> list[str]:
        """Return the dotted names that were set at or below ``name``."""
        return [each for each in self._by_name if each == name or each.startswith(f"{name}.")]
