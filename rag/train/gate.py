"""A model meets the one that serves on dev questions, and serves in its place where it has won.

RUN/model/                 the model
RUN/training.json          what it is made of, and the dev questions that chose its checkpoint, which do not judge it
RUN/gate.json              the verdict, its figures and the weights that met
RUN/gate-questions.jsonl   each question's scores
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rag.build import parts
from rag.build.indexes import make_index
from rag.build.retrievers import Retrievers, make_retriever
from rag.config import Settings
from rag.data.labelled import Example, asked
from rag.errors import ConfigError, IndexMismatchError, ModelError
from rag.evaluate.metrics import ranking_scores, shuffle_floor
from rag.evaluate.verdict import GATE_FILE, GATE_QUESTIONS_FILE, gate, refusal_figures
from rag.files import json_line, read_json, write_json, write_whole
from rag.index.folder import serving_manifest
from rag.index.read import OpenIndex, open_index
from rag.models.promoted import serving
from rag.progress import say
from rag.resume import read_jsonl
from rag.train.run import TRAINING_FILE, WATCHED, digest
from rag.types import Hit

GATE_DEPTH = 50
GATE_METRICS = ("mrr@10", "recall@10")


def _gate_scores(held_out: Sequence[Example], found: Sequence[Sequence[Hit]]) -> dict[str, list[float]]:
    """Per question, in the order of `held_out`: the metrics that the gate looks at; 0 where a score is no number.

    Of a tie gold comes last: a model that scores all alike must not win by how passages are called.
    """
    qrels = {example.question.id: dict.fromkeys(example.positives, 1) for example in held_out}
    run = {}
    for example, hits in zip(held_out, found, strict=True):
        order = sorted(hits, key=lambda hit: (-hit.score, hit.passage.id in example.positives, hit.passage.id))
        is_sound = all(math.isfinite(hit.score) for hit in hits)
        run[example.question.id] = {hit.passage.id: -rank for rank, hit in enumerate(order)} if is_sound else {}
    by_metric = ranking_scores(run, qrels)
    return {metric: [by_metric[metric][qid] for qid in qrels] for metric in GATE_METRICS}


def gate_retriever(
    settings: Settings,
    index_folder: str | Path,
    target: str | Path,
    model: str | Path,
    held_out: Sequence[Example],
) -> dict:
    """Tuned model against the serving one: dense retrieval over the whole corpus, dev questions, per question.

    Both search an index of the same kind.
    """
    check_serves_itself(model)
    index = open_index(index_folder)
    tuned_settings = settings.model_copy(
        update={
            "encoder": settings.encoder.model_copy(update={"model": str(model)}),
            "index": settings.index.model_copy(
                update={"factory": index.manifest.factory, "window_sentences": index.manifest.window_sentences}
            ),
        }
    )
    own_index = Path(target) / "index"
    corpus_path = index.manifest.corpus_path
    if corpus_path != "embedded" and not Path(corpus_path).is_file():
        corpus_path = str(index.folder / "passages.jsonl")
    make_index(tuned_settings, corpus_path, own_index)
    queries = [example.question.rewrite for example in held_out]
    scores = {}
    for name, chosen, folder in (("base", settings, index_folder), ("tuned", tuned_settings, own_index)):
        found = Retrievers(chosen, folder).get("dense").retrieve(queries, GATE_DEPTH)
        scores[name] = _gate_scores(held_out, found)
    if serving_manifest(index_folder)[1].fingerprint != index.manifest.fingerprint:
        raise IndexMismatchError(f"{index_folder} has changed while the models met; run the same command again")
    floors = [shuffle_floor(len(index.corpus), len(example.positives)) for example in held_out]
    record = gate(
        scores["tuned"],
        scores["base"],
        primary="mrr@10",
        floor=sum(floors) / len(floors),
        sources=_sources(held_out),
    )
    record |= {
        "role": "retriever",
        "base": settings.encoder.model,
        "base_fingerprint": dataclasses.asdict(index.manifest.encoder),
        "tuned_fingerprint": dataclasses.asdict(open_index(own_index).manifest.encoder),
        "corpus_sha256": index.manifest.corpus_sha256,
        "dev_digest": digest(asked(held_out)),
        "n_dev": len(held_out),
    }
    _write_verdict(target, record, held_out, scores)
    return record


def check_serves_itself(model: str | Path) -> None:
    """Raises ConfigError where another model was promoted in the place of this one and would be judged instead."""
    if (other := serving(str(model))) != str(model):
        raise ConfigError(
            f"{other} serves in the place of {model}, which cannot be judged meanwhile; go back first: "
            f"rag promote --back {model}"
        )


def question_ids(examples: Sequence[Example]) -> list[str]:
    return [example.question.id for example in examples]


def _sources(held_out: Sequence[Example]) -> list[str]:
    return [example.question.source for example in held_out]


def _write_verdict(target: str | Path, record: dict, held_out: Sequence[Example], scores: Mapping) -> None:
    """The verdict, and beside it each question's scores, by which runs can be compared with each other."""
    rows = [
        {"qid": example.question.id, "source": example.question.source}
        | {name: {metric: values[n] for metric, values in by_metric.items()} for name, by_metric in scores.items()}
        for n, example in enumerate(held_out)
    ]
    write_whole(Path(target) / GATE_QUESTIONS_FILE, b"".join(map(json_line, rows)))
    write_json(Path(target) / GATE_FILE, record)


Found = list[tuple[Example, Sequence[Hit]]]


def parted(found: Found) -> tuple[Found, Found]:
    """(answerable, unanswerable) questions with their candidates."""
    return [one for one in found if one[0].positives], [one for one in found if not one[0].positives]


def serving_candidates(settings: Settings, index_folder: str | Path, held_out: Sequence[Example]) -> list[list[Hit]]:
    """What the serving retriever hands the reranker, per dev question."""
    retriever = make_retriever(settings, index_folder)
    return retriever.retrieve([example.question.rewrite for example in held_out], settings.reranker.depth)


def gate_reranker(
    settings: Settings,
    index: OpenIndex,
    target: str | Path,
    model: str | Path,
    found: Found,
    known: Sequence[tuple[dict, list[dict]]] = (),
) -> dict:
    """Tuned model against the serving one: the same retrieved candidates reranked, dev questions, per question.

    `known` are other gates' records and their questions' scores, taken over where they are of the same base.
    Unanswerable questions do not decide: the record says how well the best score tells them from the others. With
    them, nothing known is taken over.
    """
    check_serves_itself(model)
    answerable, unanswerable = parted(found)
    held_out, retrieved = (list(column) for column in zip(*answerable, strict=True))
    questions = [example.question.rewrite for example, _ in [*answerable, *unanswerable]]
    hits_of_all = [hits for _, hits in [*answerable, *unanswerable]]
    how = {
        "corpus_sha256": index.manifest.corpus_sha256,
        "dev_digest": digest(asked(held_out)),
        "candidates_digest": digest([hit.passage.id for hit in hits] for hits in retrieved),
        "depth": settings.reranker.depth,
        "precision": settings.reranker.precision,
        "max_length_tokens": settings.reranker.max_length_tokens,
    }
    if known and unanswerable:
        say("with unanswerable questions nothing is reused: scored again")
        known = ()
    scores, fingerprints, best = {}, {}, {}
    other = settings.model_copy(update={"reranker": settings.reranker.model_copy(update={"model": str(model)})})
    for name, reranker in {"base": parts.make_reranker(settings), "tuned": parts.make_reranker(other)}.items():
        fingerprints[name] = reranker.weights_sha256
        same = {"base_fingerprint": reranker.weights_sha256, **how}
        scores[name] = _known_scores(known if name == "base" else (), same)
        if scores[name] is None:
            order = reranker.rerank(questions, hits_of_all, label=f"Reranking ({name})")
            scores[name] = _gate_scores(held_out, order[: len(held_out)])
            best[name] = [hits[0].score if hits else float("-inf") for hits in order]
    floor = [
        shuffle_floor(len(hits), sum(hit.passage.id in example.positives for hit in hits))
        for example, hits in answerable
    ]
    mean_floor = sum(floor) / len(floor)
    record = gate(scores["tuned"], scores["base"], primary="mrr@10", floor=mean_floor, sources=_sources(held_out))
    record |= {
        "role": "reranker",
        "base": settings.reranker.model,
        "base_fingerprint": fingerprints["base"],
        "tuned_fingerprint": fingerprints["tuned"],
        **how,
        "n_dev": len(held_out),
    }
    if unanswerable:
        record["refusals"] = refusal_figures(best["tuned"], best["base"], len(held_out))
        record["unanswerable"] = question_ids([example for example, _ in unanswerable])
    _write_verdict(target, record, held_out, scores)
    return record


def verdict_of(run: str | Path) -> tuple[dict, list[dict]]:
    """A run's record of the gate, and the scores of its questions."""
    path = Path(run) / GATE_FILE
    if not path.is_file():
        raise ConfigError(
            f"{run} holds no verdict ({GATE_FILE}); let its model meet the gate: "
            f"rag train gate {run} -i INDEX -o MET --dev DEV"
        )
    return read_json(path, ConfigError, fix="let the model meet the gate again"), read_jsonl(
        Path(run) / GATE_QUESTIONS_FILE
    )


def _known_scores(known: Sequence[tuple[dict, list[dict]]], how: Mapping) -> dict | None:
    """The base's scores from a gate that scored the same candidates in the same way, where there is one."""
    for record, rows in known:
        if all(record.get(name) == value for name, value in how.items()) and len(rows) == record["n_dev"]:
            return {metric: [row["base"][metric] for row in rows] for metric in GATE_METRICS}
    if known:
        say("no reused run has scored this base on these candidates: scored again")
    return None


def check_reranks(settings: Settings) -> None:
    """Raises ConfigError where no reranker serves that another could meet."""
    if not settings.reranker.enabled:
        raise ConfigError("a reranker meets the one that serves; leave reranker.enabled = true")


def watched_ids(model: str | Path) -> set[str]:
    """Ids of the dev questions that chose a checkpoint, from its run's folder or one within it; none where none did."""
    place = Path(model).resolve()
    for folder in (place, *place.parents[:2]):
        if (folder / TRAINING_FILE).is_file():
            return set(read_json(folder / TRAINING_FILE, ModelError, default={}).get(WATCHED, ()))
    return set()
