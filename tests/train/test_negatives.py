"""Mining: which candidates are dropped, by which rule, and that a killed run goes on."""

import json
from dataclasses import replace

import numpy as np
import pytest

from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.errors import DataError, RunMismatchError
from rag.train.negatives import Mined, MiningSettings, load_mined, logit, mine, mined_by
from rag.types import Hit, Passage

CORPUS = Corpus([Passage(f"d{n}@0", f"text {n}") for n in range(12)] + [Passage("copy@0", "Text  0")])
EXAMPLES = [Example(Question(f"q{n}", f"question {n}", f"question {n}"), (f"d{n}@0",)) for n in range(3)]
SETTINGS = MiningSettings(per_question=3, depth=8, margin=None)


class InOrder:
    """Finds passages in a fixed order, and counts what it was asked."""

    def __init__(self, *ids):
        self.ids, self.asked = ids, []

    def retrieve(self, queries, k):
        self.asked += queries
        return [[Hit(CORPUS.by_id(pid), 1.0 - rank / 100) for rank, pid in enumerate(self.ids[:k])] for _ in queries]


def run(tmp_path, retrievers, score=None, settings=SETTINGS, examples=EXAMPLES, **options):
    target = tmp_path / "negatives.jsonl"
    report = mine(examples, CORPUS, retrievers, score, settings, target, **options)
    return {qid: [pid for pid, _ in one.negatives] for qid, one in load_mined(target, CORPUS).items()}, report


def test_known_positives_and_copies_of_them_are_no_negatives(tmp_path):
    mined, report = run(tmp_path, {"dense": InOrder("copy@0", "d0@0", "d1@0", "d5@0", "d6@0")})
    assert mined == {"q0": ["d1@0", "d5@0", "d6@0"], "q1": ["copy@0", "d0@0", "d5@0"], "q2": ["copy@0", "d0@0", "d1@0"]}
    assert report["candidates_dropped"] == {"known positive": 2, "same text as a positive": 1}
    assert report["n_questions"] == 3


def test_several_retrievers_take_turns(tmp_path):
    retrievers = {"dense": InOrder("d5@0", "d6@0", "d7@0"), "bm25": InOrder("d8@0", "d5@0", "d9@0")}
    mined, report = run(tmp_path, retrievers)
    assert mined["q0"] == ["d5@0", "d8@0", "d6@0"]
    assert report["negatives_by_origin"] == {"dense": 6, "bm25": 3}


def test_the_best_ranks_can_be_passed_over(tmp_path):
    retrievers = {"dense": InOrder("d5@0", "d6@0", "d7@0", "d8@0", "d9@0")}
    mined, _ = run(tmp_path, retrievers, settings=replace(SETTINGS, skip=2, depth=4))
    assert mined["q0"] == ["d7@0", "d8@0"]


def test_what_scores_close_to_the_positive_is_dropped(tmp_path):
    values = {"d0@0": 0.8, "d1@0": 0.8, "d2@0": 0.4, "d5@0": 0.77, "d6@0": 0.75, "d7@0": 0.2}
    score = lambda pairs: [values[pid] for _, pid in pairs]  # noqa: E731
    retrievers = {"dense": InOrder("d5@0", "d6@0", "d7@0")}
    mined, report = run(tmp_path, retrievers, score, replace(SETTINGS, margin=0.95))
    assert mined == {"q0": ["d6@0", "d7@0"], "q1": ["d6@0", "d7@0"], "q2": ["d7@0"]}
    assert report["candidates_dropped"] == {"within the margin": 4}
    assert (report["n_short_of_negatives"], report["n_without_negatives"]) == (3, 0)
    one = load_mined(tmp_path / "negatives.jsonl", CORPUS)["q0"]
    assert one.positives == (("d0@0", 0.8),)
    assert one.negatives == (("d6@0", 0.75), ("d7@0", 0.2))


def test_a_question_is_easy_where_all_gold_lies_above_all_negatives():
    assert logit([0.5, 0.9]).tolist() == pytest.approx([0, np.log(9)])
    assert np.isfinite(logit([0.0, 1.0])).all()
    gold, others = (("a", 0.9), ("b", 0.5)), (("c", 0.1), ("d", 0.05))  # logits 2.2 and 0 against -2.2 and -2.9
    assert Mined("q", "", gold, others).is_easy(2)
    assert not Mined("q", "", gold, others).is_easy(2.5)
    assert Mined("q", "", gold[:1], others).is_easy(4)
    assert Mined("q", "", gold, (("c", 0.1), ("random", None))).is_easy(2)
    assert not Mined("q", "", gold, ()).is_easy(-9)  # all may have been dropped for scoring above gold
    assert not Mined("q", "", (), others).is_easy(-9)


def test_a_file_that_is_missing_or_of_another_corpus_is_told(tmp_path):
    with pytest.raises(DataError, match="does not exist; mine negatives first"):
        load_mined(tmp_path / "negatives.jsonl", CORPUS)
    run(tmp_path, {"dense": InOrder("d5@0")}, identity={"scorer": "none"})
    assert mined_by(tmp_path / "negatives.jsonl") == "none"
    assert mined_by(tmp_path / "others.jsonl") == ""
    with pytest.raises(DataError, match="'d5@0', which the index lacks"):
        load_mined(tmp_path / "negatives.jsonl", Corpus(list(CORPUS)[:3]))
    (tmp_path / "empty.jsonl").touch()
    with pytest.raises(DataError, match="holds no mined negatives"):
        load_mined(tmp_path / "empty.jsonl", CORPUS)
    (tmp_path / "train.txt").write_text('{"qid": "q0", "question": "who"}\n', "utf-8")
    with pytest.raises(DataError, match="name what rag mine wrote"):
        load_mined(tmp_path / "train.txt", CORPUS)


def test_a_share_is_drawn_from_the_whole_corpus(tmp_path):
    retrievers = {"dense": InOrder("d5@0", "d6@0", "d7@0")}
    mined, report = run(tmp_path, retrievers, settings=replace(SETTINGS, random_share=0.34))
    for n, negatives in enumerate(mined.values()):
        assert negatives[:2] == ["d5@0", "d6@0"]
        assert len(set(negatives)) == 3
        assert f"d{n}@0" not in negatives
    assert report["negatives_by_origin"] == {"dense": 6, "random": 3}


def test_a_killed_run_mines_only_what_is_missing(tmp_path):
    retrievers = {"dense": InOrder("d5@0", "d6@0", "d7@0")}
    whole, _ = run(tmp_path, retrievers)
    target = tmp_path / "negatives.jsonl"
    lines = target.read_bytes().splitlines(keepends=True)
    target.write_bytes(lines[0] + lines[1][:20])
    again = InOrder("d5@0", "d6@0", "d7@0")
    assert run(tmp_path, {"dense": again})[0] == whole
    assert again.asked == ["question 1", "question 2"]


def test_other_settings_are_refused(tmp_path):
    retrievers = {"dense": InOrder("d5@0")}
    run(tmp_path, retrievers)
    with pytest.raises(RunMismatchError, match=r"\(depth: \d+ there, \d+ now\)"):
        run(tmp_path, retrievers, settings=replace(SETTINGS, depth=4))
    with pytest.raises(RunMismatchError, match=r"\(index: .* there, .* now\)"):
        run(tmp_path, retrievers, identity={"index": "other"})


def test_the_report_holds_examples_to_read(tmp_path):
    _, report = run(tmp_path, {"dense": InOrder("d5@0", "d6@0")})
    stored = json.loads((tmp_path / "negatives.report.json").read_text("utf-8"))
    assert stored == json.loads(json.dumps(report))
    assert {example["query"] for example in stored["examples"]} == {"question 0", "question 1", "question 2"}
    assert stored["examples"][0]["negatives"][0]["text"].startswith("text 5")


def test_an_unanswerable_question_keeps_every_candidate(tmp_path):
    unanswerable = Example(Question("u", "question u", "question u"), (), ("d0@0",))
    score = lambda pairs: [0.9 for _ in pairs]  # noqa: E731
    retrievers = {"dense": InOrder("d5@0", "d6@0", "d0@0", "d7@0")}
    mined, report = run(tmp_path, retrievers, score, replace(SETTINGS, margin=0.95), [unanswerable])
    assert mined == {"u": ["d5@0", "d6@0", "d0@0"]}
    assert report["examples"][0]["positive"] is None
