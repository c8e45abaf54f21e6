"""Whatever bytes come, each event ends as one score or one dead letter that holds it as it came."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from surgetank.codec import base
from surgetank.processing.score_records import SCORE_TOO_LARGE
from surgetank.records import DeadLetterReason
from tests.support.event_bytes import Event, buried, real, send
from tests.support.live_pipeline import IN_PLAY, Stage

StageFactory = Callable[..., Stage]

SEED = 20130101
NORMAL_BYTES_MAX = 512  # a boarding event has about 90
WIRE_FRAME = 5


def truncated(event: bytes, random: np.random.Generator) -> bytes:
    """Leave the frame and a part of the body."""
    return event[: int(random.integers(WIRE_FRAME, len(event)))]


def of_unknown_schema(event: bytes, _: np.random.Generator) -> bytes:
    """Give it an id that nobody defined."""
    return b"\0" + (4711).to_bytes(4, "big") + event[WIRE_FRAME:]


def of_other_schema(event: bytes, _: np.random.Generator) -> bytes:
    """Give it the id of a schema that is known, but not for this topic."""
    return b"\0" + (2).to_bytes(4, "big") + event[WIRE_FRAME:]


def random_bytes(event: bytes, random: np.random.Generator) -> bytes:
    """Return as many bytes of nothing; the first is not that of the wire format."""
    return bytes([random.integers(1, 256)]) + random.bytes(len(event) - 1)


def ten_times_larger(event: bytes, _: np.random.Generator) -> bytes:
    """Return the event ten times over."""
    return event * 10


POISONS: dict[Callable[[bytes, np.random.Generator], bytes | None], DeadLetterReason] = {
    truncated: base.UNDECODABLE,
    of_unknown_schema: base.UNKNOWN_SCHEMA,
    of_other_schema: base.UNKNOWN_SCHEMA,
    random_bytes: base.NOT_FRAMED,
    lambda *_: b"": base.EMPTY,
    lambda *_: None: base.NULL_VALUE,
    ten_times_larger: base.VALUE_TOO_LARGE,
}


def test_one_percent_of_poison_is_dead_lettered_as_it_came(stage: StageFactory) -> None:
    """Every poisoned event has one dead letter: right place and reason, same key, bytes and headers; all others a
    score.
    """
    random = np.random.default_rng(SEED)
    events = real(101_000)
    poisoned = sorted(random.choice(len(events), 1_010, replace=False).tolist())
    reasons = {}
    for number, row in enumerate(poisoned):
        poison, reasons[row] = list(POISONS.items())[number % len(POISONS)]
        value = events[row].value
        assert value is not None
        headers = (("trace", str(row).encode()), ("nothing", None), ("trace", b"again"))
        events[row] = Event(events[row].key, poison(value, random), headers[: number % 4])
    under = stage(**IN_PLAY, **{"dead_letters.value_bytes_max": NORMAL_BYTES_MAX})
    lying = send(under, events)
    worker = under.worker()

    found = under.audit()

    assert found.ok, (found, under.logs())
    assert (found.scores, found.dead_letters) == (len(events) - len(poisoned), len(poisoned))
    partitions = under.pipeline.events.partitions
    for letter in buried(under):
        source, offset = letter.cause.source, letter.cause.offset
        assert letter.event == lying[source][offset]
        assert letter.partition == source.partition
        assert letter.cause.reason == reasons.pop(offset * partitions + source.partition)
    assert not reasons
    assert under.fleet.stop(worker) == 0


def test_what_no_default_producer_could_send_is_dead_lettered_too(stage: StageFactory) -> None:
    """A value that Kafka took because it was compressed well, larger than what a client sends by default."""
    under = stage(**IN_PLAY, **{"dead_letters.share_max": 1})
    huge = Event(b"N12345", bytes(5_000_000), (("trace", b"1"),))
    lying = send(under, [*real(1_000), huge])
    under.worker()

    found = under.audit()

    assert found.ok, (found, under.logs())
    (letter,) = buried(under)
    assert letter.event == lying[letter.cause.source][letter.cause.offset] == huge
    assert letter.cause.reason == base.VALUE_TOO_LARGE


def test_a_score_that_its_topic_would_not_take_is_a_dead_letter(stage: StageFactory) -> None:
    """An event with a key of nearly a mebibyte fits its topic, the score with that key does not: the rest goes on."""
    under = stage(**IN_PLAY, **{"dead_letters.share_max": 1})
    events = real(1_000)
    events[500] = Event(bytes(1_048_576 - 250), events[500].value)
    lying = send(under, events)
    under.worker()

    found = under.audit()

    assert found.ok, (found, under.logs())
    (letter,) = buried(under)
    assert letter.event == lying[letter.cause.source][letter.cause.offset] == events[500]
    assert letter.cause.reason == SCORE_TOO_LARGE


def mutated(event: bytes, donor: bytes, random: np.random.Generator) -> bytes:
    """Return an event with some bits turned, cut, grown by noise or grafted onto another."""
    kind = random.integers(5)
    if kind == 0:
        bits = np.frombuffer(event, dtype=np.uint8).copy()
        for place in random.integers(len(bits) * 8, size=random.integers(1, 9)).tolist():
            bits[place // 8] ^= 1 << place % 8
        return bits.tobytes()
    cut = int(random.integers(len(event) + 1))
    if kind == 1:
        return event[:cut]
    if kind == 2:
        return event[:cut] + donor[int(random.integers(len(donor) + 1)) :]
    if kind == 3:
        return event[:cut] + random.bytes(int(random.integers(1, 200))) + event[cut:]
    # The frame stays: what is wrong is found by the decoder only.
    body = np.frombuffer(event[WIRE_FRAME:], dtype=np.uint8).copy()
    body[random.integers(len(body), size=random.integers(1, 4))] = random.integers(256, dtype=np.uint8)
    return event[:WIRE_FRAME] + body.tobytes()


def test_a_hundred_thousand_mutated_events_end_somewhere_each(stage: StageFactory) -> None:
    """Random damage to real events: each is scored or dead-lettered once, as it came; the worker does not mind."""
    random = np.random.default_rng(SEED)
    events = real(100_000)
    donors = random.integers(len(events), size=len(events)).tolist()
    damaged = [
        Event(event.key, mutated(event.value or b"", events[donor].value or b"", random))
        for event, donor in zip(events, donors, strict=True)
    ]
    under = stage(**IN_PLAY, **{"dead_letters.share_max": 1})
    lying = send(under, damaged)
    worker = under.worker()

    found = under.audit()

    assert found.ok, (found, under.logs())
    assert found.scores + found.dead_letters == len(damaged)
    assert min(found.scores, found.dead_letters) > 1_000, "the damage is of both kinds"
    reasons = Counter[DeadLetterReason]()
    for letter in buried(under):
        assert letter.event == lying[letter.cause.source][letter.cause.offset]
        reasons[letter.cause.reason] += 1
    assert {
        base.UNDECODABLE,
        base.NOT_FRAMED,
        base.UNKNOWN_SCHEMA,
        base.EMPTY,
    } <= set(reasons)
    assert worker.running, under.logs()
    assert under.fleet.stop(worker) == 0


@pytest.mark.parametrize("good", [0, 20_000])
def test_too_many_bad_events_stop_the_worker_before_they_are_committed(stage: StageFactory, good: int) -> None:
    """Exit code 3, one clear line, and what tripped it is left: the next worker, told so, takes all of it."""
    share_max, minimum = 0.1, 1_000
    under = stage(**IN_PLAY, **{"dead_letters.minimum_events": minimum})
    bad = [Event(event.key, b"\0\0\0\x12\x67" + (event.value or b"")) for event in real(20_000)]
    send(under, [*real(good), *bad])
    worker = under.worker(ready=False, environment=share(share_max))

    assert worker.process.wait(60) == 3, under.logs()

    log = worker.log.read_text()
    errors = [line for line in log.splitlines() if " ERROR " in line]
    assert len(errors) == 1, log
    assert "were dead-lettered" in errors[0]
    assert f"at most {share_max:.1%} may be" in errors[0]
    assert "Traceback" not in log
    before = under.audit(wait=0)
    outcomes = before.scores + before.dead_letters
    assert not before.duplicates
    assert before.waiting > 0
    assert before.dead_letters <= max(share_max * outcomes, minimum)

    second = under.worker(environment=share(1))
    after = under.audit()
    assert after.ok, (after, under.logs())
    assert (after.scores, after.dead_letters) == (good, len(bad))
    assert second.running


def share(most: float) -> dict[str, str]:
    """Return the environment of a worker that stops when more than this share is bad."""
    return {"SURGETANK_DEAD_LETTERS__SHARE_MAX": str(most)}


def test_poison_that_came_before_the_worker_does_not_stop_it_for_ever(stage: StageFactory) -> None:
    """Within the allowed share the worker goes on, however much of a batch is bad, and says so in its metrics."""
    under = stage(**IN_PLAY)
    events = real(20_000)
    mixed = [event if row % 3 else Event(event.key, None) for row, event in enumerate(events)]
    send(under, mixed)
    worker = under.worker()

    found = under.audit()

    assert found.ok, (found, under.logs())
    dead = metric(worker.ask("/metrics"), 'surgetank_events_dead_total{reason="null_value",stage="decode"}')
    assert dead == found.dead_letters == sum(event.value is None for event in mixed)


def metric(page: str | None, series: str) -> Any:
    """Return the value of one series of a metrics page."""
    values = [line.rsplit(" ", 1)[1] for line in (page or "").splitlines() if line.startswith(f"{series} ")]
    assert len(values) == 1, f"{series} is there {len(values)} times"
    return float(values[0])
