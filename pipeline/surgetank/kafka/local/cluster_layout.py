"""The broker settings of a local cluster: fast rebalances, fast failover, small. Not for production.

docker-compose.yml has the same settings; a test compares the two.
"""

import base64
import uuid
from collections.abc import Mapping
from dataclasses import dataclass

BROKERS = (1, 3)

# Kafka ignores unknown names, so a cluster test reads every one of these from a running broker.
_ALWAYS: Mapping[str, str] = {
    # A missing or misspelt topic must be an error, not a new topic with the wrong number of partitions.
    "auto.create.topics.enable": "false",
    # Classic groups wait 3 s for more members before the first rebalance; here members join one by one.
    "group.initial.rebalance.delay.ms": "0",
    # KIP-848 groups recompute their assignment at most once a second; a test should not wait for that.
    "group.consumer.assignment.interval.ms": "0",
    # A dead member is detected after 6 s, not 45 s, and tests may set less. Classic members set their own timeout, for
    # which there is only a minimum; KIP-848 members use the group's.
    "group.min.session.timeout.ms": "1000",
    "group.consumer.session.timeout.ms": "6000",
    "group.consumer.min.session.timeout.ms": "1000",
    # A KIP-848 member receives a new assignment with its next heartbeat: every second, not every 5 s.
    "group.consumer.heartbeat.interval.ms": "1000",
    "group.consumer.min.heartbeat.interval.ms": "200",
    # Transactions of dead producers are checked for every second, not every 10 s.
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
    # 50 partitions each are for large clusters; each one costs files, and time when a broker starts.
    "offsets.topic.num.partitions": "8",
    "transaction.state.log.num.partitions": "8",
    # A dead broker is detected after 4 s, not 9 s. This matters with a single broker too: after a kill it can register
    # again only when its former session has ended.
    "broker.session.timeout.ms": "4000",
    "broker.heartbeat.interval.ms": "500",
    # The log cleaner allocates this on the heap at start: 128 MiB by default, a third of a small heap.
    "log.cleaner.dedupe.buffer.size": "16777216",
}


def settings(brokers: int) -> dict[str, str]:
    """Return the development settings of every broker of a cluster of this many brokers."""
    copies, in_sync = (str(number) for number in (min(3, brokers), 2 if brokers >= 3 else 1))
    return dict(_ALWAYS) | {
        # With three brokers the data survives the loss of any one, and is never written to only one.
        "default.replication.factor": copies,
        "min.insync.replicas": in_sync,
        "offsets.topic.replication.factor": copies,
        "transaction.state.log.replication.factor": copies,
        "transaction.state.log.min.isr": in_sync,
    }


@dataclass(frozen=True, slots=True)
class ClusterLayout:
    """The ports of a cluster: from ``port``, one per broker for clients, then one per controller."""

    brokers: int
    port: int

    @property
    def bootstrap(self) -> str:
        """The client listeners, comma separated."""
        return ",".join(f"127.0.0.1:{self.client_port(broker)}" for broker in self.ids)

    @property
    def ids(self) -> range:
        """The node ids, from 1."""
        return range(1, self.brokers + 1)

    def client_port(self, broker: int) -> int:
        """Return the port for clients and other brokers."""
        return self.port + broker - 1

    def controller_port(self, broker: int) -> int:
        """Return the port for the controllers."""
        return self.port + self.brokers + broker - 1

    def ports(self, broker: int) -> tuple[int, int]:
        """Return all ports of one broker."""
        return self.client_port(broker), self.controller_port(broker)


def properties(layout: ClusterLayout, broker: int, extra: Mapping[str, str]) -> dict[str, str]:
    """Return all properties of one broker. ``extra`` overrides the development settings.

    ``log.dirs`` is relative to the broker's folder, its working directory, so the whole cluster can be moved, and no
    character of the path is special to Kafka (a comma would be).
    """
    voters = ",".join(f"{node}@127.0.0.1:{layout.controller_port(node)}" for node in layout.ids)
    client = f"PLAINTEXT://127.0.0.1:{layout.client_port(broker)}"
    return (
        settings(layout.brokers)
        | dict(extra)
        | {
            "process.roles": "broker,controller",
            "node.id": str(broker),
            "listeners": f"{client},CONTROLLER://127.0.0.1:{layout.controller_port(broker)}",
            "advertised.listeners": client,
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": voters,
            "log.dirs": "data",
        }
    )


def render(entries: Mapping[str, str]) -> str:
    """Return the entries as a Java properties file: ASCII, one per line, with values escaped as needed."""
    return "".join(f"{_escaped(name)}={_escaped(value)}\n" for name, value in entries.items())


def _escaped(text: str) -> str:
    units = text.encode("utf-16-be", "surrogatepass")
    codes = (int.from_bytes(units[at : at + 2], "big") for at in range(0, len(units), 2))
    return "".join(chr(code) if _is_plain(chr(code)) else f"\\u{code:04x}" for code in codes)


def _is_plain(character: str) -> bool:
    return "!" < character <= "~" and character not in "\\=:#"


def new_cluster_id(random: uuid.UUID) -> str:
    """Return 16 random bytes as Kafka encodes them, never with a leading dash, which its tools take for an option."""
    encoded = base64.urlsafe_b64encode(random.bytes).decode().rstrip("=")
    return "A" + encoded[1:] if encoded.startswith("-") else encoded
