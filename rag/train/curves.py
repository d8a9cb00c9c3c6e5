"""The curves of a training run, drawn from its log: each panel holds figures of one unit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rag.evaluate.training_log import LOSS, SCORES, SHARES, figures_by_kind
from rag.resume import read_jsonl
from rag.train.drift import DRIFT

LOG_FILE = "log.jsonl"
CURVES_FILE = "curves.png"


def panels_of(log: Sequence[Mapping]) -> list[tuple[str, str, list[str]]]:
    """(title, label of the axis with its unit, names of figures) of each panel that the log has something for."""
    logged = sorted({name for row in log for name, value in row.items() if value is not None})
    on_dev = figures_by_kind(logged)

    def below(prefix: str) -> list[str]:
        return [name for name in logged if name == prefix or name.startswith(f"{prefix}/")]

    rates = below("learning_rate")
    # The first group's rate is one of the groups' own.
    rates = [name for name in rates if name != "learning_rate"] if len(rates) > 1 else rates
    wanted = [
        ("loss", "loss per row", [name for name in logged if name == "loss"] + on_dev[LOSS]),
        ("learning rate", "rate of each group", rates),
        ("gradient norm", "norm before clipping", below("grad_norm")),
        ("separation", "score difference (logits or cosines)", below("separation") + on_dev[SCORES]),
        ("dev", "share or probability, 0 to 1", on_dev[SHARES]),
        ("drift over time", "|weights - base| / |base|", below(DRIFT)),
    ]
    return [panel for panel in wanted if panel[2]]


def plot_log(folder: Path, drift: Mapping[str, float] | None = None) -> Path | None:
    """Draw loss, learning rates, gradient norm, separation, dev metrics and drift into `curves.png`.

    `drift` is that of each layer at the end, which gets a panel of its own. Returns the path; None where there is
    nothing to draw yet.
    """
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    log = read_jsonl(folder / LOG_FILE)
    panels = panels_of(log)
    n = len(panels) + (1 if drift else 0)
    if not n:
        return None
    n_rows = (n + 1) // 2
    figure, axes = plt.subplots(n_rows, 2, figsize=(11, 3.2 * n_rows), squeeze=False)
    flat = list(axes.flat)
    for axis, (title, unit, names) in zip(flat, panels, strict=False):
        for name in names:
            points = [(row["step"], row[name]) for row in log if row.get(name) is not None]
            marker = "o" if name.startswith(("eval_", DRIFT)) else None
            axis.plot(*zip(*points, strict=True), marker=marker, label=_shown(name))
        axis.set(title=title, xlabel="step", ylabel=unit)
        if title == "dev":
            axis.set_ylim(0, 1)
        if len(names) > 1:
            axis.legend(fontsize="x-small", ncols=2 if len(names) > 6 else 1)
    if drift:
        axis = flat[len(panels)]
        axis.barh(list(drift), list(drift.values()))
        axis.set(title="drift at the end", xlabel="|weights - base| / |base|")
        axis.invert_yaxis()
    for axis in flat[n:]:
        axis.set_visible(False)
    figure.tight_layout()
    path = folder / CURVES_FILE
    figure.savefig(path, dpi=110)
    plt.close(figure)
    return path


def _shown(name: str) -> str:
    """The name of a figure in a legend."""
    if name == DRIFT:
        return "all weights"
    return name.rpartition("/")[2].removeprefix("eval_")
