"""The documentation is tested: examples run, commands and settings exist, links lead somewhere, the README is short."""

import ast
import re
import shlex
from collections import Counter
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer

from surgetank.cli import app
from surgetank.cli.pipeline_argument import assigned
from surgetank.codec.avro.deserializer import AvroDeserializer
from surgetank.codec.schema_repository import project_schemas
from surgetank.declaration import Pipeline
from surgetank.errors import SettingsError
from surgetank.settings import Settings, load
from surgetank.settings.names import variable_of

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").glob("*.md"))
DECISIONS = sorted((ROOT / "ops" / "decisions").glob("*.md"))
TEMPLATE = ROOT / "pipeline" / "surgetank" / "scaffold" / "template"
EXAMPLES = [
    README,
    *DOCS,
    ROOT / "schemas" / "README.md",
    ROOT / "ops" / "training" / "README.md",
    TEMPLATE / "README.md",
    TEMPLATE / "schemas" / "README.md",
]
LINKED = [*EXAMPLES, ROOT / "CHANGELOG.md", *DECISIONS, *sorted((ROOT / "ops" / "runbooks").glob("*.md"))]
GENERATED = {"settings.md", "metrics.md"}
FOLDERS = ("pipeline", "ops", "topology", "schemas", "tests", "docs")
SOURCES = {".py", ".md", ".yml", ".toml", ".sql"}
SECTIONS = ["Context", "Decision", "Consequences", "Measured"]
WORDS_MAX = 900
USAGE_ERROR: Any = typer.BadParameter.__bases__[0]  # of the click that typer brings
INSERTED = "1"  # stands for what a message inserts: any argument may be a 1
FOREIGN = {"docker", "faust", "kill", "python"}  # programs that are not ours

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_INLINE = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")


def named(path: Path) -> str:
    """Return the path of a page in the project, as the name of a test case."""
    return path.relative_to(ROOT).as_posix()


def blocks(text: str, language: str) -> list[str]:
    """Return the code blocks of a language."""
    return [body for kind, body in _BLOCK.findall(text) if kind == language]


def inline(text: str) -> list[str]:
    """Return the code spans outside of code blocks."""
    return _INLINE.findall(_BLOCK.sub("", text))


def commands(text: str) -> list[str]:
    """Return the command lines of the shell blocks of a page."""
    return [line for block in blocks(text, "sh") for line in block.splitlines() if line.strip()]


def mentions(text: str) -> list[str]:
    """Return the command lines in the sentences of a page, which may leave arguments out."""
    return [code for code in inline(text) if re.match(r"(surgetank|make) ", code)]


@cache
def make_targets() -> frozenset[str]:
    """Return the targets of the Makefile."""
    return frozenset(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def fault(line: str, *, mentioned: bool = False) -> str:
    """Return what is wrong with a command line, or ''. Nothing is run: the command line's own parser reads it.

    ``mentioned``: the name of a command without anything else is enough, and may be ``INSERTED``.
    """
    program, *words = shlex.split(line, comments=True)
    if program == "make":
        return "" if words and words[0] in make_targets() else f"no such target: {line}"
    if program != "surgetank":
        return "" if program in FOREIGN else f"unknown program: {line}"
    command: Any = typer.main.get_command(app)
    if words[:1] == ["--project"]:
        words = words[2:]
    while words and (subcommands := getattr(command, "commands", None)) is not None:
        if mentioned and words[0] == INSERTED:
            return ""
        if words[0] not in subcommands:
            return f"no such command: {line}"
        command = subcommands[words.pop(0)]
    if mentioned and not words:
        return ""
    try:
        parsed = command.make_context("surgetank", list(words))
        settings = parsed.params.get("set_") or ()
        load(dict(assigned(settings)))
    except (USAGE_ERROR, SettingsError) as error:
        return f"{line}: {error}"
    return ""


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page, as GitHub makes them."""
    found: Counter[str] = Counter()
    for heading in re.findall(r"^#+ (.+)$", _BLOCK.sub("", page.read_text()), re.MULTILINE):
        found[re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")] += 1
    return set(found)


def dead_links(page: Path) -> list[str]:
    """Return the links of a page to files or headings that do not exist."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", _BLOCK.sub("", page.read_text())):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    return dead


def missing_paths(text: str) -> list[str]:
    """Return the code spans of a page that look like files of the project and are none."""
    paths = [code for code in inline(text) if re.fullmatch(rf"(?:{'|'.join(FOLDERS)})/[\w./-]*", code)]
    return [path for path in paths if not (ROOT / path).exists()]


def unknown_names(text: str) -> list[str]:
    """Return the code spans of a page that look like settings or metrics and are none."""
    sections = {name: set(type(getattr(Settings(), name)).model_fields) for name in type(Settings()).model_fields}
    metrics = (ROOT / "docs" / "metrics.md").read_text()
    unknown = []
    for code in inline(text):
        setting = re.match(r"([a-z_]+)\.([a-z_]+)(?: = .*)?$", code)
        if (
            setting and setting[1] in sections and setting[2] not in {*sections[setting[1]], "onnx"}
        ):  # model.onnx is a file
            unknown.append(code)
        if re.fullmatch(r"surgetank_\w+", code) and f"`{code}`" not in metrics:
            unknown.append(code)
    return unknown


def run(page: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run the Python blocks of a page one after the other in an empty folder, with the repository's schemas.

    Return what they define.
    """
    monkeypatch.chdir(folder)
    monkeypatch.setenv(variable_of("schemas.directory"), str(ROOT / "schemas"))
    names: dict[str, Any] = {"__name__": "example"}
    for number, block in enumerate(blocks(page.read_text(), "python")):
        exec(compile(block, f"{page.name}, block {number + 1}", "exec"), names)
    return names


@pytest.mark.parametrize("page", [page for page in EXAMPLES if blocks(page.read_text(), "python")], ids=named)
def test_python_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The Python blocks of a page run in their order, and each pipeline that they declare fits its schemas."""
    found = [each for each in run(page, tmp_path, monkeypatch).values() if isinstance(each, Pipeline)]
    written = tmp_path / "schemas"  # by the page itself

    def schema(name: str) -> Any:
        contracts = project_schemas(written if (written / f"{name}.avsc").is_file() else None)
        return AvroDeserializer(contracts, name, value_bytes_max=1 << 20).schema

    for pipeline in found:
        pipeline.check(schema(pipeline.events.schema))
        pipeline.check_facts({facts.topic: schema(facts.schema) for facts in pipeline.table_facts})
    assert found, "a page with Python examples declares at least one pipeline"


def test_a_python_example_that_fails_fails_its_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An example that raises is not passed over."""
    page = tmp_path / "page.md"
    page.write_text("Text.\n\n```python\nvalue = 1\n```\n\n```python\nassert value == 2\n```\n")
    with pytest.raises(AssertionError):
        run(page, tmp_path, monkeypatch)


@pytest.mark.parametrize("page", EXAMPLES, ids=named)
def test_shell_examples_are_accepted_by_the_command_line(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Commands, arguments, options, settings and make targets of a page exist and have valid values."""
    monkeypatch.chdir(tmp_path)  # no settings file
    for folder in ("recorded", "snapshot"):
        (tmp_path / folder).mkdir()  # what the examples read
    text = page.read_text()
    assert [wrong for line in commands(text) if (wrong := fault(line))] == []
    assert [wrong for line in mentions(text) if (wrong := fault(line, mentioned=True))] == []


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("surgetank lags flights", True),
        ("surgetank lag flights --wach", True),
        ("surgetank state reshard flights --partitions many", True),
        ("surgetank state export flights", True),
        ("surgetank worker topology.flights --set worker.rows=1", True),
        ("make tset", True),
        ("surgetnk lag flights", True),
        ("surgetank lag flights --watch   # a comment", False),
        ("surgetank worker topology.flights --set worker.batch_rows_max=1", False),
        ('make bench ARGS="--job payments"', False),
    ],
)
def test_a_wrong_command_is_found(line: str, wrong: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check of shell examples finds wrong commands, options, values, settings, targets and programs."""
    monkeypatch.chdir(tmp_path)
    assert bool(fault(line)) is wrong, fault(line)


def joined(message: ast.JoinedStr) -> str:
    """Return a text with ``INSERTED`` for each word that it inserts, and nothing for what it appends to a word."""
    text = ""
    for part in message.values:
        if isinstance(part, ast.Constant):
            text += str(part.value)
        elif not text or not text[-1].isalnum():
            text += INSERTED
    return text


def messages(path: Path) -> list[str]:
    """Return the texts in a source file, with ``INSERTED`` for what they insert."""
    tree = ast.parse(path.read_text())
    whole = [node for node in ast.walk(tree) if isinstance(node, ast.JoinedStr)]
    parts = {id(part) for node in whole for part in ast.walk(node) if part is not node}
    return [
        joined(node) if isinstance(node, ast.JoinedStr) else str(node.value)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr) or (isinstance(node, ast.Constant) and id(node) not in parts)
    ]


@pytest.mark.parametrize("folder", ["pipeline", "ops"])
def test_commands_that_messages_name_exist(folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a message tells an operator to run is accepted by the command line."""
    monkeypatch.chdir(tmp_path)  # no settings file
    found = {line for path in (ROOT / folder).rglob("*.py") for text in messages(path) for line in mentions(text)}
    assert len(found) > {"pipeline": 5, "ops": 0}[folder]
    assert [wrong for line in sorted(found) if (wrong := fault(line, mentioned=True))] == []


def test_a_command_that_does_not_exist_is_found_in_a_message(tmp_path: Path) -> None:
    """Also where the message inserts a name."""
    source = tmp_path / "source.py"
    source.write_text('raise ValueError(f"run `surgetank replay-dead {name}`, or " "`surgetank topics apply flights`")')
    assert [bool(fault(line)) for text in messages(source) for line in mentions(text)] == [True, False]


@pytest.mark.parametrize("page", LINKED, ids=named)
def test_links_resolve(page: Path) -> None:
    """Each relative link of a page leads to a file, and to a heading of it if it has an anchor."""
    assert dead_links(page) == []


def test_dead_links_and_anchors_are_found(tmp_path: Path) -> None:
    """The check of links finds files and headings that do not exist."""
    page = tmp_path / "page.md"
    page.write_text("# A title\n\n[a](#a-title) [b](#b-title) [c](c.md) [d](page.md#a-title) [e](https://e.org/e)\n")
    assert dead_links(page) == ["#b-title", "c.md"]


@pytest.mark.parametrize("page", [README, *DOCS], ids=named)
def test_files_that_a_page_names_exist(page: Path) -> None:
    """Paths of the project in code spans exist."""
    assert missing_paths(page.read_text()) == []


@pytest.mark.parametrize("page", [README, *(page for page in DOCS if page.name not in GENERATED)], ids=named)
def test_settings_and_metrics_that_a_page_names_exist(page: Path) -> None:
    """Settings and metrics in code spans exist."""
    assert unknown_names(page.read_text()) == []


def test_wrong_files_settings_and_metrics_are_found() -> None:
    """The checks of code spans find what does not exist, and leave code blocks alone."""
    text = (
        "`pipeline/nowhere.py` `pipeline/surgetank/app.py` `worker.rows` `worker.name` `surgetank_no_total` "
        "`surgetank_tasks`"
    )
    assert missing_paths(text) == ["pipeline/nowhere.py"]
    assert unknown_names(text) == ["worker.rows", "surgetank_no_total"]
    assert missing_paths(f"```\n{text}\n```\n") == []


def test_the_readme_is_short() -> None:
    """The README has at most 900 words, counted as `wc -w` does; the rest is in docs/."""
    assert len(README.read_text().split()) <= WORDS_MAX


def test_the_index_lists_every_page() -> None:
    """Each page of docs/ is linked from its index."""
    index = (ROOT / "docs" / "README.md").read_text()
    assert [page.name for page in DOCS if page.name != "README.md" and f"]({page.name})" not in index] == []


@pytest.mark.parametrize("page", DECISIONS, ids=named)
def test_a_decision_has_its_sections(page: Path) -> None:
    """A decision file has its number in the title and the four sections in order, each with content."""
    text = page.read_text()
    assert text.startswith(f"# {page.name[:4]}: ")
    parts = re.split(r"^## (.+)\n", text, flags=re.MULTILINE)
    assert parts[1::2] == SECTIONS
    assert all(body.strip() for body in parts[2::2])


def test_references_to_decisions_lead_to_one_file() -> None:
    """Each `ops/decisions/NNNN...` in the tree is the number, or the name, of one decision file."""
    names = [page.stem for page in DECISIONS]
    assert len({name[:4] for name in names}) == len(names)
    wrong = {}
    for folder in FOLDERS:
        for path in sorted((ROOT / folder).rglob("*")):
            if path.suffix in SOURCES and "__pycache__" not in path.parts:
                found = re.findall(r"ops/decisions/(\d{4}(?:-[\w-]+)?)", path.read_text())
                if bad := [name for name in found if name not in names and name not in {each[:4] for each in names}]:
                    wrong[named(path)] = bad
    assert wrong == {}
