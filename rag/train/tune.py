"""A model is tuned in three steps: prepare what it is trained with, train it, let it meet the one that serves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rag.build.serving import Serving
from rag.train.files import TrainingFiles
from rag.train.gate import compare_retrievers, gate_reranker, gate_retriever, verdict_of
from rag.train.gate_generator import gate_generator
from rag.train.gate_reader import gate_reader
from rag.train.generator import train_generator
from rag.train.prepare_generator import prepare_generator
from rag.train.prepare_reader import prepare_reader
from rag.train.prepare_reranker import prepare_reranker
from rag.train.prepare_retriever import RetrieverJob, prepare_retriever
from rag.train.reader import train_reader
from rag.train.reranker import train_reranker
from rag.train.retriever import train_retriever
from rag.train.run import is_first_process


def tune_retriever(
    serving: Serving,
    files: TrainingFiles,
    target: str | Path,
    recipe_name: str,
    *,
    base: str | None = None,
    with_gate: bool = True,
) -> dict | None:
    """Train the retriever and compare it with the serving one on dev; returns the gate's record, None without the gate.

    `base` names the model to start from, by default the serving one.
    """
    job = prepare_retriever(serving, files, recipe_name, base=base, with_gate=with_gate)
    model = _train_retriever(job, target)
    return gate_retriever(serving, target, model, job.judged) if _judges(with_gate) else None


def tune_without_verdict(serving: Serving, files: TrainingFiles, target: str | Path, recipe_name: str) -> dict | None:
    """Train the retriever and compare it with the serving one on held-out questions, which may be written ones.

    Returns the gate's record. No verdict is written, so that the model cannot be promoted by it.
    """
    job = prepare_retriever(serving, files, recipe_name, with_gate=False)
    model = _train_retriever(job, target)
    return compare_retrievers(serving, target, model, job.judged)[0] if _judges(True) else None


def _train_retriever(job: RetrieverJob, target: str | Path) -> Path:
    return train_retriever(
        job.start,
        job.prompts,
        job.training,
        job.corpus,
        job.recipe,
        target,
        dev=job.dev,
        mined=job.mined,
        guide=job.guide,
        guide_sha256=job.guide_sha256,
        frozen=job.frozen,
        watch=job.watch,
    )


def tune_reranker(
    serving: Serving,
    files: TrainingFiles,
    target: str | Path,
    recipe_name: str,
    *,
    base: str | None = None,
    reuse: Sequence[str | Path] = (),
    with_gate: bool = True,
) -> dict | None:
    """Train the reranker and compare it with the serving one on dev; returns the gate's record, None without the gate.

    `base` names the model to start from, by default the serving one; it may be a body that gets a head. `reuse` are
    folders of other runs. The serving model's scores are taken from their gate if it scored the same candidates.
    """
    # Read before anything else, because a folder without a verdict would be refused after hours of training.
    known = [verdict_of(run) for run in reuse]
    job = prepare_reranker(serving, files, target, recipe_name, base=base, with_gate=with_gate)
    model = train_reranker(
        job.start,
        job.groups,
        job.index.corpus,
        job.recipe,
        target,
        dev=job.dev,
        dev_groups=job.dev_groups,
        watch=job.watch,
    )
    return gate_reranker(serving, job.index, target, model, job.judged, known) if _judges(with_gate) else None


def tune_reader(
    serving: Serving,
    files: TrainingFiles,
    target: str | Path,
    recipe_name: str,
    *,
    base: str | None = None,
    with_gate: bool = True,
) -> dict | None:
    """Train the span reader and compare it with the serving one on dev; returns the gate's record, None without it.

    `base` names the model to start from, by default the reranker that serves.
    """
    job = prepare_reader(serving, files, recipe_name, base=base, with_gate=with_gate)
    model = train_reader(job.start, job.rows, job.index.corpus, job.recipe, target, dev=job.dev, watch=job.watch)
    return gate_reader(serving, target, model, job.judged) if _judges(with_gate) else None


def tune_generator(
    serving: Serving,
    files: TrainingFiles,
    target: str | Path,
    recipe_name: str,
    *,
    contexts: str | Path | None = None,
    with_gate: bool = True,
) -> dict | None:
    """Train the generator and compare it with the serving one on dev; returns the gate's record, None without the gate.

    `contexts` is the file that keeps what the pipeline finds for each question, by default one in `target`.
    """
    job = prepare_generator(serving, files, target, recipe_name, contexts=contexts, with_gate=with_gate)
    model = train_generator(
        job.start,
        job.rows,
        job.recipe,
        target,
        prompt=job.forms.short,
        dev=job.dev,
        watched=job.watched,
        watch=job.watch,
    )
    return gate_generator(serving, target, model, job.judged) if _judges(with_gate) else None


def _judges(with_gate: bool) -> bool:
    """Whether this process compares the models: several processes train one, and the first of them judges it."""
    return with_gate and is_first_process()
