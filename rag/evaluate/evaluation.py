"""A run folder and its references become `metrics.json` and one row of scores per question."""

from __future__ import annotations

import json
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from rag.data import Question
from rag.errors import DataError, RunMismatchError
from rag.evaluate.metrics import RANKING_METRICS, exact_match, mean, ranking_scores, token_f1
from rag.evaluate.significance import bootstrap_interval
from rag.files import write_json, write_whole
from rag.types import CANNOTANSWER, Qrels, Run

STAGES = {"retrieve": "retrieved", "rerank": "reranked"}
METRICS_FILE, SCORES_FILE = "metrics.json", "scores.jsonl"

Embed = Callable[[Sequence[str]], np.ndarray]


def read_predictions(folder: str | Path) -> list[dict]:
    """The rows of RUN/predictions.jsonl. Raises RunMismatchError where there are none, DataError on a bad line."""
    path = Path(folder) / "predictions.jsonl"
    if not path.is_file():
        raise RunMismatchError(f"{folder} holds no predictions; make them: rag batch QUERIES -i INDEX -o {folder}")
    rows, seen = [], {}
    for line, text in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(text)
            qid = row["qid"]
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{path}, line {line}: not a prediction ({error}); run rag batch again") from error
        if qid in seen:
            problem = f"the question {qid!r} already stands on line {seen[qid]}"
            raise DataError(f"{path}, line {line}: {problem}; run rag batch into another folder")
        seen[qid] = line
        rows.append(row)
    if not rows:
        raise RunMismatchError(f"{path} is empty; run rag batch again")
    return rows


def evaluate(
    rows: Sequence[dict], qrels: Qrels, references: Mapping[str, Question] | None = None, embed: Embed | None = None
) -> tuple[dict, list[dict]]:
    """(metrics, per-question scores) of predictions against judgements and, where given, reference answers.

    Ranking metrics average over the judged queries among `references` (the questions that were to be answered; without
    them, among the predictions); a judged query without a prediction scores 0. `embed` maps texts to (n, d) unit
    vectors; CosSim is the cosine of prediction and reference.
    """
    by_id = {row["qid"]: row for row in rows}
    asked = list(references) if references else list(by_id)
    judged = {qid: qrels[qid] for qid in asked if any(grade > 0 for grade in qrels.get(qid, {}).values())}
    metrics: dict = {
        "n_queries": len(asked),
        "n_judged": len(judged),
        "n_predicted": sum(qid in by_id for qid in asked),
    }
    scores: dict[str, dict] = {qid: {"qid": qid, "source": _source(qid, by_id, references)} for qid in asked}
    for stage, field in STAGES.items():
        run: Run = {qid: dict(by_id[qid][field]) for qid in judged if qid in by_id}
        per_query = ranking_scores(run, judged)
        for name, values in per_query.items():
            for qid, value in values.items():
                scores[qid][f"{stage}/{name}"] = value
    _score_answers(scores, by_id, references or {}, judged, embed)
    metrics |= _summarize(list(scores.values()))
    metrics["seconds"] = _seconds(rows)
    metrics["dropped_contexts"] = sum(row.get("dropped_contexts", 0) for row in rows)
    sources = sorted({row["source"] for row in scores.values()} - {""})
    metrics["by_source"] = {
        source: _summarize([row for row in scores.values() if row["source"] == source], intervals=False)
        for source in sources
    }
    return metrics, list(scores.values())


def _source(qid: str, by_id: Mapping[str, dict], references: Mapping[str, Question] | None) -> str:
    if references and references[qid].source:
        return references[qid].source
    return by_id.get(qid, {}).get("source", "")


def _score_answers(
    scores: dict[str, dict],
    by_id: Mapping[str, dict],
    references: Mapping[str, Question],
    judged: Qrels,
    embed: Embed | None,
) -> None:
    """Add cos_sim, exact_match, f1, abstained, answerable and citation_precision to the rows that can have them."""
    answered = [
        qid for qid in scores if qid in references and references[qid].answer is not None and _has_answers(by_id)
    ]
    for qid in answered:
        row, reference = by_id.get(qid), references[qid]
        golds = [reference.answer, *reference.aliases]
        score = scores[qid]
        score["answerable"] = reference.answer != CANNOTANSWER
        score["abstained"] = bool(row and row["abstained"])
        score["exact_match"] = exact_match(row["answer"], golds) if row else 0.0
        score["f1"] = token_f1(row["answer"], golds) if row else 0.0
    for qid in scores:
        row = by_id.get(qid)
        gold = {pid for pid, grade in judged.get(qid, {}).items() if grade > 0}
        if row and row.get("citations") and gold.intersection(row["contexts"]):
            cited = row["citations"]
            scores[qid]["citation_precision"] = sum(pid in gold for pid in cited) / len(cited)
    if embed and answered:
        predictions = embed([by_id[qid]["answer"] if qid in by_id else "" for qid in answered])
        wanted = embed([references[qid].answer for qid in answered])
        cosines = np.einsum("nd,nd->n", predictions, wanted)
        for qid, cosine in zip(answered, cosines, strict=True):
            # A question without a prediction scores 0, whatever an empty string would embed to.
            scores[qid]["cos_sim"] = float(cosine) if qid in by_id else 0.0


def _has_answers(by_id: Mapping[str, dict]) -> bool:
    return any(row.get("answer") is not None for row in by_id.values())


def _summarize(rows: Sequence[dict], *, intervals: bool = True) -> dict:
    summary: dict = {"n": len(rows)}
    for stage in STAGES:
        named = {name: [row[f"{stage}/{name}"] for row in rows if f"{stage}/{name}" in row] for name in RANKING_METRICS}
        summary[stage] = {name: mean(values) for name, values in named.items()}
        if intervals:
            summary[stage]["intervals"] = {
                name: _interval(named[name]) for name in ("recall@10", "success@10", "mrr@10", "ndcg@10")
            }
    summary["answer"] = _summarize_answers(rows, intervals=intervals)
    return summary


def _summarize_answers(rows: Sequence[dict], *, intervals: bool) -> dict | None:
    rows = [row for row in rows if "answerable" in row]
    if not rows:
        return None
    answerable = [row for row in rows if row["answerable"]]
    unanswerable = [row for row in rows if not row["answerable"]]
    refused = [row for row in rows if row["abstained"]]
    cosines = [row["cos_sim"] for row in rows if "cos_sim" in row]
    summary = {
        "n": len(rows),
        "n_answerable": len(answerable),
        "cos_sim": mean(cosines),
        "cos_sim_answerable": mean([row["cos_sim"] for row in answerable if "cos_sim" in row]),
        "cos_sim_unanswerable": mean([row["cos_sim"] for row in unanswerable if "cos_sim" in row]),
        "exact_match": mean([row["exact_match"] for row in answerable]),
        "f1": mean([row["f1"] for row in answerable]),
        "abstain_precision": mean([float(not row["answerable"]) for row in refused]),
        "abstain_recall": mean([float(row["abstained"]) for row in unanswerable]),
        "wrong_refusals": mean([float(row["abstained"]) for row in answerable]),
        "citation_precision": mean([row["citation_precision"] for row in rows if "citation_precision" in row]),
        "n_cited_with_gold_in_context": sum("citation_precision" in row for row in rows),
    }
    if intervals:
        summary["intervals"] = {
            "cos_sim": _interval(cosines),
            "cos_sim_answerable": _interval([row["cos_sim"] for row in answerable if "cos_sim" in row]),
        }
    return summary


def _interval(values: Sequence[float]) -> list[float] | None:
    interval = bootstrap_interval(values)
    return list(asdict(interval).values()) if interval else None


def _seconds(rows: Sequence[dict]) -> dict:
    """Per stage: the sum, and the median per question."""
    stages: dict[str, list[float]] = {}
    for row in rows:
        for stage, seconds in row["seconds"].items():
            stages.setdefault(stage, []).append(seconds)
    return {
        stage: {"total": round(sum(values), 2), "median_per_question": round(statistics.median(values), 4)}
        for stage, values in stages.items()
    }


def write_evaluation(folder: str | Path, metrics: dict, scores: Sequence[dict]) -> None:
    """RUN/metrics.json and RUN/scores.jsonl, each written whole."""
    folder = Path(folder)
    write_whole(folder / SCORES_FILE, "".join(json.dumps(row) + "\n" for row in scores))
    write_json(folder / METRICS_FILE, metrics)


def read_metrics(folder: str | Path) -> dict:
    path = Path(folder) / METRICS_FILE
    if not path.is_file():
        raise RunMismatchError(f"{folder} is not evaluated yet: rag evaluate {folder} --qrels QRELS --queries FILE")
    return json.loads(path.read_text(encoding="utf-8"))


def read_scores(folder: str | Path) -> dict[str, dict]:
    path = Path(folder) / SCORES_FILE
    if not path.is_file():
        raise RunMismatchError(f"{folder} is not evaluated yet: rag evaluate {folder} --qrels QRELS --queries FILE")
    return {row["qid"]: row for row in map(json.loads, path.read_text(encoding="utf-8").splitlines())}
