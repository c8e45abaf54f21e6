"""The cost of one pass of the lag exporter: ``python -m ops.bench.lag_exporter`` with very many groups on a real Kafka.

It starts its own Kafka, creates groups with committed offsets, makes several passes of the exporter with a scrape after
each, and prints seconds, requests, memory and the size of the page. Every group lags, which is the costliest case.
"""

import argparse
import json
import resource
import statistics
import tempfile
import time
from pathlib import Path

import psutil
from confluent_kafka import ConsumerGroupTopicPartitions
from confluent_kafka import TopicPartition as KafkaTopicPartition
from confluent_kafka.admin import NewTopic

from surgetank.clock import SystemClock
from surgetank.kafka import clients
from surgetank.kafka.local.cluster import LocalCluster
from surgetank.lag.exporter import Exporter
from surgetank.lag.offset_collector_process import OffsetCollectorProcess
from surgetank.settings import ExporterSettings, KafkaSettings
from surgetank.telemetry.groups import GroupMetrics
from surgetank.telemetry.health import Health

TOPICS = 10
RECORDS = 100
AT_ONCE = 50


def prepare(kafka: KafkaSettings, groups: int, partitions: int) -> None:
    """Create the topics, records in each partition, and groups that committed offsets for some of them."""
    admin = clients.admin(kafka)
    names = [f"requests-{number}" for number in range(TOPICS)]
    for made in admin.create_topics([NewTopic(name, partitions) for name in names]).values():
        made.result(60)
    producer = clients.producer(kafka)
    for name in names:
        for row in range(RECORDS * partitions):
            producer.produce(name, b"record", partition=row % partitions)
        producer.flush(60)
    wanted = {
        f"application-{number}": [
            KafkaTopicPartition(names[number % TOPICS], p, (number + p) % RECORDS) for p in range(partitions)
        ]
        for number in range(groups)
    }
    while wanted:  # a new coordinator loads first, and returns an error meanwhile
        some = list(wanted.items())[:AT_ONCE]
        asked = {
            name: admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(name, offsets)])[name]
            for name, offsets in some
        }
        for name, answer in asked.items():
            if all(tp.error is None for tp in answer.result(60).topic_partitions):
                del wanted[name]


def measure(kafka: KafkaSettings, passes: int) -> dict[str, object]:
    """Make this many passes of the exporter with a scrape after each; return the cost."""
    clock = SystemClock()
    metrics = GroupMetrics()
    settings = ExporterSettings()
    looks, scrapes, page = [], [], b""
    begun = time.process_time()
    with OffsetCollectorProcess(kafka) as asking:
        exporter = Exporter(settings, asking, metrics, Health(clock, conditions=("kafka",)), clock)
        for _ in range(passes):
            started = clock.monotonic()
            assert exporter.measure(), "Kafka did not answer"
            looks.append(clock.monotonic() - started)
            started = clock.monotonic()
            page = metrics.expose()[0]
            scrapes.append(clock.monotonic() - started)
            time.sleep(1)
        memory = [psutil.Process(pid).memory_full_info() for pid in (None, asking.pid)]
    return {
        "groups": int(metrics.exporter_groups.value() or 0),
        "partitions": len(metrics.group_lag_records.family().samples),
        "passes": passes,
        "first_pass_seconds": round(looks[0], 2),
        "pass_seconds_median": round(statistics.median(looks[1:]), 2),
        "pass_seconds_max": round(max(looks[1:]), 2),
        "page_seconds_max": round(max(scrapes), 2),
        "page_mib": round(len(page) / 2**20, 1),
        "requests_per_pass": int(metrics.exporter_requests.value() or 0),
        "resident_mib_exporter_and_asking": [round(each.rss / 2**20, 1) for each in memory],
        # The memory that the two share, mostly libraries, is counted once here and twice above.
        "proportional_mib": round(sum(each.pss for each in memory) / 2**20, 1),
        "peak_mib_exporter": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "cpu_seconds_per_pass": round((time.process_time() - begun) / passes, 2),
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=1000)
    parser.add_argument("--partitions", type=int, default=20)
    parser.add_argument("--passes", type=int, default=15)
    parser.add_argument("--port", type=int, default=29092)
    parser.add_argument("--bootstrap", help="an existing Kafka, whose groups are measured as they are")
    chosen = parser.parse_args()
    if chosen.bootstrap:
        print(json.dumps(measure(KafkaSettings(bootstrap=chosen.bootstrap), chosen.passes), indent=2))
        return
    with tempfile.TemporaryDirectory(prefix="surgetank-lag-bench-") as folder:
        cluster = LocalCluster(Path(folder) / "kafka", 1, chosen.port)
        cluster.up()
        try:
            kafka = KafkaSettings(bootstrap=cluster.bootstrap)
            prepare(kafka, chosen.groups, chosen.partitions)
            print(json.dumps(measure(kafka, chosen.passes), indent=2))
        finally:
            cluster.down()


if __name__ == "__main__":
    main()
