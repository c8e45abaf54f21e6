"""The specification of a pipeline's state: its tables, their serialization and their changelogs. Values only."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from surgetank.state.row_serde import RowSerde
from surgetank.state.store_identity import TableSignature


@dataclass(frozen=True, slots=True)
class StateSpec:
    """The tables of a pipeline, by name: serialization, signature and changelog topic of each.

    ``partitions`` is the number of tasks that share the keys. ``fingerprints`` are those of the table versions in
    changelogs. ``sources`` is by table the source topic whose offsets its rows carry. ``unmoved_keys`` returns, for a
    value under ``PARTITION_HISTORY`` and a partition, a filter of the keys that have always been in that partition.
    """

    pipeline: str
    partitions: int
    serdes: Mapping[str, RowSerde]
    signatures: Mapping[str, TableSignature]
    changelogs: Mapping[str, str]
    fingerprints: Mapping[str, str]
    sources: Mapping[str, str]
    unmoved_keys: Callable[[bytes, int], Callable[[bytes], bool]]
