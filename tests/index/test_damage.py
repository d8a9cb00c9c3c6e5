"""Whatever happens to a file of an index: the same answers, or a sentence with a command that repairs it."""

import contextlib
import errno
import json
import shlex
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rag.build import indexes
from rag.build.indexes import examine_index, ingest_documents, make_index
from rag.cli.main import app
from rag.documents.parsed import ParsedDocuments
from rag.errors import DataError, IndexMismatchError
from rag.index import folder as folder_module
from rag.index import parts, write
from rag.index.calibration import write_calibration
from rag.index.doctor import finding_lines
from rag.index.encode import encode_in_shards
from rag.index.folder import roll_back, serving_manifest
from rag.index.read import open_index, read_documents, read_sources
from rag.retrieve.vectors import FaissIndex
from tests.fakes.damage import KINDS, answers, damage, files_of, flipped, generation_of, outcome, tried
from tests.fakes.documents import SETTINGS, WordEncoder
from tests.fakes.tiny import write_corpus

WINDOWED = SETTINGS.model_copy(update={"index": SETTINGS.index.model_copy(update={"window_sentences": 1})})


def made(folder, words="the harbour of Tern Island"):
    """An index of five documents with windows and a calibration."""
    root = folder / "manuals"
    root.mkdir(parents=True)
    for n in range(5):
        (root / f"{n}.txt").write_text(f"Rule {n} is about {words}. It is rule {n}.", "utf-8")
    index = folder / "index"
    ingest_documents(WINDOWED, [root], index)
    record = {"index": serving_manifest(index)[1].fingerprint, "reranker_model": "none"}
    write_calibration(index, {**record, "threshold": 1.5, "curve": [{"threshold": 1.0}]})
    return index


@pytest.fixture(scope="module")
def indexes_at(tmp_path_factory):
    """(a sound index, another one of other documents)."""
    folder = tmp_path_factory.mktemp("damage")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexes, "make_encoder", lambda settings, lazy: WordEncoder())
        return made(folder / "one"), made(folder / "two", "the harbour of Port Hale")


@pytest.fixture
def index(indexes_at, tmp_path, encoder):
    """A copy of the sound index."""
    return Path(shutil.copytree(indexes_at[0], tmp_path / "index"))


def without_hashes(index):
    """Turn an index into one from before parts were hashed."""
    path = index / generation_of(index) / "manifest.json"
    stored = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({key: stored[key] for key in stored if key not in ("parts", "sha256")}), "utf-8")
    return index


def carried_out(command, index, roots=()):
    """Each command of a line, as a shell would run it; PATH stands for the first of `roots`, or of the index's."""
    if "PATH" in command:
        roots = roots or read_sources(index / generation_of(index))["roots"]
    for part in command.replace("PATH", *roots[:1] or [""]).split(" && "):
        words = shlex.split(part)
        if words[0] == "rag":
            result = CliRunner().invoke(app, words[1:], catch_exceptions=False)
            assert result.exit_code == 0, result.output
        else:
            subprocess.run(words, check=True)


def test_every_part_is_in_the_manifest_with_its_size_and_hash(index):
    generation = index / generation_of(index)
    named = parts.read_parts(generation).named
    assert set(named) == {
        path.relative_to(generation).as_posix()
        for path in generation.rglob("*")
        if path.is_file() and path.name != "manifest.json"
    }
    assert all(part == parts.part_of(generation / name) for name, part in named.items())
    assert {"vectors.faiss", "windows.npy", "passages.jsonl", "documents.jsonl", "sources.json"} < set(named)


def test_no_damage_gives_other_answers_or_a_traceback(indexes_at, tmp_path):
    found = tried(*indexes_at, tmp_path)
    assert Counter(found.values()).keys() <= {"same", "sentence"}, [k for k in found.items() if k[1] not in "same"]
    # What is searched is refused whatever the damage; passages and JSON may be written in another way.
    searched = ("vectors.faiss", "windows.npy", "bm25/")
    assert {came for (name, _, _), came in found.items() if any(part in name for part in searched)} == {"sentence"}
    assert len(found) > 180


@pytest.mark.parametrize("name", ["vectors.faiss", "windows.npy", "bm25/data.csc.index.npy", "bm25/vocab.index.json"])
def test_every_flipped_byte_of_what_is_searched_is_seen(index, name):
    path = index / generation_of(index) / name
    content = path.read_bytes()
    for at in range(0, len(content), max(len(content) // 12, 1)):
        flipped(path, at, at % 8)
        opened = open_index(index)
        with pytest.raises(IndexMismatchError, match=rf"{name} is missing or damaged .*; rebuild it: rag index"):
            opened.bm25() if "bm25" in name else opened.vectors()
        path.write_bytes(content)


def test_an_index_without_hashes_crashes_nothing(indexes_at, tmp_path):
    old = without_hashes(Path(shutil.copytree(indexes_at[0], tmp_path / "old")))
    command = [sys.executable, "-m", "tests.fakes.damage", str(old), str(indexes_at[1]), str(tmp_path), "1"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert ended.returncode == 0, ended.stderr[-2000:]
    rows = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(rows) > 180
    # Bytes that are as plausible as those that were written cannot be told from them.
    assert [row for row in rows if row[3] not in ("same", "sentence", "other answers")] == []
    assert [
        row for row in rows if row[3] == "other answers" and row[1] not in ("flipped", "foreign", "wrong types")
    ] == []


def test_a_pickle_in_an_array_is_not_loaded(index):
    for old in (False, True):
        for name in ("windows.npy", "bm25/data.csc.index.npy"):
            copy = Path(shutil.copytree(index, index.with_name(f"{old}-{name[:4]}")))
            path = (without_hashes(copy) if old else copy) / generation_of(copy) / name
            assert damage(path, "pickled", path, 0)
            assert outcome(copy, []) == "sentence"
            assert not (path.parent / "planted").exists()


@pytest.mark.parametrize("kind", ["removed", "flipped", "folder", "foreign"])
def test_the_doctor_finds_it_and_its_command_repairs_it(indexes_at, index, tmp_path, kind):
    wanted, roots = answers(index), read_sources(index / generation_of(index))["roots"]
    for name in files_of(index):
        if name.startswith("documents/"):
            continue
        copy = tmp_path / "copy"
        shutil.copytree(index, copy)
        foreign = indexes_at[1] / name.replace("GENERATION", generation_of(indexes_at[1]))
        damage(copy / name.replace("GENERATION", generation_of(copy)), kind, foreign, 1)
        if ("manifest" in name, kind) == (True, "foreign"):  # then nothing that the index follows can be trusted
            with pytest.raises(IndexMismatchError, match=rf"delete it and name the files again: rm -r {copy} && rag"):
                ingest_documents(WINDOWED, [], copy)
            carried_out(f"rm -r {copy} && rag ingest PATH -i {copy}", copy, roots)
        for _ in range(3):  # behind one damage another finding may stand
            findings = [f for f in examine_index(WINDOWED, copy) if f.severity != "waste"]
            if not findings or "calibration" in findings[0].mend or "rag calibrate" in findings[0].mend:
                break
            carried_out(findings[0].mend.split(", or of documents: ")[-1].split(", or build it again")[0], copy)
        if "manifest" in name:  # what the index was set to is lost, but no document is
            assert len(open_index(copy).corpus) == 5
        elif name != "calibration.json":
            assert answers(copy) == wanted, name
        else:
            assert findings or kind == "removed", kind
        shutil.rmtree(copy)


def test_a_damaged_text_of_a_document_is_not_shown_and_is_read_again_by_ingesting(indexes_at, index):
    store = ParsedDocuments(index)
    (first, second, *_) = rows = [row["sha256"] for row in read_documents(index / generation_of(index))]
    texts = {sha256: store.read(sha256).text for sha256 in rows}
    path = store.folder / f"{first}.json"
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        flipped(path, at, at % 7)
        document = store.read(first)
        assert document is None or document.text == texts[first]
        path.write_bytes(content)
    shutil.copyfile(store.folder / f"{second}.json", path)
    assert store.read(first) is None
    (finding,) = examine_index(WINDOWED, index)
    assert finding.what == "1 documents cannot be opened on a source card"
    carried_out(finding.mend, index)
    assert {sha256: store.read(sha256).text for sha256 in rows} == texts


def test_a_lost_pointer_is_named_and_the_generation_that_served_serves_again(index, encoder):
    wanted = answers(index)
    roots = read_sources(index / generation_of(index))["roots"]
    name = generation_of(index).encode()
    damaged = (
        b"",
        b"\xff\xfe",
        b"generation-none\n",
        b"../index",
        b"generation-\0\n",
        b"/etc\n",
        name + b"\x0b",
        b" " + name,
    )
    for content in damaged:
        (index / "CURRENT").write_bytes(content)
        with pytest.raises(IndexMismatchError, match=r"CURRENT is missing or damaged.*: rag rollback"):
            open_index(index)
        carried_out(f"rag rollback {index}", index)
        assert answers(index) == wanted
    (index / "CURRENT").unlink()
    encoder.embedded.clear()
    assert ingest_documents(WINDOWED, [], index).kept == 5
    assert encoder.embedded == []
    assert read_sources(serving_manifest(index)[0])["roots"] == roots
    assert answers(index) == wanted


def test_where_the_pointer_is_lost_after_a_rollback_the_generation_that_served_is_not_deleted(index, tmp_path):
    root = tmp_path / "more"
    root.mkdir()
    (root / "new.txt").write_text("Rule 9 is about the harbour, too.", "utf-8")
    before = answers(index)
    ingest_documents(WINDOWED, [root], index)
    roll_back(index)
    assert answers(index) == before
    (index / "CURRENT").write_text("lost", "utf-8")
    roll_back(index)
    assert answers(index) == before
    roll_back(index)
    assert len(open_index(index).corpus) > len(before[0])


def test_nobody_goes_back_to_a_damaged_generation(index, tmp_path):
    old = index / generation_of(index)
    (tmp_path / "new.txt").write_text("Rule 9 is about the harbour, too.", "utf-8")
    ingest_documents(WINDOWED, [tmp_path / "new.txt"], index)
    now = answers(index)
    flipped(old / "vectors.faiss", 60, 3)
    with pytest.raises(
        IndexMismatchError, match=r"vectors\.faiss is missing or damaged .*; make it again: rag ingest -i"
    ):
        roll_back(index)
    assert answers(index) == now


def test_an_index_from_before_says_that_it_has_no_hashes_and_the_next_ingest_adds_them(index, encoder):
    without_hashes(index)
    assert examine_index(WINDOWED, index) == []
    (line,) = finding_lines([], index)
    assert line.endswith(f"made before parts had hashes; add them: rag ingest -i {index}")
    encoder.embedded.clear()
    wanted = answers(index)
    ingest_documents(WINDOWED, [], index)
    assert encoder.embedded == []
    assert parts.has_hashes(serving_manifest(index)[0])
    assert answers(index) == wanted
    assert finding_lines(examine_index(WINDOWED, index), index) == [f"{index} is sound"]


def test_where_only_paths_change_a_kill_at_any_moment_leaves_a_sound_index(index, monkeypatch):
    generation = index / generation_of(index)
    rows = read_documents(generation)
    sources = read_sources(generation)
    manifest = serving_manifest(index)[1]
    moved = [{**row, "notes": ["moved"]} for row in rows]
    contents = write._contents(moved, {**sources, "forgotten": ["/else/where"]})
    for kill_at in range(5):
        copy = index.with_name(f"killed-{kill_at}")
        shutil.copytree(index, copy)
        done = []

        def counted(original, done=done, kill_at=kill_at):
            def step(*arguments):
                if len(done) == kill_at:
                    raise KeyboardInterrupt
                done.append(original(*arguments))

            return step

        with monkeypatch.context() as patch:
            for name in ("write_manifest", "write_whole"):
                patch.setattr(parts, name, counted(getattr(parts, name)))
            with contextlib.suppress(KeyboardInterrupt):
                parts.replace_files(copy / generation.name, manifest, contents)
        assert len(done) == min(kill_at, 4)
        assert read_documents(copy / generation.name) in (rows, moved)
        assert read_sources(copy / generation.name)["forgotten"] in ([], ["/else/where"])
        assert [f.what for f in examine_index(WINDOWED, copy) if f.severity == "broken"] == []
        parts.replace_files(copy / generation.name, manifest, contents)
        assert read_documents(copy / generation.name) == moved
        assert [f.what for f in examine_index(WINDOWED, copy) if f.severity == "broken"] == []


@pytest.mark.parametrize("kind", ["truncated", "flipped", "emptied", "zeros", "noise", "folder"])
def test_a_damaged_shard_of_a_killed_build_is_encoded_again(tmp_path, kind):
    texts = [f"text {n}" for n in range(6)]
    wanted, _ = encode_in_shards("passages", texts, {}, WordEncoder(), tmp_path)
    (shard,) = tmp_path.glob("shard-*.npz")
    for seed in range(20 if kind in ("flipped", "truncated") else 1):
        kept = shard.read_bytes()
        damage(shard, kind, shard, seed)
        vectors, cut = encode_in_shards("passages", texts, {}, WordEncoder(), tmp_path)
        assert (vectors == wanted).all()
        assert cut == 0
        assert len(kept) > 0


def test_a_shard_of_other_texts_is_encoded_again(tmp_path):
    encode_in_shards("passages", [f"text {n}" for n in range(6)], {}, WordEncoder(), tmp_path)
    others = [f"other {n}" for n in range(6)]
    vectors, _ = encode_in_shards("passages", others, {}, WordEncoder(), tmp_path)
    assert (vectors == WordEncoder().encode_passages(others)[0]).all()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xff", b'{"fingerprint": 7}'])
def test_a_damaged_note_of_a_build_under_way_begins_it_again(index, content, tmp_path):
    building = index / "building"
    building.mkdir()
    (building / "key.json").write_bytes(content)
    (building / "shard-passages-00000.npz").write_bytes(b"half")
    (tmp_path / "new.txt").write_text("Rule 9 is about the harbour, too.", "utf-8")
    ingest_documents(WINDOWED, [tmp_path / "new.txt"], index)
    assert len({passage.document for passage in open_index(index).corpus}) == 6
    (index / "building").write_text("a file in the place of the folder", "utf-8")
    (tmp_path / "new.txt").write_text("Rule 9 has changed.", "utf-8")
    ingest_documents(WINDOWED, [], index)
    assert any("Rule 9 has changed." in passage.text for passage in open_index(index).corpus)


def test_a_full_disk_leaves_the_old_index_whichever_write_it_stops(index, tmp_path, monkeypatch):
    wanted = answers(index)
    (tmp_path / "new.txt").write_text("Rule 9 is about the harbour, too.", "utf-8")
    full = OSError(errno.ENOSPC, "No space left on device")

    def fails(*arguments, **options):
        raise full

    places = [(ParsedDocuments, "write"), (FaissIndex, "save"), (write.BM25Retriever, "save"), (write, "write_whole")]
    # Last the switch: behind it, the same command finds the new generation whole, and need not make it.
    places += [(parts, "write_json"), (write, "write_manifest"), (folder_module, "write_durably")]
    for module, name in places:
        with monkeypatch.context() as patch:
            patch.setattr(module, name, fails)
            with pytest.raises((DataError, OSError)) as told:
                ingest_documents(WINDOWED, [tmp_path / "new.txt"], index)
        assert "space" in str(told.value), name
        if name not in ("write", "write_whole"):
            assert "could not be written (No space left on device); the index stays as it was: make room" in str(
                told.value
            )
        assert answers(index) == wanted, name
        assert "\n" not in str(told.value)
    ingest_documents(WINDOWED, [tmp_path / "new.txt"], index)
    assert answers(index) != wanted


def test_a_limit_on_files_stops_faiss_with_a_sentence(tmp_path):
    """FAISS says so in C++ alone, or not at all where the last bytes are written as it closes the file."""
    write_corpus(tmp_path / "corpus.txt", [])
    script = """
import resource, sys
from pathlib import Path
import numpy as np
from rag.errors import RagError
from rag.files import room_for
from rag.index.segments import save_vectors
from rag.retrieve.vectors import FaissIndex
index = FaissIndex(16)
index.add(np.eye(16, dtype=np.float32).repeat(int(sys.argv[2]), 0))
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))
try:
    with room_for(Path(sys.argv[1]), "the index stays as it was"):
        save_vectors(index, Path(sys.argv[1]) / "vectors.faiss")
except RagError as error:
    print(error)
"""
    for repeats, limit in ((1, 100), (1, 1000), (100, 4096), (1000, 4096), (1000, 1_024_000)):
        command = [sys.executable, "-c", script, str(tmp_path), str(repeats), str(limit)]
        ended = subprocess.run(command, capture_output=True, text=True, check=True)
        (line,) = ended.stdout.splitlines()
        assert line.startswith(f"{tmp_path / 'vectors.faiss'} could not be written (No space left on device); ")


def test_a_part_that_cannot_be_read_is_named_with_the_reason(index, monkeypatch):
    def refused(path):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(parts, "file_sha256", refused)
    with pytest.raises(IndexMismatchError, match=r"windows\.npy is missing or damaged \(it cannot be read: Permission"):
        open_index(index).vectors()


def test_a_corpus_index_names_the_command_for_a_corpus(tmp_path, passages, encoder):
    corpus = write_corpus(tmp_path / "corpus.txt", passages)
    make_index(SETTINGS, corpus, tmp_path / "index")
    generation = tmp_path / "index" / generation_of(tmp_path / "index")
    wanted = [hit.passage.id for hit in open_index(tmp_path / "index").bm25().retrieve(["Tern Island"], 5)[0]]
    for name in ("passages.jsonl", "vectors.faiss", "bm25/indptr.csc.index.npy"):
        path = serving_manifest(tmp_path / "index")[0] / name
        flipped(path, path.stat().st_size // 2, 0)
        (finding, *_) = examine_index(SETTINGS, tmp_path / "index")
        assert finding.mend == f"rag index {corpus} -o {tmp_path / 'index'}"
        carried_out(finding.mend, tmp_path / "index")
        found = open_index(tmp_path / "index").bm25().retrieve(["Tern Island"], 5)[0]
        assert [hit.passage.id for hit in found] == wanted
    assert generation.name.startswith("generation-")


def test_every_kind_of_damage_is_tried():
    assert len(KINDS) == len(set(KINDS)) == 19
