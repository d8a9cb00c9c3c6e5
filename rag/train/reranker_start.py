"""What a reranker's training starts from: a reranker, or the body of another model that gets a head for scores.

RankT5's encoder rankers are made like this (Zhuang et al. 2022, https://arxiv.org/abs/2210.10634): the body of a T5,
the vector of one token or the mean of all, and a linear layer.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rag.compute.hardware import default_device
from rag.compute.quiet import quiet_transformers
from rag.compute.reading import reading_weights
from rag.errors import ConfigError, ModelError
from rag.models.modules import MODULES, settings_in
from rag.rerank.checkpoint import LANGUAGE_MODEL, is_reranker, read_reranker
from rag.rerank.own_predict import load_own
from rag.rerank.yes_no import yes_no_ranker
from rag.retrieve.checkpoint import read_checkpoint
from rag.train.lasttoken import force_eos
from rag.train.reranker_recipes import RerankerRecipe

if TYPE_CHECKING:
    from sentence_transformers import CrossEncoder
    from transformers import PreTrainedTokenizerBase

POOLINGS = {"first": "cls", "last": "lasttoken", "mean": "mean"}
"""Our names of poolings, and those of sentence-transformers. `mean` leaves the padding out: a mean over padding too
would change with what else is in a batch."""


def check_start(base: Path, recipe: RerankerRecipe) -> None:
    """Raises ConfigError or ModelError, by the files of `base` alone, where no training can start from it."""
    if not is_reranker(base):
        _body_of(base)
        return
    if recipe.pooling is not None:
        raise ConfigError(
            f"training.reranker.pooling is for a body without a head, and {base} is a reranker; leave it out, or name "
            "a body with --base"
        )
    if read_reranker(base).labels is not None:
        raise ModelError(f"{base} has 2 labels; a reranker has one")


def load_start(base: str | Path, recipe: RerankerRecipe) -> CrossEncoder:
    """The model that training starts from. A new head is drawn with the recipe's seed.

    A reranker goes on as it is. A language model that writes is asked for yes or no, unless `recipe.pooling` is set.
    Any other body is pooled as `recipe.pooling` says, and gets a linear layer for the score.
    """
    base = Path(base)
    quiet_transformers()
    check_start(base, recipe)
    device = default_device()
    with reading_weights(base):
        if is_reranker(base):
            return _as_it_is(base, device)
        if recipe.pooling is None and _writes(base):
            return yes_no_ranker(base, device=device)
        return _with_head(base, recipe, device)


def _as_it_is(base: Path, device: str) -> CrossEncoder:
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Transformer

    kind = read_reranker(base).kind
    if kind == "own":
        return load_own(base, device=device)
    model = CrossEncoder(str(base), device=device, local_files_only=True)
    if kind == "head" and "message" in model[0].modality_config:
        # A chat template is for writing: pairs are scored as they are.
        text = {"text": {"method": "forward", "method_output_name": "logits"}}
        kept: dict[str, Any] = {"modality_config": text, "module_output_name": "scores"}
        offline = {"local_files_only": True}
        transformer = Transformer(
            str(base),
            transformer_task="sequence-classification",
            model_kwargs=offline,
            processor_kwargs=offline,
            config_kwargs=offline,
            **kept,
        )
        model = CrossEncoder(modules=[transformer], device=device)
    if model.num_labels != 1:
        raise ModelError(f"{base} has {model.num_labels} labels; a reranker has one")
    return model


def _with_head(base: Path, recipe: RerankerRecipe, device: str) -> CrossEncoder:
    """A body, a pooling and a linear layer for the score."""
    import torch
    from sentence_transformers import CrossEncoder
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    offline = {"local_files_only": True}
    transformer = Transformer(
        str(_body_of(base)),
        model_kwargs=offline,
        processor_kwargs=offline,
        config_kwargs=offline,
        # The texts as they are; a chat template would wrap them in a conversation.
        modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
        module_output_name="token_embeddings",
    )
    if hasattr(transformer.model, "decoder"):
        raise ModelError(
            f"the encoder of {base} does not load without its decoder, so no ranker can be made of it; choose a body "
            "such as BERT, ModernBERT, T5 or T5Gemma"
        )
    pooling = recipe.pooling or _own_pooling(base, transformer.model.config)
    if pooling == "first" and _is_causal(transformer.model.config):
        raise ConfigError(
            f"the first token of {base} has seen nothing but itself; set training.reranker.pooling = last or mean"
        )
    if not _parts_pairs(transformer.tokenizer, ends=pooling == "last"):
        transformer.processor = force_eos(transformer.tokenizer)
    width = transformer.get_embedding_dimension()
    torch.manual_seed(recipe.seed)
    head = Dense(width, 1, activation_function=torch.nn.Identity(), module_output_name="scores")
    return CrossEncoder(modules=[transformer, Pooling(width, POOLINGS[pooling]), head], device=device)


def _body_of(base: Path) -> Path:
    """The folder of the body in a checkpoint that is no reranker. Raises ModelError where there is none."""
    if (base / MODULES).is_file():
        modules = read_checkpoint(base).modules
        if modules[0].kind != "Transformer":
            raise ModelError(f"{base} has no transformer that could read question and passage; choose another --base")
        return modules[0].folder
    if not (base / "config.json").is_file():
        raise ModelError(f"{base} is no checkpoint that a reranker could start from: config.json is missing")
    return base


def _writes(base: Path) -> bool:
    named = settings_in(base / "config.json").get("architectures") or []
    return not (base / MODULES).is_file() and any(name.endswith(LANGUAGE_MODEL) for name in named)


def _own_pooling(base: Path, config: Any) -> str:
    """The pooling that an encoder was trained with, where it names one; else that of its kind."""
    if (base / MODULES).is_file():
        named = read_checkpoint(base).pooling.removesuffix("s").removesuffix("_token")  # as older versions call it
        if found := next((ours for ours, theirs in POOLINGS.items() if theirs == named), None):
            return found
    return "last" if _is_causal(config) else "first"


def _is_causal(config: Any) -> bool:
    """Whether each token of a body sees only those before it."""
    from transformers import MODEL_FOR_CAUSAL_LM_MAPPING, MODEL_FOR_MASKED_LM_MAPPING

    return type(config) in MODEL_FOR_CAUSAL_LM_MAPPING and type(config) not in MODEL_FOR_MASKED_LM_MAPPING


def _parts_pairs(tokenizer: PreTrainedTokenizerBase, *, ends: bool) -> bool:
    """Whether a tokenizer writes a token of its own between question and passage; with `ends`, at the end as well."""
    ids = tokenizer("a", "a").input_ids
    special = set(tokenizer.all_special_ids)
    between = any(token in special for token in ids[1:-1])
    return between and (not ends or ids[-1] in special)
