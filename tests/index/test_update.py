"""An index that is changed step by step answers as one that is made anew of the same passages."""

import dataclasses
import json
import os
import random
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from rag.build import indexes
from rag.build.indexes import examine_index, ingest_documents, make_index_alike
from rag.build.serving import serving_over
from rag.data.passages import Corpus
from rag.data.stored import ChangedCorpus, digest
from rag.errors import DataError, IndexMismatchError
from rag.index import ingest, update, write
from rag.index.checked import CHECKED
from rag.index.folder import current_generation, read_current, roll_back, writer_lock
from rag.index.read import open_index
from rag.index.segments import is_segmented, sizes_of
from rag.index.write import build_generation
from rag.retrieve import windows
from rag.retrieve.dense import DenseRetriever
from rag.retrieve.vectors import FaissIndex
from rag.types import Passage
from tests.fakes.damage import flipped
from tests.fakes.documents import SETTINGS, WordEncoder

WORDS = ["harbour", "island", "ferry", "bread", "yeast", "tower", "bridge", "river", "lamp", "stone", "sail", "wind"]
QUESTIONS = ["the harbour of the island", "bread and yeast", "nothing known", "lamp", "wind on the river"]


@pytest.fixture(autouse=True)
def small(monkeypatch, encoder):
    monkeypatch.setattr(update, "LEAST_PASSAGES", 1)


def text(chance):
    sentences = (" ".join(chance.choices(WORDS, k=chance.randint(1, 9))) for _ in range(chance.randint(1, 3)))
    return " ".join(f"{sentence.capitalize()}." for sentence in sentences)


def passages(n, seed=0):
    chance = random.Random(seed)
    return [Passage(f"{seed}d{m // 3}@{m % 3}", text(chance), f"Title {m // 3}", "a.txt") for m in range(n)]


def built(own, folder, **settings):
    """The index of these passages; returns the encoder, which knows what it encoded."""
    encoder = WordEncoder()
    folder.mkdir(exist_ok=True)
    with writer_lock(folder):
        build_generation(own if isinstance(own, Corpus) else Corpus(own), folder, encoder, documents=[], **settings)
    return encoder


def answers(folder):
    """Every hit with its score, of vectors and of BM25, over everything and over a part."""
    index = open_index(folder)
    dense = DenseRetriever(WordEncoder(), index.vectors(), index.corpus, windows=index.windows())
    within = np.arange(len(index.corpus)) % 3 > 0
    found = [list(index.corpus), index.windows().tolist(), index.vectors().vectors(range(len(index.corpus))).tolist()]
    for retriever in (dense, index.bm25()):
        for one in (retriever, retriever.restricted_to(within)):
            found.append([[(h.passage.id, h.score) for h in hits] for hits in one.retrieve(QUESTIONS, 20)])
    return found


def above_the_cut(lists):
    """The scores of hits, and the hits above the last score: of several passages with that one, any may be found."""
    return [([score for _, score in hits], [hit for hit in hits if hit[1] > hits[-1][1]]) for hits in lists]


def changed(own, chance, n):
    """Some passages changed, some gone, some new, and now and then two in each other's place."""
    own = list(own)
    for _ in range(n):
        row = chance.randrange(len(own))
        what = chance.choice(["change", "change", "drop", "add", "swap", "copy"])
        if what == "change":
            own[row] = dataclasses.replace(own[row], text=text(chance))
        elif what == "drop" and len(own) > 3:
            del own[row]
        elif what == "add":
            own.insert(row, Passage(f"new{chance.random()}@0", text(chance), "New"))
        elif what == "copy":
            own.insert(row, dataclasses.replace(own[row], id=f"copy{chance.random()}@0"))
        else:
            own[row], own[-1] = own[-1], own[row]
    return own


@pytest.mark.parametrize("factory", ["Flat", "HNSW16"])
@pytest.mark.parametrize("window_sentences", [0, 1])
def test_after_many_small_changes_it_answers_as_one_made_anew(tmp_path, factory, window_sentences):
    settings = {"factory": factory, "window_sentences": window_sentences, "language": "english"}
    chance, own = random.Random(window_sentences), passages(60)
    built(own, tmp_path / "index", **settings)
    in_segments = 0
    for step in range(8):
        own = changed(own, chance, 1 + step % 4)
        built(own, tmp_path / "index", **settings)
        in_segments += is_segmented(read_current(tmp_path / "index"))
        built(own, tmp_path / f"anew{step}", **settings)
        found, wanted = answers(tmp_path / "index"), answers(tmp_path / f"anew{step}")
        assert found[:3] == wanted[:3]
        assert found[5:] == wanted[5:]  # BM25, to the last bit
        if factory == "Flat":
            assert [above_the_cut(hits) for hits in found[3:5]] == [above_the_cut(hits) for hits in wanted[3:5]]
        manifests = [current_generation(tmp_path / name)[1] for name in ("index", f"anew{step}")]
        assert manifests[0].fingerprint == manifests[1].fingerprint
        assert manifests[0].passages_cut == manifests[1].passages_cut
    assert in_segments >= 5
    assert examine_index(SETTINGS, tmp_path / "index") == []


def test_only_what_is_new_is_encoded_and_the_rest_is_shared(tmp_path):
    own = passages(60)
    built(own, tmp_path)
    before = read_current(tmp_path)
    own[7] = dataclasses.replace(own[7], text="Quite another.")
    own[9] = dataclasses.replace(own[9], id="moved@0")  # its content is known
    assert built(own, tmp_path).embedded == [own[7].content]
    now = read_current(tmp_path)
    assert sorted(sizes_of(now)) == [0, 1]
    for name in ("passages.jsonl", "vectors.faiss", "bm25/data.csc.index.npy"):
        assert os.path.samefile(before / name, now / name)
    assert len((now / "passages-1.jsonl").read_text("utf-8").splitlines()) == 2


def test_small_segments_are_taken_over_and_after_many_changes_the_whole_is_made_again(tmp_path):
    own, sizes = passages(90), []
    built(own, tmp_path)
    for step in range(14):
        own[step * 3] = dataclasses.replace(own[step * 3], text=f"Change {step}.")
        assert len(built(own, tmp_path).embedded) == 1
        now = read_current(tmp_path)
        sizes.append([size.passages for size in sizes_of(now).values()] if is_segmented(now) else [])
    # Each takes over those before it that are at most twice as large.
    assert sizes[:6] == [[90, 1], [90, 2], [90, 3], [90, 3, 1], [90, 5], [90, 5, 1]]
    # With each change one passage of the 90 is gone, and one has come: after the eleventh 22, a quarter is 22.5.
    assert sizes[10:13] == [[90, 8, 3], [], [90, 1]]
    assert max(map(len, sizes)) <= 4


def test_passages_that_go_leave_no_new_segment(tmp_path):
    own = passages(60)
    built(own, tmp_path)
    assert built(own[2:], tmp_path).embedded == []
    now = read_current(tmp_path)
    assert (list(sizes_of(now)), list(now.glob("*-1*"))) == ([0], [])
    built(own[2:], tmp_path / "anew")
    assert answers(tmp_path) == answers(tmp_path / "anew")


def test_a_changed_corpus_is_not_read_to_be_written(tmp_path, monkeypatch):
    own = passages(60)
    built(own, tmp_path, language="english")
    base = open_index(tmp_path).corpus
    new = [Passage("new@0", "One of two."), Passage("new@1", "Two of two.")]
    origin = np.concatenate([np.arange(20), [-1, -1], np.arange(21, 60)])
    whole = Corpus([*own[:20], *new, *own[21:]])
    with monkeypatch.context() as patch:
        patch.setattr(type(base._lines), "passage", lambda self, row: pytest.fail(f"read {row}"))
        patch.setattr("rag.index.language.detect_language", lambda texts, before: "english")
        built(ChangedCorpus(base, origin, new), tmp_path, language="english")
    assert list(open_index(tmp_path).corpus) == list(whole)
    assert open_index(tmp_path).manifest.corpus_sha256 == digest(whole)


def test_back_and_forward_again(tmp_path):
    own = passages(60)
    built(own, tmp_path)
    states = [answers(tmp_path)]
    for step in range(2):
        own = changed(own, random.Random(step), 3)
        built(own, tmp_path)
        states.append(answers(tmp_path))
    roll_back(tmp_path)
    assert answers(tmp_path) == states[1]
    roll_back(tmp_path)
    assert answers(tmp_path) == states[2]
    assert len(list(tmp_path.glob("generation-*"))) == 2


def test_a_reader_goes_on_while_two_changes_pass(tmp_path):
    own = passages(60)
    built(own, tmp_path)
    index = open_index(tmp_path)
    bm25, vectors = index.bm25(), index.vectors()
    for step in range(2):
        built(changed(own, random.Random(step), 3), tmp_path)
    assert list(index.corpus) == own
    assert bm25.retrieve(["harbour"], 3)[0]
    assert len(vectors.vectors(range(60))) == 60


@pytest.mark.parametrize("step", ["_link", "described", "write_table", "_write_places", "write_sizes"])
def test_a_kill_while_writing_leaves_what_served_and_the_next_run_finishes(tmp_path, monkeypatch, step):
    own = passages(60)
    built(own, tmp_path)
    before, wanted = answers(tmp_path), changed(own, random.Random(1), 3)
    with monkeypatch.context() as patch:
        original = getattr(update, step)

        def killed(*arguments):
            original(*arguments)
            raise KeyboardInterrupt

        patch.setattr(update, step, killed)
        with pytest.raises(KeyboardInterrupt):
            built(wanted, tmp_path)
    assert answers(tmp_path) == before
    # The parts of the killed build are linked from what serves: whatever is made next must not write into them.
    monkeypatch.setattr(write, "small_change", lambda *arguments: None)
    built(wanted, tmp_path)
    assert list(open_index(tmp_path).corpus) == wanted
    roll_back(tmp_path)
    assert answers(tmp_path) == before


PARTS = ("passages.jsonl", "passages-1.jsonl", "passages.npy", "vectors.faiss", "vectors-1.faiss", "places.npy")
PARTS += ("segments.json", "bm25/counts.npy", "bm25-1/counts.npy", "bm25-1/lengths.npy")


def test_damage_to_a_segment_is_a_sentence_found_by_the_doctor_and_mended(tmp_path):
    own = passages(30)
    built(own, tmp_path / "index")
    own[3] = dataclasses.replace(own[3], text="Another harbour.")
    built(own, tmp_path / "index")
    wanted = answers(tmp_path / "index")
    for name in PARTS:
        for kind in ("flipped", "gone", "cut"):
            copy = Path(shutil.copytree(tmp_path / "index", tmp_path / "copy"))
            path = read_current(copy) / name
            if kind == "gone":
                path.unlink()
            elif kind == "cut":
                os.truncate(path, path.stat().st_size // 2)
            else:
                flipped(path, path.stat().st_size - 5, 1)
            with pytest.raises(IndexMismatchError, match=rf"{name} is missing or damaged.*; rebuild it: rag in"):
                answers(copy)
            assert any(name in finding.what for finding in examine_index(SETTINGS, copy)), (name, kind)
            if kind == "flipped":
                built(own, copy)
                assert answers(copy) == wanted
                assert examine_index(SETTINGS, copy) == []
            shutil.rmtree(copy)


def test_a_damaged_segment_is_not_carried_on(tmp_path):
    own = passages(60)
    built(own, tmp_path)
    flipped(read_current(tmp_path) / "vectors.faiss", 60, 2)
    own[3] = dataclasses.replace(own[3], text="Another harbour.")
    built(own, tmp_path)
    built(own, tmp_path / "anew")
    assert answers(tmp_path) == answers(tmp_path / "anew")


def test_where_the_file_system_knows_no_links_segments_are_copied(tmp_path, monkeypatch):
    def refused(source, target):
        raise OSError("no links")

    monkeypatch.setattr(os, "link", refused)
    own = passages(60)
    built(own, tmp_path)
    built(own[1:], tmp_path)
    built(own[1:], tmp_path / "anew")
    assert is_segmented(read_current(tmp_path))
    assert answers(tmp_path) == answers(tmp_path / "anew")


def test_an_index_alike_is_made_of_the_passages_that_are_there_now(tmp_path, monkeypatch):
    monkeypatch.setattr(indexes, "make_encoder", lambda settings, lazy: WordEncoder())
    own = passages(60)
    built(own, tmp_path / "index")
    built(own[1:], tmp_path / "index")
    make_index_alike(serving_over(SETTINGS, tmp_path / "index"), "another", tmp_path / "alike")
    assert list(open_index(tmp_path / "alike").corpus) == own[1:]


def test_an_index_of_an_earlier_version_keeps_its_hash_until_it_changes(tmp_path):
    own = passages(60)
    built(own, tmp_path)
    generation, manifest = current_generation(tmp_path)
    old = dataclasses.replace(manifest, corpus_sha256=Corpus(own).sha256())
    write.write_manifest(generation, old, write.parts_of(generation))
    assert built(own, tmp_path).embedded == []
    assert current_generation(tmp_path) == (generation, old)
    assert examine_index(SETTINGS, tmp_path) == []


def test_an_ingest_leaves_the_passages_of_documents_that_stay_on_the_disk(tmp_path, encoder, monkeypatch):
    (tmp_path / "manuals").mkdir()
    for n in range(20):
        (tmp_path / "manuals" / f"{n:02}.txt").write_text(f"Rule {n} is about the harbour.", "utf-8")
    ingest_documents(SETTINGS, [tmp_path / "manuals"], tmp_path / "index")
    encoder.embedded.clear()
    (tmp_path / "manuals" / "03.txt").write_text("Rule 3 is about the ferry.", "utf-8")
    (tmp_path / "manuals" / "more").mkdir()
    (tmp_path / "manuals" / "05.txt").rename(
        tmp_path / "manuals" / "more" / "05.txt"
    )  # the same passage, of another source
    given = []

    def noted(corpus, *arguments, **settings):
        given.append(corpus)
        return build_generation(corpus, *arguments, **settings)

    monkeypatch.setattr(ingest, "build_generation", noted)
    result = ingest_documents(SETTINGS, [], tmp_path / "index")
    assert (result.added, result.removed, result.kept) == (1, 1, 19)
    assert encoder.embedded == ["03\nRule 3 is about the ferry."]
    assert sorted(given[0].origin.tolist()) == [-1, -1, *(n for n in range(20) if n not in (3, 5))]
    assert is_segmented(read_current(tmp_path / "index"))
    ingest_documents(SETTINGS, [tmp_path / "manuals"], tmp_path / "anew")
    assert answers(tmp_path / "index") == answers(tmp_path / "anew")
    assert examine_index(SETTINGS, tmp_path / "index") == []


class CuttingEncoder(WordEncoder):
    """It takes twenty words."""

    def encode_passages(self, texts, label="", advance=lambda n: None):
        return super().encode_passages(texts, label, advance)[0], self.count_cut(texts)

    def count_cut(self, texts):
        return sum(len(text.split()) > 20 for text in texts)


def test_passages_that_are_cut_are_counted_step_by_step(tmp_path):
    def build(own, folder):
        folder.mkdir(exist_ok=True)
        with writer_lock(folder):
            return build_generation(Corpus(own), folder, CuttingEncoder(), documents=[])

    long = " ".join(WORDS * 2)
    own = passages(60)
    own[5:8] = [dataclasses.replace(passage, text=f"{long} {passage.id}") for passage in own[5:8]]
    n_cut = build(own, tmp_path / "index").passages_cut
    assert n_cut >= 3
    own[5] = dataclasses.replace(own[5], text="Short now.")
    assert build(own, tmp_path / "index").passages_cut == n_cut - 1
    own[6] = dataclasses.replace(own[6], id="moved@0")
    own[20] = dataclasses.replace(own[20], text=long, title="")
    assert is_segmented(read_current(tmp_path / "index"))
    last = build(own, tmp_path / "index").passages_cut
    assert last == build(own, tmp_path / "anew").passages_cut == n_cut - (len(passages(60)[20].content.split()) > 20)


def test_a_full_disk_leaves_what_served(tmp_path, monkeypatch):
    own = passages(60)
    built(own, tmp_path)
    before = answers(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(FaissIndex, "save", lambda self, path: path.write_bytes(b"IxFI"))  # FAISS does not always say
        with pytest.raises(DataError, match=r"vectors-1\.faiss could not be written \(No space left on device\)"):
            built(own[1:] + passages(2, seed=1), tmp_path)
    assert answers(tmp_path) == before


@pytest.mark.parametrize("text", ["。。", "— * —", "The of and."])
def test_passages_without_a_word_are_a_segment_as_others_are(tmp_path, text):
    own = [dataclasses.replace(passage, title="") for passage in passages(60)]
    built(own, tmp_path / "index")
    own[5] = dataclasses.replace(own[5], text=text)
    built(own, tmp_path / "index")
    assert len(sizes_of(read_current(tmp_path / "index"))) == 2
    built(own, tmp_path / "anew")
    same = [open_index(tmp_path / name).bm25().retrieve(QUESTIONS, 5) for name in ("index", "anew")]
    assert [[(hit.passage.id, hit.score) for hit in hits] for hits in same[0]] == [
        [(hit.passage.id, hit.score) for hit in hits] for hits in same[1]
    ]


def test_hashes_of_files_that_are_gone_are_not_handed_on(tmp_path):
    own = passages(60)
    built(own, tmp_path)
    for n in range(8):
        own[n] = dataclasses.replace(own[n], text=f"Harbour {n}.")
        built(own, tmp_path)
        for path in tmp_path.rglob("*"):
            if path.is_file():  # old enough for its hash to be kept
                os.utime(path, ns=(path.stat().st_mtime_ns - 10**10,) * 2)
        open_index(tmp_path).bm25()
    current = read_current(tmp_path)
    kept = json.loads((current / CHECKED).read_text("utf-8"))
    assert len(kept) > 3
    assert {name.split("/")[0] for name in kept if name != "sha256"} <= {path.name for path in current.iterdir()}


def test_windows_that_were_found_in_another_way_are_encoded_again(tmp_path, monkeypatch):
    four = "The harbour. The island. The ferry. The bread."
    own = [dataclasses.replace(passage, text=four) for passage in passages(30)]
    built(own, tmp_path / "index", window_sentences=2)
    own[3] = dataclasses.replace(own[3], text="The yeast. The tower.")
    built(own, tmp_path / "index", window_sentences=2)

    def finer(*given, original=windows.sentence_spans):  # every word is a sentence
        return [(match.start(), match.end()) for match in re.finditer(r"\S+", given[0])]

    monkeypatch.setattr(windows, "sentence_spans", finer)
    own[4] = dataclasses.replace(own[4], text="The bridge. The river.")
    for name in ("index", "anew"):
        built(own, tmp_path / name, window_sentences=2)
    rewritten = open_index(tmp_path / "index"), open_index(tmp_path / "anew")
    found = []
    for index in rewritten:
        owners = index.windows()
        rows = np.flatnonzero(np.isin(owners, [3, 4])) + len(index.corpus)
        found.append(index.vectors().vectors(rows.tolist()))
    assert np.array_equal(*found)
