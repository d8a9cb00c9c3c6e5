"""Folders become passages: what is found, what is left out and why, and what stays when little changes."""

import json
import os
import time
from dataclasses import asdict

import pytest

from rag.documents.collection import make_passages
from rag.documents.document import Block, Document
from rag.documents.duplicates import near_duplicates
from rag.documents.parse import parse_file
from rag.documents.parsed import ParsedDocuments, parse_all
from rag.documents.scan import scan
from rag.documents.worker import ParserProcess
from rag.errors import DataError, UnreadableFile

CHUNKING = {"max_tokens": 20, "overlap_tokens": 0, "encoder": "words"}


def count(texts):
    return [len(text.split()) for text in texts]


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "manuals"
    (root / "sub").mkdir(parents=True)
    (root / "a.txt").write_text("The ferry sails daily.", "utf-8")
    (root / "sub" / "b.md").write_text("# Fares\n\nDogs are free.\n", "utf-8")
    return root


def take(root, index, before=None):
    found = scan([root], max_bytes=10**6)
    store = ParsedDocuments(index)
    failed = parse_all(found.files, store, parse_file)
    passages, records = make_passages(found.files, store, count, CHUNKING, before or {})
    return passages, records, {**found.left_out, **failed}


def test_passages_say_where_they_are_from(folder, tmp_path):
    passages, records, left_out = take(folder, tmp_path / "index")
    assert left_out == {}
    assert [(p.text, p.title, p.source) for p in passages] == [
        ("The ferry sails daily.", "a", "manuals/a.txt"),
        ("Dogs are free.", "Fares", "manuals/sub/b.md"),
    ]
    assert [p.id for p in passages] == [f"{record.sha256[:24]}@0" for record in records]
    place = passages[1].place
    assert (folder / "sub" / "b.md").read_text("utf-8")[place.start : place.end] == "Dogs are free."
    assert [record.kind for record in records] == ["text", "markdown"]


def test_what_is_not_taken_is_listed_with_its_reason(folder, tmp_path):
    (tmp_path / "outside.txt").write_text("secret", "utf-8")
    (folder / "link.txt").symlink_to(tmp_path / "outside.txt")
    (folder / "loop").symlink_to(folder)
    (folder / "inside.txt").symlink_to(folder / "a.txt")
    (folder / "big.txt").write_bytes(b"x" * 2_000_000)
    (folder / "empty.txt").touch()
    (folder / ".hidden.txt").write_text("hidden", "utf-8")
    (folder / "picture.png").write_bytes(b"\x89PNG")
    os.mkfifo(folder / "pipe.txt")
    _passages, records, left_out = take(folder, tmp_path / "index")
    assert {path.rsplit("/", 1)[1]: reason for path, reason in left_out.items()} == {
        "link.txt": "a link out of the folder",
        "loop": "a link to a folder",
        "big.txt": "2 MiB, larger than the limit of 1 MiB",
        "empty.txt": "empty",
        "pipe.txt": "not a regular file",
    }
    assert scan([folder], max_bytes=10**6).other_kinds == {".png": 1}
    assert len(records) == 2
    assert len(records[0].paths) == 2  # the link inside the folder is another path of the same document


def test_a_file_that_is_named_is_tried_whatever_its_kind(tmp_path):
    (tmp_path / "notes.xyz").write_text("Dogs are free.", "utf-8")
    passages, _, _ = take(tmp_path / "notes.xyz", tmp_path / "index")
    assert passages[0].source == "notes.xyz"
    with pytest.raises(DataError, match="does not exist"):
        scan([tmp_path / "absent"], max_bytes=1)


def test_equal_files_are_one_document(folder, tmp_path):
    (folder / "copy.txt").write_bytes((folder / "a.txt").read_bytes())
    passages, records, _ = take(folder, tmp_path / "index")
    assert len(passages) == 2
    assert [place["path"] for place in records[0].paths] == ["a.txt", "copy.txt"]


def test_a_document_split_before_in_the_same_way_is_not_split_again(folder, tmp_path):
    passages, records, _ = take(folder, tmp_path / "index")
    rows = [json.loads(json.dumps(asdict(record))) for record in records]
    before = {row["sha256"]: (row, [p for p in passages if p.id.startswith(row["sha256"][:24])]) for row in rows}
    (folder / "a.txt").rename(folder / "c.txt")
    counted = []

    def counting(texts):
        counted.extend(texts)
        return count(texts)

    found = scan([folder], max_bytes=10**6)
    again, _ = make_passages(found.files, ParsedDocuments(tmp_path / "index"), counting, CHUNKING, before)
    assert counted == []
    assert [(p.text, p.source) for p in again] == [
        ("The ferry sails daily.", "manuals/c.txt"),
        ("Dogs are free.", "manuals/sub/b.md"),
    ]
    other = {**CHUNKING, "max_tokens": 10}
    make_passages(found.files, ParsedDocuments(tmp_path / "index"), counting, other, before)
    assert counted


def test_documents_that_nearly_agree_are_named(folder, tmp_path):
    text = " ".join(f"Rule {n} is about dogs number {n}." for n in range(60))
    (folder / "old.txt").write_text(text, "utf-8")
    (folder / "new.txt").write_text(text.replace("Rule 30", "Law 30"), "utf-8")
    _, records, _ = take(folder, tmp_path / "index")
    names = {record.sha256: record.paths[0]["path"] for record in records}
    ((first, second, similarity),) = near_duplicates(records, set(names))
    assert {names[first], names[second]} == {"old.txt", "new.txt"}
    assert similarity > 0.8
    assert near_duplicates(records, set()) == []


def test_what_is_parsed_is_kept_and_a_damaged_copy_is_parsed_again(folder, tmp_path):
    store, calls = ParsedDocuments(tmp_path / "index"), []
    files = scan([folder], max_bytes=10**6).files

    def parse(path, sha256):
        calls.append(path.name)
        return parse_file(path, sha256)

    parse_all(files, store, parse)
    parse_all(files, store, parse)
    assert calls == ["a.txt", "b.md"]
    (store.folder / f"{files[0].sha256}.json").write_text('{"parser_version": 1, "te', "utf-8")
    parse_all(files, store, parse)
    assert calls == ["a.txt", "b.md", "a.txt"]
    store.keep_only([files[1].sha256])
    assert [path.stem for path in store.folder.iterdir()] == [files[1].sha256]


def test_the_parser_process_survives_what_it_reads(folder, tmp_path):
    """A pipe never ends, so reading it takes for ever; a killed process is a crash; both cost one file."""
    os.mkfifo(tmp_path / "endless.txt")
    parser = ParserProcess(seconds=60)
    try:
        assert parser.parse(folder / "a.txt").text == "The ferry sails daily."
        with pytest.raises(UnreadableFile, match="cannot be read"):
            parser.parse(folder / "absent.txt")
        parser._seconds = 0.5
        with pytest.raises(UnreadableFile, match="took longer"):
            parser.parse(tmp_path / "endless.txt")
        parser._seconds = 60
        assert parser.parse(folder / "sub" / "b.md").title == "Fares"
        parser._process.kill()
        time.sleep(0.2)
        assert parser.parse(folder / "a.txt").title == "a"
    finally:
        parser.close()


def test_scanned_pages_are_read_once_they_can_be(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF-")
    store, asked = ParsedDocuments(tmp_path / "index"), []
    files = scan([tmp_path / "a.pdf"], max_bytes=10**6).files

    def reads(text, ocr):
        def parse(path, sha256):
            asked.append(ocr)
            return Document("pdf", "A", text, (Block("text", 0, len(text), page=1),), (), ocr)

        return parse

    def take(text, ocr, before):
        parse_all(files, store, reads(text, ocr), ocr=ocr or "")
        passages, (record,) = make_passages(files, store, count, CHUNKING, before)
        return passages, {record.sha256: (asdict(record), passages)}

    passages, before = take("One page.", "", {})
    passages, before = take("One page.", "", before)
    assert asked == [""]
    passages, before = take("One page. And a scanned one.", "eng", before)
    assert [passage.text for passage in passages] == ["One page. And a scanned one."]
    passages, before = take("", "", before)  # Tesseract is gone again: what was read stays
    assert [passage.text for passage in passages] == ["One page. And a scanned one."]
    assert asked == ["", "eng"]
    take("Deux pages.", "fra", before)
    assert asked == ["", "eng", "fra"]
