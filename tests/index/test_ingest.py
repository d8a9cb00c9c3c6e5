"""Folders become an index and the index follows them; a kill at any moment costs nothing but the time."""

import json
import os
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import pytest
from filelock import FileLock
from typer.testing import CliRunner

from rag.build import indexes
from rag.build.indexes import add_files, ingest_documents, rebuild_index
from rag.cli.main import app
from rag.config import load_settings
from rag.errors import ConfigError, DataError, IndexMismatchError, Stopped
from rag.index.folder import roll_back
from rag.index.ingest import uploads_folder
from rag.index.read import kept_documents, open_index, read_documents, read_sources
from rag.index.write import build_index
from rag.progress import Background
from tests.fakes.documents import SETTINGS, WordEncoder, texts


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "manuals"
    root.mkdir()
    for n in range(5):
        (root / f"{n}.txt").write_text(f"Rule {n} is about the harbour of Tern Island.", "utf-8")
    return root


def texts_of(index):
    return sorted(passage.text for passage in open_index(index).corpus)


def test_a_second_run_embeds_nothing_and_changes_nothing(folder, encoder, tmp_path):
    first = ingest_documents(SETTINGS, [folder], tmp_path / "index")
    assert (first.n_passages, first.added, first.left_out) == (5, 5, {})
    assert len(encoder.embedded) == 5
    again = ingest_documents(SETTINGS, [], tmp_path / "index")
    assert (again.added, again.removed, again.kept) == (0, 0, 5)
    assert again.fingerprint == first.fingerprint
    assert len(encoder.embedded) == 5
    assert len(texts(tmp_path / "index")) == 5


def test_changes_are_followed_and_only_they_are_embedded(folder, encoder, tmp_path):
    ingest_documents(SETTINGS, [folder], tmp_path / "index")
    encoder.embedded.clear()
    (folder / "0.txt").unlink()
    (folder / "1.txt").write_text("Rule 1 of the harbour has changed.", "utf-8")
    (folder / "2.txt").rename(folder / "2b.txt")
    (folder / "new.txt").write_text("Rule 5 of the harbour is new.", "utf-8")
    result = ingest_documents(SETTINGS, [folder], tmp_path / "index")
    assert (result.added, result.removed, result.kept) == (2, 2, 3)
    assert sorted(text.split("\n")[-1] for text in encoder.embedded if "2b" not in text) == [
        "Rule 1 of the harbour has changed.",
        "Rule 5 of the harbour is new.",
    ]
    assert texts(tmp_path / "index") == [
        "Rule 1 of the harbour has changed.",
        "Rule 2 is about the harbour of Tern Island.",
        "Rule 3 is about the harbour of Tern Island.",
        "Rule 4 is about the harbour of Tern Island.",
        "Rule 5 of the harbour is new.",
    ]
    documents = {row["paths"][0]["path"] for row in read_documents(open_index(tmp_path / "index").folder)}
    assert documents == {"1.txt", "2b.txt", "3.txt", "4.txt", "new.txt"}


def test_another_folder_is_added_and_one_is_forgotten(folder, encoder, tmp_path):
    other = tmp_path / "letters"
    other.mkdir()
    (other / "a.txt").write_text("The harbour master writes.", "utf-8")
    ingest_documents(SETTINGS, [folder], tmp_path / "index")
    assert ingest_documents(SETTINGS, [other], tmp_path / "index").n_passages == 6
    result = ingest_documents(SETTINGS, [], tmp_path / "index", forget=[folder])
    assert (result.n_passages, result.removed) == (1, 5)
    ingest_documents(SETTINGS, [folder], tmp_path / "index")
    result = ingest_documents(SETTINGS, [], tmp_path / "index", forget=[folder / "3.txt"])
    assert result.n_passages == 5
    assert "Rule 3 is about the harbour of Tern Island." not in texts(tmp_path / "index")


def test_one_bad_file_is_listed_and_the_others_are_read(folder, encoder, tmp_path):
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 and then nothing")
    result = ingest_documents(SETTINGS, [folder], tmp_path / "index")
    assert result.n_passages == 5
    ((path, reason),) = result.left_out.items()
    assert path.endswith("bad.pdf")
    assert "damaged" in reason


def test_nothing_to_read_is_an_error_and_leaves_the_index_as_it_is(folder, encoder, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.pdf").write_bytes(b"%PDF-1.4")
    with pytest.raises(DataError, match=r"a\.pdf: damaged"):
        ingest_documents(SETTINGS, [tmp_path / "empty"], tmp_path / "index")
    for paths in ([], [tmp_path / "absent"]):
        with pytest.raises(DataError, match="name files or folders"):
            ingest_documents(SETTINGS, paths, tmp_path / "new")
    with pytest.raises(IndexMismatchError, match="holds no index"):
        roll_back(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    ingest_documents(SETTINGS, [folder], tmp_path / "index")
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(DataError, match="nothing to read"):
        ingest_documents(SETTINGS, [], tmp_path / "index")
    assert len(texts(tmp_path / "index")) == 5


def test_passages_are_as_long_as_the_encoder_takes_and_no_longer(encoder, tmp_path, capsys):
    (tmp_path / "long.txt").write_text("harbour " * 1000, "utf-8")
    ingest_documents(load_settings(None, ["documents.chunk_tokens=291"]), [tmp_path / "long.txt"], tmp_path / "index")
    told = capsys.readouterr().err
    assert "documents.chunk_tokens is 291, but the encoder takes 290: passages have 290 tokens at most" in told
    longest = max(len(text.split()) for text in texts(tmp_path / "index"))
    assert longest == 290 - len(["long"])  # the title stands before each passage


def test_an_encoder_whose_prompt_leaves_no_room_is_refused(folder, encoder, tmp_path):
    encoder.room_tokens = 0
    with pytest.raises(ConfigError, match=r"no room for passages: set a shorter encoder\.passage_prompt"):
        ingest_documents(SETTINGS, [folder], tmp_path / "index")


@pytest.mark.parametrize("damaged", [None, "{", "[]", '{"roots": 7}'])
def test_what_was_ingested_is_known_from_the_documents_where_it_is_lost(folder, encoder, tmp_path, capsys, damaged):
    index, letter = tmp_path / "index", tmp_path / "letter.txt"
    letter.write_text("The harbour master writes.", "utf-8")
    ingest_documents(SETTINGS, [folder, letter], index)
    path = open_index(index).folder / "sources.json"
    path.unlink() if damaged is None else path.write_text(damaged, "utf-8")
    (folder / "new.txt").write_text("Rule 5 of the harbour is new.", "utf-8")
    assert ingest_documents(SETTINGS, [], index).n_passages == 7
    assert capsys.readouterr().err.count("sources.json is missing or damaged") == 1
    assert read_sources(open_index(index).folder)["roots"] == [str(folder), str(letter)]


def test_a_damaged_list_of_documents_is_reported_and_fixed_by_the_command_that_is_named(folder, encoder, tmp_path):
    index = tmp_path / "index"
    ingest_documents(SETTINGS, [folder], index)
    path = open_index(index).folder / "documents.jsonl"
    first, second, *rest = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(b"".join([first, second[:20] + b"\n", *rest]))
    with pytest.raises(IndexMismatchError, match=r"documents\.jsonl is damaged; .*rag ingest -i"):
        read_documents(open_index(index).folder)
    encoder.embedded.clear()
    assert ingest_documents(SETTINGS, [], index).n_passages == 5
    assert len(read_documents(open_index(index).folder)) == 5
    assert encoder.embedded == []
    for name in ("documents.jsonl", "sources.json"):
        (open_index(index).folder / name).write_text("{", "utf-8")
    with pytest.raises(IndexMismatchError, match="delete it and name the files again"):
        ingest_documents(SETTINGS, [folder], index)


def test_a_damaged_generation_before_keeps_nobody_from_ingesting(folder, encoder, tmp_path):
    index = tmp_path / "index"
    ingest_documents(SETTINGS, [folder], index)
    before = open_index(index).folder
    (folder / "new.txt").write_text("Rule 5 of the harbour is new.", "utf-8")
    ingest_documents(SETTINGS, [], index)
    (before / "documents.jsonl").write_text("{", "utf-8")
    assert ingest_documents(SETTINGS, [], index).n_passages == 6
    assert len(list(kept_documents(index))) == 6


def test_rolling_back_and_forward(folder, encoder, tmp_path):
    index = tmp_path / "index"
    ingest_documents(SETTINGS, [folder], index)
    with pytest.raises(IndexMismatchError, match="no generation to go back to"):
        roll_back(index)
    before = texts(index)
    (folder / "0.txt").write_text("Rule 0 of the harbour has changed.", "utf-8")
    ingest_documents(SETTINGS, [], index)
    after = texts(index)
    assert before != after
    roll_back(index)
    assert texts(index) == before
    roll_back(index)
    assert texts(index) == after
    ingest_documents(SETTINGS, [], index)  # changes nothing, and drops nothing that the state before needs
    parsed = {path.stem for path in (index / "documents").iterdir()}
    assert parsed == {row["sha256"] for row in kept_documents(index)}
    assert len(parsed) == 6
    (folder / "0.txt").write_text("Rule 0 of the harbour has changed again.", "utf-8")
    ingest_documents(SETTINGS, [], index)
    assert len(list(index.glob("generation-*"))) == 2


def test_an_index_of_a_corpus_file_takes_no_documents(folder, encoder, tmp_path):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(json.dumps({"id": "a", "text": "harbour"}) + "\n", "utf-8")
    build_index(corpus, tmp_path / "index", encoder)
    with pytest.raises(IndexMismatchError, match="an index of their own"):
        ingest_documents(SETTINGS, [folder], tmp_path / "index")


def test_two_writers_at_once(folder, encoder, tmp_path):
    index = tmp_path / "index"
    ingest_documents(SETTINGS, [folder], index)
    (index / ".lock-holder").write_text("4711", "utf-8")
    with FileLock(index / ".lock"), pytest.raises(IndexMismatchError, match="process 4711 is writing"):
        ingest_documents(SETTINGS, [], index)


def test_a_corpus_file_that_grew_embeds_only_what_is_new(encoder, tmp_path):
    corpus = tmp_path / "corpus.txt"
    rows = [{"id": str(n), "text": f"harbour rule {n}"} for n in range(8)]
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows[:6]), "utf-8")
    build_index(corpus, tmp_path / "index", encoder)
    encoder.embedded.clear()
    corpus.write_text("".join(json.dumps(row) + "\n" for row in rows[::-1]), "utf-8")
    build_index(corpus, tmp_path / "index", encoder)
    assert sorted(encoder.embedded) == ["harbour rule 6", "harbour rule 7"]
    assert texts(tmp_path / "index") == [row["text"] for row in rows]
    encoder.embedded.clear()
    build_index(corpus, tmp_path / "index", WordEncoder("v" * 64))  # another encoder shares no vector
    assert encoder.embedded == []


def test_uploads_stand_beside_what_is_there_and_never_outside_their_folder(folder, encoder, tmp_path):
    index, uploads = tmp_path / "index", tmp_path / "uploads"
    ingest_documents(SETTINGS, [folder], index)
    sent = tmp_path / "sent"
    (sent / "a").mkdir(parents=True)
    (sent / "b").mkdir()
    (sent / "a" / "notes.txt").write_text("The harbour master is Clara.", "utf-8")
    (sent / "b" / "notes.txt").write_text("The harbour cat is Graz.", "utf-8")
    (sent / "..hidden.txt").write_text("The harbour has a secret.", "utf-8")
    names = [sent / "a" / "notes.txt", sent / "b" / "notes.txt", sent / "a" / "notes.txt", sent / "..hidden.txt"]
    result = add_files(SETTINGS, names, index, uploads)
    assert sorted(path.name for path in uploads.iterdir()) == ["hidden.txt", "notes (1).txt", "notes.txt"]
    assert (result.added, result.kept, result.n_passages) == (3, 5, 8)
    assert len(texts(index)) == 8


def test_only_new_uploads_that_cannot_be_read_are_taken_away(folder, encoder, tmp_path):
    index, uploads, sent = tmp_path / "index", tmp_path / "uploads", tmp_path / "sent"
    sent.mkdir()
    (sent / "new.pdf").write_bytes(b"%PDF-1.4 and then nothing")
    (sent / "new.txt").write_text("The harbour dog is Linz.", "utf-8")
    uploads.mkdir()
    (uploads / "earlier.pdf").write_bytes(b"%PDF-1.4, which another version could read")
    result = add_files(SETTINGS, [sent / "new.pdf", sent / "new.txt"], index, uploads)
    assert sorted(Path(path).name for path in result.left_out) == ["earlier.pdf", "new.pdf"]
    assert sorted(path.name for path in uploads.iterdir()) == ["earlier.pdf", "new.txt"]


def test_indexes_of_like_names_have_uploads_of_their_own(tmp_path):
    names = [uploads_folder(tmp_path / name).name for name in ("docs.2023", "docs.2024", "docs")]
    assert names == ["docs.2023.uploads", "docs.2024.uploads", "docs.uploads"]


def test_uploads_that_are_stopped_leave_nothing(folder, encoder, tmp_path):
    index, uploads = tmp_path / "index", tmp_path / "index.uploads"
    ingest_documents(SETTINGS, [folder], index)
    before = texts(index)
    (tmp_path / "new.txt").write_text("The harbour dog is Linz.", "utf-8")
    waits = threading.Event()

    def work():
        waits.wait(10)
        return add_files(SETTINGS, [tmp_path / "new.txt"], index, uploads)

    stopped = Background(work)
    stopped.stop()
    waits.set()
    with pytest.raises(Stopped):
        stopped.result()
    assert list(uploads.iterdir()) == []
    assert texts(index) == before
    assert add_files(SETTINGS, [tmp_path / "new.txt"], index, uploads).added == 1


def run_cli(*arguments):
    return CliRunner().invoke(app, [*map(str, arguments), "--set", "documents.chunk_tokens=40"])


def test_the_command_lists_what_is_left_out_and_says_so_by_its_status(folder, encoder, tmp_path):
    index = tmp_path / "index"
    result = run_cli("ingest", folder, "-i", index)
    assert result.exit_code == 0, result.output
    assert "5 documents (5 text), 5 passages" in result.output
    (folder / "bad.pdf").write_bytes(b"%PDF-1.4 and then nothing")
    (folder / "copy.txt").write_bytes((folder / "0.txt").read_bytes())
    result = run_cli("ingest", "-i", index)
    assert result.exit_code == 3
    assert "bad.pdf: damaged PDF" in result.output
    assert "under several paths: 1 document\n" in result.output
    shown = json.loads(run_cli("ingest", "-i", index, "--json").stdout)
    assert (shown["added"], shown["kept"], shown["n_passages"]) == (0, 5, 5)
    result = CliRunner().invoke(app, ["rollback", str(index)])
    assert result.exit_code == 1 or "5 passages" in result.output


def test_a_rebuild_embeds_every_passage_with_the_encoder_that_serves_now(folder, encoder, tmp_path, monkeypatch):
    index = tmp_path / "index"
    ingest_documents(SETTINGS, [folder], index)
    promoted = WordEncoder("v" * 64)
    monkeypatch.setattr(indexes, "make_encoder", lambda settings, lazy: promoted)
    rebuilt = rebuild_index(SETTINGS, index)
    assert len(promoted.embedded) == 5
    assert rebuilt.encoder.weights_sha256 == "v" * 64
    assert len(read_documents(open_index(index).folder)) == 5
    again = rebuild_index(SETTINGS, index)  # also where nothing has changed
    assert again.fingerprint == rebuilt.fingerprint
    assert len(promoted.embedded) == 10
    assert len(texts_of(index)) == 5


KILLED = textwrap.dedent(
    """
    import os, random, signal, sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    import bm25s, datasketch, faiss, scipy.integrate, Stemmer  # before the forks, once for all
    from rag.build import indexes
    from rag.index import ingest
    from tests.fakes.documents import SETTINGS, WordEncoder, texts
    from rag.documents.parse import parse_file

    class Parser:
        def __init__(self, seconds, ocr_languages): self.parse = parse_file
        def close(self): pass

    indexes.make_encoder = lambda settings, lazy: WordEncoder()
    ingest.ParserProcess = Parser
    folder, index = Path(sys.argv[2]), Path(sys.argv[3])

    def take():
        child = os.fork()
        if child == 0:
            try:
                indexes.ingest_documents(SETTINGS, [folder], index)
                os._exit(0)
            except BaseException as error:
                print(repr(error), flush=True)
                os._exit(1)
        return child

    def change(trial):
        for n in range(5):
            (folder / f"{n}.txt").write_text(f"Rule {n} of the harbour in edition {trial} says so.")
        (folder / f"extra-{trial % 3}.txt").write_text(f"Extra rule of the harbour {trial}.")
        (folder / f"extra-{(trial + 1) % 3}.txt").unlink(missing_ok=True)

    random.seed(int(sys.argv[4]))
    change(0)
    started = time.monotonic()
    assert os.waitpid(take(), 0)[1] == 0
    whole = time.monotonic() - started
    killed = 0
    for trial in range(1, 21):
        change(trial)
        child = take()
        time.sleep(random.random() * whole)
        os.kill(child, signal.SIGKILL)
        in_time = os.WIFSIGNALED(os.waitpid(child, 0)[1])
        killed += in_time
        whole *= 1.05 if in_time else 0.7  # the first run need not have been as quick as these
        reader = os.fork()  # after the kill the index opens, old or new, whole
        if reader == 0:
            try:
                found = texts(index)
                os._exit(0 if len(found) in (6, 7) else 2)
            except BaseException as error:
                print(repr(error), flush=True)
                os._exit(3)
        assert os.waitpid(reader, 0)[1] == 0, f"trial {trial}"
        assert os.waitpid(take(), 0)[1] == 0, f"trial {trial}"  # and the same command finishes the work
    print("killed", killed)
    """
)


def test_killed_at_twenty_random_moments_the_index_opens_and_the_same_command_finishes(folder, tmp_path):
    """Each trial changes the folder, kills the run at a random moment, opens the index, and runs again."""
    script = tmp_path / "killed.py"
    script.write_text(KILLED, "utf-8")
    index = tmp_path / "index"
    command = [sys.executable, script, Path(__file__).parents[2], folder, index, "7"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    result = subprocess.run(list(map(str, command)), capture_output=True, text=True, env=environment, timeout=400)
    assert result.returncode == 0, result.stdout + result.stderr[-3000:]
    assert int(result.stdout.split("killed ")[1]) >= 10
    found = texts(index)
    assert sum("edition 20" in text for text in found) == 5
    assert len(found) in (6, 7)
    assert len(list(index.glob("generation-*"))) <= 2
