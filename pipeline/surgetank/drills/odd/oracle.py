"""How each record of an odd pipeline must end, by own rules: fastavro and ``strict_avro`` decode, not the engine.

Two limits depend on sizes that the engine does not state to the byte: the largest key with state, and the largest
score. Near those, both outcomes are allowed.
"""

import io
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import fastavro

from surgetank.drills.odd.declaration import OddPipeline
from surgetank.drills.odd.features import meaning
from surgetank.drills.odd.models import ModelFailsError
from surgetank.drills.odd.schemas import OddSchema
from surgetank.drills.odd.strict_avro import conforms, physical

SCORE, FACT = "score", "fact"
FRAME_BYTES = 5
CHANGELOG_BYTES_MAX = 1_048_588  # Kafka's default of max.message.bytes
ROW_BYTES = 65_536  # no row of the tables that are drawn is larger
RECORD_BYTES = 1_024  # what a score has besides its texts, and a batch besides its record
CACHED_BYTES_MAX = 4_096
FLOAT32_MAX = 3.4028234663852886e38

_NEAR = 1e-5


@dataclass(frozen=True, slots=True)
class ExpectedOutcome:
    """The allowed outcomes of a record: SCORE, FACT, or step and reason of a dead letter as ``decode/empty``.

    ``event`` is what was decoded, with physical values; ``score`` is that of the model, NaN if there is none, and
    ``slack`` how much the found one may differ.
    """

    outcomes: frozenset[str]
    event: dict[str, Any] | None = None
    score: float = math.nan
    slack: float = 0.0


class Oracle:
    """Judges the records of the topics of one pipeline. ``changelog_bytes_max``: max.message.bytes of changelogs."""

    def __init__(self, odd: OddPipeline) -> None:
        self._odd = odd
        self._model = odd.model.score
        self._decoders = {odd.events_topic: _Decoder(odd.events, odd.value_bytes_max)}
        if odd.facts is not None:
            self._decoders[odd.facts_topic] = _Decoder(odd.facts, odd.value_bytes_max)
        self._known: dict[tuple[str, bytes], ExpectedOutcome] = {}

    def expected(self, topic: str, key: bytes | None, value: bytes | None) -> ExpectedOutcome:
        """Return how a record must end."""
        is_fact = topic != self._odd.events_topic
        if is_fact and value is None and key is not None:
            return self._with_key(ExpectedOutcome(frozenset((FACT,))), key)
        if value is None:
            return _dead("decode/null_value")
        found = self._known.get((topic, value))
        if found is None:
            found = self._of_value(topic, value, is_fact)
            if len(value) <= CACHED_BYTES_MAX:
                self._known[topic, value] = found
        found = self._with_key(found, key)
        return found if is_fact or SCORE not in found.outcomes else self._with_score_size(found, key)

    def _of_value(self, topic: str, value: bytes, is_fact: bool) -> ExpectedOutcome:
        reason, event = self._decoders[topic].decode(value)
        if event is None:
            return _dead(reason)
        if is_fact:
            return ExpectedOutcome(frozenset((FACT,)), event)
        return self._scored(event)

    def _scored(self, event: dict[str, Any]) -> ExpectedOutcome:
        row = [feature.value(event) for feature in self._odd.features if feature.value is not None]
        try:
            found = self._model(row)
        except ModelFailsError:
            return ExpectedOutcome(frozenset(("infer/model_error",)), event)
        outcomes = set()
        score, slack = found
        if math.isfinite(score):
            identified = event[self._odd.events.id] is not None and event[self._odd.events.time] is not None
            outcomes.add(SCORE if identified else "emit/unencodable")
        if not math.isfinite(score) or abs(score) > FLOAT32_MAX * (1 - _NEAR):
            outcomes.add("infer/not_a_number")
        return ExpectedOutcome(frozenset(outcomes), event, score, slack)

    def _with_key(self, found: ExpectedOutcome, key: bytes | None) -> ExpectedOutcome:
        """Return the outcome for a record with this key, which may be too large for the state."""
        size = len(key or b"")
        if found.event is None and FACT not in found.outcomes:
            return found  # it is not decoded
        if not self._odd.keeps_state or size <= CHANGELOG_BYTES_MAX - ROW_BYTES:
            return found
        too_large = frozenset(("decode/key_too_large",))
        sure = size > CHANGELOG_BYTES_MAX
        return replace(found, outcomes=too_large if sure else found.outcomes | too_large)

    def _with_score_size(self, found: ExpectedOutcome, key: bytes | None) -> ExpectedOutcome:
        event, odd = found.event or {}, self._odd
        texts = sum(_text_bytes(event[name], odd.events.type_of(name)) for name in (odd.events.id, odd.key) if name)
        size = texts + len(key or b"")
        too_large = frozenset(("emit/too_large",))
        if size > odd.score_bytes_max:
            return replace(found, outcomes=found.outcomes - {SCORE} | too_large)
        if size > odd.score_bytes_max - RECORD_BYTES:
            return replace(found, outcomes=found.outcomes | too_large)
        return found


class _Decoder:
    """Decodes the values of one topic; every version of the schema is read as the current one."""

    def __init__(self, schema: OddSchema, value_bytes_max: int) -> None:
        versions = schema.versions()
        self._value_bytes_max = value_bytes_max
        self._reader = fastavro.parse_schema(physical(versions[-1]), named_schemas={})
        self._versions: dict[int, tuple[Callable[[bytes], bool], Any]] = {
            id_: (conforms(version), fastavro.parse_schema(physical(version), named_schemas={}))
            for id_, version in zip(schema.ids, versions, strict=True)
        }

    def decode(self, value: bytes) -> tuple[str, dict[str, Any] | None]:
        """Return the event, or the reason why there is none."""
        if not value:
            return "decode/empty", None
        if len(value) > self._value_bytes_max:
            return "decode/too_large", None
        if len(value) < FRAME_BYTES or value[0] != 0:
            return "decode/not_framed", None
        version = self._versions.get(int.from_bytes(value[1:FRAME_BYTES], "big"))
        if version is None:
            return "decode/unknown_schema", None
        fits, writer = version
        body = value[FRAME_BYTES:]
        if not fits(body):
            return "decode/undecodable", None
        event: dict[str, Any] = fastavro.schemaless_reader(io.BytesIO(body), writer, self._reader)
        return "", event


def _dead(reason: str) -> ExpectedOutcome:
    return ExpectedOutcome(frozenset((reason,)))


def _text_bytes(value: Any, schema: Any) -> int:
    """Return the bytes of the text of an id or a key; those of short ones need not be exact."""
    if isinstance(value, str):
        return len(value.encode())
    return 2 * len(value) if isinstance(value, bytes) and meaning(schema) != "decimal" else 0
