"""A model from a run, an average or elsewhere meets the one that serves."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from rag.build import parts
from rag.config import Settings
from rag.data.labelled import Example, load_examples
from rag.data.splits import refuse_test_file, refuse_written
from rag.errors import ConfigError, DataError, ModelError
from rag.files import read_json, weights_sha256, write_json
from rag.index.read import OpenIndex, open_index
from rag.models.resolve import ResolvedModel, resolve
from rag.progress import say
from rag.train.checkpoints import average_weights, check_averageable, copy_model
from rag.train.gate import (
    check_reranks,
    check_serves_itself,
    gate_reranker,
    gate_retriever,
    question_ids,
    serving_candidates,
    verdict_of,
    watched_ids,
)
from rag.train.run import TRAINING_FILE, WATCHED, note_training


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
    check_serves_itself(target / "model")
    examples = _dev_questions(dev, qrels, index, with_unanswerable=is_reranker)
    watched = watched_ids(found.folder)
    judged = [example for example in examples if example.question.id not in watched]
    if not any(example.positives for example in judged):
        raise DataError(f"{dev} has no answerable question left by which {model} was not watched while training")
    if left_out := len(examples) - len(judged):
        say(f"{left_out:,} questions of {dev} are left out: they chose the checkpoint of {model}")
    # A model that cannot be loaded is told before anything is written.
    loaded = parts.reranker_of(settings, found) if is_reranker else parts.encoder_of(settings, found)
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
        return resolve(str(model), source=source, needs=parts.ENCODER_FILES)
    return found


def is_cross_encoder(folder: Path) -> bool:
    """Whether a checkpoint scores pairs. Raises ModelError where it does in another way than a sequence classifier."""
    is_classifier = any(
        name.endswith("ForSequenceClassification")
        for name in read_json(folder / "config.json", ModelError, default={}).get("architectures") or ()
    )
    kind = read_json(folder / "config_sentence_transformers.json", ModelError, default={}).get("model_type")
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
        stored = read_json(path, ModelError, default={})
        write_json(path, {**stored, "prompts": {**(stored.get("prompts") or {}), **prompts}})
    saving.rename(target)
    return target


def _check_serving(settings: Settings, index: OpenIndex, *, is_reranker: bool) -> None:
    """Refuse, before anything is made, what could not meet the serving model at the end."""
    if is_reranker:
        check_reranks(settings)
    else:
        index.check_encoder(parts.make_encoder(settings, lazy=True).fingerprint)


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


def _at_gate(record: Mapping, rows: Sequence[Mapping], watched: set[str], examples: Sequence[Example]) -> set[str]:
    """Ids of what a run's gate judged; of unanswerable examples, where the run knows none, all but the watched."""
    judged = {row["qid"] for row in rows}
    if "unanswerable" in record:
        return judged | set(record["unanswerable"])
    return judged | {e.question.id for e in examples if not e.positives and e.question.id not in watched}
