"""Cosines beside the reranker's logits: they order passages, and refuse nothing."""

import json

import numpy as np
import pytest

from rag.build.identity import run_identity
from rag.build.pipelines import make_pipeline
from rag.build.serving import serving_over
from rag.data.questions import load_questions
from rag.evaluate.scores import Case, score_output
from rag.evidence import EvidenceModel, EvidenceThreshold, features_of
from rag.generate.builtin import get_prompt
from rag.index.read import open_index
from rag.lazy import Lazy
from rag.pipeline import Mixing, Pipeline
from rag.resume import read_jsonl
from rag.runs.batch import run_batch
from rag.runs.stored import reranked_values
from rag.types import Hit, Passage, Query, ranked
from tests.fakes.pipelines import Echo

PASSAGES = [Passage(f"p{n}@0", f"passage {n}", f"Title {n}") for n in range(3)]
LOGITS, COSINES = [3.0, 2.0, 1.0], [0.1, 0.9, 0.2]


class Finds:
    def retrieve(self, queries, k):
        return [[Hit(passage, 1.0) for passage in PASSAGES] for _ in queries]


class Scores:
    def rerank(self, queries, candidates):
        return [
            ranked([Hit(hit.passage, logit) for hit, logit in zip(hits, LOGITS, strict=False)]) for hits in candidates
        ]


class Near:
    def cosines(self, queries, candidates):
        return [[COSINES[int(hit.passage.id[1])] for hit in hits] for hits in candidates]


def make(weight, **options):
    mixing = Mixing(Near, weight)
    prompt = get_prompt("cited-v1")
    return Pipeline(Lazy.of(Finds()), Lazy.of(Scores()), Lazy.of(Echo()), prompt, mixing=mixing, **options)


QUERY = [Query("1", "which one")]


def test_passages_are_ordered_by_logit_and_cosine():
    (found,) = make(2.0).run(QUERY)
    assert [(hit.passage.id, hit.score, hit.logit) for hit in found.reranked] == [
        ("p1@0", pytest.approx(3.8), 2.0),
        ("p0@0", pytest.approx(3.2), 3.0),
        ("p2@0", pytest.approx(1.4), 1.0),
    ]
    assert found.contexts[0].passage.id == "p1@0"


@pytest.mark.parametrize(("threshold", "refused"), [(3.0, False), (3.1, True)])
def test_refusals_go_by_the_best_logit_alone(threshold, refused):
    pipeline = make(2.0, rerank_threshold=threshold)
    (found,) = pipeline.rerank(pipeline.retrieve(QUERY))
    assert features_of(found) == {"rerank": 3.0}
    assert pipeline.refuses(found) is refused
    model = EvidenceThreshold(threshold, EvidenceModel(("rerank",), (0.0,), (1.0,), (1.0,), 0.0))
    assert make(2.0, rerank_threshold=model).refuses(found) is refused


def test_a_question_that_is_kept_from_the_reranker_keeps_its_order():
    (found,) = make(2.0, latin_alone=True).run([Query("1", "哪一个是第一")])
    assert [(hit.passage.id, hit.logit) for hit in found.reranked] == [(p.id, None) for p in PASSAGES]


def test_what_an_evaluation_takes_for_the_best_score_is_the_logit():
    (found,) = make(2.0).run(QUERY)
    row = {**reranked_values(found), "contexts": [], "raw": "", "answer": "", "abstained": True}
    scores = {}
    score_output(scores, Case("1", row, None, {}), None)
    assert scores["best_score"] == 3.0


def mixed(settings, weight):
    reranker = settings.reranker.model_copy(update={"cosine_weight": weight})
    retriever = settings.retriever.model_copy(update={"kind": "hybrid"})
    return settings.model_copy(update={"reranker": reranker, "retriever": retriever})


def test_a_batch_keeps_both_and_another_takes_the_logits_over(data):
    settings, folder = data
    questions = load_questions(folder / "dev.txt")
    corpus = open_index(folder / "index").corpus

    def run(weight, name, **options):
        serving = serving_over(mixed(settings, weight), folder / "index")
        identity = run_identity(serving, folder / "dev.txt", generate=False)
        pipeline = make_pipeline(serving, interactive=False)
        run_batch(pipeline, questions, corpus, folder / name, identity, generate=False, **options)
        return identity, read_jsonl(folder / name / "predictions.jsonl"), pipeline

    plain_identity, plain, _ = run(0.0, "plain")
    identity, rows, _ = run(7.0, "mixed")
    assert "cosine_weight" not in plain_identity["settings"]["reranker"]  # runs begun before it go on
    assert identity["settings"]["reranker"]["cosine_weight"] == 7.0
    encoder = serving_over(settings, folder / "index").load_encoder()
    vectors = open_index(folder / "index").vectors().vectors(range(len(corpus)))
    for before, after in zip(plain, rows, strict=True):
        assert "logits" not in before
        logits = {pid: one for (pid, _), one in zip(after["reranked"], after["logits"], strict=True)}
        assert logits == pytest.approx(dict(before["reranked"]), abs=1e-4)
        (question,) = encoder.encode_queries([after["query"]])
        for pid, score in after["reranked"]:
            cosine = float(vectors[corpus.row_of(pid)] @ question)
            assert score == pytest.approx(logits[pid] + 7 * cosine, abs=1e-4)
    # Another weight scores no pair again.
    _, again, pipeline = run(3.0, "again", reuse=[folder / "mixed"])
    assert not pipeline.reranker.loaded
    assert sorted(again[0]["logits"]) == pytest.approx(sorted(rows[0]["logits"]), abs=1e-6)
    assert json.dumps(again[0]["reranked"]) != json.dumps(rows[0]["reranked"])
    assert np.isfinite([score for row in again for _, score in row["reranked"]]).all()
