"""The hand-written loop with transactions and state: rocksdict, a changelog and offsets, all in one transaction.

As ``hand_state`` and ``hand_transactions``. Changed rows are produced to the changelog in the transaction of their
scores. RocksDB may hold rows of a transaction that was never committed, so its folder is deleted at each start and the
rows are restored from committed changelog records. One member has all partitions: a rebalance ends the process.
"""

import gc
import json
import shutil
import signal
import time
from functools import partial
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException

from ops.bench import cpu_parts
from ops.bench.contender_args import ContenderArgs, contender_args
from ops.bench.hand_loop import produce_scores
from ops.bench.hand_state import Cards, produce_rows, restore, score
from ops.bench.hand_transactions import TransactionalClients
from ops.bench.payments_job import PaymentsJob


def main(job: ContenderArgs) -> None:
    """Run until SIGTERM."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    folder = Path(job.folder) / "rows"
    shutil.rmtree(folder, ignore_errors=True)
    cards = Cards(folder)
    scorer = PaymentsJob(job.name, job.events)
    clients = TransactionalClients(job)  # aborts a transaction left open, before the changelog is read
    parts = cpu_parts.from_environment()

    def assigned(_: Any, partitions: list[Any]) -> None:
        began = time.monotonic()
        records = restore(cards, job, [each.partition for each in partitions])
        print(json.dumps({"restored": records, "seconds": time.monotonic() - began}), flush=True)

    def revoked(*_: Any) -> None:
        if not stopping:
            raise SystemExit("another member has joined; the rows of this one are of all partitions")

    clients.subscribe(on_assign=assigned, on_revoke=revoked)
    gc.disable()

    clients.before_commit = lambda: produce_rows(clients.producer, job.changelog, *cards.take())

    while not stopping:
        parts.start()
        messages = clients.poll()
        parts.end("pull")
        if messages:
            if cards.room < len(messages):
                clients.commit()
                while cards.room < len(messages):
                    cards.make_room()
                parts.end("commit")
            scores = score(messages, scorer, cards, clients.done, parts)
            produce = partial(produce_scores, messages, scores, clients.producer, job.scores)
            clients.transact(len(messages), produce)
            clients.producer.poll(0)
            parts.end("produce")
            parts.count(len(messages))
        else:
            clients.commit()
            parts.end("commit")
    clients.commit()
    clients.close()
    cards.close()


if __name__ == "__main__":
    try:
        main(contender_args())
    except KafkaException as error:
        raise SystemExit(f"the brokers refuse a request: {error.args[0]}") from None
