"""What the figures of a training log measure: those of different units are never drawn on one axis."""

from __future__ import annotations

from collections.abc import Iterable

LOSS, SCORES, SHARES = "loss", "scores", "shares"
_OF_SCORES = ("separation", "spread")
_ON_DEV = "eval_dev_"


def figures_by_kind(names: Iterable[str]) -> dict[str, list[str]]:
    """Kind -> the names, sorted, of figures on dev that are of it; names of anything else are left out.

    `loss` is a loss. `scores` are differences and spreads of a model's scores, in logits or cosines, of any size.
    `shares` lie between 0 and 1: MRR and recall at 10, F1, exact match, AUC.
    """
    kinds: dict[str, list[str]] = {LOSS: [], SCORES: [], SHARES: []}
    for name in sorted(set(names)):
        figure = name.removeprefix(_ON_DEV)
        if name == "eval_loss" or (name.startswith(_ON_DEV) and figure.endswith("loss")):
            kinds[LOSS].append(name)
        elif name.startswith(_ON_DEV):
            kinds[SCORES if figure in _OF_SCORES else SHARES].append(name)
    return kinds
