"""Training questions from files, and splits that do not leak."""

import json
import random

import pytest

from rag.data.labelled import Example, load_examples, random_passages, share_of
from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.data.splits import overlaps, refuse_test_file, split_by_document
from rag.errors import DataError
from rag.types import Passage

CORPUS = Corpus([Passage(f"d{n // 2}@{n % 2}", f"text {n}") for n in range(20)])


def write_rows(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return path


def row(qid, evidences, labels, answer="yes"):
    text = f"question {qid}?"
    return {"qid": qid, "question": text, "evidences": evidences, "retrieval_labels": labels, "answer": answer}


def test_course_rows_become_examples_and_the_rest_is_counted(tmp_path):
    rows = [
        row("a", ["text 0", "text 5"], [1, 0]),
        row("b", ["text 2", "text 3", "unknown"], [1, 1, 0]),
        row("c", ["text 1"], [0], "CANNOTANSWER"),
        row("d", ["nowhere"], [1]),
    ]
    loaded = load_examples(write_rows(tmp_path / "train.txt", rows), CORPUS)
    assert [(e.question.id, e.positives, e.negatives) for e in loaded.examples] == [
        ("a", ("d0@0",), ("d2@1",)),
        ("b", ("d1@0", "d1@1"), ()),
    ]
    assert (loaded.n_questions, loaded.n_unanswerable, loaded.n_gold_missing) == (4, 1, 1)
    assert [(e.question.id, e.positives, e.negatives) for e in loaded.unanswerable] == [("c", (), ("d0@1",))]
    assert loaded.n_unknown_evidences == 2
    assert loaded.summary("train") == (
        "train: 2 of 4 questions (left out: 1 unanswerable, 1 whose gold passage is not in the corpus, "
        "2 evidences that the corpus lacks)"
    )
    assert loaded.summary("train", with_unanswerable=True) == (
        "train: 3 of 4 questions, 1 of them unanswerable (left out: 1 whose gold passage is not in the corpus, "
        "2 evidences that the corpus lacks)"
    )


def test_judgements_beside_the_file_complete_its_labels(tmp_path):
    rows = [
        row("a", ["text 0", "text 5"], [1, 0]),
        row("b", ["text 2"], [1]),
        row("c", ["text 1"], [0], "CANNOTANSWER"),
        row("d", ["text 1", "text 3"], [0, 0]),
    ]
    file = write_rows(tmp_path / "train.txt", rows)
    judgements = {
        "a": {"d0@0": 1, "d3@0": 1, "d1@0": 0, "gone": 1},
        "b": {"d3@1": 1},
        "d": {"d0@1": 1},  # the file's own label stands
        "other": {"d0@0": 1},
    }
    (tmp_path / "qrels.txt").write_text(json.dumps(judgements), "utf-8")
    loaded = load_examples(file, CORPUS)
    assert [(e.question.id, e.positives, e.negatives) for e in loaded.examples] == [
        ("a", ("d0@0", "d3@0"), ("d2@1",)),
        ("b", ("d1@0", "d3@1"), ()),
    ]
    assert [example.question.id for example in loaded.unanswerable] == ["c"]
    assert loaded.summary("train") == (
        "train: 2 of 4 questions, 2 with more gold passages from qrels.txt (left out: 2 unanswerable)"
    )


def test_a_question_that_nobody_judged_is_not_called_unanswerable(tmp_path):
    rows = [row("a", ["text 0"], [1]), row("b", ["text 1"], [0]), row("c", [], [], "CANNOTANSWER")]
    file = write_rows(tmp_path / "train.txt", rows)
    assert [example.question.id for example in load_examples(file, CORPUS).unanswerable] == ["c"]
    (tmp_path / "qrels.txt").write_text('{"a": {"d0@0": 1}, "b": {"d0@1": 0}}', "utf-8")
    judged = load_examples(file, CORPUS, tmp_path / "qrels.txt")
    assert [example.question.id for example in judged.unanswerable] == ["c"]
    assert judged.n_unanswerable == 2


def test_an_evidence_labelled_0_stays_a_negative_where_judgements_are_given(tmp_path):
    rows = [
        row("a", ["text 0", "text 5"], [1, 0]),
        row("b", ["text 2", "text 3"], [1, 0]),
        row("c", ["text 1"], [0], "CANNOTANSWER"),
    ]
    file = write_rows(tmp_path / "train.txt", [*rows, {"qid": "d", "question": "unlabelled?"}])
    (tmp_path / "judged.txt").write_text('{"a": {"d0@0": 1, "d4@0": 0}, "b": {"d1@1": 1}, "d": {"d3@0": 1}}', "utf-8")
    loaded = load_examples(file, CORPUS, tmp_path / "judged.txt")
    assert [(e.question.id, e.positives, e.negatives) for e in loaded.examples] == [
        ("a", ("d0@0",), ("d2@1", "d4@0")),
        ("b", ("d1@1",), ()),  # the judgements say that it answers
        ("d", ("d3@0",), ()),
    ]
    assert [(e.question.id, e.negatives) for e in loaded.unanswerable] == [("c", ("d0@1",))]


def test_judgements_go_with_questions_of_any_form(tmp_path):
    (tmp_path / "judged.txt").write_text('{"line-1": {"d0@0": 1}, "a": {"d1@0": 1}}', "utf-8")
    (tmp_path / "plain.txt").write_text("who built it?\n", "utf-8")
    (example,) = load_examples(tmp_path / "plain.txt", CORPUS, tmp_path / "judged.txt").examples
    assert (example.question.rewrite, example.positives) == ("who built it?", ("d0@0",))
    file = write_rows(tmp_path / "odd.txt", [row("a", ["text 0"], [0, 1])])  # labels that nobody needs
    (example,) = load_examples(file, CORPUS, tmp_path / "judged.txt").examples
    assert (example.positives, example.negatives) == (("d1@0",), ())


def test_random_passages_are_neither_taken_nor_gold_nor_copies_of_gold():
    corpus = Corpus([*CORPUS, Passage("copy@0", "TEXT  0")])
    example = Example(Question("q", "?", "?"), ("d0@0",))
    for seed in range(20):
        drawn = random_passages(18, corpus, example, random.Random(seed), ["d1@0"])
        assert sorted(drawn) == sorted({passage.id for passage in CORPUS} - {"d0@0", "d1@0"})
    assert random_passages(5, Corpus(CORPUS[:1]), example, random.Random(0)) == []
    first = {random_passages(1, corpus, example, random.Random(seed))[0] for seed in range(200)}
    assert len(first) == 19  # everything else has its turn


def test_a_share_is_met_in_the_mean():
    rng = random.Random(0)
    drawn = [share_of(3, 0.15, rng) for _ in range(4000)]
    assert set(drawn) == {0, 1}
    assert sum(drawn) / 4000 == pytest.approx(0.45, abs=0.03)
    assert {share_of(4, 0.5, rng) for _ in range(99)} == {2}


def test_a_beir_folder_is_never_trained_or_chosen_on_by_its_test_judgements(tmp_path):
    (tmp_path / "qrels").mkdir()
    (tmp_path / "queries.jsonl").write_text('{"_id": "a", "text": "who"}\n{"_id": "b", "text": "what"}\n', "utf-8")
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\na\td0@0\t1\n", "utf-8")
    for split in ("train", "dev"):
        with pytest.raises(DataError, match=rf"holds no qrels/{split}\.tsv"):
            load_examples(tmp_path, CORPUS, split=split)
    (tmp_path / "qrels" / "dev.tsv").write_text("query-id\tcorpus-id\tscore\nb\td1@0\t1\n", "utf-8")
    found = load_examples(tmp_path, CORPUS, split="dev")
    assert [example.question.id for example in found.examples] == ["b"]
    assert (found.n_questions, found.n_unanswerable) == (1, 0)
    for qrels in (tmp_path, tmp_path / "qrels"):
        found = load_examples(tmp_path / "queries.jsonl", CORPUS, qrels, split="dev")
        assert [example.question.id for example in found.examples] == ["b"]
        with pytest.raises(DataError, match=r"holds no qrels/train\.tsv"):
            load_examples(tmp_path / "queries.jsonl", CORPUS, qrels)


def test_a_beir_folder_becomes_examples(tmp_path):
    write_rows(tmp_path / "queries.jsonl", [{"_id": q, "text": f"about {q}"} for q in "abc"])
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\na\td0@0\t1\na\td1@0\t0\nb\tgone\t1\n")
    loaded = load_examples(tmp_path, CORPUS)
    assert [(e.question.id, e.positives, e.negatives) for e in loaded.examples] == [("a", ("d0@0",), ("d1@0",))]
    # "c" is judged in another split, if at all
    assert (loaded.n_unanswerable, loaded.n_gold_missing, loaded.n_questions) == (0, 1, 2)


@pytest.mark.parametrize(
    ("evidences", "labels"), [(["text 0"], [1, 0]), (None, [1]), (["text 0"], ["1"]), (["text 0"], [2])]
)
def test_labels_that_do_not_match_are_named_with_their_line(tmp_path, evidences, labels):
    file = write_rows(tmp_path / "train.txt", [row("a", ["text 0"], [1]), row("b", evidences, labels)])
    with pytest.raises(DataError, match=r"train\.txt, line 2: .*'retrieval_labels'"):
        load_examples(file, CORPUS)


def test_the_wrong_corpus_is_reported(tmp_path):
    file = write_rows(tmp_path / "train.txt", [row("a", ["nowhere"], [1])])
    with pytest.raises(DataError, match="is it the corpus that belongs to it"):
        load_examples(file, CORPUS)


def test_shared_passages_and_documents_are_counted():
    found = overlaps({"train": {"d0@0", "d1@0", "d2@0"}, "dev": {"d0@0", "d1@1"}, "test": {"d9@0"}})
    (one,) = found
    assert (one.splits, one.n_passages, one.n_documents) == (("train", "dev"), 1, 2)
    assert str(one) == "train and dev have gold passages in common: 1, documents: 2, such as d0@0"


@pytest.mark.parametrize(
    "name", ["test.txt", "test_open.txt", "data/TEST.jsonl", "open_test.txt", "test2", "testset.txt"]
)
def test_choosing_on_the_test_set_is_refused(name):
    with pytest.raises(DataError, match="choose on dev"):
        refuse_test_file(name)


def test_so_are_its_judgements_and_training_on_it():
    with pytest.raises(DataError, match=r"qrels/test\.tsv is named as the test set"):
        refuse_test_file("train.txt", None, "qrels/test.tsv")


@pytest.mark.parametrize("name", ["dev.txt", "contest.txt", "latest-dev.jsonl", "testimonials.txt"])
def test_other_names_are_not(name):
    refuse_test_file(name)


def test_a_dev_set_is_split_off_by_document():
    golds = [("d0@0",), ("d0@1",), ("d1@0", "d2@0"), ("d2@1",), *((f"d{n}@0",) for n in range(3, 10))]
    examples = [Example(Question(f"q{n}", "?", "?"), gold) for n, gold in enumerate(golds)]
    train, dev = split_by_document(examples, share=0.3, seed=1)
    assert len(train) + len(dev) == len(examples)
    assert 2 <= len(dev) <= 4
    assert not overlaps(
        {"train": {p for e in train for p in e.positives}, "dev": {p for e in dev for p in e.positives}}
    )
    assert split_by_document(examples, share=0.3, seed=1) == (train, dev)


def test_one_document_cannot_be_split():
    with pytest.raises(DataError, match="--dev"):
        split_by_document([Example(Question("q", "?", "?"), ("d0@0",))] * 5)
