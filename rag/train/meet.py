"""A model meets the one that serves: the average of several runs, or a model from a run or from elsewhere."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

from rag.build import parts
from rag.build.serving import Serving
from rag.data.labelled import Example, load_examples
from rag.data.source import source_of
from rag.data.splits import refuse_test_file, refuse_written
from rag.errors import ConfigError, DataError, ModelError
from rag.files import read_json, weights_sha256, write_json
from rag.index.read import OpenIndex, open_index
from rag.models.query_encoder import passages_of
from rag.models.resolve import ResolvedModel
from rag.progress import say
from rag.rerank.checkpoint import is_reranker, read_reranker
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
from rag.train.gate_generator import choosing_sentences, gate_generator
from rag.train.gate_reader import gate_reader
from rag.train.generator_contexts import find_contexts
from rag.train.prepare_generator import CONTEXTS_FILE, is_causal, with_answers
from rag.train.reader import is_reader
from rag.train.run import TRAINING_FILE, WATCHED, note_training

Role = Literal["retriever", "reranker", "reader", "generator"]


def average_models(
    serving: Serving,
    runs: Sequence[str | Path],
    dev: str | Path,
    target: str | Path,
    *,
    qrels: str | Path | None = None,
    reuse: Sequence[str | Path] = (),
) -> dict:
    """Average the models of several runs and compare the mean with the serving one on dev; returns the gate's record.

    Only dev questions that every run's own gate judged can judge: no run was trained on them or watched by them. Where
    dev has unanswerable questions, the record also says how well a reranker tells them. For `reuse` see
    `tune_reranker`. Raises ConfigError, ModelError or DataError where the models or the questions do not fit.
    """
    verdicts = [verdict_of(run) for run in runs]
    roles = {run: record["role"] for run, (record, _) in zip(runs, verdicts, strict=True)}
    if len(runs) < 2 or len(set(roles.values())) > 1:
        named = ", ".join(f"{run} ({role})" for run, role in roles.items())
        raise ConfigError(f"an average is of two models or more of the same kind; these are {named}")
    known = [verdict_of(run) for run in reuse]
    index = open_index(serving.index_folder)
    models = [Path(run) / "model" for run in runs]
    check_averageable(models)
    if any(passages_of(model) != passages_of(models[0]) for model in models):
        raise ConfigError(
            "some of these models embed questions beside another encoder than the others; average those of one kind"
        )
    role: Role = verdicts[0][0]["role"]
    _check_serving(serving, index, role)
    examples = _dev_questions(dev, qrels, index, with_unanswerable=role != "retriever")
    watched = {qid for run in runs for qid in watched_ids(run)}
    fresh = set.intersection(*(_at_gate(record, rows, watched, examples) for record, rows in verdicts))
    judged = [example for example in examples if example.question.id in fresh]
    if not any(example.positives for example in judged):
        raise DataError(f"the gates of the runs have judged no question of {dev} in common; name their dev file")
    if left_out := len(examples) - len(judged) - len(watched & set(question_ids(examples))):
        say(f"{left_out:,} questions of {dev} are left out: not every run's gate judged them")
    note_training(Path(target), {"average": [weights_sha256(model) for model in models], WATCHED: sorted(watched)})
    model = average_weights(models, Path(target))
    return _meet(serving, target, model, judged, known, role)


def gate_model(
    serving: Serving,
    model: str | Path,
    dev: str | Path,
    target: str | Path,
    *,
    qrels: str | Path | None = None,
    reuse: Sequence[str | Path] = (),
) -> dict:
    """Compare a model from anywhere with the serving one on dev; returns the gate's record.

    `model` is a folder, which may be that of a training run, or a name (`role_of` says which kind of model it is). It
    is copied to `target/model`, a retriever with its prompts, so that what was compared is what can be promoted. Dev
    questions by which a run of `rag train` was watched do not judge its model; the caller has to know that it was
    trained on none of the others. For `reuse` see `tune_reranker`.
    """
    known = [verdict_of(run) for run in reuse]
    found = _find(serving, model)
    role = role_of(found.folder)
    target, index = Path(target), open_index(serving.index_folder)
    if target.resolve().is_relative_to(found.folder.resolve()):
        raise ConfigError(f"{target} lies within the model's own folder; choose another -o")
    _check_serving(serving, index, role)
    check_serves_itself(target / "model")
    examples = _dev_questions(dev, qrels, index, with_unanswerable=role != "retriever")
    watched = watched_ids(found.folder)
    judged = [example for example in examples if example.question.id not in watched]
    if not any(example.positives for example in judged):
        raise DataError(f"{dev} has no answerable question left by which {model} was not watched while training")
    if left_out := len(examples) - len(judged):
        say(f"{left_out:,} questions of {dev} are left out: they chose the checkpoint of {model}")
    # A model that cannot be loaded is refused here, before anything is written.
    made_of, prompts = _loaded(serving, found, role)
    note_training(target, {"gate": made_of, WATCHED: sorted(watched)})
    copy = _copied(found.folder, target / "model", prompts)
    return _meet(serving, target, copy, judged, known, role)


def _loaded(serving: Serving, model: ResolvedModel, role: Role) -> tuple[str | dict, Mapping[str, str] | None]:
    """Load a model once; returns what it is made of, and a retriever's prompts. Raises ModelError."""
    if role == "generator":
        return weights_sha256(model.folder), None
    if role == "reader":
        return parts.reader_of(serving.settings, model).weights_sha256, None
    if role == "reranker":
        return parts.reranker_of(serving.settings, model).weights_sha256, None
    if passages_of(model.folder) is not None:
        beside = serving.with_query_encoder(model.folder).load_encoder(lazy=True)
        assert beside.questions is not None  # it is named
        return dataclasses.asdict(beside.questions.fingerprint), beside.questions.prompts
    encoder = parts.encoder_of(serving.settings, model)
    return dataclasses.asdict(encoder.fingerprint), encoder.prompts


def _find(serving: Serving, model: str | Path) -> ResolvedModel:
    """A model by its folder, the folder of its run, or its name."""
    run = Path(model)
    if (run / TRAINING_FILE).is_file():
        if not (run / "model").is_dir():
            raise ConfigError(f"{run} is a run that has not finished; start its command again")
        model = run / "model"
    found = serving.find(str(model))
    if found.source.startswith("hub") and role_of(found.folder) == "retriever":
        return serving.find(str(model), needs=parts.ENCODER_FILES)
    return found


def role_of(folder: Path) -> Role:
    """The kind of a checkpoint: a question answering model is a reader, what scores pairs a reranker.

    A causal language model is a generator, if it is no folder of sentence-transformers and not called a reranker.
    Anything else is a retriever.
    """
    if is_reader(folder):
        return "reader"
    if is_cross_encoder(folder):
        return "reranker"
    is_chat_model = is_causal(folder) and not (folder / "modules.json").is_file()
    return "generator" if is_chat_model else "retriever"


def is_cross_encoder(folder: Path) -> bool:
    """Whether a checkpoint scores pairs. Raises ModelError where it says so, and its files hold no score."""
    kind = read_json(folder / "config_sentence_transformers.json", ModelError, default={}).get("model_type")
    if kind == "CrossEncoder":
        read_reranker(folder)
    return is_reranker(folder)


def _copied(model: Path, target: Path, prompts: Mapping[str, str] | None) -> Path:
    """Copy a checkpoint to `target`, whole or not at all; `prompts` are written into it where it names none."""
    if target.is_dir():
        return target
    saving = copy_model(model, target.with_name(f".{target.name}"))
    if prompts is not None:
        path = saving / "config_sentence_transformers.json"
        stored = read_json(path, ModelError, default={})
        write_json(path, {**stored, "prompts": {**(stored.get("prompts") or {}), **prompts}})
    saving.rename(target)
    return target


def _check_serving(serving: Serving, index: OpenIndex, role: Role) -> None:
    """Refuse, before anything is made, what could not be compared with the serving model at the end."""
    if role == "reranker":
        check_reranks(serving)
    elif role == "retriever":
        index.check_encoder(serving.load_encoder(lazy=True).fingerprint)


def _dev_questions(
    dev: str | Path, qrels: str | Path | None, index: OpenIndex, *, with_unanswerable: bool
) -> list[Example]:
    """The questions of a dev file that may judge; the unanswerable ones come last, if at all."""
    refuse_test_file(dev, qrels)
    chosen = load_examples(dev, index.corpus, None if source_of(dev).kind == "folder" else qrels, split="dev")
    refuse_written(chosen.examples)
    say(chosen.summary(str(dev), with_unanswerable=with_unanswerable))
    return [*chosen.examples, *(chosen.unanswerable if with_unanswerable else ())]


def _meet(
    serving: Serving,
    target: str | Path,
    model: Path,
    judged: Sequence[Example],
    known: Sequence[tuple[dict, list[dict]]],
    role: Role,
) -> dict:
    """The gate's record, of a model of any kind."""
    if role == "retriever":
        return gate_retriever(serving, target, model, judged)
    if role == "reader":
        return gate_reader(serving, target, model, judged)
    if role == "generator":
        answered = with_answers(judged, "dev")
        contexts = find_contexts(choosing_sentences(serving, model), answered, Path(target) / CONTEXTS_FILE)
        return gate_generator(serving, target, model, [(one, contexts[one.question.id]) for one in answered])
    found = list(zip(judged, serving_candidates(serving, judged), strict=True))
    return gate_reranker(serving, open_index(serving.index_folder), target, model, found, known)


def _at_gate(record: Mapping, rows: Sequence[Mapping], watched: set[str], examples: Sequence[Example]) -> set[str]:
    """Ids of the questions that a run's gate judged.

    A run that knows no unanswerable questions was neither trained on them nor watched by them: of those all count
    but the ones that another run was watched by.
    """
    judged = {row["qid"] for row in rows}
    if "unanswerable" in record:
        return judged | set(record["unanswerable"])
    unanswerable = {example.question.id for example in examples if not example.positives}
    return judged | (unanswerable - watched)
