"""A run folder scored, and reported."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from rag.build.indexes import corpus_of
from rag.build.parts import make_prompt, make_scorer
from rag.config import Settings
from rag.data.passages import Corpus
from rag.data.qrels import check_qrels, load_qrels
from rag.data.questions import load_questions
from rag.errors import ConfigError, DataError, RunMismatchError
from rag.files import read_json
from rag.generate.prompts import Prompt
from rag.index.folder import serving_manifest
from rag.progress import say
from rag.resume import read_jsonl


def make_evaluation(
    settings: Settings,
    run_folder: str | Path,
    qrels_path: str | Path,
    queries: str | Path | None,
    *,
    index: str | Path | None = None,
    allow_unknown: bool,
) -> dict:
    """Score a run folder and write its metrics; CosSim needs `queries` with reference answers.

    `index` is where the run's index stands now, if it was moved; without one, what needs passages is left out.
    """
    from rag.evaluate.evaluation import evaluate
    from rag.evaluate.files import read_predictions, write_evaluation
    from rag.runs.stored import RETRIEVED

    rows = read_predictions(run_folder)
    qrels = load_qrels(qrels_path)
    identity = _run_record(run_folder)
    corpus = _run_corpus(run_folder, identity, index)
    if corpus is not None and not allow_unknown:
        check_qrels(qrels, corpus, qrels_path)
    references = None
    if queries is not None:
        everything = {question.id: question for question in load_questions(queries)}
        predicted = {row["qid"] for row in rows}
        if not predicted <= everything.keys():
            missing = sorted(predicted - everything.keys())
            raise DataError(f"{queries} lacks {len(missing)} predicted questions, such as {missing[0]!r}")
        # A run answers for the questions that it was given, which an unfinished one knows once all are retrieved.
        given = (predicted, {row["qid"] for row in read_jsonl(Path(run_folder) / RETRIEVED)})
        asked = next((qids for qids in given if len(qids) == identity.get("n")), everything)
        references = {qid: q for qid, q in everything.items() if qid in asked}
    embed = None
    if references and any(row.get("answer") is not None for row in rows):
        scorer = make_scorer(settings)
        embed = scorer.encode_queries
    n_contexts = identity.get("settings", {}).get("prompt", {}).get("contexts")
    metrics, scores = evaluate(rows, qrels, references, embed, corpus=corpus, n_contexts=n_contexts)
    metrics["scorer"] = settings.scorer.model
    write_evaluation(run_folder, metrics, scores)
    return metrics


def make_report(runs: Sequence[str | Path], output: str | Path, *, index: str | Path | None = None) -> list[Path]:
    """The report of evaluated runs: OUTPUT (HTML), and beside it Markdown and JSON; returns the three paths."""
    from rag.evaluate.report.report import write_report

    records = [_run_record(run) for run in runs]
    corpora = [_run_corpus(run, record, index) for run, record in zip(runs, records, strict=True)]
    return write_report(runs, output, corpora=corpora, prompts=[_run_prompt(record) for record in records])


def _run_record(run_folder: str | Path) -> dict:
    """RUN/run.json; {} where it is missing. Raises RunMismatchError where it is damaged."""
    from rag.runs.stored import RUN_FILE

    fix = "run rag batch again into another folder"
    return read_json(Path(run_folder) / RUN_FILE, RunMismatchError, fix=fix, default={})


def _run_corpus(run_folder: str | Path, identity: dict, index: str | Path | None) -> Corpus | None:
    """The corpus that a run answered from, where its index is still there; an index given must be the run's."""
    folder = index or identity.get("index_path")
    if not folder or (index is None and not (Path(folder) / "CURRENT").is_file()):
        return None
    if serving_manifest(folder)[1].fingerprint != identity.get("index"):
        if index is not None:
            raise RunMismatchError(f"{run_folder} was made from another index than {index}")
        say(f"{folder} has changed since {run_folder} was made; what needs the passages' text is left out")
        return None
    return corpus_of(folder)


def _run_prompt(identity: dict) -> Prompt | None:
    """The prompt of a run, if it is still what it was."""
    try:
        settings = Settings.model_validate(identity["settings"])
        prompt = make_prompt(settings)
    except (KeyError, ValueError, OSError, ConfigError, DataError):
        return None
    return prompt if prompt.sha256() == identity.get("prompt_sha256") else None
