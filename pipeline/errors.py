"""The exception tree, and the exit codes that operators and orchestrators rely on.

SurgetankError
├── StartupError          something that the operator must mend before the worker can run (exit 2)
│   ├── SettingsError     a setting is unknown or out of range
│   ├── SchemaError       a schema is missing, malformed or incompatible
│   ├── TopologyError     a pipeline's declaration contradicts itself
│   ├── TopicsError       topics are missing or shaped wrongly
│   ├── ModelError        a model is missing or does not fit the pipeline
│   ├── BrokerError       no broker answers
│   ├── OffsetsError      committed offsets do not fit what the topics hold
│   └── StateMismatch     state was made for something else than what is to run
├── TooManyDeadLetters    the share of bad events is over its bound (exit 3)
├── Stuck                 something made no progress within its deadline (exit 4)
├── LostIdentity          another live worker runs under this worker's name (exit 5)
├── OutputRefused         the brokers refuse what a task writes, each time that it is tried (exit 7)
└── StateError            the state of a task cannot be read or written
    ├── StateCorrupt      what lies on disk, or in the changelog, is not what was written
    ├── StateClosed       the task was given up meanwhile
    ├── StateDamaged      which task's state is corrupt
    └── DiskFull          there is no room for state (exit 6)
"""


class SurgetankError(Exception):
    """Anything that this project raises on purpose. ``exit_code`` is what the process ends with."""

    exit_code = 1


class StartupError(SurgetankError):
    """Something that must be mended before the worker can run."""

    exit_code = 2


class SettingsError(StartupError):
    """A setting is unknown or out of range."""


class SchemaError(StartupError):
    """A schema is missing, malformed or incompatible."""


class TopologyError(StartupError):
    """A pipeline's declaration contradicts itself."""


class TopicsError(StartupError):
    """Topics are missing or shaped wrongly."""


class ModelError(StartupError):
    """A model is missing or does not fit the pipeline."""


class BrokerError(StartupError):
    """No broker answers."""


class TooManyDeadLetters(SurgetankError):  # noqa: N818 - the name is what happened
    """The share of bad events in the window is over its bound."""

    exit_code = 3


class Stuck(SurgetankError):  # noqa: N818 - the name is what happened
    """Something made no progress within its deadline; nothing of it was committed."""

    exit_code = 4


class LostIdentity(SurgetankError):  # noqa: N818 - the name is what happened
    """Another live worker runs under this worker's name."""

    exit_code = 5


class OutputRefused(SurgetankError):  # noqa: N818 - the name is what happened
    """The brokers refuse what a task writes, each time that it is tried; nothing of it was committed."""

    exit_code = 7


class OffsetsError(StartupError):
    """Committed offsets do not fit what the topics hold."""


class StateMismatch(StartupError):  # noqa: N818 - the name is what happened
    """State was made for something else than what is to run, or includes events that are to be read again."""


class StateError(SurgetankError):
    """The state of a task cannot be read or written."""


class StateCorrupt(StateError):  # noqa: N818 - the name is what happened
    """What lies on disk, or in the changelog, is not what was written."""


class StateDamaged(StateError):  # noqa: N818 - the name is what happened
    """What is on the disk of a task is not what was written there; ``partition`` is the task's number."""

    def __init__(self, message: str, partition: int) -> None:
        super().__init__(message)
        self.partition = partition


class StateClosed(StateError):  # noqa: N818 - the name is what happened
    """The state of a task was closed, because the task was."""


class DiskFull(StateError):  # noqa: N818 - the name is what happened
    """There is no room for state; nothing is lost, because what was not written is in the changelog."""

    exit_code = 6
