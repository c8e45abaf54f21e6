"""Refuses a worker whose tables differ from those of the workers that run, before it takes partitions from them.

Its restore would refuse the rows of the other declaration too, but only once it owns partitions, which nobody processes
until it has ended and the group has noticed.

After `surgetank state rebuild` workers start together, and the offsets of one that has just joined still name its
former tables until it claims them (``initialization_steps``), some seconds later. So the check is repeated for a while.
"""

import logging
from collections.abc import Callable, Mapping

from confluent_kafka import KafkaException

from surgetank.errors import StateMismatch
from surgetank.kafka.group_client import GroupClient
from surgetank.kafka.offset_owner import other_tables
from surgetank.records import TopicPartition

log = logging.getLogger(__name__)

CALL_SECONDS = 10.0
CHECKS = 30
AGAIN_SECONDS = 0.5


def check_tables(
    group: GroupClient,
    topic: str,
    tables: Mapping[str, str],
    *,
    identity: str,
    pause: Callable[[float], object],
) -> None:
    """Raise StateMismatch if a live member of the group declares a table of ``tables`` otherwise.

    ``tables`` are short fingerprints by name, ``topic`` is the topic of the events. Members that have committed nothing
    yet, or are of an older version, are not known. A member differs only if all its partitions do: one that agrees was
    claimed after the declaration of the member had changed. It may be about to claim them: the check is repeated up to
    ``CHECKS`` times, with ``pause`` between the checks. Without an answer of the brokers nothing is checked.
    """
    differing: dict[str, list[str]] = {}
    for check in range(CHECKS if tables else 0):
        if check:
            pause(AGAIN_SECONDS)
        try:
            differing = _differing(group, topic, tables, identity)
        except KafkaException as error:
            log.warning("the tables of the running workers are not known: %s", error.args[0].str())
            return
        if not differing:
            return
        if not check:
            log.info("offsets of %s name other tables; waiting until it has joined", ", ".join(sorted(differing)))
    if differing:
        owner, names = min(differing.items())
        raise StateMismatch(
            f"worker {owner} runs and declares {', '.join(map(repr, names))} otherwise than this worker, which "
            f"therefore does not join its group. Start this worker with the same declaration; or stop all workers and "
            f"run `surgetank state rebuild {group.group_id}`, which brings the state to the new one"
        )


def _differing(group: GroupClient, topic: str, tables: Mapping[str, str], identity: str) -> dict[str, list[str]]:
    """Return the other live members whose partitions all have other tables, each with the tables of one partition."""
    numbers = range(group.partitions(topic, CALL_SECONDS))
    owners = group.offset_owners([TopicPartition(topic, number) for number in numbers], CALL_SECONDS)
    found: dict[str, list[list[str]]] = {}
    for each in owners.values():
        if each is not None:
            found.setdefault(each.transactional_id, []).append(other_tables(tables, each.tables))
    others = {owner: differing[-1] for owner, differing in found.items() if all(differing)}
    live = group.live(CALL_SECONDS) - {identity} if others else set()
    return {owner: names for owner, names in others.items() if owner in live}
