"""Training runs side by side as Markdown: what each won over the same base, by source, and what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rag.errors import DataError
from rag.evaluate.significance import holm
from rag.evaluate.verdict import GATE_FILE
from rag.files import read_json
from rag.train.run import COST_FILE, TRAINING_FILE

SHARED = ("role", "primary", "base_fingerprint", "corpus_sha256", "dev_digest", "candidates_digest", "n_dev")
"""What the gates of two runs must have in common for both to stand in one table."""


def training_table(runs: Sequence[str | Path]) -> list[str]:
    """The lines of two tables of runs: all questions, and by source.

    p values are Holm's, corrected for the number of runs. Raises DataError for a folder without a verdict, or with one
    on another base or dev.
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
        + f"; {records[0].get('floor_name', 'shuffling')} gives {records[0]['shuffle_floor']:.4f}.",
        "",
        f"| run | recipe | questions | {primary} | difference | p (Holm) | {' | '.join(others)} | verdict "
        "| s per 1,000 questions | peak GiB |",
        "|" + "---|" * (9 + len(others)),
    ]
    for run, record, p_value in zip(runs, records, p_values, strict=True):
        lines.append(f"| {' | '.join(_cells(Path(run), record, p_value, others))} |")
    return [*lines, "", *_by_source(runs, records, primary)]


def _cells(run: Path, record: Mapping, p_value: float, others: Sequence[str]) -> list[str]:
    """The row of one run. A run that trained nothing (an average, a model from elsewhere) has no recipe and no cost."""
    training = _read(run, TRAINING_FILE)
    cost = _read(run, COST_FILE, {})
    figures = record["metrics"][record["primary"]]
    n_questions, seconds, memory = "", "", ""
    if cost:
        n_questions = f"{cost['n_questions']:,}"
        seconds = f"{cost['seconds'] / max(cost['n_questions'], 1) * 1000:.0f}"
        memory = f"{cost.get('peak_gpu_memory_gib', cost['peak_memory_gib']):.1f}"
    return [
        run.name,
        training["recipe"]["name"] if "recipe" in training else next(iter(training)),
        n_questions,
        f"{figures['tuned']:.4f}",
        _difference(figures),
        f"{p_value:.4f}",
        *(f"{record['metrics'][name]['tuned']:.4f} ({_difference(record['metrics'][name])})" for name in others),
        record["verdict"],
        seconds,
        memory,
    ]


def _by_source(runs: Sequence[str | Path], records: Sequence[Mapping], primary: str) -> list[str]:
    """The lines of the table by source; none where the first verdict knows no sources."""
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
    """The difference to the base, with its interval where there is one."""
    interval = figures["interval"]
    span = f" [{interval['low']:+.3f}, {interval['high']:+.3f}]" if interval else ""
    return f"{figures['difference']:+.3f}{span}"


def _read(run: Path, name: str, default: dict | None = None) -> dict:
    return read_json(run / name, DataError, fix="train it with the gate first (rag train …)", default=default)
