"""The command-line arguments that the benchmark passes to a contender. Needs the standard library only."""

import argparse
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ContenderArgs:
    """Read ``events``, write ``scores``, as consumer group and pipeline ``name``, on the Kafka at ``bootstrap``.

    A stateful job keeps its state in ``folder`` and on the topic ``changelog``.
    """

    bootstrap: str
    name: str
    events: str
    scores: str
    changelog: str = ""
    folder: str = ""

    @property
    def arguments(self) -> list[str]:
        """Return the arguments for another process."""
        return [self.bootstrap, self.name, self.events, self.scores, self.changelog, self.folder]


def contender_args() -> ContenderArgs:
    """Return the arguments of this process."""
    parser = argparse.ArgumentParser()
    for name in ("bootstrap", "name", "events", "scores", "changelog", "folder"):
        parser.add_argument(name)
    return ContenderArgs(**vars(parser.parse_args()))
