"""The exception hierarchy, and the exit codes that operators and orchestrators rely on.

SurgetankError
├── StartupError          the operator must fix something before the worker can run (exit 2)
│   ├── SettingsError     a setting is unknown or out of range
│   ├── SchemaError       a schema is missing, malformed or incompatible
│   ├── TopologyError     the declaration of a pipeline is invalid
│   ├── TopicsError       topics are missing or have a wrong shape
│   ├── ModelError        a model is missing or does not fit the pipeline
│   ├── RegistryError     a registry of models does not answer
│   ├── BrokerError       no broker answers
│   ├── OffsetsError      committed offsets do not fit the content of the topics
│   └── StateMismatch     state does not belong to the declaration or offsets of the pipeline
├── TooManyDeadLetters    the share of bad events exceeds its limit (exit 3)
├── Stuck                 an operation made no progress within its deadline (exit 4)
├── LostIdentity          another live worker has the name of this worker (exit 5)
├── RolloutRefused        a command does not fit the state of a rollout (exit 1)
├── OutputRefused         the brokers reject the output of a task repeatedly (exit 7)
└── StateError            the state of a task cannot be read or written
    ├── StateCorrupt      the content of the disk or changelog is not the content that was written
    ├── StateClosed       the task was closed meanwhile
    ├── StateDamaged      the state of a given task is corrupt
    └── DiskFull          there is no disk space for state (exit 6)
"""


class SurgetankError(Exception):
    """The base of all exceptions of this project. ``exit_code`` is the exit status of the process."""

    exit_code = 1


class StartupError(SurgetankError):
    """The operator must fix something before the worker can run."""

    exit_code = 2


class SettingsError(StartupError):
    """A setting is unknown or out of range."""


class SchemaError(StartupError):
    """A schema is missing, malformed or incompatible."""


class TopologyError(StartupError):
    """The declaration of a pipeline is invalid."""


class TopicsError(StartupError):
    """Topics are missing or have a wrong shape."""


class ModelError(StartupError):
    """A model is missing or does not fit the pipeline."""


class RegistryError(StartupError):
    """A registry of models does not answer, or not in time."""


class BrokerError(StartupError):
    """No broker answers."""


class TooManyDeadLetters(SurgetankError):  # noqa: N818 - the name is what happened
    """The share of bad events in the window exceeds its limit."""

    exit_code = 3


class Stuck(SurgetankError):  # noqa: N818 - the name is what happened
    """An operation made no progress within its deadline; nothing of it was committed."""

    exit_code = 4


class LostIdentity(SurgetankError):  # noqa: N818 - the name is what happened
    """Another live worker has the name of this worker."""

    exit_code = 5


class RolloutRefused(SurgetankError):  # noqa: N818 - the name is what happened
    """A command does not fit the state of a rollout; nothing was changed."""


class OutputRefused(SurgetankError):  # noqa: N818 - the name is what happened
    """The brokers reject the output of a task repeatedly; nothing of it was committed."""

    exit_code = 7


class OffsetsError(StartupError):
    """Committed offsets do not fit the content of the topics."""


class StateMismatch(StartupError):  # noqa: N818 - the name is what happened
    """State does not belong to the declaration of the pipeline, or includes events that are to be read again."""


class StateError(SurgetankError):
    """The state of a task cannot be read or written."""


class StateCorrupt(StateError):  # noqa: N818 - the name is what happened
    """The content of the disk or changelog is not the content that was written."""


class StateDamaged(StateError):  # noqa: N818 - the name is what happened
    """The state of a task on disk is corrupt; ``partition`` is the number of the task."""

    def __init__(self, message: str, partition: int) -> None:
        super().__init__(message)
        self.partition = partition


class StateClosed(StateError):  # noqa: N818 - the name is what happened
    """The state of a task was closed together with the task."""


class DiskFull(StateError):  # noqa: N818 - the name is what happened
    """There is no disk space for state. No data is lost: unwritten rows are in the changelog."""

    exit_code = 6
