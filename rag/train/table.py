"""Training runs side by side as Markdown: what each won against the same base, by source, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rag.errors import DataError
from rag.evaluate.significance import holm
from rag.evaluate.verdict import GATE_FILE
from rag.files import read_json
from rag.train.run import COST_FILE, TRAINING_FILE

SHARED = ("role", "primary", "base_fingerprint", "corpus_sha256", "dev_digest", "candidates_digest", "n_dev")
"""What two runs' gates must agree in to stand in one table."""


def training_table(runs: Sequence[str | Path]) -> list[str]:
    """Two tables of runs that have met the gate; raises DataError for a folder that has not, or another base or dev.

    p values are Holm's, corrected for the number of runs.
    """
    records = [_read(Path(run), GATE_FILE) for run in runs]
    for run, record in zip(runs, records, strict=True):
        if differing := [key for key in SHARED if record.get(key) != records[0].get(key)]:
            raise DataError(f"{run} met another gate than {runs[0]} (differing: {', '.join(differing)})")
    primary = records[0]["primary"]
    p_values = holm([record["metrics"][primary]["p_value"] for record in records])
    others = [name for name in records[0]["metrics"] if name != primary]
    base = records[0]["metrics"]
    lines = [
        f"Dev, {records[0]['n_dev']:,} questions. Base {records[0]['base']}: "
        + ", ".join(f"{name} {base[name]['base']:.4f}" for name in (primary, *others))
        + f"; shuffling gives {records[0]['shuffle_floor']:.4f}.",
        "",
        f"| run | recipe | questions | {primary} | difference | p (Holm) | {' | '.join(others)} | verdict "
        "| s per 1,000 questions | peak GiB |",
        "|" + "---|" * (9 + len(others)),
    ]
    for run, record, p_value in zip(runs, records, p_values, strict=True):
        training, cost = _read(Path(run), TRAINING_FILE), _read(Path(run), COST_FILE, {})
        figures = record["metrics"][primary]
        cells = [
            Path(run).name,
            training["recipe"]["name"] if "recipe" in training else next(iter(training)),
            f"{cost['n_questions']:,}" if cost else "",
            f"{figures['tuned']:.4f}",
            _difference(figures),
            f"{p_value:.4f}",
            *(f"{record['metrics'][name]['tuned']:.4f} ({_difference(record['metrics'][name])})" for name in others),
            record["verdict"],
            f"{cost['seconds'] / max(cost['n_questions'], 1) * 1000:.0f}" if cost else "",
            f"{cost.get('peak_gpu_memory_gib', cost['peak_memory_gib']):.1f}" if cost else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return [*lines, "", *_by_source(runs, records, primary)]


def _by_source(runs: Sequence[str | Path], records: Sequence[Mapping], primary: str) -> list[str]:
    by_source = records[0].get("by_source") or {}
    if not by_source:
        return []
    lines = [
        f"| {primary} by source | n | base | {' | '.join(Path(run).name for run in runs)} |",
        "|" + "---|" * (3 + len(runs)),
    ]
    for source, metrics in by_source.items():
        tuned = [
            f"{record['by_source'][source][primary]['tuned']:.3f} ({_difference(record['by_source'][source][primary])})"
            for record in records
        ]
        cells = [source or "(none)", f"{metrics[primary]['n']:,}", f"{metrics[primary]['base']:.3f}", *tuned]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _difference(figures: Mapping) -> str:
    interval = figures["interval"]
    span = f" [{interval['low']:+.3f}, {interval['high']:+.3f}]" if interval else ""
    return f"{figures['difference']:+.3f}{span}"


def _read(run: Path, name: str, default: dict | None = None) -> dict:
    return read_json(run / name, DataError, fix="train it with the gate first (rag train …)", default=default)
