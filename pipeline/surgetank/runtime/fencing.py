"""Fences stale owners: aborts the transactions of workers that left the group.

After ``kill -9`` an open transaction blocks read_committed readers and, with pending offsets, the next owner, until
the broker's timeout. So the metadata of every committed offset names the transactional id of its owner, an owner
commits that claim before its first output, and the successor of an owner that is no longer in the group calls
``init_transactions`` with the owner's id, which aborts the open transaction.
"""

from collections.abc import Iterable

from surgetank.kafka import clients
from surgetank.kafka.group_client import GroupClient
from surgetank.records import OutputPartition
from surgetank.runtime.hanging_transactions import end_hanging_transactions


def stale_owners(owners: Iterable[str | None], live: set[str], me: str) -> set[str]:
    """Return the owners to fence: those that are named, are not ``me`` and are not live members of the group. Pure."""
    return {owner for owner in owners if owner and owner != me and owner not in live}


def fence(
    group: GroupClient, owner: str, partitions: Iterable[OutputPartition], timeout: float, *, output: str
) -> None:
    """Abort the open transaction of the transactional id ``owner``, and fence its producer.

    Also ends hanging transactions in these partitions; ``output`` as in ``end_hanging_transactions``. Raises
    KafkaException or BrokerError if that did not succeed within ``timeout`` seconds.
    """
    producer = clients.transactional(group.kafka, transactional_id=owner)
    producer.init_transactions(timeout)
    end_hanging_transactions(producer, partitions, group.group, timeout, output=output)
