"""Refuses a worker whose tables differ from those of the workers that run, before it takes partitions from them.

Its restore would refuse the rows of the other declaration too, but only once it owns partitions, which nobody processes
until it has ended and the group has noticed.
"""

import logging
from collections.abc import Mapping

from confluent_kafka import KafkaException

from pipeline.errors import StateMismatch
from pipeline.kafka.group_client import GroupClient
from pipeline.kafka.offset_owner import other_tables
from pipeline.records import TopicPartition

log = logging.getLogger(__name__)

CALL_SECONDS = 10.0


def check_tables(group: GroupClient, topic: str, tables: Mapping[str, str], *, identity: str) -> None:
    """Raise StateMismatch if a live member of the group declares a table of ``tables`` otherwise.

    ``tables`` are short fingerprints by name, ``topic`` is the topic of the events. Members that have committed nothing
    yet, or are of an older version, are not known. A member differs only if all its partitions do: one that agrees was
    claimed after the declaration of the member had changed. Without an answer of the brokers nothing is checked.
    """
    if not tables:
        return
    try:
        numbers = range(group.partitions(topic, CALL_SECONDS))
        owners = group.offset_owners([TopicPartition(topic, number) for number in numbers], CALL_SECONDS)
        others: dict[str, list[list[str]]] = {}
        for each in owners.values():
            if each is not None:
                others.setdefault(each.transactional_id, []).append(other_tables(tables, each.tables))
        others = {owner: differing for owner, differing in others.items() if all(differing)}
        live = group.live(CALL_SECONDS) - {identity} if others else set()
    except KafkaException as error:
        log.warning("the tables of the running workers are not known: %s", error.args[0].str())
        return
    for owner in sorted(live & others.keys()):
        differing = ", ".join(repr(name) for name in others[owner][-1])
        raise StateMismatch(
            f"worker {owner} runs and declares {differing} otherwise than this worker, which therefore does not join "
            f"its group. Start this worker with the same declaration; or stop all workers and run `surgetank state "
            f"rebuild {group.group_id}`, which brings the state to the new one"
        )
