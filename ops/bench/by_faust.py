"""Common parts of the contenders of plain Faust: the app, the delivery of scores, and the command that runs it."""

import asyncio
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faust

from ops.bench.contender_args import ContenderArgs, contender_args
from ops.bench.tuning import FAUST

RAW = {"key_type": bytes, "value_type": bytes, "key_serializer": "raw", "value_serializer": "raw"}


def application(job: ContenderArgs, folder: Path, store: str) -> faust.App:
    """Return an app without agents, with tables in ``store``."""
    return faust.App(
        job.name,
        broker=f"kafka://{job.bootstrap}",
        store=store,
        web_enabled=False,
        topic_allow_declare=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        datadir=folder,
        **FAUST,
    )


async def deliver(scores: Any, messages: Sequence[Any], values: Sequence[bytes]) -> None:
    """Send the score of each message to the message's partition, and wait until Kafka has them."""
    sent = [
        await scores.send(key=message.key, value=value, partition=message.partition)
        for message, value in zip(messages, values, strict=True)
    ]
    await asyncio.wait(sent)
    for each in sent:
        each.result()


def run(make: Callable[[ContenderArgs, Path], faust.App]) -> None:
    """Run the app made from the contender's arguments until SIGTERM."""
    arguments = contender_args()
    sys.argv[1:] = []
    with tempfile.TemporaryDirectory() as scratch:
        faust.Worker(make(arguments, Path(scratch)), loglevel="WARNING").execute_from_commandline()
