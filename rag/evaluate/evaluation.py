"""A run's predictions, scored: `metrics.json`, and one row of scores per question."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.evaluate.cosines import Embed, score_cosines
from rag.evaluate.files import FORMAT
from rag.evaluate.metrics import mean, relevant_passages
from rag.evaluate.outcomes import Outcome
from rag.evaluate.scores import (
    MRR_BOUNDS,
    Case,
    Scores,
    describe,
    score_answer,
    score_outcome,
    score_output,
    score_rankings,
)
from rag.evaluate.slices import SLICED_BY, groups, rarest_words
from rag.evaluate.summary import abstention_figures, cost_figures, summarize
from rag.evaluate.support import support_figures
from rag.types import Qrels


def evaluate(
    rows: Sequence[dict],
    qrels: Qrels,
    references: Mapping[str, Question] | None = None,
    embed: Embed | None = None,
    *,
    corpus: Corpus | None = None,
    n_contexts: int | None = None,
) -> tuple[dict, list[dict]]:
    """(metrics, scores per question) of predictions against judgements and, where given, reference answers.

    Ranking metrics average over the judged queries among `references`, which are the questions that were to be answered
    (without references: among the predictions). A judged query without a prediction scores 0. `embed` maps texts to
    (n, d) unit vectors; without it there is no CosSim. Without `corpus`, figures about passages' words are left out.
    `n_contexts` is how many passages were to reach the prompt; without it, as many as were shown or did not fit.
    """
    predictions = {row["qid"]: row for row in rows}
    references = references or {}
    asked = list(references) or list(predictions)
    cases = {
        qid: Case(qid, predictions.get(qid), references.get(qid), relevant_passages(qrels.get(qid, {})))
        for qid in asked
    }
    judged = {qid: qrels[qid] for qid, case in cases.items() if case.gold}

    # Every phase adds its keys to the scores of the questions that can have them.
    scores = {qid: describe(case, corpus) for qid, case in cases.items()}
    if corpus is not None:
        for qid, group in rarest_words({qid: case.text for qid, case in cases.items()}, corpus).items():
            scores[qid]["rarest_word"] = group
    stages = score_rankings(scores, predictions, judged, None if corpus is None else len(corpus))
    if any(row.get("answer") is not None for row in predictions.values()):
        for qid, case in cases.items():
            score_output(scores[qid], case, corpus)
            score_answer(scores[qid], case)
        if embed is not None:
            score_cosines(scores, cases, corpus, embed)
    for qid, case in cases.items():
        score_outcome(scores[qid], case, corpus, n_contexts)

    counts = {
        "n_queries": len(asked),
        "n_judged": len(judged),
        "n_predicted": sum(case.prediction is not None for case in cases.values()),
    }
    questions = list(scores.values())
    return _metrics(counts, questions, stages, rows), questions


def _metrics(
    counts: Mapping[str, int], questions: Sequence[Scores], stages: Mapping[str, int], rows: Sequence[dict]
) -> dict:
    """What metrics.json holds."""
    return {
        "format": FORMAT,
        **counts,
        **summarize(questions, list(stages)),
        "depths": dict(stages),
        "bounds": {name: mean([own[key] for own in questions if key in own]) for name, key in MRR_BOUNDS.items()},
        "outcomes": {outcome.value: sum(own["outcome"] == outcome for own in questions) for outcome in Outcome},
        "abstention": abstention_figures(questions),
        "support": support_figures(questions),
        "slices": {
            name: {
                value: summarize(members, list(stages), intervals=False)
                for value, members in groups(questions, name).items()
            }
            for name in SLICED_BY
        },
        "cost": cost_figures(rows),
    }
