"""What we rely on of Faust and mode: they host agents and services, and nothing of their Kafka machinery runs."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import faust
import pytest

from surgetank.runtime.faust_host import FaustApp
from tests.support.kafka_under_test import KafkaUnderTest
from tests.support.live_pipeline import Stage
from tests.support.topologies.stateless_flights import ENVIRONMENT

HOST = "surgetank.runtime.faust_host.faust_app.<locals>.Host"
# By module, so that a part that a new version adds is noticed too.
EXPECTED = {
    "surgetank.runtime.faust_host.FaustApp",
    HOST,
    "faust.agents.manager.AgentManager",
    "faust.sensors.monitor.Monitor",
}
OFF = ("consumer", "producer", "fetcher", "conductor", "assignor", "recovery", "tables", "transport", "web", "reply")


def test_the_versions_are_those_that_were_read() -> None:
    """Other versions may do otherwise: read them again before changing this."""
    assert version("faust-streaming") == "0.15.3"
    assert version("mode-streaming") == "0.7.1"


def test_a_running_worker_holds_nothing_of_fausts_kafka(kafka: KafkaUnderTest, tmp_path: Path) -> None:
    """While it scores: no consumer, producer, tables, recovery or web of Faust; no object of aiokafka exists."""
    with Stage(kafka.settings, tmp_path) as under:
        under.apply_topics()
        under.send(500)
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.contract.inside", kafka.bootstrap],
            env=os.environ | {ENVIRONMENT: under.prefix},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            under.until(lambda: under.scores() == 500 or process.poll() is not None, 60, "it scores")
            out, _ = process.communicate("\n", timeout=60)
        finally:
            process.kill()
        found = json.loads(out.splitlines()[-1])

    assert set(found["services"]) <= EXPECTED, found["services"]
    assert {"surgetank.runtime.faust_host.faust_app.<locals>.Host", "faust.agents.manager.AgentManager"} <= set(
        found["services"]
    )
    assert not [name for name in found["services"] if any(part in name.lower() for part in OFF)]
    assert found["kafka_of_faust"] == []
    assert found["started"] == []
    assert found["topics_of_faust"] == 0
    assert found["tables_of_faust"] == 0
    assert len(found["listening"]) == 1  # our own telemetry
    assert {"membership", "initializer", "transactions", "monitor"} <= set(found["threads"])


@pytest.fixture
async def app() -> AsyncIterator[faust.App]:
    """Return an app as ours, not started, stopped at the end."""
    app = FaustApp("contract", broker="kafka://unused", store="memory://", autodiscover=False)
    yield app
    await app.stop()


async def test_nothing_enters_a_channel_before_flow_control_is_resumed(app: faust.App) -> None:
    """Without Kafka nobody resumes it: ``put`` would wait for ever, so the host does it."""
    channel = app.channel(maxsize=1, value_type=Any)
    got: list[object] = []

    async def take(stream: Any) -> None:
        async for value in stream:
            got.append(value)  # noqa: PERF401 - an agent, not a loop over a list

    app.agent(channel)(take)
    await app.start()
    assert not app.flow_control.is_active()
    waiting = asyncio.ensure_future(channel.put(value="first"))
    await asyncio.wait([waiting], timeout=0.5)
    assert got == []

    app.flow_control.resume()
    await asyncio.wait_for(waiting, 10)
    await wait_for(lambda: got == ["first"])


async def test_values_of_a_channel_arrive_as_they_are_and_need_no_acknowledgement(app: faust.App) -> None:
    """A hundred objects pass a channel of size one, the very objects, in order, though nothing acknowledges them."""
    channel = app.channel(maxsize=1, value_type=Any)
    sent = [object() for _ in range(100)]
    got: list[object] = []

    async def take(stream: Any) -> None:
        async for value in stream:
            got.append(value)  # noqa: PERF401 - an agent, not a loop over a list

    app.agent(channel)(take)
    app.flow_control.resume()
    await app.start()
    for value in sent:
        await asyncio.wait_for(channel.put(value=value), 10)
    await wait_for(lambda: len(got) == len(sent))

    assert all(one is other for one, other in zip(got, sent, strict=True))


async def test_an_agent_that_raises_is_no_reason_for_faust_to_end(app: faust.App) -> None:
    """Faust logs it, restarts the agent and drops the value: so an error must never reach it from ours."""
    channel = app.channel(maxsize=1, value_type=Any)
    got: list[str] = []

    async def take(stream: Any) -> None:
        async for value in stream:
            got.append(value)
            if value == "bad":
                raise ValueError(value)

    app.agent(channel)(take)
    app.flow_control.resume()
    await app.start()
    await channel.put(value="bad")
    await wait_for(lambda: got == ["bad"])
    await asyncio.wait_for(channel.put(value="next"), 10)
    await wait_for(lambda: "next" in got)

    assert got == ["bad", "next"]
    assert not app.should_stop


async def wait_for(condition: Callable[[], bool]) -> None:
    """Wait for a condition in the event loop. Fails if it does not come."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0.01)
    assert condition()
