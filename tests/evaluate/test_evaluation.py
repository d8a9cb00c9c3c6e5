"""A run and its references become figures: rows made by hand, figures worked by hand."""

import json

import numpy as np
import pytest

from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.errors import DataError, RunMismatchError
from rag.evaluate.evaluation import evaluate
from rag.evaluate.files import read_metrics, read_predictions, read_scores, write_evaluation
from rag.evaluate.metrics import RANKING_METRICS
from rag.evaluate.outcomes import Outcome
from rag.types import CANNOTANSWER, Passage


def prediction(qid, retrieved="abc", reranked=None, answer="Clara Voss", citations=(), contexts="ab", **fields):
    """A row of predictions.jsonl; passages are letters, best first."""
    order = retrieved if reranked is None else reranked
    return {
        "qid": qid,
        "query": f"question {qid}?",
        "source": "",
        "retrieved": [[pid, -float(rank)] for rank, pid in enumerate(retrieved)],
        "reranked": [[pid, -float(rank)] for rank, pid in enumerate(order)],
        "contexts": list(contexts),
        "dropped_contexts": 0,
        "raw": answer,
        "answer": answer,
        "citations": list(citations),
        "abstained": answer == CANNOTANSWER,
        "abstained_by": "model" if answer == CANNOTANSWER else None,
        "seconds": {"retrieve": 0.25, "rerank": 0.5, "generate": 1.0},
        **fields,
    }


def questions(**answers):
    return {qid: Question(qid, "why?", "why?", answer) for qid, answer in answers.items()}


def embed(texts):
    """Unit vectors: the first letter decides the direction, no text points nowhere special."""
    vectors = {"C": (1.0, 0.0), "G": (0.0, 1.0), "": (1.0, 0.0)}
    return np.array([vectors.get(text[:1], (0.6, 0.8)) for text in texts])


def test_ranking_metrics_are_shown_before_and_after_reranking():
    rows = [prediction("q1", retrieved="abc", reranked="bac"), prediction("q2", retrieved="abc", reranked="cab")]
    metrics, scores = evaluate(rows, {"q1": {"b": 1}, "q2": {"b": 1}})
    assert metrics["stages"]["retrieve"]["mrr@10"] == 0.5
    assert metrics["stages"]["rerank"]["mrr@10"] == pytest.approx((1 + 1 / 3) / 2)
    assert metrics["stages"]["retrieve"]["recall@1"] == 0
    assert metrics["stages"]["rerank"]["recall@1"] == 0.5
    assert (
        metrics["stages"]["retrieve"].keys() - {"intervals"}
        == metrics["stages"]["rerank"].keys() - {"intervals"}
        == RANKING_METRICS.keys()
    )
    low, high = metrics["stages"]["rerank"]["intervals"]["mrr@10"]
    assert low <= metrics["stages"]["rerank"]["mrr@10"] <= high
    assert [row["rerank/mrr@10"] for row in scores] == [1, pytest.approx(1 / 3)]


def test_unanswerable_questions_are_counted_but_not_ranked():
    rows = [prediction("q1", "a"), prediction("q2", "x"), prediction("q3", "x")]
    metrics, scores = evaluate(rows, {"q1": {"a": 1}, "q3": {"x": 0}}, questions(q1="a", q2=CANNOTANSWER, q3="a"))
    assert (metrics["n_queries"], metrics["n_judged"], metrics["n_predicted"]) == (3, 1, 3)
    assert metrics["stages"]["retrieve"]["mrr@10"] == metrics["stages"]["retrieve"]["recall@10"] == 1
    assert [any(key.startswith("retrieve/") for key in row) for row in scores] == [True, False, False]


def test_judgements_of_questions_that_were_not_asked_do_not_count():
    metrics, _ = evaluate([prediction("q1", "a")], {"q1": {"a": 1}, "q9": {"a": 1}})
    assert (metrics["n_judged"], metrics["stages"]["retrieve"]["mrr@10"]) == (1, 1)


def test_a_question_without_a_prediction_scores_zero_everywhere():
    references = questions(q1="Clara", q2="Clara", q3="the", q4=CANNOTANSWER)
    metrics, scores = evaluate(
        [prediction("q1", "a", answer="Clara")], {"q1": {"a": 1}, "q2": {"a": 1}}, references, embed
    )
    assert (metrics["n_queries"], metrics["n_judged"], metrics["n_predicted"]) == (4, 2, 1)
    assert all(metrics["stages"][stage][name] == 0.5 for stage in ("retrieve", "rerank") for name in RANKING_METRICS)
    missing = scores[1:]
    for key in ("exact_match", "f1", "cos_sim", "abstained"):
        assert [row[key] for row in missing] == [0, 0, 0], key
    assert metrics["answer"]["cos_sim"] == 0.25
    assert metrics["answer"]["exact_match"] == pytest.approx(1 / 3)
    assert metrics["answer"]["abstain_recall"] == 0


def test_predictions_that_no_reference_asks_for_do_not_count():
    metrics, scores = evaluate([prediction("q1"), prediction("q2")], {}, questions(q1="Clara"))
    assert (metrics["n_queries"], metrics["n_predicted"], len(scores)) == (1, 1, 1)


def test_answers_by_hand():
    rows = [
        prediction("q1", answer="Clara Voss"),  # exact
        prediction("q2", answer="Graz"),  # an alias
        prediction("q3", answer="Clara"),  # half of it: f1 = 2 * (1 * 1/2) / (3/2) = 2/3
        prediction("q4", answer=CANNOTANSWER),  # wrongly refused
        prediction("q5", answer=CANNOTANSWER),  # rightly refused
        prediction("q6", answer="Graz"),  # should have been refused
    ]
    references = questions(
        q1="Clara Voss", q2="Gratz", q3="Clara Voss", q4="Graz", q5=CANNOTANSWER, q6=CANNOTANSWER
    ) | {"q2": Question("q2", "where?", "where?", "Gratz", ("Graz",))}
    metrics, scores = evaluate(rows, {}, references, embed)
    answer = metrics["answer"]
    assert (answer["n"], answer["n_answerable"]) == (6, 4)
    assert answer["exact_match"] == 0.5
    assert answer["f1"] == pytest.approx((1 + 1 + 2 / 3 + 0) / 4)
    assert answer["abstain_precision"] == 0.5
    assert answer["abstain_recall"] == 0.5
    assert answer["wrong_refusals"] == 0.25
    # CANNOTANSWER begins with C, as Clara does: cosines 1, 1, 1, 0 | 1, 0
    assert [row["cos_sim"] for row in scores] == [1, 1, 1, 0, 1, 0]
    assert answer["cos_sim"] == pytest.approx(4 / 6)
    assert answer["cos_sim_answerable"] == 0.75
    assert answer["cos_sim_unanswerable"] == 0.5
    low, high = answer["intervals"]["cos_sim"]
    assert low <= answer["cos_sim"] <= high


def test_cos_sim_needs_an_embedder_and_answers_need_references():
    metrics, _ = evaluate([prediction("q1")], {"q1": {"a": 1}})
    assert metrics["answer"] is None
    metrics, _ = evaluate([prediction("q1")], {}, questions(q1="Clara Voss"))
    assert metrics["answer"]["cos_sim"] is metrics["answer"]["intervals"]["cos_sim"] is None
    assert metrics["answer"]["exact_match"] == 1


def test_a_question_without_a_reference_answer_has_no_answer_score():
    metrics, scores = evaluate([prediction("q1"), prediction("q2")], {}, questions(q1="Clara", q2=None), embed)
    assert metrics["answer"]["n"] == 1
    assert "f1" not in scores[1]
    assert "cos_sim" not in scores[1]


def test_a_retrieval_run_has_no_answers():
    bare = dict.fromkeys(("raw", "answer", "citations", "abstained", "abstained_by")) | {"contexts": []}
    metrics, _ = evaluate([prediction("q1", "a") | bare], {"q1": {"a": 1}}, questions(q1="Clara"), embed)
    assert metrics["answer"] is None
    assert metrics["stages"]["retrieve"]["mrr@10"] == 1


def test_citation_precision_counts_answers_that_had_a_gold_passage_to_cite():
    qrels = {qid: {"a": 1, "c": 0} for qid in ("q1", "q2", "q3", "q4")}
    rows = [
        prediction("q1", citations="a", contexts="ab"),  # 1
        prediction("q2", citations="abc", contexts="abc"),  # 1 of 3
        prediction("q3", citations="b", contexts="b"),  # no gold passage was shown
        prediction("q4", citations="", contexts="ab"),  # cites nothing
        prediction("q5", citations="a", contexts="ab"),  # not judged
    ]
    metrics, scores = evaluate(rows, qrels, questions(q1="A", q2="A", q3="A", q4="A", q5="A"))
    assert [row.get("citation_precision") for row in scores] == [1, pytest.approx(1 / 3), None, None, None]
    assert metrics["answer"]["citation_precision"] == pytest.approx(2 / 3)
    assert metrics["answer"]["n_cited_with_gold_in_context"] == 2


def test_a_context_judged_irrelevant_is_no_gold_passage():
    rows = [prediction("q1", citations="c", contexts="bc")]
    _, scores = evaluate(rows, {"q1": {"a": 1, "c": 0}}, questions(q1="A"))
    assert "citation_precision" not in scores[0]


def test_citation_recall_counts_the_gold_passages_that_could_be_cited():
    rows = [prediction("q1", citations="ab", contexts="abc"), prediction("q2", citations="", contexts="ab")]
    metrics, scores = evaluate(rows, {"q1": {"a": 1, "c": 1, "z": 1}, "q2": {"a": 1}}, questions(q1="A", q2="A"))
    assert [row["citation_recall"] for row in scores] == [0.5, 0]
    assert metrics["answer"]["cited"] == 0.5
    assert metrics["answer"]["citation_recall"] == 0.25


def test_invented_numbers_are_counted_where_they_came_out_and_where_they_are_shown():
    rows = [
        prediction("q1", raw="Clara [7] [0, 2]", citations="b", contexts="ab"),
        prediction("q2", citations="z", contexts="ab"),
    ]
    metrics, _ = evaluate(rows, {}, questions(q1="A", q2="A"))
    assert (metrics["answer"]["invented_in_output"], metrics["answer"]["invented_shown"]) == (2, 1)


def test_the_parts_of_a_fusion_are_stages_of_their_own():
    rows = [prediction("q1", "ab", parts={"dense": [["b", 0.9], ["a", 0.1]], "bm25": [["z", 3.0]]})]
    metrics, _ = evaluate(rows, {"q1": {"a": 1}})
    assert list(metrics["stages"]) == ["bm25", "dense", "retrieve", "rerank"]
    assert [figures["mrr@10"] for figures in metrics["stages"].values()] == [0, 0.5, 1, 1]


def test_the_same_candidates_shuffled_and_ranked_perfectly():
    rows = [prediction("q1", "abcd"), prediction("q2", "abcd")]
    metrics, _ = evaluate(rows, {"q1": {"c": 1}, "q2": {"z": 1}})
    shuffled = (1 + 1 / 2 + 1 / 3 + 1 / 4) / 4
    assert metrics["bounds"] == {"shuffled": pytest.approx(shuffled / 2), "perfect": 0.5}


CORPUS = Corpus(
    [
        Passage("a", "Clara Voss built the bridge. She was born in Graz."),
        Passage("b", "Bread rises."),
        Passage("c", "Clara"),
    ]
)


def test_words_are_looked_up_in_contexts_and_cited_passages():
    rows = [
        prediction("q1", answer="Clara Voss of Bern", citations="a", contexts="ab"),
        prediction("q2", answer="Clara Voss", citations="ac", contexts="ac"),
        prediction("q3", answer="Clara"),
    ]
    metrics, scores = evaluate(rows, {}, questions(q1="A", q2="A", q3="A"), corpus=CORPUS)
    assert [row["grounded"] for row in scores] == [0.5, 1, 1]
    assert [row["supported"] for row in scores] == [0, 0.5, None]
    assert metrics["answer"]["citation_supported"] == 0.25


def test_baselines_put_cos_sim_in_its_place():
    """The nearest sentence to the question (which begins with q, as nothing else does) stands for an answer."""
    rows = [prediction("q1", "ab", answer="Graz"), prediction("q2", "ba", answer=CANNOTANSWER)]
    references = questions(q1="Clara", q2=CANNOTANSWER)
    metrics, scores = evaluate(rows, {}, references, embed, corpus=CORPUS)
    # "Clara Voss built …" lies at .6, "She was …" at 1 from the question; that is (.6, .8), the reference (1, 0).
    assert scores[0]["baseline/sentence"] == pytest.approx(0.6)
    assert [row["baseline/refuse"] for row in scores] == [1, 1]
    assert metrics["answer"]["baselines"]["always refusing"]["cos_sim_unanswerable"] == 1


def test_cos_sim_with_the_best_alias():
    references = {"q1": Question("q1", "where?", "where?", "Clara", ("Graz",))}
    metrics, _ = evaluate([prediction("q1", answer="Graz")], {}, references, embed)
    assert (metrics["answer"]["cos_sim"], metrics["answer"]["cos_sim_best_alias"]) == (0, 1)


def test_every_stage_can_lose_a_question():
    def refused(by):
        return {"answer": CANNOTANSWER, "abstained_by": by, "contexts": "ab" if by == "model" else ""}

    cases = {
        "not in corpus": (prediction("q"), {"z": 1}, Outcome.NOT_IN_CORPUS),
        "not retrieved": (prediction("q", "bc"), {"a": 1}, Outcome.NOT_RETRIEVED),
        "put first by an oracle": (prediction("q", "bc", reranked="ab"), {"a": 1}, Outcome.ANSWERED_WRONGLY),
        "ranked out": (prediction("q", "abc", reranked="bca", contexts="bc"), {"a": 1}, Outcome.RANKED_OUT),
        "cut": (prediction("q", "abc", contexts="a", dropped_contexts=1), {"b": 1}, Outcome.CUT),
        "refused by the model": (prediction("q", **refused("model")), {"a": 1}, Outcome.REFUSED_WRONGLY),
        "refused by score": (prediction("q", **refused("score")), {"a": 1}, Outcome.REFUSED_WRONGLY),
        "answered wrongly": (prediction("q"), {"a": 1}, Outcome.ANSWERED_WRONGLY),
        "right": (prediction("q", answer="Graz"), {"a": 1}, Outcome.RIGHT),
        "right without its gold passage": (prediction("q", "bc", answer="Graz"), {"a": 1}, Outcome.RIGHT),
    }
    for name, (row, judged, expected) in cases.items():
        _, (score,) = evaluate([row], {"q": judged}, questions(q="Graz"), corpus=CORPUS, n_contexts=2)
        assert score["outcome"] == expected, name
    for answer, expected in (
        (CANNOTANSWER, Outcome.REFUSED_RIGHTLY),
        ("Graz", Outcome.ANSWERED_UNANSWERABLE),
    ):
        metrics, _ = evaluate([prediction("q", answer=answer)], {}, questions(q=CANNOTANSWER))
        assert metrics["outcomes"][expected] == 1


def test_a_run_without_answers_is_classified_as_far_as_it_goes():
    bare = dict.fromkeys(("raw", "answer", "citations", "abstained", "abstained_by")) | {"contexts": []}
    rows = [prediction("q1", "ab") | bare, prediction("q2", "bca") | bare, prediction("q3") | bare]
    metrics, _ = evaluate(rows, {"q1": {"a": 1}, "q2": {"a": 1}}, questions(q1="A", q2="A", q3="A"), n_contexts=2)
    classes = {name: n for name, n in metrics["outcomes"].items() if n}
    assert classes == {Outcome.IN_CONTEXT: 1, Outcome.RANKED_OUT: 1, Outcome.NOT_JUDGED: 1}


def test_tokens_are_summed_where_a_run_has_counted_them():
    rows = [prediction("q1", tokens={"prompt": 10, "answer": 2}), prediction("q2", tokens={"prompt": 5, "answer": 1})]
    assert evaluate(rows, {})[0]["cost"]["tokens"] == {"prompt": 15, "answer": 3}
    assert evaluate([prediction("q1")], {})[0]["cost"]["tokens"] == {}


def test_figures_are_split_by_question_word_and_by_length():
    rows = [prediction("q1", query="How many bridges?"), prediction("q2", query="Name the town.")]
    metrics, _ = evaluate(rows, {"q1": {"a": 1}}, questions(q1="two old bridges", q2=CANNOTANSWER), corpus=CORPUS)
    assert {name: list(values) for name, values in metrics["slices"].items()} == {
        "source": [],
        "intent": ["question"],
        "question_word": ["how many", "other"],
        "passage_words": ["up to 50"],
        "reference_words": ["2–3"],
        "rarest_word": ["1"],
    }


def test_a_question_is_grouped_by_its_rarest_word_that_any_passage_holds():
    corpus = Corpus([*(Passage(f"p{n}", "The bridge is old.") for n in range(6)), Passage("a", "The Bridge of Ember!")])
    rows = [
        prediction("q1", query="Which EMBER bridge"),
        prediction("q2", query="A bridge in Atlantis?"),
        prediction("q3", query="Quo vadis?"),
    ]
    metrics, scores = evaluate(rows, {"q1": {"a": 1}, "q2": {"a": 1}, "q3": {"a": 1}}, corpus=corpus)
    assert [score.get("rarest_word") for score in scores] == ["1", "6–20", None]
    assert list(metrics["slices"]["rarest_word"]) == ["1", "6–20"]


def test_figures_are_split_by_source():
    rows = [prediction("q1", "ab", source="quac"), prediction("q2", "ba", source="doqa"), prediction("q3", "x")]
    metrics, scores = evaluate(rows, {"q1": {"a": 1}, "q2": {"a": 1}})
    assert {source: figures["n"] for source, figures in metrics["slices"]["source"].items()} == {"doqa": 1, "quac": 1}
    assert metrics["slices"]["source"]["quac"]["stages"]["rerank"]["mrr@10"] == 1
    assert metrics["slices"]["source"]["doqa"]["stages"]["rerank"]["mrr@10"] == 0.5
    assert [row["source"] for row in scores] == ["quac", "doqa", ""]


def test_seconds_are_summed_and_at_the_median():
    rows = [prediction(f"q{n}", seconds={"rerank": seconds}) for n, seconds in enumerate((1.0, 2.0, 6.0))]
    metrics, _ = evaluate(rows, {})
    assert metrics["cost"]["seconds"] == {"rerank": {"total": 9.0, "p50": 2.0, "p95": pytest.approx(5.6)}}


def test_dropped_contexts_are_summed():
    metrics, _ = evaluate([prediction("q1", dropped_contexts=2), prediction("q2", dropped_contexts=1)], {})
    assert metrics["cost"]["dropped_contexts"] == 3


def test_an_evaluation_is_read_as_it_was_written(tmp_path):
    metrics, scores = evaluate([prediction("qé", "a"), prediction("q2", "b")], {"qé": {"a": 1}, "q2": {"a": 1}})
    write_evaluation(tmp_path, metrics, scores)
    assert read_metrics(tmp_path) == metrics
    assert read_scores(tmp_path) == {row["qid"]: row for row in scores}
    assert sorted(file.name for file in tmp_path.iterdir()) == ["metrics.json", "scores.jsonl"]


def test_a_folder_that_is_not_evaluated_names_the_command(tmp_path):
    for read in (read_metrics, read_scores):
        with pytest.raises(RunMismatchError, match="not evaluated yet: rag evaluate"):
            read(tmp_path)


def write_predictions(folder, rows):
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (folder / "predictions.jsonl").write_text(text, "utf-8")


def test_predictions_are_read_in_order(tmp_path):
    rows = [prediction("q2"), prediction("q1")]
    write_predictions(tmp_path, rows)
    assert read_predictions(tmp_path) == rows


def test_line_separators_inside_an_answer_end_no_line(tmp_path):
    rows = [prediction("q1", answer="a\u2028b\u2029c\x85d\x0be")]
    write_predictions(tmp_path, rows)
    assert read_predictions(tmp_path) == rows


def test_missing_or_empty_predictions_name_the_command(tmp_path):
    with pytest.raises(RunMismatchError, match="make them: rag batch"):
        read_predictions(tmp_path)
    write_predictions(tmp_path, [])
    with pytest.raises(RunMismatchError, match=r"predictions\.jsonl is empty; run rag batch"):
        read_predictions(tmp_path)


@pytest.mark.parametrize("torn", ['{"qid": "q2"', '{"query": "q2"}', "[]", "7"])
def test_a_damaged_prediction_is_named_with_its_line(tmp_path, torn):
    write_predictions(tmp_path, [prediction("q1")])
    with (tmp_path / "predictions.jsonl").open("a") as stream:
        stream.write(torn)
    with pytest.raises(DataError, match=r"predictions\.jsonl, line 2: not a prediction .* run rag batch again"):
        read_predictions(tmp_path)


def test_a_prediction_torn_inside_a_letter_is_named_with_its_line(tmp_path):
    write_predictions(tmp_path, [prediction("q1")])
    with (tmp_path / "predictions.jsonl").open("ab") as stream:
        stream.write('{"qid": "é'.encode()[:-1])
    with pytest.raises(DataError, match=r"predictions\.jsonl, line 2: not a prediction"):
        read_predictions(tmp_path)


def test_a_question_predicted_twice_is_named_with_both_lines(tmp_path):
    write_predictions(tmp_path, [prediction("q1"), prediction("q2"), prediction("q1")])
    with pytest.raises(DataError, match="line 3: the question 'q1' already stands on line 1"):
        read_predictions(tmp_path)
