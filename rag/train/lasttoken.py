"""A causal language model as a bi-encoder: the vector of a text is the last hidden state of a forced end-of-text token.

The last token of a causal model is the only one that has seen the whole text (RepLLaMA, Ma et al. 2023,
https://arxiv.org/abs/2310.08319). The tokenizer itself appends the end-of-text token, after truncation, so that the
checkpoint gives the same vectors wherever it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rag.compute.quiet import quiet_transformers
from rag.errors import ModelError

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer
    from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast


def is_causal_lm(folder: str | Path) -> bool:
    """Whether a folder holds a plain causal language model rather than a sentence-transformers checkpoint."""
    folder = Path(folder)
    return (folder / "config.json").is_file() and not (folder / "modules.json").is_file()


def lasttoken_encoder(folder: str | Path, prompts: Mapping[str, str], max_length_tokens: int) -> SentenceTransformer:
    """The causal language model in `folder` with EOS forced, last-token pooling and vectors of unit length; on the CPU.

    `prompts` has `query` and `passage`. Raises ModelError for a model without a fast tokenizer or an EOS token.
    """
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    quiet_transformers()
    try:
        transformer = Transformer(
            str(folder),
            model_kwargs={"local_files_only": True},
            processor_kwargs={"local_files_only": True},
            # The texts as they are; a chat template would wrap them in a conversation.
            modality_config={"text": {"method": "forward", "method_output_name": "last_hidden_state"}},
            module_output_name="token_embeddings",
        )
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder} does not load as a language model: {error}") from error
    transformer.processor = force_eos(transformer.tokenizer)
    transformer.max_seq_length = max_length_tokens
    pooling = Pooling(transformer.get_embedding_dimension(), "lasttoken")
    roles = {"query": prompts["query"], "passage": prompts["passage"], "document": prompts["passage"]}
    return SentenceTransformer(modules=[transformer, pooling, Normalize()], prompts=roles, device="cpu")


def force_eos(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerFast:
    """The same tokenizer with EOS as the last token of every text, even a truncated one; BOS stays where it was."""
    from tokenizers.processors import TemplateProcessing
    from transformers import PreTrainedTokenizerFast

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or tokenizer.eos_token is None:
        raise ModelError("last-token pooling needs a fast tokenizer (tokenizer.json) with an EOS token")
    starts_with_bos = tokenizer.bos_token is not None and tokenizer("a").input_ids[0] == tokenizer.bos_token_id
    before = [tokenizer.bos_token] if starts_with_bos else []
    backend.post_processor = TemplateProcessing(
        single=[*before, "$A", tokenizer.eos_token],
        pair=[*before, "$A", tokenizer.eos_token, "$B:1", f"{tokenizer.eos_token}:1"],
        special_tokens=[(token, tokenizer.convert_tokens_to_ids(token)) for token in {*before, tokenizer.eos_token}],
    )
    # Tokenizer classes of single models build their post-processor anew when they are loaded, and would lose the EOS.
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        bos_token=tokenizer.bos_token,
        eos_token=tokenizer.eos_token,
        pad_token=tokenizer.pad_token or tokenizer.eos_token,
        unk_token=tokenizer.unk_token,
        padding_side=tokenizer.padding_side,
        model_input_names=["input_ids", "attention_mask"],
    )
