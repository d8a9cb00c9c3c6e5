"""What every store does: FAISS in a folder, an embedded Milvus, and the server that RAG_TEST_MILVUS names."""

import os

import numpy as np
import pytest

from rag.data.passages import Corpus
from rag.errors import IndexBusyError, IndexMismatchError
from rag.retrieve.bm25 import BM25Retriever
from rag.store.store import Store, Where
from rag.types import Passage
from tests.fakes.stores import SERVER, TEXTS, fill, manifest_of, open_faiss, open_milvus, some_passages, vectors_of

KINDS = ["faiss", "lite", *(["server"] if os.environ.get(SERVER) else [])]
OPEN = {"faiss": open_faiss, "lite": open_milvus, "server": open_milvus}


@pytest.fixture(params=KINDS)
def opened(request, tmp_path_factory):
    """Opens the store of one folder, again and again."""
    folder = tmp_path_factory.mktemp("stores", numbered=True) / f"{request.param}.index"
    folder.mkdir()
    return lambda: OPEN[request.param](folder)


@pytest.fixture
def opened_with_words(opened, request):
    """As `opened`, of the stores that count words."""
    if "[server]" in request.node.name and not opened().client.has_bm25:
        pytest.skip("this server counts no words")
    return opened


def ids(found):
    return [[pid for pid, _ in hits] for hits in found]


def test_it_is_a_store(opened):
    store = opened()
    fill(store)
    assert isinstance(store, Store)


def test_dense_search_finds_the_passages_of_highest_inner_product(opened):
    store = opened()
    passages = fill(store)
    vectors = vectors_of(passages)
    found = opened().dense(vectors[:3], 4)
    products = vectors[:3] @ vectors.T
    for row, hits in enumerate(found):
        order = np.argsort(-products[row])[:4]
        assert [pid for pid, _ in hits] == [passages[i].id for i in order]
        assert [score for _, score in hits] == pytest.approx(products[row][order].tolist(), abs=1e-5)


def test_lexical_search_gives_the_scores_of_bm25(opened_with_words):
    opened = opened_with_words
    store = opened()
    passages = fill(store)
    questions = ["ferry harbour ferry", "naïve c++", "rye bread", "nothing of it", ""]
    wanted = BM25Retriever(Corpus(passages)).retrieve(questions, 10)
    found = opened().lexical(questions, 10)
    assert ids(found) == [[hit.passage.id for hit in hits] for hits in wanted]
    for hits, own in zip(wanted, found, strict=True):
        assert [score for _, score in own] == pytest.approx([hit.score for hit in hits], abs=1e-5)
    assert ids(found)[1][0] == "c@1"
    assert found[3] == found[4] == []


def test_a_part_is_searched_by_its_documents_and_without_the_hidden(opened):
    fill(opened())
    store = opened()
    vector = vectors_of(some_passages())[:1]
    both = Where(documents=frozenset({"mill", "owl"}))
    assert sorted(ids(store.dense(vector, 10, both))[0]) == ["mill@1", "mill@2", "owl@1"]
    assert ids(store.dense(vector, 10, both.hiding(["mill"])))[0] == ["owl@1"]
    assert store.dense(vector, 10, Where(documents=frozenset())) == [[]]


def test_a_part_is_searched_for_words_without_the_hidden(opened_with_words):
    fill(opened_with_words())
    found = opened_with_words().lexical(["rye ferry"], 10, Where(hidden=frozenset({"ferry"})))
    assert ids(found)[0] == ["mill@2", "mill@1"]


def test_more_than_there_is_may_be_asked_for(opened):
    fill(opened())
    assert len(opened().dense(vectors_of(some_passages())[:1], 1000)[0]) == len(TEXTS)


def test_passages_and_vectors_are_found_by_id_as_they_were_written(opened):
    odd = [
        Passage('it\'s "quoted" \\ and\nbroken@1', "語 text with\x00 nothing\ttabs", "", "a/b"),
        Passage("half@1", "half a pair: \ud83d", "titled"),
        *some_passages(),
    ]
    fill(opened(), odd)
    store = opened()
    assert store.passages([odd[1].id, "unknown", odd[0].id]) == {odd[1].id: odd[1], odd[0].id: odd[0]}
    assert np.allclose(store.vectors([odd[3].id, odd[0].id]), vectors_of([odd[3], odd[0]]), atol=1e-6)
    assert sorted(store.scan(), key=lambda p: p.id) == sorted(odd, key=lambda p: p.id)
    with pytest.raises(KeyError):
        store.vectors(["unknown"])


def test_the_manifest_is_the_one_that_was_finished(opened):
    passages = fill(opened())
    stored = opened().manifest
    wanted = manifest_of(passages)
    assert {key: stored[key] for key in ("fingerprint", "n_passages", "encoder", "bm25")} == {
        key: wanted[key] for key in ("fingerprint", "n_passages", "encoder", "bm25")
    }


def test_an_empty_place_says_that_it_holds_no_index(opened):
    with pytest.raises(IndexMismatchError, match="make one: rag index"):
        _ = opened().manifest


def test_nothing_of_a_change_is_seen_before_it_is_finished_and_all_of_it_after(opened):
    passages = fill(opened())
    before = opened()
    new = Passage("ferry@1", "The ferry does not leave before noon.", "Ferry", "notes.txt")
    after = [p for p in passages if p.id not in ("ferry@1", "owl@1")] + [new]
    owl = vectors_of([p for p in passages if p.id == "owl@1"])
    store = opened()
    manifest = manifest_of(after)
    with store.changing(manifest):
        store.write([new], vectors_of([new]))
        store.delete(["owl@1"])
        during = opened()
        assert {p.id: p.text for p in during.scan()} == TEXTS
        assert ids(during.dense(owl, 1)) == [["owl@1"]]
        store.finish(manifest)
    assert {p.id: p for p in opened().scan()} == {p.id: p for p in after}
    assert "owl@1" not in ids(opened().dense(owl, len(passages)))[0]
    assert opened().manifest["n_passages"] == len(after)
    # Who has it open reads on what he opened.
    assert {p.id: p.text for p in before.scan()} == TEXTS


def test_words_of_a_change_are_found_when_it_is_finished(opened_with_words):
    opened = opened_with_words
    passages = fill(opened())
    new = Passage("ferry@1", "The ferry does not leave before noon.", "Ferry", "notes.txt")
    store = opened()
    manifest = manifest_of([p for p in passages if p.id != "ferry@1"] + [new])
    with store.changing(manifest):
        store.write([new], vectors_of([new]))
        during = opened()
        assert ids(during.lexical(["dawn"], 3)) == [["ferry@1"]]
        assert ids(during.lexical(["noon"], 3)) == [[]]
        store.finish(manifest)
    assert ids(opened().lexical(["noon"], 3)) == [["ferry@1"]]
    assert ids(opened().lexical(["dawn"], 3)) == [[]]


def test_roll_back_goes_back_and_forward_again(opened):
    first = fill(opened())
    second = first[:3]
    fill(opened(), second)
    assert opened().manifest["n_passages"] == 3
    for passages in (first, second, first):
        assert opened().roll_back()["n_passages"] == len(passages)
        assert sorted(p.id for p in opened().scan()) == sorted(p.id for p in passages)
        assert len(opened().dense(vectors_of(first)[:1], 10)[0]) == len(passages)


def test_a_change_after_going_back_begins_at_what_serves(opened):
    first = fill(opened())
    fill(opened(), first[:2])
    opened().roll_back()
    third = [*first, Passage("new@1", "A new tale of rye.")]
    fill(opened(), third)
    assert sorted(p.id for p in opened().scan()) == sorted(p.id for p in third)
    opened().roll_back()
    assert sorted(p.id for p in opened().scan()) == sorted(p.id for p in first)


def test_made_anew_it_holds_what_was_written_alone_and_can_go_back(opened):
    first = fill(opened())
    fill(opened(), first[:3])
    fill(opened(), first[:2], anew=True)
    assert len(list(opened().scan())) == 2
    for n in (3, 2, 3):  # back, forward, back
        opened().roll_back()
        assert sorted(p.id for p in opened().scan()) == sorted(p.id for p in first[:n])


def test_there_is_nothing_to_go_back_to_at_first(opened):
    fill(opened())
    with pytest.raises(IndexMismatchError, match="no generation to go back to"):
        opened().roll_back()
    assert len(list(opened().scan())) == len(TEXTS)


def test_two_do_not_write_at_once(opened):
    fill(opened())
    manifest = manifest_of(some_passages())
    store = opened()
    with store.changing(manifest), pytest.raises(IndexBusyError, match="is writing"), opened().changing(manifest):
        pass
    with opened().changing(manifest):  # it was given back
        pass


def test_a_change_with_other_passages_than_its_manifest_is_refused_and_the_old_state_serves(opened):
    passages = fill(opened())
    manifest = manifest_of([*passages, Passage("x@1", "never written")])
    store = opened()
    with pytest.raises(IndexMismatchError, match="not the 7"), store.changing(manifest):
        store.finish(manifest)
    assert {p.id: p.text for p in opened().scan()} == TEXTS


def test_a_store_is_changed_inside_changing_alone(opened):
    with pytest.raises(RuntimeError):
        opened().write(some_passages(), vectors_of(some_passages()))
