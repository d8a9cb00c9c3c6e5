"""What kind of reranker a folder holds, by its files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rag.errors import ModelError
from rag.models.modules import MODULES, Module, check_weights, most_positions, read_modules, settings_in

COMPILED_KINDS = {"Transformer", "Pooling", "Dense", "LayerNorm", "Normalize", "Dropout"}
"""Modules of a chain that a graph is made of."""
RELEVANT_WORDS = {"relevant", "is_relevant", "yes", "true", "positive", "match", "answers", "duplicate"}
"""What the label of a passage that answers is called, where there are two."""
HEAD = "ForSequenceClassification"
LANGUAGE_MODEL = "ForCausalLM"


@dataclass(frozen=True, slots=True)
class RerankerCheckpoint:
    """A reranker's folder.

    `kind` says what runs it: `head`, a body with a classification head; `chain`, modules that end in a Dense for
    scores; `own`, sentence-transformers' own `predict`, for language models and chat templates. `labels` are the
    numbers of the label for relevant and of the other, where a head has two. `prompt` stands before each question.
    `body` is the folder of the tokenizer.
    """

    folder: Path
    kind: Literal["head", "chain", "own"]
    body: Path
    prompt: str = ""
    labels: tuple[int, int] | None = None
    modules: Sequence[Module] = ()

    @property
    def graph_name(self) -> str:
        """What tells graphs of the same weights apart."""
        if self.kind == "head":
            return f"margin{self.labels[0]}" if self.labels else "logit"
        said = json.dumps([[module.kind, dict(module.settings)] for module in self.modules], sort_keys=True)
        return f"scores-{hashlib.sha256(said.encode()).hexdigest()[:8]}"

    def most_tokens(self, tokenizer_says: int) -> int:
        """The longest pair in tokens: by the tokenizer, the settings, and the positions that the body has."""
        stored = self.modules[0].settings.get("max_seq_length") if self.modules else None
        return min(tokenizer_says, stored or tokenizer_says, most_positions(self.body) or tokenizer_says)


def read_reranker(folder: Path) -> RerankerCheckpoint:
    """The reranker in a folder. Raises ModelError, saying what the folder holds instead, where it is none."""
    if not (folder / MODULES).is_file():
        return _plain(folder)
    modules = read_modules(folder)
    settings = settings_in(folder / "config_sentence_transformers.json")
    body = modules[0].folder
    kind = settings.get("model_type", "SentenceTransformer")
    if kind == "SentenceTransformer" and len(modules) == 1 and _has_head(body):
        kind = "CrossEncoder"  # made before kinds were written down
    if kind != "CrossEncoder":
        raise ModelError(
            f"{folder} is a {kind}, which gives vectors, not a score for question and passage; name a cross-encoder"
        )
    check_weights(folder)
    prompt = (settings.get("prompts") or {}).get(settings.get("default_prompt_name") or "", "")
    first = modules[0].settings
    takes = first.get("modality_config") or {"text": {}}
    task = first.get("transformer_task", "sequence-classification")
    is_text = modules[0].kind == "Transformer" and "text" in takes and "message" not in takes
    is_text = is_text and not first.get("processing_kwargs")
    if is_text and task == "sequence-classification" and len(modules) == 1:
        labels = _labels(folder, settings_in(body / "config.json"))
        return RerankerCheckpoint(folder, "head", body, prompt, labels, modules)
    _check_scores(folder, modules)
    if is_text and task == "feature-extraction" and {module.kind for module in modules} <= COMPILED_KINDS:
        return RerankerCheckpoint(folder, "chain", body, prompt, None, modules)
    return RerankerCheckpoint(folder, "own", body, prompt, None, modules)


def is_reranker(folder: Path) -> bool:
    """Whether the files of a folder mean to be a reranker; `read_reranker` says whether it can be used as one."""
    config = settings_in(folder / "config.json")
    if (folder / MODULES).is_file():
        kind = settings_in(folder / "config_sentence_transformers.json").get("model_type", "SentenceTransformer")
        if kind != "SentenceTransformer":
            return kind == "CrossEncoder"
        modules = read_modules(folder)
        return len(modules) == 1 and _has_head(modules[0].folder)
    named = config.get("architectures") or []
    if any(name.endswith(HEAD) for name in named) or (not named and "id2label" in config):
        return True
    return any(name.endswith(LANGUAGE_MODEL) for name in named) and _is_named_reranker(folder, config)


def _is_named_reranker(folder: Path, config: Mapping[str, Any]) -> bool:
    return "rerank" in f"{folder.name} {config.get('_name_or_path', '')}".lower()


def _plain(folder: Path) -> RerankerCheckpoint:
    """A folder of transformers alone, without modules.json."""
    if not (folder / "config.json").is_file():
        raise ModelError(f"{folder} is not a cross-encoder checkpoint: config.json is missing")
    check_weights(folder)
    config = settings_in(folder / "config.json")
    named = config.get("architectures") or []
    if any(name.endswith(HEAD) for name in named) or (not named and "id2label" in config):
        return RerankerCheckpoint(folder, "head", folder, labels=_labels(folder, config))
    if any(name.endswith(LANGUAGE_MODEL) for name in named):
        if _is_named_reranker(folder, config):
            return RerankerCheckpoint(folder, "own", folder)
        raise ModelError(
            f"{folder} is a language model that writes ({named[0]}), and no {MODULES} says how it scores passages; "
            "name a cross-encoder, or train one from it (rag train reranker --base)"
        )
    what = ", ".join(named) or "config.json names none"
    raise ModelError(
        f"{folder} has no classification head ({what}), so it gives no score for question and passage; name a "
        "cross-encoder, or train one from it (rag train reranker --base)"
    )


def _has_head(body: Path) -> bool:
    return any(name.endswith(HEAD) for name in settings_in(body / "config.json").get("architectures") or [])


def _labels(folder: Path, config: Mapping[str, Any]) -> tuple[int, int] | None:
    """The numbers of (the label for relevant, the other); None where there is one label, whose logit is the score."""
    names = {int(number): str(name) for number, name in (config.get("id2label") or {}).items()}
    n = len(names) or int(config.get("num_labels") or 2)  # as transformers reads it
    if n == 1:
        return None
    shown = ", ".join(names[number] for number in sorted(names)) or "without names"
    if n > 2:
        raise ModelError(f"{folder} has {n} labels ({shown}), as a classifier has; a reranker has one")
    found = [number for number, name in names.items() if name.lower().replace(" ", "_") in RELEVANT_WORDS]
    if len(found) != 1:
        raise ModelError(
            f"{folder} has 2 labels ({shown}), which do not say whose is a passage that answers; a reranker has one"
        )
    return found[0], 1 - found[0]


def _check_scores(folder: Path, modules: Sequence[Module]) -> None:
    """Raises ModelError where a chain ends in no score, or in several."""
    last = next((module for module in reversed(modules) if module.kind in ("Dense", "LogitScore")), None)
    if last is None and modules[0].settings.get("transformer_task") == "sequence-classification":
        _labels(folder, settings_in(modules[0].folder / "config.json"))
        return
    if last is None or (last.kind == "Dense" and last.settings.get("module_output_name") != "scores"):
        raise ModelError(f"the modules of {folder} end in no score for question and passage; name a cross-encoder")
    if last.kind == "Dense" and last.settings.get("out_features") != 1:
        n = last.settings.get("out_features")
        raise ModelError(f"{folder} has {n} labels, as a classifier has; a reranker has one")
