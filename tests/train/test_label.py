"""Questions that nobody judged get labels from the reranker, and a model is trained on them."""

import json

import pytest

from rag.build.serving import serving_over
from rag.data.labelled import load_examples
from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.errors import ConfigError, DataError, RunMismatchError
from rag.index.read import open_index
from rag.train import label
from rag.train.files import TrainingFiles
from rag.train.label import _Candidate, label_questions, positives_of
from rag.train.negatives import load_mined, mined_by
from rag.train.tune import tune_retriever
from rag.types import CANNOTANSWER, Passage
from tests.fakes.training import NOUNS, PASSAGES, quick

CORPUS = Corpus([Passage(f"d{n}@0", text) for n, text in enumerate(("It leaves at noon.", "It is blue.", "Noon tea."))])


def found(*scores):
    """Candidates d0, d1, … with a score of the question, and one of question and answer."""
    return [_Candidate(f"d{n}@0", "bm25", *pair) for n, pair in enumerate(scores)]


def question(answer=None):
    return Question("q", "When does it leave?", "When does it leave?", answer)


@pytest.mark.parametrize(
    ("answer", "scores", "positives"),
    [
        (None, [(0.2, 0.2), (0.9, 0.9), (0.8, 0.8)], ("d1@0",)),
        (None, [(0.2, 0.2), (0.4, 0.4), (0.3, 0.3)], ()),
        # the words of the answer come first, unless the reranker rules the passage out
        ("at noon", [(0.2, 0.3), (0.9, 0.9), (0.1, 0.1)], ("d0@0",)),
        ("noon", [(0.2, 0.3), (0.9, 0.9), (0.1, 0.4)], ("d2@0",)),
        ("noon", [(0.2, 0.3), (0.9, 0.9), (0.1, 0.05)], ("d0@0",)),
        # no passage holds them: the one that the reranker ranks first with question and answer
        ("at dusk", [(0.9, 0.1), (0.2, 0.7), (0.3, 0.2)], ("d1@0",)),
        ("at dusk", [(0.9, 0.1), (0.2, 0.3), (0.3, 0.2)], ()),
    ],
)
def test_a_passage_answers_by_the_words_of_the_answer_or_by_its_score(answer, scores, positives):
    assert positives_of(question(answer), found(*scores), CORPUS, 0.5)[0] == positives


@pytest.fixture
def scorer(monkeypatch):
    """A cross-encoder that knows which passage is about what is asked; `scored` counts its pairs."""
    scored = []

    def make(serving, index, kind):
        def score(pairs):
            scored.extend(pairs)
            texts = [(query.split()[3], index.corpus.by_id(pid).text.split()) for query, pid in pairs]
            return [0.9 if noun == words[1] else 0.3 if noun in words else 0.01 for noun, words in texts]

        return score, "sha"

    monkeypatch.setattr(label, "pair_scorer", make)
    return scored


def asked(folder, n=22, name="asked.txt"):
    (folder / name).write_text("".join(f"who built the {noun}\n" for noun in NOUNS[:n]), "utf-8")
    return folder / name


def test_questions_without_labels_become_a_training_file_with_soft_labels(data, scorer):
    settings, folder = data
    with asked(folder).open("a", encoding="utf-8") as stream:
        stream.write("who built the nothing\nwho built the river\n")
    serving = serving_over(settings, folder / "index")
    made = label_questions(serving, folder / "asked.txt", folder / "labelled.txt", retrievers=["bm25", "dense"])
    assert (made.n_questions, made.n_labelled) == (23, 22)
    assert made.left_out == {"without a passage that scores enough": 1, "asked before": 1}
    corpus = open_index(folder / "index").corpus
    examples = load_examples(folder / "labelled.txt", corpus).examples
    assert [example.positives for example in examples] == [(PASSAGES[n].id,) for n in range(22)]
    mined = load_mined(folder / "labelled.negatives.jsonl", corpus)
    assert mined_by(folder / "labelled.negatives.jsonl") == "reranker"
    for example in examples:
        own = mined[example.question.id]
        assert own.positives == ((example.positives[0], 0.9),)
        assert len(own.negatives) == 7
        assert {score for _, score in own.negatives} <= {0.3, 0.01}
    # What nobody judged teaches, and does not judge.
    files = TrainingFiles(folder / "labelled.txt", negatives=folder / "labelled.negatives.jsonl")
    with pytest.raises(DataError, match="labelled by the reranker"):
        tune_retriever(serving_over(quick(settings), folder / "index"), files, folder / "run", "distill")
    files = TrainingFiles(files.train, folder / "dev.txt", negatives=files.negatives)
    record = tune_retriever(serving_over(quick(settings), folder / "index"), files, folder / "run", "distill")
    assert record["n_dev"] == 4


def test_a_list_of_answered_questions_is_labelled_by_its_answers(data, scorer):
    settings, folder = data
    rows = [
        {"qid": f"faq{n}", "question": f"what of the {NOUNS[n]}", "answer": f"the {NOUNS[n + 1]}"} for n in range(5)
    ]
    rows.append({"qid": "none", "question": "what of the ships", "answer": CANNOTANSWER})
    (folder / "faq.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    serving = serving_over(settings, folder / "index")
    made = label_questions(serving, folder / "faq.jsonl", folder / "out" / "labelled.txt", depth=24, per_question=24)
    assert made.left_out == {"unanswerable": 1}
    assert made.by_rule == {"by the words of their answer": 5}
    assert any(query == f"what of the {NOUNS[0]} the {NOUNS[1]}" for query, _ in scorer)
    first = json.loads((folder / "out" / "labelled.txt").read_text("utf-8").splitlines()[0])
    assert first["answer"] == {"text": f"the {NOUNS[1]}", "aliases": []}
    assert first["evidences"] == [PASSAGES[1].text]
    # The next passage holds the answer's words, too: neither right nor a negative.
    mined = load_mined(folder / "out" / "labelled.negatives.jsonl", open_index(folder / "index").corpus)
    assert "labelled_faq0" in mined
    for n in range(5):
        assert PASSAGES[n + 2].id not in dict(mined[f"labelled_faq{n}"].negatives)


def test_a_killed_run_scores_what_is_missing_and_another_threshold_scores_nothing(data, scorer, monkeypatch):
    settings, folder = data
    monkeypatch.setattr(label, "CHUNK_QUESTIONS", 4)
    serving = serving_over(settings, folder / "index")
    label_questions(serving, asked(folder), folder / "whole.txt")
    n_pairs = len(scorer)
    scored = folder / "whole.scored.jsonl"
    (folder / "part.scored.jsonl").write_bytes(b"".join(scored.read_bytes().splitlines(keepends=True)[:8]) + b'{"qi')
    (folder / "part.scored.settings.json").write_bytes((folder / "whole.scored.settings.json").read_bytes())
    scorer.clear()
    label_questions(serving, folder / "asked.txt", folder / "part.txt")
    assert 0 < len(scorer) < n_pairs
    assert (folder / "part.txt").read_bytes() == (folder / "whole.txt").read_bytes()
    scorer.clear()
    with pytest.raises(DataError, match=r"no question could be labelled \(22 without a passage"):
        label_questions(serving, folder / "asked.txt", folder / "part.txt", min_score=0.95)
    assert scorer == []
    with pytest.raises(RunMismatchError, match="questions"):
        label_questions(serving, asked(folder, 5), folder / "part.txt")


def test_what_cannot_be_labelled_is_refused(data):
    settings, folder = data
    serving = serving_over(settings, folder / "index")
    with pytest.raises(ConfigError, match="name another file with -o"):
        label_questions(serving, asked(folder), folder / "asked.txt")
    with pytest.raises(ConfigError, match="no retriever is called 'words'"):
        label_questions(serving, folder / "asked.txt", folder / "labelled.txt", retrievers=["words"])
    with pytest.raises(DataError, match="named as the test set"):
        label_questions(serving, asked(folder, name="test.txt"), folder / "labelled.txt")
    off = settings.model_copy(update={"reranker": settings.reranker.model_copy(update={"enabled": False})})
    with pytest.raises(ConfigError, match=r"reranker\.enabled = true"):
        label_questions(serving_over(off, folder / "index"), folder / "asked.txt", folder / "labelled.txt")
