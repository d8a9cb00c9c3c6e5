"""Files packed by gzip are read as they are; a title without text is a passage."""

import gzip
import json

import pytest

from rag.data import packed
from rag.data.corpus import load_corpus
from rag.data.labelled import load_examples
from rag.data.qrels import load_qrels
from rag.data.questions import load_questions
from rag.errors import DataError
from rag.types import Passage

ROWS = [
    {"id": "d1@0", "text": "Rye grows in the north.", "title": "Rye"},
    {"id": "d2@0", "text": "Der Fluss fließt.", "title": ""},
]
TRAIN = {
    "qid": "q1",
    "question": "Where does rye grow?",
    "rewrite": "",
    "answer": "the north",
    "evidences": ["Rye grows in the north."],
    "retrieval_labels": [1],
}


def lines(rows, end="\n"):
    return "".join(json.dumps(row, ensure_ascii=False) + end for row in rows).encode()


def pack(path, content, *, mtime=0):
    path.write_bytes(gzip.compress(content, mtime=mtime))
    return path


@pytest.fixture
def course(tmp_path):
    """A folder in the course layout, each file packed."""
    pack(tmp_path / "corpus.txt.gz", lines(ROWS))
    pack(tmp_path / "train.txt.gz", lines([TRAIN]))
    pack(tmp_path / "test_open.txt.gz", lines([{"qid": "q9", "question": "What flows?"}]))
    pack(tmp_path / "qrels.txt.gz", json.dumps({"q1": {"d1@0": 1, "d2@0": 1}}).encode())
    return tmp_path


@pytest.fixture
def beir(tmp_path):
    """A BEIR folder, each file packed."""
    folder = tmp_path / "beir"
    (folder / "qrels").mkdir(parents=True)
    pack(folder / "corpus.jsonl.gz", lines([{**row, "_id": row["id"]} for row in ROWS]))
    pack(folder / "queries.jsonl.gz", lines([{"_id": "q1", "text": "rye"}, {"_id": "q2", "text": "river"}]))
    for split, qid, pid in (("train", "q1", "d1@0"), ("test", "q2", "d2@0")):
        pack(folder / "qrels" / f"{split}.tsv.gz", f"query-id\tcorpus-id\tscore\n{qid}\t{pid}\t1\n".encode())
    return folder


def test_a_packed_course_folder_is_read_as_an_unpacked_one(course):
    assert [passage.id for passage in load_corpus(course)] == ["d1@0", "d2@0"]
    assert load_corpus(course)[1].text == "Der Fluss fließt."
    assert load_questions(course / "test_open.txt.gz")[0].id == "q9"
    assert load_qrels(course / "qrels.txt.gz") == {"q1": {"d1@0": 1, "d2@0": 1}}


def test_judgements_packed_beside_packed_questions_complete_their_labels(course):
    (example,) = load_examples(course / "train.txt.gz", load_corpus(course)).examples
    assert example.positives == ("d1@0", "d2@0")


def test_a_packed_beir_folder_is_read_split_by_split(beir):
    corpus = load_corpus(beir)
    assert [example.question.id for example in load_examples(beir, corpus).examples] == ["q1"]
    assert load_qrels(beir) == {"q2": {"d2@0": 1}}


def test_the_name_without_gz_finds_the_packed_file_where_no_other_is_there(course):
    assert len(load_corpus(course / "corpus.txt")) == 2
    assert load_questions(course / "test_open.txt")[0].text == "What flows?"
    assert load_qrels(course / "qrels.txt")["q1"]
    (course / "corpus.txt").write_bytes(lines(ROWS[:1]))
    assert len(load_corpus(course / "corpus.txt")) == 1


def test_packed_data_is_told_by_its_bytes_and_not_by_the_name(tmp_path):
    assert len(load_corpus(pack(tmp_path / "corpus.jsonl", lines(ROWS)))) == 2
    (tmp_path / "plain.gz").write_bytes(lines(ROWS))
    assert len(load_corpus(tmp_path / "plain.gz")) == 2


def test_members_behind_each_other_are_one_file(tmp_path):
    whole = lines(ROWS)
    # A member may end in the middle of a line, and zeros may follow the last, as on tapes.
    (tmp_path / "c.gz").write_bytes(gzip.compress(whole[:20]) + gzip.compress(whole[20:]) + b"\0" * 512)
    assert len(load_corpus(tmp_path / "c.gz")) == 2


def test_a_byte_order_mark_crlf_and_blank_lines_at_the_end_are_read_in_packed_files(tmp_path):
    packed_file = pack(tmp_path / "c.gz", b"\xef\xbb\xbf" + lines(ROWS, "\r\n") + b"\r\n\r\n")
    assert [passage.title for passage in load_corpus(packed_file)] == ["Rye", ""]


def test_plain_questions_may_be_packed(tmp_path):
    questions = load_questions(pack(tmp_path / "q.txt.gz", "Wer fährt?\nWho?\n".encode()))
    assert [question.text for question in questions] == ["Wer fährt?", "Who?"]


def test_a_name_in_jsonl_gz_means_json_lines(tmp_path):
    with pytest.raises(DataError, match=r"q\.jsonl\.gz, line 1: not valid JSON"):
        load_questions(pack(tmp_path / "q.jsonl.gz", b"who is it\n"))


@pytest.mark.parametrize(
    ("damage", "says"),
    {
        "half a file": (lambda data: data[: len(data) // 2], r"ends early.*fetch or pack the file again"),
        "the header alone": (lambda data: data[:12], r"line 1: the gzip data ends early"),
        "a flipped byte": (lambda data: data[:30] + bytes([data[30] ^ 255]) + data[31:], r"gzip data is damaged"),
        "a wrong checksum": (lambda data: data[:-8] + b"\1\2\3\4" + data[-4:], r"gzip data is damaged"),
        "words behind the data": (lambda data: data + b"words", r"gzip data is damaged"),
    }.values(),
)
def test_damaged_packed_data_is_a_sentence_with_its_line(tmp_path, damage, says):
    rows = [{"id": f"d{n}@0", "text": f"Number {n * 7919 % 10007} of many."} for n in range(400)]
    (tmp_path / "c.gz").write_bytes(damage(gzip.compress(lines(rows))))
    with pytest.raises(DataError, match=rf"c\.gz, line \d+: .*{says}|c\.gz, {says}"):
        load_corpus(tmp_path / "c.gz")


@pytest.mark.parametrize("content", [b" " * 1_000_000, b"\n" * 1_000_000])
def test_what_unpacks_to_far_more_than_text_does_is_refused(tmp_path, monkeypatch, content):
    monkeypatch.setattr(packed, "SMALLEST_LIMIT", 1000)
    file = pack(tmp_path / "bomb.gz", content)
    assert len(content) > 100 * file.stat().st_size
    with pytest.raises(DataError, match=r"unpacks to more than 100 times its size.*gunzip"):
        load_corpus(file)


def test_one_endless_line_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(packed, "LONGEST_LINE", packed.MIB)
    with pytest.raises(DataError, match="line 2: longer than 1 MiB"):
        load_corpus(pack(tmp_path / "c.gz", lines(ROWS[:1]) + b" " * (3 * packed.MIB)))


@pytest.mark.parametrize(
    ("content", "name", "command"),
    [
        (b"BZh91AY&SY\xad\x9b", "bzip2", "bunzip2"),
        (b"\xfd7zXZ\x00\x00\x04", "xz", "unxz"),
        (b"\x28\xb5\x2f\xfd\x24", "zstd", "unzstd"),
        (b"PK\x03\x04\x14\x00", "zip", "unzip"),
    ],
)
def test_what_is_packed_in_another_way_is_named(tmp_path, content, name, command):
    (tmp_path / "corpus.txt").write_bytes(content)
    with pytest.raises(DataError, match=rf"corpus\.txt is packed by {name}; unpack it with {command}"):
        load_corpus(tmp_path)


@pytest.mark.parametrize("text", ["", "  \n", None])
def test_a_title_without_text_is_a_passage(tmp_path, text):
    rows = [*ROWS, {"id": "d3@0", "text": text, "title": "The Amber Line"}]
    (tmp_path / "corpus.jsonl").write_bytes(lines(rows))
    assert load_corpus(tmp_path)[2] == Passage("d3@0", "", "The Amber Line")
    assert load_corpus(tmp_path)[2].content == "The Amber Line"


def test_rows_without_text_and_title_are_all_named(tmp_path):
    rows = [*ROWS, {"id": "d3", "text": "", "title": " "}, {"id": "d4", "text": "x"}, {"id": "d5", "text": None}]
    (tmp_path / "c.txt").write_bytes(lines(rows))
    with pytest.raises(DataError, match=r"c\.txt, lines 3 and 5: the field 'text' is empty, and there is no title"):
        load_corpus(tmp_path / "c.txt")


def test_of_many_rows_without_text_and_title_the_first_are_named(tmp_path):
    (tmp_path / "c.txt").write_bytes(lines([ROWS[0], *({"id": f"e{n}", "text": ""} for n in range(8))]))
    with pytest.raises(DataError, match=r"lines 2, 3, 4, 5, 6 and 3 more: the field 'text' is empty"):
        load_corpus(tmp_path / "c.txt")


def test_a_title_without_text_is_no_evidence_of_a_question(tmp_path):
    (tmp_path / "corpus.txt").write_bytes(lines([*ROWS, {"id": "d3@0", "text": "", "title": "Rye"}]))
    row = {**TRAIN, "evidences": ["", "Rye grows in the north."], "retrieval_labels": [1, 1]}
    (tmp_path / "train.txt").write_bytes(lines([row]))
    examples = load_examples(tmp_path / "train.txt", load_corpus(tmp_path))
    assert (examples.examples[0].positives, examples.n_unknown_evidences) == (("d1@0",), 1)
