"""Every question falls into exactly one class, whatever is known of it."""

import itertools
from collections import Counter

import hypothesis.strategies as st
from hypothesis import given, settings

from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.evaluate.evaluation import evaluate
from rag.evaluate.outcomes import EXPLANATIONS, GOOD, Outcome, classify
from rag.types import CANNOTANSWER, Passage

FLAGS = ("answered", "abstained", "right", "judged", "in_corpus", "retrieved", "ranked_in", "in_context")


def all_cases():
    for predicted, answerable in itertools.product((True, False), (True, False, None)):
        for values in itertools.product((True, False), repeat=len(FLAGS)):
            yield {"predicted": predicted, "answerable": answerable, **dict(zip(FLAGS, values, strict=True))}


def test_each_case_has_one_class_and_each_class_a_case():
    classes = Counter(classify(**case) for case in all_cases())
    assert set(classes) == set(Outcome) == set(EXPLANATIONS)
    assert set(Outcome) > GOOD


def test_what_came_out_decides_before_what_went_in():
    for case in all_cases():
        outcome = classify(**case)
        if not case["predicted"]:
            assert outcome is Outcome.NOT_RUN
        elif case["answered"] and case["answerable"] is False:
            assert outcome is (Outcome.REFUSED_RIGHTLY if case["abstained"] else Outcome.ANSWERED_UNANSWERABLE)
        elif outcome is Outcome.RIGHT:
            assert case["right"]
            assert not case["abstained"]
        elif outcome in (Outcome.REFUSED_WRONGLY, Outcome.ANSWERED_WRONGLY):
            assert case["in_context"] or not case["judged"]


ids = st.sampled_from("abcdexyz")
orders = st.lists(ids, unique=True, max_size=6)
answers = st.sampled_from([None, CANNOTANSWER, "Clara Voss", "Graz", "1347"])


@st.composite
def cases(draw):
    rows, references, qrels = [], {}, {}
    for n in range(draw(st.integers(1, 6))):
        qid = f"q{n}"
        reference = draw(answers)
        references[qid] = Question(qid, "why?", "why?", reference)
        qrels[qid] = draw(st.dictionaries(ids, st.integers(0, 2), max_size=3))
        if draw(st.booleans()) and rows:
            continue  # no prediction
        retrieved = draw(orders)
        reranked = draw(st.permutations(retrieved))
        answer = draw(answers)
        contexts = reranked[: draw(st.integers(0, 3))] if answer is not None else []
        rows.append(
            {
                "qid": qid,
                "query": "why?",
                "retrieved": [[pid, -float(rank)] for rank, pid in enumerate(retrieved)],
                "reranked": [[pid, -float(rank)] for rank, pid in enumerate(reranked)],
                "contexts": contexts,
                "dropped_contexts": draw(st.integers(0, 2)) if contexts else 0,
                "raw": answer,
                "answer": answer,
                "citations": contexts[:1] if answer not in (None, CANNOTANSWER) else [],
                "abstained": None if answer is None else answer == CANNOTANSWER,
                "abstained_by": draw(st.sampled_from(["score", "model"])) if answer == CANNOTANSWER else None,
                "seconds": {"retrieve": 0.1},
            }
        )
    return rows, qrels, references


@settings(max_examples=80, deadline=None)
@given(cases(), st.sampled_from([None, 1, 3]))
def test_the_classes_of_any_run_add_up_to_its_questions(case, n_contexts):
    rows, qrels, references = case
    corpus = Corpus([Passage(pid, f"text of {pid}") for pid in "abcde"])
    metrics, scores = evaluate(rows, qrels, references, corpus=corpus, n_contexts=n_contexts)
    assert sum(metrics["outcomes"].values()) == metrics["n_queries"] == len(references)
    assert Counter(score["outcome"].value for score in scores) == {k: n for k, n in metrics["outcomes"].items() if n}
    predicted = {row["qid"] for row in rows}
    for score in scores:
        assert (score["outcome"] == Outcome.NOT_RUN) == (score["qid"] not in predicted)
        if score["outcome"] in (Outcome.NOT_RETRIEVED, Outcome.RANKED_OUT, Outcome.CUT):
            assert not score["gold_in_context"]
