"""Writes dead letters of a topic to a file, with keys, values and headers."""

from pathlib import Path

import numpy as np

from surgetank.dead_letters.letter_file import exported, letter_file
from surgetank.dead_letters.letters import letter_columns
from surgetank.dead_letters.selection import Selection
from surgetank.kafka.whole_topic import read_topic
from surgetank.settings import KafkaSettings


def export_letters(kafka: KafkaSettings, topic: str, selection: Selection, file: Path) -> int:
    """Write the selected letters of a topic to a file, as ``letter_file`` says; return their number.

    Raises SettingsError for another suffix or a folder that cannot be written, BrokerError, TopicsError.
    """
    number = 0
    with letter_file(file, "--out") as write:
        for records in read_topic(kafka, topic):
            letters = letter_columns(records)
            rows = np.flatnonzero(selection.mask(letters).to_numpy(zero_copy_only=False))
            if len(rows):
                write(exported(records, letters, rows))
                number += len(rows)
    return number
