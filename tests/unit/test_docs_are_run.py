"""Each example of the README, the docs and the runbooks is run by a test, or is listed here with the reason why not.

Python examples are run by test_docs.py, PromQL by tests/prometheus. Of a command line, test_docs.py checks every word
by the command line's own parser; the tests below run the command, mostly on a real Kafka, with data of their own.
"""

import json
import re
import shlex
from pathlib import Path

import pytest

from surgetank.settings import Settings, load
from tests.unit.test_docs import EXAMPLES, LINKED, ROOT, commands, named

PAGES = sorted({*EXAMPLES, *LINKED})
CLUSTER, UNIT = "tests/cluster/", "tests/unit/"
ROLLOUT = "test_rollout.py::test_the_rollout_topic_is_deleted_while_workers_follow_it"

# By command: the test that runs it, and the words by which its file does.
RUN = {
    "surgetank audit": (CLUSTER + "test_access_rights.py::test_a_tool_lacks_a_right", '"audit", "any"'),
    "surgetank chaos exactly-once": (
        CLUSTER + "test_chaos.py::test_eight_kills_of_workers_and_brokers_lose_and_double_nothing",
        "Chaos(",
    ),
    "surgetank chaos odd": (CLUSTER + "test_odd_pipelines.py::test_odd_pipelines_end_as_the_rules_say", "run_odd("),
    "surgetank dead-letters export": (
        CLUSTER + "test_dead_letters_tool.py::test_letters_are_listed_counted_shown_and_exported",
        '"export", "--out"',
    ),
    "surgetank dead-letters list": (
        CLUSTER + "test_dead_letters_tool.py::test_letters_are_listed_counted_shown_and_exported",
        '"list", "--json", "--reason"',
    ),
    "surgetank dead-letters replay": (
        CLUSTER + "test_dead_letters_tool.py::test_an_event_that_fails_again_and_again_is_parked",
        '"replay", "--send"',
    ),
    "surgetank dead-letters show": (
        CLUSTER + "test_dead_letters_tool.py::test_letters_are_listed_counted_shown_and_exported",
        'run(under, "show"',
    ),
    "surgetank dead-letters stats": (
        CLUSTER + "test_dead_letters_tool.py::test_letters_are_listed_counted_shown_and_exported",
        'run(under, "stats"',
    ),
    "surgetank dev": (
        CLUSTER + "test_new_project.py::test_a_new_user_has_first_scores_from_a_wheel",
        '"surgetank", "dev"',
    ),
    "surgetank doctor": (UNIT + "cli/test_doctor.py::test_no_broker_answers_the_doctor", '"doctor", "flights"'),
    "surgetank features backfill": (
        UNIT + "offline/test_backfill.py::test_the_command_tells_what_it_wrote",
        '"features", "backfill", "flights"',
    ),
    "surgetank features compare": (
        CLUSTER + "test_skew.py::test_what_departures_told_to_boardings",
        '"features", "compare"',
    ),
    "surgetank incident report": (
        CLUSTER + "test_incident.py::test_an_incident_is_drawn_up_from_the_timeline",
        '"incident", "report"',
    ),
    "surgetank kafka status": (
        CLUSTER + "test_local.py::test_other_processes_find_and_stop_it_and_ctrl_c_does_not_reach_it",
        '_cli("status"',
    ),
    "surgetank kafka up": (
        CLUSTER + "test_local.py::test_other_processes_find_and_stop_it_and_ctrl_c_does_not_reach_it",
        '_cli("up"',
    ),
    "surgetank kafka wait": (
        CLUSTER + "test_local.py::test_other_processes_find_and_stop_it_and_ctrl_c_does_not_reach_it",
        '_cli("wait"',
    ),
    "surgetank lag": (CLUSTER + "test_lag.py::test_the_command_tells_of_any_group", '"lag", "--group"'),
    "surgetank lag-exporter": (
        CLUSTER + "test_lag_exporter.py::test_the_command_serves_until_it_is_told_to_stop",
        '"lag-exporter", "--bootstrap"',
    ),
    "surgetank models build": (
        UNIT + "cli/test_models.py::test_a_bundle_is_built_published_and_pulled",
        '"build", PIPELINE',
    ),
    "surgetank models import-onnx": (
        UNIT + "cli/test_models.py::test_a_model_from_elsewhere_is_imported",
        '"import-onnx", PIPELINE',
    ),
    "surgetank models list": (
        UNIT + "cli/test_models.py::test_a_bundle_is_built_published_and_pulled",
        'asked("list")',
    ),
    "surgetank models publish": (
        UNIT + "cli/test_models.py::test_a_bundle_is_built_published_and_pulled",
        'asked("publish"',
    ),
    "surgetank models pull": (
        UNIT + "cli/test_models.py::test_a_bundle_is_built_published_and_pulled",
        'asked("pull"',
    ),
    "surgetank models show": (
        UNIT + "cli/test_models.py::test_a_bundle_is_built_published_and_pulled",
        'asked("show"',
    ),
    "surgetank models verify": (
        UNIT + "cli/test_models.py::test_a_signed_bundle_is_verified",
        'asked("verify"',
    ),
    "surgetank models shadow": (CLUSTER + ROLLOUT, '"models", "shadow"'),
    "surgetank models canary": (CLUSTER + ROLLOUT, '"models", "canary"'),
    "surgetank models promote": (CLUSTER + ROLLOUT, '"models", "promote"'),
    "surgetank models rollback": (CLUSTER + ROLLOUT, '"models", "rollback"'),
    "surgetank models status": (CLUSTER + ROLLOUT, '"models", "status"'),
    "surgetank models history": (CLUSTER + ROLLOUT, '"models", "history"'),
    "surgetank models quantize": (
        UNIT + "cli/test_models_quantize.py::test_a_form_is_measured_and_written",
        '"models", "quantize"',
    ),
    "surgetank new": (
        CLUSTER + "test_new_project.py::test_a_new_user_has_first_scores_from_a_wheel",
        '"surgetank", "new"',
    ),
    "surgetank schemas check": (
        CLUSTER + "test_new_project.py::test_a_new_user_has_first_scores_from_a_wheel",
        '"schemas", "check"',
    ),
    "surgetank schemas apply": (
        CLUSTER + "test_schema_registry.py::test_schemas_of_a_pipeline_are_registered_once",
        'run("apply")',
    ),
    "surgetank schemas plan": (
        CLUSTER + "test_schema_registry.py::test_schemas_of_a_pipeline_are_registered_once",
        'run("plan")',
    ),
    "surgetank score": (
        UNIT + "edge/test_score_run.py::test_events_come_from_the_standard_input",
        '"score", "--bundle"',
    ),
    "surgetank scores": (CLUSTER + "test_access_rights.py::test_a_tool_lacks_a_right", '"scores", "any"'),
    "surgetank settings": (UNIT + "test_settings.py::test_the_command_gives_scripts_json", '"settings", "--json"'),
    "surgetank state export": (
        CLUSTER + "test_snapshots.py::test_a_snapshot_is_imported_only_where_it_belongs",
        '"export", str(out)',
    ),
    "surgetank state import": (
        CLUSTER + "test_snapshots.py::test_a_snapshot_is_imported_only_where_it_belongs",
        '"import", str(out)',
    ),
    "surgetank state inspect": (CLUSTER + "test_access_rights.py::test_a_tool_lacks_a_right", '"state", "inspect"'),
    "surgetank state rebuild": (
        CLUSTER + "test_upkeep.py::test_rows_that_hold_enough_are_migrated",
        '"rebuild", "--dry-run"',
    ),
    "surgetank state reset": (UNIT + "cli/test_json_output.py::test_deleted_state_is_listed", '"state", "reset"'),
    "surgetank state reshard": (CLUSTER + "test_upkeep.py::test_a_pipeline_grows_in_mid_stream", '"reshard", "--part'),
    "surgetank state restoring": (
        CLUSTER + "test_access_rights.py::test_a_tool_lacks_a_right",
        '"state", "restoring"',
    ),
    "surgetank state size": (CLUSTER + "test_access_rights.py::test_a_tool_lacks_a_right", '"state", "size"'),
    "surgetank timeline": (
        CLUSTER + "test_timeline.py::test_the_story_of_two_workers_is_told_in_order",
        '"timeline", stateless_flights',
    ),
    "surgetank timeline receive": (
        CLUSTER + "test_incident.py::test_alerts_are_on_the_timeline_once_each",
        '"timeline", "receive"',
    ),
    "surgetank topics acls": (
        UNIT + "kafka/test_access_rights.py::test_json_lists_the_rights_by_tool",
        '"topics", "acls"',
    ),
    "surgetank topics apply": (CLUSTER + "test_access_rights.py::test_a_tool_lacks_a_right", '"topics", "apply"'),
    "surgetank topics check": (CLUSTER + "test_access_rights.py::test_a_tool_lacks_a_right", '"topics", "check"'),
    "surgetank worker": (CLUSTER + "test_startup.py::test_of_two_workers_of_one_name_one_ends", '"worker"'),
    "python -m models.train": (UNIT + "scaffold/test_new_project.py::test_the_projects_own_tests_pass", '"pytest"'),
    "python -m pip": (CLUSTER + "test_new_project.py::test_the_wheel_brings_one_name", '"pip"'),
    "python -m pytest": (UNIT + "scaffold/test_new_project.py::test_the_projects_own_tests_pass", '"pytest"'),
}

# By command: why no test runs it.
NOT_RUN = {
    "docker compose": "needs Docker; test_compose.py checks the file against the code",
    "make check": "reads the code; the tests do not change it",
    "make bench": "takes twenty minutes of a quiet machine; tests/cluster/test_bench_loops.py runs its loops",
    "make demo": "takes two minutes; test_demo_start.py, test_replay_audit.py and test_chaos.py run its parts",
    "make install": "makes the environment in which the tests run",
    "make test": "runs the tests",
    "make test-kafka": "runs a part of the tests on another version of Kafka",
    "surgetank bench": "as make bench",
    "surgetank replay": "takes as long as the recording; test_replay_audit.py runs what the command calls",
    "curl": "asks a worker, an exporter or Prometheus; tests/unit/http asks for the same addresses",
    "df": "is a program of the machine",
}

# Code blocks without a language, by their first words: why nothing can run.
PICTURES = {
    "worker (one process": "a diagram",
    "Kafka: events, facts": "a diagram",
    "events 187,843": "what the demo printed",
    "errors of the model in": "what the judge said in test_judge_verdict.py",
}

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_TESTED = {"python", "sh", "promql", "json", "toml"}


def command_of(line: str) -> str:
    """Return the program of a command line, and what says which of its commands is run."""
    program, *words = shlex.split(line, comments=True)
    if words[:1] == ["--project"]:
        words = words[2:]
    known = sorted({*RUN, *NOT_RUN}, key=len, reverse=True)
    whole = " ".join([program, *words])
    return next((each for each in known if whole == each or whole.startswith(f"{each} ")), whole)


def missing_tests() -> list[str]:
    """Return the commands of ``RUN`` whose test does not exist, or does not have the words."""
    wrong = []
    for command, (test, words) in RUN.items():
        file, _, function = test.partition("::")
        text = (ROOT / file).read_text()
        if f"def {function}(" not in text or words not in text:
            wrong.append(command)
    return wrong


def untested_blocks(text: str) -> list[str]:
    """Return the first words of code blocks that nothing reads."""
    found = [(language, " ".join(body.split())) for language, body in _BLOCK.findall(text)]
    return [
        words[:40]
        for language, words in found
        if language not in _TESTED and not any(words.startswith(each) for each in PICTURES)
    ]


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_each_command_of_a_page_is_run_by_a_test(page: Path) -> None:
    """Or has a reason."""
    found = {command_of(line) for line in commands(page.read_text())}
    assert found - RUN.keys() - NOT_RUN.keys() == set()


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_each_block_of_a_page_is_of_a_language_that_tests_read(page: Path) -> None:
    """Or is a picture."""
    assert untested_blocks(page.read_text()) == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_each_settings_file_of_a_page_can_be_loaded(page: Path, tmp_path: Path) -> None:
    """Names and values are right; the files that they name are those of a user."""
    for number, (_, body) in enumerate(each for each in _BLOCK.findall(page.read_text()) if each[0] == "toml"):
        file = tmp_path / f"{number}.toml"
        file.write_text(body)
        assert load(file=file) != Settings()


def test_the_tests_that_run_commands_exist() -> None:
    """And run them."""
    assert missing_tests() == []


def test_no_command_is_listed_that_no_page_has() -> None:
    """The list of reasons does not outlive the examples."""
    found = {command_of(line) for page in PAGES for line in commands(page.read_text())}
    assert {*RUN, *NOT_RUN} - found == set()
    assert RUN.keys() & NOT_RUN.keys() == set()


def test_json_examples_are_json() -> None:
    """All of them."""
    found = [body for page in PAGES for language, body in _BLOCK.findall(page.read_text()) if language == "json"]
    assert all(map(json.loads, found))
    assert found


def test_an_example_that_nothing_runs_is_found() -> None:
    """A command and a block of another language."""
    assert command_of("surgetank lag-exporters --x") not in {*RUN, *NOT_RUN}
    assert command_of("surgetank --project here lag x   # a comment") == "surgetank lag"
    assert untested_blocks("```xml\na = 1\n```\n\n```\nevents  187,843\n```\n") == ["a = 1"]
