"""The tuning of each contender, in one place and printed with the results. Needs the standard library only.

The hand loop, Faust and Quix were each tried in several ways (ops/bench); not every setting was swept.
"""

from typing import Any

Settings = dict[str, Any]

BATCH_ROWS_MAX = 8192  # the limit for all contenders

FETCHING: Settings = {
    "queued.min.messages": 100_000,
    "queued.max.messages.kbytes": 131_072,
}
DELIVERING: Settings = {
    "acks": "all",
    "linger.ms": 1,
    "compression.type": "none",
    "queue.buffering.max.messages": 1_000_000,
    "queue.buffering.max.kbytes": 262_144,
}

HAND_CONSUMER: Settings = {
    **FETCHING,
    "fetch.message.max.bytes": 4_194_304,
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "earliest",
}
HAND_PRODUCER: Settings = {
    **DELIVERING,
    "batch.size": 1_048_576,
    "batch.num.messages": 100_000,
    "delivery.report.only.error": True,
}
HAND_COMMIT_SECONDS = 1.0
# With transactions: see hand_transactions.py for the reasons.
HAND_GROUP_MEMBER: Settings = {
    "group.protocol": "consumer",
    "socket.nagle.disable": True,
}
HAND_TRANSACTIONAL: Settings = {
    **HAND_PRODUCER,
    "socket.nagle.disable": True,
    "retry.backoff.ms": 2,
    "retry.backoff.max.ms": 250,
}
TRANSACTION_SECONDS = 0.25
# Stateful: a quarter of a gigabyte, Surgetank's default, half of it for rows in use (680 bytes each).
HAND_CHANGELOG: Settings = HAND_PRODUCER
HAND_ROWS = 180_000
# Files are read through the memory map, which needs no block cache; this compaction style writes least.
HAND_ROCKSDB: Settings = {
    "allow_mmap_reads": True,
    "compaction_style": "universal",
    "write_buffer_size": 48 << 20,
    "max_write_buffer_number": 2,
    "block_cache": 16 << 20,
    "bloom_filter_bits": 10,
    "compression": "none",
    "write_ahead_log": False,
}

FAUST: Settings = {
    "stream_buffer_maxsize": 16_384,
    "broker_max_poll_records": 8192,
    "broker_commit_every": 100_000,
    "producer_acks": -1,
    "producer_linger": 0.005,
    "producer_max_batch_size": 1_048_576,
    "stream_wait_empty": False,
}
FAUST_TAKE_ROWS, FAUST_TAKE_SECONDS = 2000, 0.1
FAUST_STORE = "memory://"  # rocksdb:// takes 20 us more for each written row

_QUIX: Settings = {
    "auto_offset_reset": "earliest",
    "processing_guarantee": "at-least-once",
    "auto_create_topics": False,
    "use_changelog_topics": False,
    "broker_availability_timeout": 0,
    "loglevel": "WARNING",
}
QUIX_SINK: Settings = {
    **_QUIX,
    "commit_every": 8 * BATCH_ROWS_MAX,  # records of all partitions together per checkpoint
    "commit_interval": 0.5,
}
QUIX_SINK_PRODUCER: Settings = {**DELIVERING, "delivery.report.only.error": True}
QUIX_DATAFRAME: Settings = {**_QUIX, "commit_interval": 5.0}
QUIX_STATE: Settings = {**QUIX_DATAFRAME, "use_changelog_topics": True, "auto_create_topics": True}

PRINTED: dict[str, Settings] = {
    "hand_loop": {
        **HAND_CONSUMER,
        **HAND_PRODUCER,
        "commit": f"every {HAND_COMMIT_SECONDS:g} s after a flush",
        "garbage collector": "off",
        "threads": 1,
    },
    "hand_transactions": {
        **HAND_CONSUMER,
        **HAND_GROUP_MEMBER,
        **HAND_TRANSACTIONAL,
        "commit": f"after each batch that is not full, else every {TRANSACTION_SECONDS:g} s",
        "garbage collector": "off",
        "threads": 1,
    },
    "hand_state": {
        **HAND_CONSUMER,
        **HAND_PRODUCER,
        "commit": f"every {HAND_COMMIT_SECONDS:g} s after a flush, with each row that changed",
        "rows in memory": HAND_ROWS,
        **HAND_ROCKSDB,
        "garbage collector": "off",
        "threads": 1,
    },
    "hand_state_transactions": {
        **HAND_CONSUMER,
        **HAND_GROUP_MEMBER,
        **HAND_TRANSACTIONAL,
        "commit": f"after each batch that is not full, else every {TRANSACTION_SECONDS:g} s, with each changed row",
        "rows in memory": HAND_ROWS,
        **HAND_ROCKSDB,
        "garbage collector": "off",
        "threads": 1,
    },
    "hand_trees": {"as": "hand loop", "model": "compiled trees"},
    "hand_state_trees": {"as": "hand loop, state", "model": "compiled trees"},
    "faust_table": {**FAUST, "take_events": FAUST_TAKE_ROWS, "within": FAUST_TAKE_SECONDS, "store": FAUST_STORE},
    "quix_state": {**QUIX_STATE, **FETCHING, **DELIVERING},
    "plain_faust": {**FAUST, "take_events": FAUST_TAKE_ROWS, "within": FAUST_TAKE_SECONDS},
    "quix": {**QUIX_SINK, **FETCHING, **QUIX_SINK_PRODUCER},
    "quix_dataframe": {**QUIX_DATAFRAME, **FETCHING, **DELIVERING},
}
