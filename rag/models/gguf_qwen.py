"""Reader of a Qwen GGUF file, which several packages ship in parts.

The format is that of ggml (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). transformers de-quantises it
once; the weights are kept as bf16 safetensors, which vLLM loads too.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rag.compute.quiet import quiet_transformers
from rag.errors import DamagedFileError, ModelError
from rag.files import read_json, write_json


def convert_gguf(source: Path, target: Path) -> None:
    """Write a transformers folder (bf16 weights, tokenizer with its chat template) into `target`.

    Raises DamagedFileError where `source` is not a GGUF file that transformers can read.
    """
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet_transformers()
    with source.open("rb") as file:
        if (magic := file.read(4)) != b"GGUF":
            raise DamagedFileError(f"{source} is not a GGUF file: it begins with {magic!r}")
    model: Any  # the class is known only at run time
    tokenizer: Any
    try:
        model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    except (ValueError, OSError, KeyError, IndexError) as error:
        raise DamagedFileError(f"{source} could not be read as a GGUF model: {error}") from error
    # The model's own save_pretrained refuses one that came from GGUF, although its weights are plain floats by now.
    target.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, str(target / "model.safetensors"), metadata={"format": "pt"})
    model.config.save_pretrained(target)
    model.generation_config.save_pretrained(target)
    tokenizer.save_pretrained(target)
    _finish_config(target, type(model).__name__)


def _finish_config(target: Path, architecture: str) -> None:
    """Say in config.json what the model is: no longer quantised, with an `lm_head` that is not the embedding matrix."""
    path = target / "config.json"
    config = read_json(path, ModelError)
    config.pop("quantization_config", None)
    config["architectures"] = [architecture]
    config["tie_word_embeddings"] = False
    config["dtype"] = "bfloat16"
    write_json(path, config)
