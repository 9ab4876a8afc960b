"""What the pages say is true: their commands, links, config, messages and the drawn structure exist."""

from __future__ import annotations

import ast
import functools
import inspect
import re
from pathlib import Path
from typing import get_args

import pytest
import yaml
from pydantic import BaseModel

from support import file_reference, reference
from test_structure import LIBRARY, PARTS, ROOT, make_targets, modules, parse
from trainrelay import __version__
from trainrelay.cli.arguments import parser
from trainrelay.config import parse as parse_config
from trainrelay.errors import TrainrelayError
from trainrelay.records import ENDS, files, report
from trainrelay.training.state import StateKind

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def code_of(text: str) -> list[str]:
    """What a page shows as code: blocks, and spans within a line."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return [*blocks, *re.findall(r"`([^`\n]+)`", rest)]


@each_page
def test_the_commands_of_a_page_exist(page: Path) -> None:
    """`make TARGET` is a target, demo and test named first of all, and `trainrelay VERB` a verb."""
    verbs = next(action.choices for action in parser()._actions if action.choices)
    code = "\n".join(code_of(page.read_text(encoding="utf-8")))
    targets = set(re.findall(r"^make ([a-z-]+)", code, re.MULTILINE))
    assert targets <= make_targets()
    assert targets >= ({"demo", "test"} if page.parent == ROOT else set())
    assert set(re.findall(r"(?:^|: )trainrelay ([a-z]+)", code, re.MULTILINE)) <= set(verbs or ())


@each_page
def test_the_links_of_a_page_lead_somewhere(page: Path) -> None:
    """A link without a host is a file, and what follows # one of its headings."""
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in link:
            continue
        name, _, heading = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if heading:
            titles = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE)
            slugs = {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}
            assert heading in slugs, link


@pytest.mark.parametrize("page", ["CONTRIBUTING.md", "docs/ARCHITECTURE.md"])
def test_the_files_that_a_page_of_the_code_names_exist(page: str) -> None:
    """Seen from the root, from the library, or from the supervision that a section is about."""
    named = [code for code in code_of(text_of(page)) if re.fullmatch(r"[a-z_/]+/[a-z_]+\.(py|smk)", code)]
    folders = (ROOT, LIBRARY, LIBRARY / "supervise")
    assert len(named) > 8
    assert not [name for name in named if not any((folder / name).is_file() for folder in folders)]


def test_the_config_of_the_readme_is_one() -> None:
    """The lines that the README shows are a whole configuration."""
    shown = re.search(r"^```yaml\n(.*?)^```", text_of("README.md"), re.MULTILINE | re.DOTALL)
    assert shown
    assert parse_config(yaml.safe_load(shown[1]), "README.md").in_order("mine") == ["stage1", "stage2"]


def test_the_reference_is_the_command_line_and_the_models_as_they_are() -> None:
    assert reference.page() == text_of("docs/reference.md"), "run: make reference"


def test_the_page_of_files_is_the_records_as_they_are() -> None:
    """And no record of a file is missing there."""
    text = text_of("docs/files.md")
    assert file_reference.page() == text, "run: make reference"
    records = [
        name for name, one in vars(files).items() if isinstance(one, type) and issubclass(one, BaseModel)
    ]
    shown = {model.__name__ for model in (*file_reference.IN_STAGE.values(), *file_reference.parts())}
    assert set(records) - shown == {"BaseModel", "Record", "FromHook", "StepsDone", "Notice"} - shown


def test_what_a_tool_reads_is_explained_field_by_field() -> None:
    """A table without a meaning tells no more than the file itself."""
    models = (files.AttemptRecord, files.TrainRecord, files.CheckpointRecord, files.Notice, report.Analysis)
    silent = [
        f"{model.__name__}.{name}"
        for model in models
        for name, _, _, meaning in file_reference.fields(model)
        if not meaning and name not in inspect.cleandoc(model.__doc__ or "")
    ]
    assert not silent


def test_every_exit_code_is_on_its_page() -> None:
    def codes(error: type[TrainrelayError]) -> set[int]:
        return {error.exit_code}.union(*map(codes, error.__subclasses__()))

    assert {0, 1} | codes(TrainrelayError) == reference.EXIT_CODES.keys()


def test_the_changelog_and_the_citation_are_of_this_version() -> None:
    newest = re.search(r"^## (\S+?),? ", text_of("CHANGELOG.md"), re.MULTILINE)
    assert newest
    assert newest[1] == __version__ == yaml.safe_load(text_of("CITATION.cff"))["version"]


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    """But the lists that pip reads and their page."""
    named = set(re.findall(r"[\w/.-]+\.md", text_of("mkdocs.yml")))
    assert named >= {str(page.relative_to(ROOT)) for page in PAGES}


@functools.cache
def texts() -> str:
    """Every text constant of the source, one per line; what stands between two parts of one is not known."""
    others = (ROOT / "plugin/src", ROOT / "workflow/src/trainrelay_hook")
    sources = [*modules(), *(path for folder in others for path in sorted(folder.rglob("*.py")))]
    nodes = (node for path in sources for node in ast.walk(parse(path)) if isinstance(node, ast.Constant))
    return "\n".join(node.value for node in nodes if isinstance(node.value, str))


def rows(page: str, title: str) -> list[list[str]]:
    """The cells of every table that begins with `| title |`."""
    tables = re.findall(rf"^\| {title} \|.*\n\|[-:| ]+\|\n((?:\|.*\n)+)", text_of(page), re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines]


def test_the_messages_of_the_troubleshooting_page_are_real() -> None:
    """Between its `...` each message that the page explains is text of the source."""
    messages = [said for row in rows("docs/troubleshooting.md", "message") for said in code_of(row[0])]
    assert len(messages) > 30
    parts = [(said, part) for said in messages for part in said.split("...") if part.strip()]
    assert not [said for said, part in parts if part.strip() not in texts()]


def test_every_state_is_a_concept_and_the_glossary_is_short() -> None:
    states = [name for row in rows("docs/concepts.md", "state") for name in code_of(row[0])]
    assert sorted(states) == sorted(get_args(StateKind))
    assert len(rows("docs/concepts.md", "word")) <= 25


def test_every_end_class_is_explained() -> None:
    """The troubleshooting page says what follows each."""
    said = [name for row in rows("docs/troubleshooting.md", "class") for name in code_of(row[0])]
    assert sorted(said) == sorted(ENDS)


def test_the_drawn_structure_is_the_one_that_holds() -> None:
    """A row per room in docs/ARCHITECTURE.md, below those that it may import."""
    table = rows("docs/ARCHITECTURE.md", "room")
    drawn = {room: set(code_of(row[-1])) for row in table for room in code_of(row[0])}
    assert drawn == PARTS
    assert all(uses <= set(list(drawn)[:place]) for place, uses in enumerate(drawn.values()))
