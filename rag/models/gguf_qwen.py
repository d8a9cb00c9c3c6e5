"""Reader of a Qwen GGUF file: de-quantised once by transformers, kept as bf16 safetensors that vLLM loads too."""

from __future__ import annotations

import json
from pathlib import Path

from rag.compute.quiet import quiet_transformers
from rag.errors import DamagedFileError


def convert_gguf(source: Path, target: Path) -> None:
    """Write a transformers folder (bf16, tokenizer with its chat template) from a GGUF file into `target`."""
    import torch
    from safetensors.torch import save_file
    from transformers import AutoModelForCausalLM, AutoTokenizer

    quiet_transformers()
    with source.open("rb") as file:
        if (magic := file.read(4)) != b"GGUF":
            raise DamagedFileError(f"{source} is not a GGUF file: it begins with {magic!r}")
    try:
        model = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
    except (ValueError, OSError, KeyError, IndexError) as error:
        raise DamagedFileError(f"{source} could not be read as a GGUF model: {error}") from error
    # save_pretrained refuses a model that came from GGUF, although its weights are plain floats by now.
    target.mkdir(parents=True, exist_ok=True)
    state = {name: tensor.to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(state, str(target / "model.safetensors"), metadata={"format": "pt"})
    model.config.save_pretrained(target)
    model.generation_config.save_pretrained(target)
    tokenizer.save_pretrained(target)
    _finish_config(target)


def _finish_config(target: Path) -> None:
    """The weights are no longer quantised, and `lm_head` is a matrix of its own, not the embedding."""
    path = target / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config.pop("quantization_config", None)
    config["tie_word_embeddings"] = False
    config["dtype"] = "bfloat16"
    path.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")
