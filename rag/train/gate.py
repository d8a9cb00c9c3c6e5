"""The comparison before a model serves: it meets the one in service on dev questions that it was not chosen by.

RUN/model/                 the model
RUN/training.json          what it is made of, and the dev questions that chose its checkpoint, which do not judge it
RUN/gate.json              the verdict, its figures and the weights that met
RUN/gate-questions.jsonl   each question's scores
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag import fixes
from rag.build.indexes import make_index_alike
from rag.build.serving import Serving, serving_over
from rag.data.labelled import Example, asked
from rag.errors import ConfigError, IndexMismatchError, ModelError
from rag.evaluate.metrics import mean, pessimistic_scores, shuffle_floor
from rag.evaluate.verdict import GATE_FILE, GATE_QUESTIONS_FILE, gate, refusal_figures
from rag.files import json_line, read_json, write_json, write_whole
from rag.index.folder import serving_manifest
from rag.index.read import OpenIndex, open_index
from rag.models.promoted import questions_of, what_serves
from rag.models.query_encoder import passages_of
from rag.progress import say
from rag.rerank.keep_order import KeepOrder
from rag.resume import read_jsonl
from rag.train.run import TRAINING_FILE, WATCHED, digest
from rag.types import Hit

if TYPE_CHECKING:
    from rag.rerank.cross_encoder import CrossEncoderReranker

GATE_DEPTH = 50
QUESTIONS_ALONE = "questions"
"""What a record says that a retriever embeds, if it embeds no passages."""
GATE_METRICS = ("mrr@10", "recall@10")
NO_RERANKER = (
    "a reranker meets the one that serves; leave reranker.enabled = true, and over other than English "
    "documents name a multilingual one with --set reranker.model=NAME"
)

Found = Sequence[tuple[Example, Sequence[Hit]]]
"""Questions with what was retrieved for them."""

Scores = dict[str, list[float]]
"""metric -> a score per question, in the order of the questions."""


def gate_retriever(
    serving: Serving,
    target: str | Path,
    model: str | Path,
    held_out: Sequence[Example],
) -> dict:
    """Let the tuned model meet the serving one (`compare_retrievers`), and write the verdict; returns the record."""
    record, scores = compare_retrievers(serving, target, model, held_out)
    write_verdict(target, record, held_out, scores)
    return record


def compare_retrievers(
    serving: Serving, target: str | Path, model: str | Path, held_out: Sequence[Example]
) -> tuple[dict, dict[str, Scores]]:
    """Compare the tuned model with the serving one, by dense retrieval over the whole corpus.

    Returns (the gate's record, the scores of `base` and `tuned`), and writes no verdict. Both search an index of the
    same kind; the tuned one's is made in `target/index`. A question encoder searches the serving index itself.
    """
    check_serves_itself(model)
    # The index may have followed its documents while the model was trained.
    serving = serving_over(serving.settings, serving.index_folder)
    index = open_index(serving.index_folder)
    for_questions = passages_of(Path(model)) is not None
    if for_questions:
        tuned = serving.with_query_encoder(model)
    else:
        tuned = make_index_alike(serving, model, Path(target) / "index")
    queries = [example.question.rewrite for example in held_out]
    scores = {}
    for name, side in (("base", serving), ("tuned", tuned)):
        found = side.retrievers().get("dense").retrieve(queries, GATE_DEPTH)
        scores[name] = _gate_scores(list(zip(held_out, found, strict=True)))
    if serving_manifest(serving.index_folder)[1].fingerprint != index.manifest.fingerprint:
        raise IndexMismatchError(f"{serving.index_folder} has changed while the models met; run the same command again")
    record = gate(
        scores["tuned"],
        scores["base"],
        primary="mrr@10",
        floor=mean([shuffle_floor(len(index.corpus), len(example.positives)) for example in held_out]) or 0.0,
        sources=_sources(held_out),
    )
    record |= (
        _who_met(serving, tuned)
        if for_questions
        else {
            "base": serving.settings.encoder.model,
            "base_fingerprint": dataclasses.asdict(index.manifest.encoder),
            "tuned_fingerprint": dataclasses.asdict(tuned.manifest.encoder),
        }
    )
    record |= {
        "role": "retriever",
        "corpus_sha256": index.manifest.corpus_sha256,
        "dev_digest": digest(asked(held_out)),
        "n_dev": len(held_out),
    }
    return record, scores


def _who_met(serving: Serving, tuned: Serving) -> dict:
    """What the record says of two models that embed questions beside the same encoder of passages."""
    encoders = {"base": serving.load_encoder(lazy=True), "tuned": tuned.load_encoder(lazy=True)}
    return {
        "embeds": QUESTIONS_ALONE,
        "base": serving.settings.encoder.query_model or questions_of(serving.encoder),
        **{
            f"{name}_fingerprint": dataclasses.asdict((encoder.questions or encoder).fingerprint)
            for name, encoder in encoders.items()
        },
    }


def gate_reranker(
    serving: Serving,
    index: OpenIndex,
    target: str | Path,
    model: str | Path,
    found: Found,
    known: Sequence[tuple[dict, list[dict]]] = (),
) -> dict:
    """Compare the tuned model with the serving one: both rerank the candidates in `found`; returns the record.

    `known` are other gates' records with their questions' scores. The base's scores are taken from the first of them
    that scored the same base on the same candidates; not if there are unanswerable questions, for which no scores are
    kept. Those do not decide: the record says how well the best score tells them from the others.
    """
    check_serves_itself(model)
    answerable, unanswerable = split_unanswerable(found)
    held_out = [example for example, _ in answerable]
    how = _how_reranked(serving, index, answerable)
    base, tuned = serving_reranker(serving), serving_reranker(serving.with_reranker(model))
    if known and unanswerable:
        say("there are unanswerable questions, so no scores are reused: scored again")
        known = ()
    base_scores = _known_scores(known, {"base_fingerprint": base.weights_sha256, **how})
    base_best: list[float] = []
    if base_scores is None:
        base_scores, base_best = _reranked(base, answerable, unanswerable, "Reranking (base)")
    tuned_scores, tuned_best = _reranked(tuned, answerable, unanswerable, "Reranking (tuned)")
    floors = [
        shuffle_floor(len(hits), sum(hit.passage.id in example.positives for hit in hits))
        for example, hits in answerable
    ]
    record = gate(tuned_scores, base_scores, primary="mrr@10", floor=mean(floors) or 0.0, sources=_sources(held_out))
    record |= {
        "role": "reranker",
        "base": serving.settings.reranker.model,
        "base_fingerprint": base.weights_sha256,
        "tuned_fingerprint": tuned.weights_sha256,
        **how,
        "n_dev": len(held_out),
    }
    if unanswerable:
        record["refusals"] = refusal_figures(tuned_best, base_best, len(held_out))
        record["unanswerable"] = question_ids([example for example, _ in unanswerable])
    write_verdict(target, record, held_out, {"base": base_scores, "tuned": tuned_scores})
    return record


def _how_reranked(serving: Serving, index: OpenIndex, answerable: Found) -> dict:
    """What two gates must have in common for the scores of one to hold in the other."""
    reranker = serving.settings.reranker
    return {
        "corpus_sha256": index.manifest.corpus_sha256,
        "dev_digest": digest(asked([example for example, _ in answerable])),
        "candidates_digest": digest([hit.passage.id for hit in hits] for _, hits in answerable),
        "depth": reranker.depth,
        "precision": reranker.precision,
        "max_length_tokens": reranker.max_length_tokens,
    }


def _reranked(
    reranker: CrossEncoderReranker, answerable: Found, unanswerable: Found, label: str
) -> tuple[Scores, list[float]]:
    """(scores of the answerable questions, best logit of every question: the answerable ones first)."""
    asked_all = [*answerable, *unanswerable]
    order = reranker.rerank(
        [example.question.rewrite for example, _ in asked_all], [hits for _, hits in asked_all], label=label
    )
    reranked = [(example, hits) for (example, _), hits in zip(asked_all, order, strict=True)]
    best = [hits[0].score if hits else float("-inf") for hits in order]
    return _gate_scores(reranked[: len(answerable)]), best


def _known_scores(known: Sequence[tuple[dict, list[dict]]], how: Mapping) -> Scores | None:
    """The base's scores from a gate that scored the same candidates in the same way, where there is one."""
    for record, rows in known:
        if all(record.get(name) == value for name, value in how.items()) and len(rows) == record["n_dev"]:
            return {metric: [row["base"][metric] for row in rows] for metric in GATE_METRICS}
    if known:
        say("no reused run has scored this base on these candidates: scored again")
    return None


def _gate_scores(found: Found) -> Scores:
    """What the gate looks at, of each question; gold comes last in a tie (`pessimistic_ranks`)."""
    each = [
        pessimistic_scores(
            [hit.score for hit in hits],
            [hit.passage.id in example.positives for hit in hits],
            len(example.positives),
        )
        for example, hits in found
    ]
    return {metric: [scores[metric] for scores in each] for metric in GATE_METRICS}


def _sources(held_out: Sequence[Example]) -> list[str]:
    return [example.question.source for example in held_out]


def write_verdict(
    target: str | Path,
    record: Mapping,
    held_out: Sequence[Example],
    scores: Mapping[str, Mapping[str, Sequence[float | None]]],
) -> None:
    """Write the verdict, and beside it each question's scores, by which runs can be compared with each other."""
    rows = []
    for n, example in enumerate(held_out):
        row: dict = {"qid": example.question.id, "source": example.question.source}
        for name, by_metric in scores.items():
            row[name] = {metric: values[n] for metric, values in by_metric.items()}
        rows.append(row)
    # The verdict comes last: where it stands, the scores that it was given on stand too.
    write_whole(Path(target) / GATE_QUESTIONS_FILE, b"".join(map(json_line, rows)))
    write_json(Path(target) / GATE_FILE, record)


def verdict_of(run: str | Path) -> tuple[dict, list[dict]]:
    """(a run's record of the gate, the scores of its questions). Raises ConfigError where there is no verdict."""
    path = Path(run) / GATE_FILE
    if not path.is_file():
        raise ConfigError(f"{run} holds no verdict ({GATE_FILE}); let its model meet the gate: {fixes.gate(run)}")
    record = read_json(path, ConfigError, fix="let the model meet the gate again")
    return record, read_jsonl(Path(run) / GATE_QUESTIONS_FILE)


def check_serves_itself(model: str | Path) -> None:
    """Raises ConfigError where another model was promoted in the place of this one and would be judged instead."""
    if (other := what_serves(str(model))) != str(model):
        raise ConfigError(
            f"{other} serves in the place of {model}, which cannot be judged meanwhile; go back first: "
            f"{fixes.go_back(model)}"
        )


def check_reranks(serving: Serving) -> None:
    """Raises ConfigError where no reranker serves that another could meet."""
    if serving.reranker is None:
        raise ConfigError(NO_RERANKER)


def serving_reranker(serving: Serving) -> CrossEncoderReranker:
    """The cross-encoder that serves; raises ConfigError where none does."""
    reranker = serving.load_reranker()
    if isinstance(reranker, KeepOrder):
        raise ConfigError(NO_RERANKER)
    return reranker


def serving_candidates(serving: Serving, held_out: Sequence[Example]) -> list[list[Hit]]:
    """What the serving retriever hands the reranker, per question."""
    questions = [example.question.rewrite for example in held_out]
    return serving.retriever().retrieve(questions, serving.settings.reranker.depth)


def split_unanswerable(found: Found) -> tuple[Found, Found]:
    """(answerable, unanswerable) questions with their candidates."""
    return [one for one in found if one[0].positives], [one for one in found if not one[0].positives]


def question_ids(examples: Sequence[Example]) -> list[str]:
    """The ids of the questions, in order."""
    return [example.question.id for example in examples]


def watched_ids(model: str | Path) -> set[str]:
    """Ids of the dev questions that chose a checkpoint; none where none did.

    `model` is the folder of its run, or one within it, at most two levels down.
    """
    place = Path(model).resolve()
    for folder in (place, *place.parents[:2]):
        if (folder / TRAINING_FILE).is_file():
            watched = read_json(folder / TRAINING_FILE, ModelError).get(WATCHED, [])
            if not isinstance(watched, list) or not all(isinstance(qid, str) for qid in watched):
                raise ModelError(f"{folder / TRAINING_FILE} is damaged (its {WATCHED} are no ids); train again")
            return set(watched)
    return set()
