"""The scores of single questions, phase by phase: ranking, answer, output, and the class of the outcome.

A question's scores are one dict, a row of scores.jsonl. Every function here adds the keys of its phase to it, where the
question can have them: a question without a reference has no `f1`, one without judgements no `rerank/mrr@10`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.evaluate.answers import (
    citation_scores,
    format_leaks,
    grounded_share,
    invented_numbers,
    is_right,
    reference_token_recall,
    supported_share,
)
from rag.evaluate.intent import intent_of
from rag.evaluate.metrics import deep_scores, exact_match, ranking_depth, ranking_scores, shuffle_floor, token_f1
from rag.evaluate.outcomes import classify
from rag.evaluate.slices import PASSAGE_WORDS, REFERENCE_WORDS, length_bin, question_word
from rag.types import CANNOTANSWER, Qrels, Run

STAGES = {"retrieve": "retrieved", "rerank": "reranked"}
MRR_BOUNDS = {"shuffled": "floor/mrr@10", "perfect": "perfect/mrr@10"}

Prediction = Mapping[str, Any]
"""A row of predictions.jsonl."""
Scores = dict[str, Any]
"""A row of scores.jsonl."""


@dataclass(frozen=True, slots=True)
class Case:
    """A question of a run: what was predicted for it, and what that is compared with.

    `prediction` and `reference` are None where there is none; `gold` holds the relevant passages with their grades, {}
    for a question that is not judged.
    """

    qid: str
    prediction: Prediction | None
    reference: Question | None
    gold: Mapping[str, int]

    @property
    def text(self) -> str:
        """The question as it was asked, or was to be asked."""
        asked = self.prediction.get("query") if self.prediction else None
        if asked:
            return asked
        return self.reference.rewrite if self.reference else ""

    @property
    def answered(self) -> Prediction | None:
        """The prediction if it holds an answer (a refusal is one); None where only passages were ranked."""
        if self.prediction is None or self.prediction.get("answer") is None:
            return None
        return self.prediction

    @property
    def references(self) -> list[str]:
        """The reference answer, then its aliases; [] where none is known."""
        if self.reference is None or self.reference.answer is None:
            return []
        return [self.reference.answer, *self.reference.aliases]


def describe(case: Case, corpus: Corpus | None) -> Scores:
    """What is known of a question before anything is scored, and what its figures are grouped by."""
    reference = case.reference
    row = case.prediction or {}
    scores: Scores = {
        "qid": case.qid,
        "source": (reference.source if reference else "") or row.get("source", ""),
        "question_word": question_word(case.text),
        "intent": intent_of(case.text),
        "gold": dict(case.gold),
    }
    if case.references:
        answer, *aliases = case.references
        scores |= {"reference": answer, "aliases": aliases}
        if answer != CANNOTANSWER:
            scores["reference_words"] = length_bin(len(answer.split()), REFERENCE_WORDS)
    golds = [pid for pid in case.gold if corpus is not None and pid in corpus]
    if corpus is not None and golds:
        words = min(len(corpus.by_id(pid).text.split()) for pid in golds)
        scores["passage_words"] = length_bin(words, PASSAGE_WORDS)
    return scores


def score_rankings(
    scores: Mapping[str, Scores],
    predictions: Mapping[str, Prediction],
    judged: Qrels,
    n_passages: int | None = None,
) -> dict[str, int]:
    """Add `STAGE/METRIC` to the scores of every judged question, and the bounds of its MRR@10.

    Returns the depth of each stage, the parts of a fusion, then `retrieve` and `rerank`. `STAGE/deep/METRIC` is added
    where the stage is deep enough; `n_passages` is the size of the corpus where it is known.
    """
    runs = _runs(predictions, judged)
    for stage, run in runs.items():
        deep = {f"deep/{name}": values for name, values in deep_scores(run, judged, n_passages).items()}
        for name, values in {**ranking_scores(run, judged), **deep}.items():
            for qid, value in values.items():
                scores[qid][f"{stage}/{name}"] = value
    # What the same candidates would score, shuffled at random and ordered perfectly.
    for qid in judged:
        candidates = [pid for pid, _ in predictions[qid]["reranked"]] if qid in predictions else []
        n_found = sum(pid in scores[qid]["gold"] for pid in candidates)
        scores[qid][MRR_BOUNDS["shuffled"]] = shuffle_floor(len(candidates), n_found)
        scores[qid][MRR_BOUNDS["perfect"]] = float(n_found > 0)
    return {stage: ranking_depth(run) for stage, run in runs.items()}


def _runs(predictions: Mapping[str, Prediction], judged: Qrels) -> dict[str, Run]:
    """Stage -> its ranking of the judged questions. A part of a fusion is a stage if every prediction has it."""
    parts = sorted({name for row in predictions.values() for name in row.get("parts", {})})
    ranked = [qid for qid in judged if qid in predictions]
    runs: dict[str, Run] = {}
    for part in parts:
        if all(part in row.get("parts", {}) for row in predictions.values()):
            runs[part] = {qid: dict(predictions[qid]["parts"][part]) for qid in ranked}
    for stage, field in STAGES.items():
        runs[stage] = {qid: dict(predictions[qid][field]) for qid in ranked}
    return runs


def score_output(scores: Scores, case: Case, corpus: Corpus | None) -> None:
    """Add what an output shows by itself: leaks, invented numbers, words that its contexts and citations hold."""
    row = case.answered
    if row is None:
        return
    contexts = row["contexts"]
    citations = row.get("citations") or []
    scores["best_score"] = max(row["logits"]) if row.get("logits") else _first_score(row["reranked"])
    scores["invented_in_output"] = invented_numbers(row["raw"] or "", len(contexts))
    if row["abstained"]:
        return
    scores["leaks"] = format_leaks(row["answer"])
    if support := row.get("support"):
        scores["support"] = support["score"]
        scores["support_logit"] = support["logit"]
        scores["support_agreement"] = support["agreement"]
        scores["word_for_word"] = bool(support["word_for_word"])
    scores["n_citations"] = len(citations)
    scores["invented_shown"] = sum(pid not in contexts for pid in citations)
    scores |= citation_scores(citations, contexts, set(case.gold))
    if corpus is not None:
        texts = {pid: corpus.by_id(pid).content for pid in {*contexts, *citations} if pid in corpus}
        scores["grounded"] = grounded_share(row["answer"], list(texts.values()))
        scores["supported"] = supported_share(row["answer"], [texts[pid] for pid in citations if pid in texts])


def score_answer(scores: Scores, case: Case) -> None:
    """Add how the answer compares with the reference; a question without a prediction scores 0."""
    if not case.references:
        return
    row = case.answered
    scores["answerable"] = case.references[0] != CANNOTANSWER
    scores["abstained"] = bool(row and row["abstained"])
    scores["exact_match"] = exact_match(row["answer"], case.references) if row else 0.0
    scores["f1"] = token_f1(row["answer"], case.references) if row else 0.0
    scores["reference_recall"] = reference_token_recall(row["answer"], case.references) if row else 0.0


def score_outcome(scores: Scores, case: Case, corpus: Corpus | None, n_contexts: int | None) -> None:
    """Add `right`, `gold_in_context` and the class that the question falls into; comes after `score_answer`."""
    row = case.prediction
    gold = set(case.gold)
    if "answerable" in scores:
        scores["right"] = _is_right(scores, case)
    wanted, shown = _contexts(case, n_contexts)
    if gold:
        scores["gold_in_context"] = bool(gold.intersection(shown))
    found = [pid for pid, _ in [*row["retrieved"], *row["reranked"]]] if row else []
    scores["outcome"] = classify(
        predicted=row is not None,
        answerable=scores.get("answerable"),
        answered=case.answered is not None,
        abstained=scores.get("abstained", False),
        right=scores.get("right", False),
        judged=bool(gold),
        in_corpus=corpus is None or any(pid in corpus for pid in gold),
        retrieved=bool(gold.intersection(found)),
        ranked_in=bool(gold.intersection([*wanted, *shown])),
        in_context=bool(gold.intersection(shown)),
    )


def _is_right(scores: Scores, case: Case) -> bool:
    """Whether the unanswerable was refused, or the answerable answered like a reference."""
    row = case.answered
    if row is None or scores["abstained"] == scores["answerable"]:
        return False
    return scores["abstained"] or is_right(row["answer"], case.references, row["query"])


def _contexts(case: Case, n_contexts: int | None) -> tuple[Sequence[str], Sequence[str]]:
    """(ids of the passages that were to reach the prompt, ids of those that did)."""
    row = case.prediction
    if row is None:
        return (), ()
    size = n_contexts if n_contexts is not None else len(row["contexts"]) + row.get("dropped_contexts", 0)
    wanted = [pid for pid, _ in row["reranked"][:size]]
    if row.get("excerpts"):
        # A passage without a sentence near the question was not to be shown.
        wanted = [pid for pid in wanted if pid in row["excerpts"]]
    # A question refused by score, or never asked, would have been shown all that it was to be shown.
    was_asked = case.answered is not None and row.get("abstained_by") != "score"
    return wanted, row["contexts"] if was_asked else wanted


def _first_score(ranking: Sequence[Sequence]) -> float | None:
    return ranking[0][1] if ranking else None
