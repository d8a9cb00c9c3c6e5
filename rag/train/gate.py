"""A model meets the one that serves on dev questions, and serves in its place where it has won.

RUN/model/                 the model
RUN/training.json          what it is made of, and the dev questions that chose its checkpoint, which do not judge it
RUN/gate.json              the verdict, its figures and the weights that met
RUN/gate-questions.jsonl   each question's scores
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from rag import build
from rag.config import Settings
from rag.errors import ConfigError, DataError, IndexMismatchError, ModelError
from rag.evaluate.gate import GATE_FILE, GATE_QUESTIONS_FILE, PROMOTE, gate, refusal_figures
from rag.evaluate.metrics import ranking_scores, shuffle_floor
from rag.examples import Example, asked, load_examples, refuse_test_file, refuse_written
from rag.files import json_line, read_json_object, read_jsonl, weights_sha256, write_json, write_whole
from rag.models.promoted import all_promoted, promote, serving
from rag.models.resolve import ResolvedModel, resolve
from rag.progress import say
from rag.retrieve.store import OpenIndex, open_index, serving_manifest
from rag.training import TRAINING_FILE, WATCHED, average_weights, check_averageable, copy_model, digest, note_training
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
    _check_serves_itself(model)
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
    build.make_index(tuned_settings, corpus_path, own_index)
    queries = [example.question.rewrite for example in held_out]
    scores = {}
    for name, chosen, folder in (("base", settings, index_folder), ("tuned", tuned_settings, own_index)):
        found = build.Retrievers(chosen, folder).get("dense").retrieve(queries, GATE_DEPTH)
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


def _check_serves_itself(model: str | Path) -> None:
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
    retriever = build.make_retriever(settings, index_folder)
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
    _check_serves_itself(model)
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
    for name, reranker in {"base": build.make_reranker(settings), "tuned": build.make_reranker(other)}.items():
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
    return json.loads(path.read_text(encoding="utf-8")), read_jsonl(Path(run) / GATE_QUESTIONS_FILE)


def _known_scores(known: Sequence[tuple[dict, list[dict]]], how: Mapping) -> dict | None:
    """The base's scores from a gate that scored the same candidates in the same way, where there is one."""
    for record, rows in known:
        if all(record.get(name) == value for name, value in how.items()) and len(rows) == record["n_dev"]:
            return {metric: [row["base"][metric] for row in rows] for metric in GATE_METRICS}
    if known:
        say("no reused run has scored this base on these candidates: scored again")
    return None


def average_models(
    settings: Settings,
    runs: Sequence[str | Path],
    dev: str | Path,
    index_folder: str | Path,
    target: str | Path,
    *,
    qrels: str | Path | None = None,
    reuse: Sequence[str | Path] = (),
) -> dict:
    """Average the models of several runs and let the mean meet the serving one on dev; returns the gate's record.

    Only dev questions that every run's own gate judged do: no run was trained on them, or watched by them. A
    reranker's refusals of unanswerable dev questions are told where dev has any. For `reuse` see `tune_reranker`.
    """
    verdicts = [verdict_of(run) for run in runs]
    roles = {run: record["role"] for run, (record, _) in zip(runs, verdicts, strict=True)}
    if len(runs) < 2 or len(set(roles.values())) > 1:
        told = ", ".join(f"{run} ({role})" for run, role in roles.items())
        raise ConfigError(f"an average is of two models or more of the same kind; these are {told}")
    known = [verdict_of(run) for run in reuse]
    index = open_index(index_folder)
    models = [Path(run) / "model" for run in runs]
    check_averageable(models)
    is_reranker = "reranker" in roles.values()
    _check_serving(settings, index, is_reranker=is_reranker)
    examples = _dev_questions(dev, qrels, index, with_unanswerable=is_reranker)
    watched = set().union(*(watched_ids(run) for run in runs))
    fresh = set.intersection(*(_at_gate(record, rows, watched, examples) for record, rows in verdicts))
    judged = [example for example in examples if example.question.id in fresh]
    if not any(example.positives for example in judged):
        raise DataError(f"the gates of the runs have judged no question of {dev} in common; name their dev file")
    if left_out := len(examples) - len(judged) - len(watched & set(question_ids(examples))):
        say(f"{left_out:,} questions of {dev} are left out: not every run's gate judged them")
    note_training(Path(target), {"average": [weights_sha256(model) for model in models], WATCHED: sorted(watched)})
    model = average_weights(models, Path(target))
    return _meet(settings, index_folder, target, model, judged, known, is_reranker=is_reranker)


def gate_model(
    settings: Settings,
    model: str | Path,
    dev: str | Path,
    index_folder: str | Path,
    target: str | Path,
    *,
    qrels: str | Path | None = None,
    reuse: Sequence[str | Path] = (),
) -> dict:
    """Let a model from anywhere meet the serving one on dev; returns the gate's record.

    `model` is a folder, also that of a training run, or a name: a sequence classifier is a reranker, anything else a
    retriever. It is copied to `target/model`, a retriever with its prompts, so that what met is what can be promoted.
    Dev questions by which a run of `rag train` was watched do not judge its model; that it was trained on none of the
    others is for the caller to know. For `reuse` see `tune_reranker`.
    """
    known = [verdict_of(run) for run in reuse]
    found = _find(model, settings.models.source)
    is_reranker = is_cross_encoder(found.folder)
    target, index = Path(target), open_index(index_folder)
    if target.resolve().is_relative_to(found.folder.resolve()):
        raise ConfigError(f"{target} lies within the model's own folder; choose another -o")
    _check_serving(settings, index, is_reranker=is_reranker)
    _check_serves_itself(target / "model")
    examples = _dev_questions(dev, qrels, index, with_unanswerable=is_reranker)
    watched = watched_ids(found.folder)
    judged = [example for example in examples if example.question.id not in watched]
    if not any(example.positives for example in judged):
        raise DataError(f"{dev} has no answerable question left by which {model} was not watched while training")
    if left_out := len(examples) - len(judged):
        say(f"{left_out:,} questions of {dev} are left out: they chose the checkpoint of {model}")
    # A model that cannot be loaded is told before anything is written.
    loaded = build.reranker_of(settings, found) if is_reranker else build.encoder_of(settings, found)
    made_of = loaded.weights_sha256 if is_reranker else dataclasses.asdict(loaded.fingerprint)
    note_training(target, {"gate": made_of, WATCHED: sorted(watched)})
    copy = _copied(found.folder, target / "model", None if is_reranker else loaded.prompts)
    del loaded
    return _meet(settings, index_folder, target, copy, judged, known, is_reranker=is_reranker)


def _find(model: str | Path, source: str) -> ResolvedModel:
    """A model by its folder, that of its run, or its name."""
    run = Path(model)
    if (run / TRAINING_FILE).is_file():
        if not (run / "model").is_dir():
            raise ConfigError(f"{run} is a run that has not finished; start its command again")
        model = run / "model"
    found = resolve(str(model), source=source)
    if found.source.startswith("hub") and not is_cross_encoder(found.folder):
        return resolve(str(model), source=source, needs=build.ENCODER_FILES)
    return found


def is_cross_encoder(folder: Path) -> bool:
    """Whether a checkpoint scores pairs. Raises ModelError where it does in another way than a sequence classifier."""
    is_classifier = any(
        name.endswith("ForSequenceClassification")
        for name in read_json_object(folder / "config.json").get("architectures") or ()
    )
    kind = read_json_object(folder / "config_sentence_transformers.json").get("model_type")
    if kind == "CrossEncoder" and not is_classifier:
        raise ModelError(f"{folder} is a cross-encoder, but no sequence classifier; only such rerankers can serve")
    if kind is None and (folder / "modules.json").is_file():
        return False
    return is_classifier and kind in (None, "CrossEncoder")


def _copied(model: Path, target: Path, prompts: Mapping[str, str] | None) -> Path:
    """A copy of a checkpoint, whole or not there; `prompts` are written into it where it names none."""
    if target.is_dir():
        return target
    saving = copy_model(model, target.with_name(f".{target.name}"))
    if prompts is not None:
        path = saving / "config_sentence_transformers.json"
        stored = read_json_object(path)
        write_json(path, {**stored, "prompts": {**(stored.get("prompts") or {}), **prompts}})
    saving.rename(target)
    return target


def _check_serving(settings: Settings, index: OpenIndex, *, is_reranker: bool) -> None:
    """Refuse, before anything is made, what could not meet the serving model at the end."""
    if is_reranker:
        check_reranks(settings)
    else:
        index.check_encoder(build.make_encoder(settings, lazy=True).fingerprint)


def _dev_questions(dev: str | Path, qrels, index: OpenIndex, *, with_unanswerable: bool) -> list[Example]:
    """The questions of a dev file that may judge, the unanswerable ones last, if at all."""
    refuse_test_file(dev, qrels)
    chosen = load_examples(dev, index.corpus, None if Path(dev).is_dir() else qrels, split="dev")
    refuse_written(chosen.examples)
    say(chosen.summary(str(dev), with_unanswerable=with_unanswerable))
    return [*chosen.examples, *(chosen.unanswerable if with_unanswerable else ())]


def _meet(
    settings: Settings,
    index_folder: str | Path,
    target: str | Path,
    model: Path,
    judged: Sequence[Example],
    known: Sequence[tuple[dict, list[dict]]],
    *,
    is_reranker: bool,
) -> dict:
    """The gate of either kind."""
    if not is_reranker:
        return gate_retriever(settings, index_folder, target, model, judged)
    found = list(zip(judged, serving_candidates(settings, index_folder, judged), strict=True))
    return gate_reranker(settings, open_index(index_folder), target, model, found, known)


def check_reranks(settings: Settings) -> None:
    """Raises ConfigError where no reranker serves that another could meet."""
    if not settings.reranker.enabled:
        raise ConfigError("a reranker meets the one that serves; leave reranker.enabled = true")


def watched_ids(model: str | Path) -> set[str]:
    """Ids of the dev questions that chose a checkpoint, from its run's folder or one within it; none where none did."""
    place = Path(model).resolve()
    for folder in (place, *place.parents[:2]):
        if (folder / TRAINING_FILE).is_file():
            return set(read_json_object(folder / TRAINING_FILE).get(WATCHED, ()))
    return set()


def _at_gate(record: Mapping, rows: Sequence[Mapping], watched: set[str], examples: Sequence[Example]) -> set[str]:
    """Ids of what a run's gate judged; of unanswerable examples, where the run knows none, all but the watched."""
    judged = {row["qid"] for row in rows}
    if "unanswerable" in record:
        return judged | set(record["unanswerable"])
    return judged | {e.question.id for e in examples if not e.positives and e.question.id not in watched}


def promote_model(target: str | Path) -> str:
    """Let a model that passed the gate serve in the place of its base; returns a line to tell.

    Raises ConfigError where the verdict is another, or was given on other weights than those at hand: the model has
    changed since, or what serves is no longer what it has beaten.
    """
    record, _ = verdict_of(target)
    if record["verdict"] != PROMOTE:
        raise ConfigError(f"the gate says {record['verdict']}: {'; '.join(record['reasons'])}")
    model, base = Path(target) / "model", record["base"]
    if serving(base) == str(model.resolve()):
        return f"{model} serves already in the place of {base}."
    if weights_sha256(model) != _weights(record["tuned_fingerprint"]):
        raise ConfigError(
            f"{model} has changed since it met the gate; let it meet again: "
            f"rag train gate {target} -i INDEX -o MET --dev DEV"
        )
    if weights_sha256(resolve(serving(base)).folder) != _weights(record["base_fingerprint"]):
        raise ConfigError(
            f"{target} has met another model than the one that serves now in the place of {base}; let it meet that "
            f"one, too (rag train gate {target} -i INDEX -o MET --dev DEV), or go back first: rag promote --back {base}"
        )
    promote(base, model)
    again = {
        "retriever": "Index again: rag index --rebuild -o INDEX.",
        "reranker": "Its scores have a scale of their own; calibrate again: rag calibrate DEV -i INDEX.",
    }
    names = [name for name in all_promoted() if serving(name) == str(model.resolve())]
    return f"{model} now serves in the place of {', '.join(names)}. {again[record['role']]}"


def _weights(fingerprint: str | Mapping) -> str:
    return fingerprint if isinstance(fingerprint, str) else fingerprint["weights_sha256"]
