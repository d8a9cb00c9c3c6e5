"""What a sentence-transformers folder says of its encoder: modules, prompts, pooling, length and width."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.errors import ModelError
from rag.models.modules import MODULES, Module, check_weights, most_positions, read_modules, settings_in
from rag.models.prompts import known_prompts

PROMPT_ALIASES = {
    "query": ("query", "search_query", "retrieval.query"),
    "passage": ("passage", "document", "corpus", "search_document", "retrieval.passage"),
}
"""The names under which checkpoints store the prompt of a query and of a passage."""

COMPILED_KINDS = {"Transformer", "Pooling", "Dense", "Normalize", "LayerNorm", "WeightedLayerPooling", "Dropout"}
"""Modules that a graph is made of. A checkpoint with others is run by sentence-transformers itself."""
PLAIN_KINDS = {"Transformer", "Pooling", "Normalize"}


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The modules of a checkpoint in order, and the settings of the whole (`config_sentence_transformers.json`)."""

    folder: Path
    modules: Sequence[Module]
    settings: Mapping[str, Any]

    @property
    def transformer(self) -> Path:
        """The folder of the first module, with its tokenizer."""
        return self.modules[0].folder

    @property
    def is_compiled(self) -> bool:
        """Whether a graph can be made of it: known modules, behind a Transformer that takes text as it is."""
        first = self.modules[0].settings
        takes = first.get("modality_config") or {"text": {}}
        return (
            {module.kind for module in self.modules} <= COMPILED_KINDS
            and self.modules[0].kind == "Transformer"
            and first.get("transformer_task", "feature-extraction") == "feature-extraction"
            and "text" in takes
            and "message" not in takes
            and not any(first.get(key) for key in ("processing_kwargs", "query_length", "document_length"))
            and all(module.settings.get("include_prompt", True) for module in self.modules)
        )

    @property
    def graph_name(self) -> str:
        """What tells graphs of the same weights apart: the pooling, and the settings of modules beyond the usual."""
        if {module.kind for module in self.modules} <= PLAIN_KINDS:
            return self.pooling
        said = json.dumps([[module.kind, dict(module.settings)] for module in self.modules], sort_keys=True)
        return f"{self.pooling}-{hashlib.sha256(said.encode()).hexdigest()[:8]}"

    @property
    def pooling(self) -> str:
        """The name of the pooling, as `mean` or `lasttoken`, or `none`; of several that are joined, as `cls+mean`."""
        pooling = next((module.settings for module in self.modules if module.kind == "Pooling"), None)
        if pooling is None:
            return "none"
        name = "+".join(_modes(pooling))
        if "message" in (self.modules[0].settings.get("modality_config") or {}):
            name += " of messages"  # texts are wrapped by a chat template
        return name if pooling.get("include_prompt", True) else f"{name} without prompt"

    @property
    def is_lower_case(self) -> bool:
        """Whether texts are written in small letters before they are tokenised."""
        return bool(self.modules[0].settings.get("do_lower_case"))

    @property
    def similarity(self) -> str:
        """What its vectors were trained to be compared by: cosine, dot, euclidean or manhattan."""
        return str(self.settings.get("similarity_fn_name") or "cosine")

    def width(self) -> int | None:
        """The length of a vector as the last module leaves it; None where the files do not say."""
        width: int | None = None
        for module in self.modules:
            width = _width_behind(module, width)
        truncated = self.settings.get("truncate_dim")
        return min(width, int(truncated)) if width and truncated else width

    def max_length(self) -> int | None:
        """The longest text in tokens that it is meant for; None where there is no limit."""
        first = self.modules[0]
        if first.kind == "StaticEmbedding":
            return None
        if length := first.settings.get("max_seq_length"):
            return int(length)
        # Newer sentence-transformers keep the length with the tokenizer, which says 10^30 where it knows none.
        limits = (
            settings_in(first.folder / "config.json").get("max_position_embeddings"),
            settings_in(first.folder / "tokenizer_config.json").get("model_max_length"),
        )
        return int(min((limit for limit in limits if limit and limit > 0), default=512))

    def positions(self) -> int | None:
        """The most tokens that its body can take; None where config.json does not say."""
        return most_positions(self.transformer)

    def prompts(self, given: Mapping[str, str] | None, name: str) -> dict[str, str]:
        """{"query": …, "passage": …}.

        In this order: the checkpoint's own prompt; the given one; a stored empty one; that of the model's family, by
        its name or the folder's; the checkpoint's default; none.
        """
        stored = self.settings.get("prompts") or {}
        family = known_prompts(name) or known_prompts(self.folder.name)
        default = stored.get(self.settings.get("default_prompt_name") or "", "")
        found: dict[str, str] = {}
        for role, names in PROMPT_ALIASES.items():
            # sentence-transformers writes empty prompts for roles that a checkpoint does not name, so an empty one
            # counts only where nothing else is known.
            prompt = next((stored[alias] for alias in names if stored.get(alias)), None)
            if prompt is None:
                prompt = (given or {}).get(role)
            if prompt is None and any(alias in stored for alias in names):
                prompt = ""
            found[role] = family.get(role, default) if prompt is None else prompt
        return found

    def names_prompts(self, given: Mapping[str, str] | None, name: str) -> bool:
        """Whether anybody says which prompts it takes, be it none."""
        stored = self.settings.get("prompts") or {}
        known = known_prompts(name) or known_prompts(self.folder.name) or given
        return bool(known) or any(alias in stored for names in PROMPT_ALIASES.values() for alias in names)


def read_checkpoint(folder: Path) -> Checkpoint:
    """The checkpoint in a folder.

    Raises ModelError where it is none, is of another kind than an encoder, needs code of its own, or has no weights
    that are read.
    """
    if not (folder / MODULES).is_file():
        raise ModelError(
            f"{folder} is not a sentence-transformers checkpoint ({MODULES} is missing); save it with "
            "SentenceTransformer(...).save_pretrained, so that pooling and prompts are stored with the weights"
        )
    settings = settings_in(folder / "config_sentence_transformers.json")
    modules = read_modules(folder)
    kind = settings.get("model_type", "SentenceTransformer")
    if kind != "SentenceTransformer":
        raise ModelError(f"{folder} is a {kind}, not an encoder of texts as single vectors (a SentenceTransformer)")
    check_weights(folder)
    return Checkpoint(folder, modules, settings)


def _modes(pooling: Mapping[str, Any]) -> list[str]:
    """The names of the poolings that are concatenated."""
    if "pooling_mode" in pooling:
        named = pooling["pooling_mode"]
        return [named] if isinstance(named, str) else list(named)
    # Older checkpoints have one switch per mode: `pooling_mode_mean_tokens: true`.
    prefix = "pooling_mode_"
    return [key.removeprefix(prefix) for key, on in sorted(pooling.items()) if key.startswith(prefix) and on is True]


def _width_behind(module: Module, before: int | None) -> int | None:
    """The length of a vector behind a module, from its length before it."""
    settings = module.settings
    match module.kind:
        case "Transformer":
            config = settings_in(module.folder / "config.json")
            config = config.get("text_config", config)
            names = ("hidden_size", "d_model", "dim", "n_embd")
            return next((int(config[name]) for name in names if config.get(name)), None)
        case "Pooling":
            width = settings.get("word_embedding_dimension") or settings.get("embedding_dimension") or before
            return int(width) * max(len(_modes(settings)), 1) if width else None
        case "Dense":
            is_last = settings.get("module_output_name", "sentence_embedding") in (None, "sentence_embedding")
            return int(settings["out_features"]) if is_last and "out_features" in settings else before
        case "Normalize" | "LayerNorm" | "Dropout" | "WeightedLayerPooling":
            return before
        case _:
            return None
