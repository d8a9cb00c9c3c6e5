"""The README and the pages of docs/: links, commands, settings and paths that exist, and prose that stays short."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import get_args, get_origin

import pytest
from typer.main import get_command

from rag.cli.main import app
from rag.config import Settings

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").rglob("*.md"))]
GENERATED = {ROOT / "docs" / "cli.md", ROOT / "docs" / "settings.md"}
LAB_BOOK = ROOT / "docs" / "experiments"
# An entry of the lab book keeps the commands, settings and paths of its day.
CURRENT = [page for page in PAGES if LAB_BOOK not in page.parents]
WRITTEN = [page for page in CURRENT if page not in GENERATED]
MAX_README_LINES, MAX_README_WORDS = 150, 1200
MAX_MEAN_SENTENCE_WORDS = 15

FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
SPAN = re.compile(r"`([^`]+)`")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)
SETTING = re.compile(r"--set[ =]([\w.]+)=")
OWN_PATH = re.compile(r"(?<![\w./~{-])(?:rag|scripts)/[\w./*-]*")

COMMANDS = get_command(app)


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def anchors_of(text: str) -> set[str]:
    """The anchors that a page's headings get on GitHub; a repeated heading gets a number."""
    anchors: set[str] = set()
    seen: Counter[str] = Counter()
    for heading in HEADING.findall(FENCE.sub("", text)):
        shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        slug = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        anchors.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return anchors


def broken_links(page: Path, text: str) -> list[str]:
    broken = []
    for link in LINK.findall(FENCE.sub("", text)):
        if re.match(r"[a-z]+:", link):  # an address elsewhere
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists():
            broken.append(f"{link}: no such file")
        elif anchor and anchor not in anchors_of(text if target == page else target.read_text("utf-8")):
            broken.append(f"{link}: no such heading")
    return broken


def code_in(text: str) -> Iterator[str]:
    """Shell code, line by line with continuations joined, and code within sentences."""
    for language, block in FENCE.findall(text):
        if language in ("", "sh", "bash"):
            yield from block.replace("\\\n", " ").splitlines()
    for span in SPAN.findall(FENCE.sub("", text)):
        yield " ".join(span.split())


def rag_commands(code: str) -> Iterator[list[str]]:
    """The words after every `rag` of a line that calls it."""
    words = shlex.split(code, comments=True)
    starts = [n for n, word in enumerate(words) if (word == "rag" or word.endswith("bin/rag")) and is_called(words, n)]
    for start in starts:
        call = []
        for word in words[start + 1 :]:
            if word in ("&&", "||", "|", ";"):
                break
            call.append(word)
        yield call


def is_called(words: list[str], n: int) -> bool:
    """Whether a word stands where a program is named: first, behind another command, or as `python -m rag`."""
    return n == 0 or words[n - 1] in ("&&", "||", "|", ";", "-m")


def unknown_words(call: list[str]) -> list[str]:
    """The subcommands and options of one call that the command line does not have."""
    command, rest = COMMANDS, list(call)
    while rest and hasattr(command, "commands") and re.fullmatch(r"[a-z]+", rest[0]):
        if rest[0] not in command.commands:
            return [" ".join(["rag", *call])]
        command = command.commands[rest.pop(0)]
    known = {"--help", *(option for p in command.params for option in (*p.opts, *p.secondary_opts))}
    options = [word.split("=")[0] for word in rest if re.match(r"--?[a-zA-Z]", word)]
    return [f"{option} of {' '.join(['rag', *call])}" for option in options if option not in known]


def is_setting(key: str) -> bool:
    """Whether a dotted key names a setting, as `reranker.depth` does; `prompts.NAME.…` may have any name."""
    model: object = Settings
    for part in key.split("."):
        if get_origin(model) is dict:
            model = get_args(model)[1]
        elif part in getattr(model, "model_fields", {}):
            model = model.model_fields[part].annotation
        else:
            return False
    return not hasattr(model, "model_fields")


def prose_sentences(text: str) -> list[list[str]]:
    """The words of each sentence and list item, without code blocks, tables and headings."""
    lines = [
        re.sub(r"^\s*(?:[-*]|\d+\.) ", "\n", line)
        for line in FENCE.sub("\n", text).splitlines()
        if not line.lstrip().startswith(("|", "#", "!["))
    ]
    shown = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", "\n".join(lines))
    shown = SPAN.sub(lambda span: "code" if " " not in span[1] else span[1], shown)
    pieces = [piece for block in re.split(r"\n\s*\n", shown) for piece in re.split(r"(?<=[.!?])\s+", block)]
    return [words for piece in pieces if (words := re.findall(r"[^\W_][\w'’.,-]*", piece))]


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_to_a_file_and_a_heading(page):
    assert broken_links(page, page.read_text("utf-8")) == []


def test_the_readme_can_be_read_in_a_few_minutes():
    text = README.read_text("utf-8")
    assert len(text.splitlines()) <= MAX_README_LINES
    assert len(text.split()) <= MAX_README_WORDS


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_every_command_shown_exists_with_its_options(page):
    calls = [call for code in code_in(page.read_text("utf-8")) for call in rag_commands(code)]
    assert [unknown for call in calls for unknown in unknown_words(call)] == []


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_every_setting_shown_exists(page):
    assert [key for key in SETTING.findall(page.read_text("utf-8")) if not is_setting(key)] == []


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_every_path_of_the_code_exists(page):
    named = {path.rstrip(".") for path in OWN_PATH.findall(page.read_text("utf-8"))}
    assert [path for path in sorted(named) if not list(ROOT.glob(path))] == []


@pytest.mark.parametrize("page", WRITTEN, ids=name_of)
def test_sentences_are_short(page):
    lengths = [len(words) for words in prose_sentences(page.read_text("utf-8"))]
    assert sum(lengths) / len(lengths) < MAX_MEAN_SENTENCE_WORDS


def test_every_page_is_reached_from_the_index_of_the_docs():
    index = ROOT / "docs" / "index.md"
    linked = {(index.parent / link.partition("#")[0]).resolve() for link in LINK.findall(index.read_text("utf-8"))}
    assert [name_of(page) for page in WRITTEN if page not in {README, index, *linked}] == []


@pytest.mark.parametrize(
    ("code", "n_unknown"),
    [
        ("rag ask 'where?' -i my.index --json", 0),
        ("rag train retriever T -i I -o O --recipe mined && rag promote O", 0),
        ("python -m rag chat -i my.index --port=7861", 0),
        ("rag asks 'where?'", 1),
        ("rag ask 'where?' --retriever dense", 1),
        ("rag index C -o I && rag promoted O", 1),
    ],
)
def test_an_unknown_command_or_option_is_found(code, n_unknown):
    assert len([unknown for call in rag_commands(code) for unknown in unknown_words(call)]) == n_unknown


@pytest.mark.parametrize(
    ("link", "is_broken"),
    [
        ("there.md", False),
        ("there.md#two-words-and-code", False),
        ("#here-1", False),
        ("https://example.org/nowhere.md", False),
        ("gone.md", True),
        ("there.md#elsewhere", True),
    ],
)
def test_a_broken_link_is_found(tmp_path, link, is_broken):
    (tmp_path / "there.md").write_text("# There\n\n## Two words, and `code`\n", "utf-8")
    page = tmp_path / "page.md"
    text = f"# Here\n\n# Here\n\n[a link]({link})\n"
    page.write_text(text, "utf-8")
    assert bool(broken_links(page, text)) == is_broken


@pytest.mark.parametrize(
    ("key", "exists"),
    [
        ("reranker.depth", True),
        ("training.retriever.epochs", True),
        ("prompts.mine.user", True),
        ("reranker", False),
        ("reranker.deep", False),
        ("training.epochs", False),
    ],
)
def test_a_setting_is_known_by_its_key(key, exists):
    assert is_setting(key) == exists


def test_sentences_are_counted_without_code_tables_and_headings():
    text = "# A heading\n\nTwo words. Three more words!\n\n- One item\n\n| a | table |\n\n```sh\nrag ask\n```\n"
    assert [len(words) for words in prose_sentences(text)] == [2, 3, 2]
