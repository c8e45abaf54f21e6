"""Finds members of the worker's consumer group that are no workers of its pipeline.

Nobody scores the events of the partitions that such a member holds. Offsets that it commits are noticed when a worker
gets the partitions back, which may be never.
"""

import logging
from collections.abc import Iterable

from confluent_kafka import KafkaException

from surgetank.kafka.group_client import GroupClient
from surgetank.kafka.group_members import GroupMember
from surgetank.telemetry.metrics import Metrics

log = logging.getLogger(__name__)

CHECK_SECONDS = 60.0
CALL_SECONDS = 5.0
AGAIN_SECONDS = 10.0  # after a check that failed


def foreign_members(members: Iterable[GroupMember], pipeline: str) -> set[GroupMember]:
    """Return the members that are no workers. Pure.

    The client id of a worker is the pipeline's name, '-' and its own name. Others with such an id are not found.
    """
    return {each for each in members if not each.client_id.startswith(f"{pipeline}-")}


class ForeignMembersCheck:
    """Asks for the members of the group of a pipeline, whose events are in ``topic``, once a minute. For one thread."""

    def __init__(self, group: GroupClient, *, pipeline: str, topic: str, metrics: Metrics) -> None:
        self._group = group
        self._pipeline = pipeline
        self._topic = topic
        self._metrics = metrics
        self._checked_at: float | None = None
        self._found: set[GroupMember] = set()

    def look(self, now: float) -> None:
        """Check if a minute has passed; ``now`` is in monotonic seconds. Warn of foreign members that are new."""
        if self._checked_at is not None and now < self._checked_at + CHECK_SECONDS:
            return
        self._checked_at = now
        try:
            self._group.partitions(self._topic, CALL_SECONDS)  # an admin client is used only while brokers respond
            members = self._group.members(CALL_SECONDS)
        except KafkaException as error:
            log.debug("the members of the group are unknown: %s", error)
            self._checked_at += AGAIN_SECONDS - CHECK_SECONDS
            return
        found = foreign_members(members, self._pipeline)
        self._metrics.foreign_members.set(len(found))
        for each in sorted(found - self._found):
            log.warning(
                "member %r at %s of group %s is no worker of this pipeline and holds %d partitions, whose events are "
                "not scored: give it another group id (runbook ForeignGroupMember)",
                each.client_id,
                each.host,
                self._group.group_id,
                len(each.partitions),
            )
        if self._found and not found:
            log.info("all members of group %s are workers again", self._group.group_id)
        self._found = found
