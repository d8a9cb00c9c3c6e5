"""A tuned model serves in the place of its base."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from rag import fixes
from rag.errors import ConfigError, ModelError
from rag.evaluate.verdict import PROMOTE
from rag.files import weights_sha256
from rag.models.promoted import all_promoted, promote, what_serves
from rag.models.resolve import resolve
from rag.train.gate import QUESTIONS_ALONE, verdict_of


def promote_model(target: str | Path) -> str:
    """Let a model that passed the gate serve in the place of its base; returns a line that says so.

    Raises ConfigError where the verdict is another one, or was given on other weights: the model has changed since, or
    what serves now is not what it has beaten.
    """
    record, _ = verdict_of(target)
    if record["verdict"] != PROMOTE:
        raise ConfigError(f"the gate says {record['verdict']}: {'; '.join(record['reasons'])}")
    model = Path(target) / "model"
    base = record["base"]
    if what_serves(base) == str(model.resolve()):
        return f"{model} already serves in the place of {base}."
    if weights_sha256(model) != _weights(record["tuned_fingerprint"]):
        raise ConfigError(f"{model} has changed since it met the gate; let it meet again: {fixes.gate(target)}")
    if not _serves_still(base, _weights(record["base_fingerprint"])):
        raise ConfigError(
            f"{target} has met another model than the one that serves now in the place of {base}; let it meet that "
            f"one too ({fixes.gate(target)}), or go back first: {fixes.go_back(base)}"
        )
    promote(base, model)
    if record.get("embeds") == QUESTIONS_ALONE:
        return (
            f"{model} now embeds questions beside the encoder that serves. Indexes stay as they are; calibrate again: "
            f"{fixes.calibrate('INDEX')}. To go back: {fixes.go_back(base)}"
        )
    again = {
        "retriever": f"Index again: {fixes.encode_again('INDEX')}.",
        "reranker": f"Its scores have a scale of their own; calibrate again: {fixes.calibrate('INDEX')}.",
        "generator": "It is asked with its own prompt (prompt.name = auto). Batches need new folders.",
        "reader": f"Its margins have a scale of their own; calibrate again: {fixes.calibrate('INDEX')}.",
    }
    names = [name for name in all_promoted() if what_serves(name) == str(model.resolve())]
    return f"{model} now serves in the place of {', '.join(names)}. {again[record['role']]}"


def _serves_still(base: str, weights: str | None) -> bool:
    """Whether what serves in the place of `base` has these weights; None: whether there is still no such model."""
    try:
        return weights_sha256(resolve(what_serves(base)).folder) == weights
    except ModelError:
        if weights is None:
            return True
        raise


def _weights(fingerprint: str | Mapping | None) -> str | None:
    """The hash of the weights in a verdict; None where the model has met no other one."""
    return fingerprint["weights_sha256"] if isinstance(fingerprint, Mapping) else fingerprint
