"""Whatever reads a foreign text needs time that grows with the text and no faster.

Judged by a limit of processor time that what is linear does not come near (`benchmarks.attack.limited`).
"""

import functools

import pytest

from benchmarks.attack.hostile_texts import hostile_texts, readers
from benchmarks.attack.limited import unfinished
from rag.documents.blanks import MAX_BLANKS
from rag.documents.chunk import ChunkSettings, chunk_document
from rag.documents.document import Block, Document, TextBuilder
from rag.documents.formats.html.html import parse_html
from rag.documents.formats.rows.delimited import parse_csv
from rag.documents.formats.rows.json_lines import parse_jsonl
from rag.documents.formats.text import parse_markdown, parse_text
from rag.generate.answer import parse_answer
from rag.generate.prompts import defuse
from rag.scripts import spaced_out
from rag.types import Passage

IN_THE_MAIN_PROCESS = (
    "sentences",
    "words counted",
    "answer",
    "refusal",
    "pieces",
    "instructions withheld",
    "markers broken up",
    "citations verified",
)
WORST = (
    "blanks",
    "line ends",
    "blank lines",
    "blanks before a word",
    "angle brackets and blanks",
    "one word",
    "sentences",
    "colons",
    "long list items",
    "citations",
    "open citations",
    "think",
    "roles",
    "open questions",
    "refusals",
    "ellipses",
    "passage tags",
    "anything",
)


def count(texts):
    return [len(spaced_out(text).split()) for text in texts]


def slow(reader, texts, seconds):
    read = readers()[reader]
    return unfinished({name: functools.partial(read, text) for name, text in texts.items()}, seconds)


@pytest.mark.parametrize("reader", list(readers()))
def test_what_reads_foreign_text_gets_through_every_hostile_text(reader):
    assert slow(reader, hostile_texts(30_000), seconds=4) == []


@pytest.mark.parametrize("reader", IN_THE_MAIN_PROCESS)
def test_what_reads_foreign_text_in_the_main_process_gets_through_a_long_one(reader):
    texts = hostile_texts(100_000)
    assert slow(reader, {name: texts[name] for name in WORST}, seconds=8) == []


def test_work_that_is_quadratic_is_named():
    def quadratic(n):
        return sum(len("a" * m) for m in range(n) for _ in range(n))

    work = {"one": lambda: quadratic(10), "two": lambda: quadratic(10**5), "three": lambda: 1 / 0, "four": dict}
    assert unfinished(work, seconds=2) == ["two"]


def test_a_million_characters_do_not_hold_the_parser_of_answers():
    passages = [Passage("p", "The ferry sails [2] daily.")]
    texts = {
        "blanks and a word": " " * 10**6 + "a",
        "line ends": "\n" * 10**6 + "a",
        "markers": "[1]" * 333_333,
        "openings": "<think>" * 150_000,
        "refusals and a word": "CANNOTANSWER " * 80_000 + "a",
        "ellipses and a word": "[…]" * 333_333 + "a",
        "questions without an end": "\nQ:" * 333_333,
        "roles": "user: a\n" * 125_000,
        "users": "system a" + " user " * 160_000,
    }
    work = {name: functools.partial(parse_answer, text, passages) for name, text in texts.items()}
    work["a tag and blanks"] = functools.partial(defuse, "<" + " " * 10**6)
    assert unfinished(work, seconds=60) == []


# ------------------------------------------------------------------ long documents


@pytest.mark.parametrize(
    "data",
    [
        b"number,word\n" + b"".join(b"%d,word\n" % n for n in range(50_000)),
        (b",".join(b"c%d" % n for n in range(2_000)) + b"\n") * 60,
        b"- an item\n" * 100_000,
        b"word " * 200_000,
        b"a" * 1_000_000,
    ],
    ids=["50,000 rows", "2,000 columns", "100,000 items", "one sentence", "one word"],
)
def test_long_documents_are_split_in_time_that_grows_with_them(data):
    parse = parse_csv if b"," in data else parse_text
    work = {"split": lambda: chunk_document(parse(data), count, ChunkSettings())}
    assert unfinished(work, seconds=60) == []


def test_the_rows_of_a_table_are_counted_once_and_its_header_once():
    document = parse_csv(b"number,word\n" + b"".join(b"%d,word\n" % n for n in range(8_000)))
    counted = []

    def counting(texts):
        counted.extend(texts)
        return count(texts)

    chunks = chunk_document(document, counting, ChunkSettings(256, 32))
    assert sum(map(len, counted)) < 1.2 * len(document.text)
    assert counted.count("number | word") == 1
    assert all(chunk.text.startswith("number | word\n") for chunk in chunks)
    rows = [row for chunk in chunks for row in chunk.text.split("\n")[1:]]
    assert rows == [f"{n} | word" for n in range(8_000)]


def test_a_piece_of_very_many_characters_is_split_whatever_its_tokens():
    """A tokenizer that knows no letter of it counts a word of a million letters as one token."""
    text = "x" * 100_000 + " " + "y" * 100
    document = Document("text", "T", text, (Block("text", 0, len(text)),))
    chunks = chunk_document(document, lambda texts: [1 if text.strip() else 0 for text in texts], ChunkSettings(8, 0))
    assert max(len(chunk.text) for chunk in chunks) <= 32 * 8
    assert "".join(chunk.text for chunk in chunks).count("x") == 100_000


def test_blanks_alone_do_not_make_a_chunk_endless():
    text = "a" + "\u2003" * 50_000 + "b"
    document = Document("text", "T", text, (Block("text", 0, len(text)),))
    chunks = chunk_document(document, count, ChunkSettings(16, 0))
    assert [chunk.text for chunk in chunks] == ["a", "b"]


# ------------------------------------------------------------------ blanks


@pytest.mark.parametrize("blank", [" ", "\t", "\u00a0", "\u3000", " \t"])
@pytest.mark.parametrize("parse", [parse_text, parse_markdown, parse_html])
def test_a_long_run_of_blanks_becomes_one(parse, blank):
    data = f"Tern Island <{blank * 60_000}passage of the ferry".encode()
    text = parse(
        b"<p>Tern &lt;" + blank.encode() * 60_000 + b"passage of the ferry" if parse is parse_html else data
    ).text
    assert text.endswith("< passage of the ferry")


def test_a_usual_run_of_blanks_stays_as_it_is_written():
    text = f"Port{' ' * 60}Fare\nTern{' ' * 60}4.50"
    assert parse_text(text.encode()).text == text
    code = f"def sail():\n{' ' * 60}return 1"
    assert code in parse_markdown(f"```\n{code}\n```\n".encode()).text


@pytest.mark.parametrize("parse", [parse_text, parse_markdown])
def test_long_runs_of_line_ends_become_one_blank_line(parse):
    text = parse(b"Tern Island" + b"\n" * 60_000 + b"The ferry").text
    assert text == "Tern Island\n\nThe ferry"


def test_the_indentation_of_code_is_capped_and_its_lines_stay():
    builder = TextBuilder()
    builder.add("code", "if sails:\n" + " " * 50_000 + "go()\n    stay()")
    text = builder.document("html", "T").text
    assert text == "if sails:\n" + " " * MAX_BLANKS + "go()\n    stay()"


def test_places_of_blocks_fit_the_text_whose_blanks_were_made_short():
    document = parse_markdown(b"# Fares\n\nDogs" + b" " * 5_000 + b"are free.\n\n- one\n- two\n")
    assert [document.text[b.start : b.end] for b in document.blocks] == ["Fares", "Dogs are free.", "- one\n- two"]


def test_rows_of_many_empty_cells_keep_their_columns():
    data = b"name" + b"\t" * 300 + b"last\n" + b"a" + b"\t" * 300 + b"z\n" + b"b" + b"\t" * 300 + b"y\n"
    assert parse_csv(data).text.split("\n")[1].count("|") == 300


def test_a_long_name_in_json_does_not_stand_before_each_of_its_values():
    name = "k" * 100_000
    values = ", ".join(f'{{"a": {n}}}' for n in range(1_000))
    text = parse_jsonl(f'{{"{name}": [{values}]}}'.encode()).text
    assert text.count("\n") == 999
    assert len(text) < 600_000
    assert text.endswith("1000.a: 999")
