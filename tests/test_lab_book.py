"""The lab book: one file for each experiment, and an index that lists every one of them once."""

import re
from collections import Counter
from datetime import date
from pathlib import Path

import pytest

BOOK = Path(__file__).resolve().parent.parent / "docs" / "experiments"
INDEX = BOOK / "README.md"
ENTRIES = sorted(path for path in BOOK.glob("*.md") if path != INDEX)
NAME = re.compile(r"(\d{4}-\d{2}-\d{2})-[a-z0-9]+(?:-[a-z0-9]+)*\.md")
LINK = re.compile(r"\[[^\]]+\]\(([^)#]+)(?:#[^)]*)?\)")


def indexed() -> list[tuple[str, str, str]]:
    """(link, question, conclusion) of each line of the index tables."""
    tables = INDEX.read_text("utf-8").split("| experiment | question | conclusion |\n|---|---|---|\n")[1:]
    rows = [row for table in tables for row in table.split("\n\n")[0].strip().split("\n")]
    cells = [[cell.strip() for cell in row.strip("|").split(" | ")] for row in rows]
    return [(experiment, question, conclusion) for experiment, question, conclusion in cells]


def test_every_experiment_is_in_the_index_exactly_once():
    links = Counter(target for experiment, _, _ in indexed() for target in LINK.findall(experiment))
    assert links == Counter(path.name for path in ENTRIES)


def test_every_line_of_the_index_has_a_question_and_a_conclusion():
    for _, question, conclusion in indexed():
        assert question.endswith("?"), question
        assert conclusion.endswith("."), conclusion


@pytest.mark.parametrize("path", ENTRIES, ids=lambda path: path.name)
def test_an_experiment_has_a_date_in_its_name_and_a_title(path):
    found = NAME.fullmatch(path.name)
    assert found
    day = date.fromisoformat(found[1])
    title, blank, dated, *_ = path.read_text("utf-8").split("\n")
    assert re.fullmatch(r"# \S.*", title)
    assert (blank, dated) == ("", f"Date: {day}")


@pytest.mark.parametrize("path", [INDEX, *ENTRIES], ids=lambda path: path.name)
def test_links_to_other_files_point_to_something(path):
    for target in LINK.findall(path.read_text("utf-8")):
        assert "://" in target or (path.parent / target).is_file(), target
