"""A run folder scored, and reported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag import fixes
from rag.build.identity import prompt_of_run
from rag.build.indexes import corpus_of
from rag.data.passages import Corpus
from rag.data.qrels import check_qrels, load_qrels
from rag.data.questions import Question, load_questions
from rag.errors import DataError, RunMismatchError
from rag.evaluate.evaluation import evaluate
from rag.evaluate.files import read_predictions, write_evaluation
from rag.files import read_json
from rag.index.folder import serving_manifest
from rag.lazy import Lazy
from rag.progress import say
from rag.resume import read_jsonl
from rag.runs.stored import RETRIEVED, RUN_FILE
from rag.store.note import has_note

if TYPE_CHECKING:
    from rag.retrieve.encoder import Encoder


def make_evaluation(
    run_folder: str | Path,
    qrels_path: str | Path,
    queries: str | Path | None,
    scorer: Lazy[Encoder],
    *,
    scorer_name: str,
    index: str | Path | None = None,
    allow_unknown: bool,
) -> dict:
    """Score a run folder and write its metrics; CosSim needs `queries` with reference answers, and the `scorer`.

    `index` is where the run's index stands now, if it was moved; without one, what needs passages is left out.
    """
    rows = read_predictions(run_folder)
    qrels = load_qrels(qrels_path)
    identity = _run_record(run_folder)
    corpus = _run_corpus(run_folder, identity, index)
    if corpus is not None and not allow_unknown:
        check_qrels(qrels, corpus, qrels_path)
    references = None if queries is None else _references(run_folder, identity, queries, rows)
    has_answers = any(row.get("answer") is not None for row in rows)
    embed = scorer.get().encode_queries if references and has_answers else None
    n_contexts = identity.get("settings", {}).get("prompt", {}).get("contexts")
    metrics, scores = evaluate(rows, qrels, references, embed, corpus=corpus, n_contexts=n_contexts)
    metrics["scorer"] = scorer_name
    write_evaluation(run_folder, metrics, scores)
    return metrics


def make_report(runs: Sequence[str | Path], output: str | Path, *, index: str | Path | None = None) -> list[Path]:
    """The report of evaluated runs: OUTPUT (HTML), and beside it Markdown and JSON; returns the three paths."""
    from rag.evaluate.report.report import write_report  # matplotlib and jinja2 wait until a report is wanted

    records = [_run_record(run) for run in runs]
    corpora = [_run_corpus(run, record, index) for run, record in zip(runs, records, strict=True)]
    return write_report(runs, output, corpora=corpora, prompts=[prompt_of_run(record) for record in records])


def _references(
    run_folder: str | Path, identity: dict, queries: str | Path, rows: Sequence[dict]
) -> dict[str, Question]:
    """The questions that the run was given, with their reference answers.

    An unfinished run has predicted a part of them, and knows all once all are retrieved; where neither file holds as
    many as it was given, the whole file of questions counts.
    """
    everything = {question.id: question for question in load_questions(queries)}
    predicted = {row["qid"] for row in rows}
    if missing := sorted(predicted - everything.keys()):
        raise DataError(f"{queries} lacks {len(missing)} predicted questions, such as {missing[0]!r}")
    retrieved = {row["qid"] for row in read_jsonl(Path(run_folder) / RETRIEVED)}
    for qids in (predicted, retrieved):
        if len(qids) == identity.get("n"):
            return {qid: question for qid, question in everything.items() if qid in qids}
    return everything


def _run_record(run_folder: str | Path) -> dict:
    """RUN/run.json; {} where it is missing. Raises RunMismatchError where it is damaged."""
    fix = f"run the batch again into another folder: {fixes.batch('RUN')}"
    record = read_json(Path(run_folder) / RUN_FILE, RunMismatchError, fix=fix, default={})
    settings = record.get("settings", {})
    if not isinstance(settings, dict) or not isinstance(settings.get("prompt", {}), dict):
        raise RunMismatchError(f"{Path(run_folder) / RUN_FILE} is damaged (it holds no settings); {fix}")
    return record


def _run_corpus(run_folder: str | Path, identity: dict, index: str | Path | None) -> Corpus | None:
    """The corpus that a run answered from, where its index is still there; an index given must be the run's."""
    folder = index or identity.get("index_path")
    if not folder or (index is None and not (has_note(folder) or (Path(folder) / "CURRENT").is_file())):
        return None
    if serving_manifest(folder)[1].fingerprint != identity.get("index"):
        if index is not None:
            raise RunMismatchError(f"{run_folder} was made from another index than {index}")
        say(f"{folder} has changed since {run_folder} was made; what needs the passages' text is left out")
        return None
    return corpus_of(folder)
