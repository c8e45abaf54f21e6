"""A stateful pipeline on a real Kafka: sends departures and boardings, and checks the state of every key."""

from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import duckdb
import fastavro
import numpy as np
import pyarrow as pa

from surgetank.clock import SystemClock
from surgetank.codec.avro.container import ContainerWriter
from surgetank.codec.schema_repository import project_schemas
from surgetank.declaration import SCORE, Pipeline
from surgetank.drills.fleet import Member
from surgetank.drills.recording import Recording
from surgetank.drills.state_check import compare_states
from surgetank.drills.wire import decoder
from surgetank.edge.score_run import ScoreFiles, score_files
from surgetank.kafka.topic_reader import TopicReader
from surgetank.offline import feature_sql
from surgetank.processing.event_sequence import milliseconds
from surgetank.processing.stateful_features import plausible_times
from surgetank.records import TopicPartition
from surgetank.serving import bundle
from surgetank.settings import Settings, StateSettings
from tests.support.live_pipeline import Stage
from tests.support.topologies.stateful_flights import ENVIRONMENT, MISSING, publish, remembering, weights
from topology.recordings.flights import recording

__all__ = ["ENVIRONMENT", "Remembered", "changelog_records", "restored"]


@lru_cache(maxsize=1)
def all_events() -> Recording:
    """Return boardings and departures of the year; they are read once."""
    return recording()


class Remembered(Stage):
    """One stateful pipeline under test."""

    topology = "tests.support.topologies.stateful_flights"

    def declared(self, partitions: int) -> tuple[Pipeline, Path]:
        """Return the pipeline of tests/support/topologies/stateful_flights.py, with a newly built model."""
        pipeline, models = remembering(self.prefix, partitions), self.folder / "models"
        publish(models, pipeline)
        return pipeline, models

    def events(self) -> Recording:
        """Return boardings, which are scored, and departures."""
        (facts,) = self.pipeline.facts
        return all_events().to({"flights.boarding": self.pipeline.events.topic, "flights.departures": facts.topic})

    def check_states(self) -> None:
        """Fail unless the state of every key of every table is the expected one for the events."""
        for report in compare_states(self.kafka, self.pipeline):
            print(report.line)
            assert report.keys > 100
            assert report.ok, f"{report.line}\n{self.logs()}"

    def check_scores(self) -> None:
        """Fail unless each score matches the prior events of its key, as recomputed from all events."""
        (planes, _) = self.pipeline.table_states
        events = self._sent()
        events = events.append_column("reads", pa.array(np.ones(len(events), dtype=np.bool_)))
        with duckdb.connect() as db:
            db.register("events", events)
            found = db.sql(feature_sql.sql(planes)).to_arrow_table()
        order = np.argsort(events["ordinal"].to_numpy())
        remembered = {
            each.name: found[each.name].cast(pa.float64()).fill_null(np.nan).to_numpy() for each in planes.aggregates
        }
        nothing = np.full(len(events), np.nan)  # for departures, which the model ignores
        remembered |= {name: remembered.get(name, nothing) for name in self.pipeline.spec.names}
        (columns,) = events.take(order).combine_chunks().to_batches()
        matrix = self.pipeline.spec.matrix(columns, remembered).astype(np.float64)
        expected = np.where(np.isnan(matrix), MISSING, matrix) @ np.array(weights(self.pipeline))
        scores = dict(zip(*self._scored(), strict=True))
        numbers = np.array([scores[ordinal] for ordinal in events["ordinal"].take(order).to_pylist()])
        np.testing.assert_allclose(numbers, expected, rtol=1e-5)

    def check_scores_of_files(self) -> None:
        """Fail unless files of the same events have the same scores, bit by bit, without Kafka."""
        files, out = {}, self.folder / "scores.avro"
        for events in (self.pipeline.events, *self.pipeline.facts):
            files[events.topic] = str(self.folder / f"{events.schema}.avro")
            with Path(files[events.topic]).open("wb") as stream, TopicReader(self.kafka, [events.topic]) as reader:
                writer = ContainerWriter(stream, project_schemas().schema(events.schema))
                for records in reader.catch_up():
                    writer.write(records.values)
        scored = ScoreFiles(files.pop(self.pipeline.events.topic), out, facts=files)
        model = bundle.read(self.models / self.pipeline.model / "1")
        score_files(self.pipeline, model, scored, Settings(), SystemClock(), lambda *_: None)
        with out.open("rb") as stream:
            found = {each["event_id"]: each["score"] for each in fastavro.reader(stream)}
        decode, expected = decoder(SCORE), dict[str, float]()
        with TopicReader(self.kafka, [self.pipeline.scores.topic]) as reader:
            for records in reader.catch_up():
                columns = decode(records).columns
                expected |= dict(zip(columns["event_id"].to_pylist(), columns["score"].to_pylist(), strict=True))
        assert found == expected

    def last_scores(self) -> dict[str, float]:
        """Return the last score of each key."""
        decode, last = decoder(SCORE), dict[str, float]()
        with TopicReader(self.kafka, [self.pipeline.scores.topic]) as reader:
            for records in reader.catch_up():
                batch = decode(records)
                keys = records.keys.take(pa.array(batch.rows)).to_pylist()
                last |= {
                    key.decode(): score
                    for key, score in zip(keys, batch.columns["score"].to_pylist(), strict=True)
                    if key is not None
                }
        return last

    def _sent(self) -> pa.Table:
        """Return the events with the additional columns for the offline query."""
        decode, parts = decoder(self.pipeline.events.schema), []
        is_plausible = plausible_times(StateSettings())
        with TopicReader(self.kafka, [self.pipeline.events.topic]) as reader:
            for records in reader.catch_up():
                batch = decode(records)
                places = np.array([source.partition for source in records.sources])[records.source] << 40
                table = pa.Table.from_batches([batch.columns])
                table = table.append_column("ordinal", pa.array((places + records.offsets)[batch.rows]))
                # A key in two partitions would have two states; recorded keys do not occur in two.
                table = table.append_column("key", table["tailnum"])
                times, _ = milliseconds(batch.columns.column(self.pipeline.events.time))
                table = table.append_column("time_ms", pa.array(times))
                parts.append(
                    table.append_column("writes", pa.array(is_plausible(times, records.arrived_ms[batch.rows])))
                )
        return pa.concat_tables(parts)

    def _scored(self) -> tuple[list[int], list[float]]:
        """Return for each score the ordinal of its event, and the score."""
        decode, ordinals, scores = decoder(SCORE), [], []
        with TopicReader(self.kafka, [self.pipeline.scores.topic]) as reader:
            for records in reader.catch_up():
                columns = decode(records).columns
                places = columns["source_partition"].to_numpy().astype(np.int64) << 40
                ordinals += (places + columns["source_offset"].to_numpy()).tolist()
                scores += columns["score"].to_pylist()
        return ordinals, scores


def restored(worker: Member) -> float:
    """Return the number of changelog records that a worker has restored."""
    return worker.total("surgetank_restore_records_total")


def changelog_records(under: Remembered, since: Mapping[TopicPartition, int] | None = None) -> int:
    """Return the number of records in the changelogs, optionally from these offsets on."""
    count = 0
    with TopicReader(under.kafka, list(under.pipeline.changelogs.values())) as reader:
        for records in reader.catch_up():
            starts = np.array([(since or {}).get(each, 0) for each in records.sources], dtype=np.int64)
            count += int(np.count_nonzero(records.offsets >= starts[records.source]))
    return count
