"""Whatever is broken in an index is found, and the command that is named fixes it."""

import json
import shlex
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

from rag.build import indexes
from rag.build.indexes import examine_index, ingest_documents
from rag.cli.main import app
from rag.errors import IndexMismatchError
from rag.index.read import open_index
from rag.index.write import build_index
from rag.retrieve.vectors import FaissIndex
from tests.fakes.documents import SETTINGS, WordEncoder


@pytest.fixture
def index(tmp_path, monkeypatch):
    encoder = WordEncoder()
    monkeypatch.setattr(indexes, "make_encoder", lambda settings, lazy: encoder)
    root = tmp_path / "manuals"
    root.mkdir()
    for n in range(5):
        (root / f"{n}.txt").write_text(f"Rule {n} is about the harbour of Tern Island.", "utf-8")
    ingest_documents(SETTINGS, [root], tmp_path / "index")
    return tmp_path / "index"


def generation(index):
    return index / (index / "CURRENT").read_text("utf-8").strip()


def is_fixed_by_ingesting(index):
    ingest_documents(SETTINGS, [], index)
    return examine_index(SETTINGS, index) == []


def test_a_sound_index_has_no_finding(index):
    assert examine_index(SETTINGS, index) == []


def carried_out(command):
    """A command that a finding names, in this process."""
    result = CliRunner().invoke(app, shlex.split(command)[1:], catch_exceptions=False)
    assert result.exit_code == 0, result.output


@pytest.mark.parametrize("damage", ["passages", "vectors missing", "vectors too few", "vectors of others", "bm25"])
def test_what_is_damaged_is_found_and_fixed(index, damage):
    folder = generation(index)
    if damage == "passages":
        rows = (folder / "passages.jsonl").read_text("utf-8").splitlines()
        (folder / "passages.jsonl").write_text("\n".join(rows[1:]) + "\n", "utf-8")
    elif damage == "vectors missing":
        (folder / "vectors.faiss").unlink()
    elif damage == "bm25":
        shutil.rmtree(folder / "bm25")
    else:
        vectors = np.eye(16, dtype=np.float32)[: 3 if damage == "vectors too few" else 5]
        other = FaissIndex(16)
        other.add(vectors)
        other.save(folder / "vectors.faiss")
    findings = examine_index(SETTINGS, index)
    assert findings[0].severity == "broken"
    command = "rag ingest -i" if damage == "passages" else "rag index --rebuild -o"
    assert findings[0].mend == f"{command} {index}"
    carried_out(findings[0].mend)
    assert examine_index(SETTINGS, index) == []


def test_a_damaged_manifest_is_found_and_ingesting_fixes_it(index, tmp_path):
    path = generation(index) / "manifest.json"
    path.write_text(path.read_text("utf-8").replace("Flat", "HNSW32"), "utf-8")
    (finding,) = examine_index(SETTINGS, index)
    assert "manifest.json is damaged (its fingerprint should be" in finding.what
    _of_a_corpus, of_documents = finding.mend.split(", or of documents: ")
    carried_out(of_documents.replace("PATH", str(tmp_path / "manuals")))
    assert examine_index(SETTINGS, index) == []
    assert len(open_index(index).corpus) == 5


def test_what_opening_refuses_the_doctor_finds_in_the_same_words(index):
    (generation(index) / "vectors.faiss").unlink()
    (finding,) = examine_index(SETTINGS, index)
    with pytest.raises(IndexMismatchError) as raised:
        open_index(index).vectors()
    assert str(raised.value) == f"{finding.what}; rebuild it: {finding.mend}"


def test_files_that_changed_or_went_are_named(index, tmp_path):
    (tmp_path / "manuals" / "0.txt").write_text("other", "utf-8")
    (tmp_path / "manuals" / "1.txt").unlink()
    changed, gone = examine_index(SETTINGS, index)
    assert (changed.severity, gone.severity) == ("stale", "stale")
    assert "0.txt changed" in changed.what
    assert "1.txt gone" in gone.what
    assert is_fixed_by_ingesting(index)


def test_an_encoder_that_was_promoted_since(index, monkeypatch):
    monkeypatch.setattr(indexes, "make_encoder", lambda settings, lazy: WordEncoder("v" * 64))
    (finding,) = examine_index(SETTINGS, index)
    assert finding.mend == f"rag index --rebuild -o {index}"


def test_passages_and_documents_that_disagree(index):
    path = generation(index) / "documents.jsonl"
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    rows[0]["n_passages"] = 7
    path.write_text("".join(json.dumps(row) + "\n" for row in rows[:-1]), "utf-8")
    whats = [finding.what for finding in examine_index(SETTINGS, index)]
    assert any("1 passages are of no document" in what for what in whats)
    assert any("1 documents have more or fewer passages" in what for what in whats)


def test_a_damaged_list_of_documents_is_broken_and_ingesting_fixes_it(index):
    (generation(index) / "documents.jsonl").write_text('{"sha256": "ab\n', "utf-8")
    (finding,) = [finding for finding in examine_index(SETTINGS, index) if finding.severity == "broken"]
    assert "documents.jsonl is damaged" in finding.what
    carried_out(finding.mend)
    assert examine_index(SETTINGS, index) == []


def test_what_was_forgotten_stays_forgotten_when_documents_are_ingested_anew(index):
    forgotten = index.parent / "manuals" / "1.txt"
    settings = SETTINGS.model_copy(update={"index": SETTINGS.index.model_copy(update={"window_sentences": 1})})
    ingest_documents(settings, [], index, forget=[forgotten])
    (generation(index) / "documents.jsonl").write_text(
        json.dumps({**json.loads((generation(index) / "documents.jsonl").read_text().splitlines()[0]), "n_passages": 7})
        + "\n",
        "utf-8",
    )
    remove, again = next(f.mend for f in examine_index(SETTINGS, index) if f.severity == "broken").split(" && ")
    assert remove == f"rm -r {generation(index)}"
    shutil.rmtree(generation(index))
    carried_out(again)
    assert examine_index(SETTINGS, index) == []
    opened = open_index(index)
    assert (len(opened.corpus), opened.manifest.window_sentences) == (4, 1)


def test_leftovers_are_waste(index):
    (index / "building").mkdir()
    (index / "generation-old").mkdir()
    findings = examine_index(SETTINGS, index)
    assert [finding.severity for finding in findings] == ["waste", "waste"]


def test_no_index_at_all(tmp_path):
    again = f"rag index CORPUS -o {tmp_path}, or of documents: rag ingest PATH -i {tmp_path}"
    (finding,) = examine_index(SETTINGS, tmp_path)
    assert (finding.severity, finding.mend) == ("broken", again)
    (tmp_path / "CURRENT").write_text("generation-x", "utf-8")
    (tmp_path / "generation-x").mkdir()
    (finding,) = examine_index(SETTINGS, tmp_path)
    assert "manifest" in finding.what
    assert finding.mend == again
    (tmp_path / "PREVIOUS").write_text("generation-w", "utf-8")
    (tmp_path / "generation-w").mkdir()
    (finding,) = examine_index(SETTINGS, tmp_path)
    assert finding.mend == f"rag rollback {tmp_path}, or build it again: {again}"


def test_a_corpus_file_that_changed(tmp_path, monkeypatch):
    encoder = WordEncoder()
    monkeypatch.setattr(indexes, "make_encoder", lambda settings, lazy: encoder)
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(json.dumps({"id": "a", "text": "harbour"}) + "\n", "utf-8")
    build_index(corpus, tmp_path / "index", encoder)
    assert examine_index(SETTINGS, tmp_path / "index") == []
    corpus.write_text(json.dumps({"id": "a", "text": "ferry"}) + "\n", "utf-8")
    (finding,) = examine_index(SETTINGS, tmp_path / "index")
    assert finding.severity == "stale"
    assert finding.mend == f"rag index {corpus} -o {tmp_path / 'index'}"


@pytest.mark.parametrize("has_travelled", [False, True])
def test_vectors_of_a_corpus_file_are_made_from_it_or_where_it_is_gone_from_the_index(
    tmp_path, monkeypatch, has_travelled
):
    encoder = WordEncoder()
    monkeypatch.setattr(indexes, "make_encoder", lambda settings, lazy: encoder)
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(json.dumps({"id": "a", "text": "harbour"}) + "\n", "utf-8")
    index = tmp_path / "index"
    build_index(corpus, index, encoder)
    if has_travelled:
        corpus.unlink()
    (generation(index) / "vectors.faiss").unlink()
    (finding,) = examine_index(SETTINGS, index)
    assert finding.mend == (f"rag index --rebuild -o {index}" if has_travelled else f"rag index {corpus} -o {index}")
    carried_out(finding.mend)
    assert examine_index(SETTINGS, index) == []
