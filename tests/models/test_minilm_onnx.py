"""The reader of the packaged MiniLM: quantised matrices by a hand-made graph, the truth by published scores."""

import json
from pathlib import Path

import numpy as np
import pytest

from rag.errors import DamagedFileError
from rag.models.minilm_onnx import convert_minilm_onnx, read_minilm_onnx

EXPECTED = json.loads((Path(__file__).parent / "expected.json").read_text(encoding="utf-8"))["minilm"]


def write_graph(path, drop=()):
    """One embedding table with a zero point, one linear layer stored [in, out] under an exporter's number."""
    from onnx import TensorProto, helper, numpy_helper, save

    arrays = {
        "bert.embeddings.word_embeddings.weight_quantized": np.array([[10, 12], [8, 10]], np.uint8),
        "bert.embeddings.word_embeddings.weight_scale": np.array(0.5, np.float32),
        "bert.embeddings.word_embeddings.weight_zero_point": np.array(10, np.uint8),
        "onnx::MatMul_7_quantized": np.array([[1, 2, 3], [4, 5, 6]], np.int8),
        "onnx::MatMul_7_scale": np.array(2.0, np.float32),
        "onnx::MatMul_7_zero_point": np.array(0, np.int8),
        "classifier.bias": np.array([1.0, 2.0, 3.0], np.float32),
    }
    node = helper.make_node(
        "MatMulInteger",
        ["x", "onnx::MatMul_7_quantized"],
        ["y"],
        name="/bert/encoder/layer.0/attention/self/query/MatMul_quant",
    )
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [1, 2])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [1, 3])],
        [numpy_helper.from_array(values, name) for name, values in arrays.items() if name not in drop],
    )
    save(helper.make_model(graph), str(path))
    return path


def test_matrices_are_de_quantised_named_and_transposed(tmp_path):
    state = read_minilm_onnx(write_graph(tmp_path / "g.onnx"))
    assert state["bert.embeddings.word_embeddings.weight"].tolist() == [[0.0, 1.0], [-1.0, 0.0]]
    assert state["bert.encoder.layer.0.attention.self.query.weight"].tolist() == [[2, 8], [4, 10], [6, 12]]
    assert state["classifier.bias"].tolist() == [1.0, 2.0, 3.0]


def test_a_matrix_without_its_scale_is_refused(tmp_path):
    path = write_graph(tmp_path / "g.onnx", drop=("onnx::MatMul_7_scale",))
    with pytest.raises(DamagedFileError, match="onnx::MatMul_7_scale"):
        read_minilm_onnx(path)


@pytest.mark.parametrize("keep", [0, 20, 300])
def test_a_truncated_file_is_refused(tmp_path, keep):
    path = write_graph(tmp_path / "g.onnx")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedFileError):
        read_minilm_onnx(path)


def test_bytes_that_are_no_graph_are_refused(tmp_path):
    (tmp_path / "g.onnx").write_bytes(b"PK\x03\x04 not a graph at all" * 20)
    with pytest.raises(DamagedFileError):
        read_minilm_onnx(tmp_path / "g.onnx")


def test_a_graph_that_lacks_layers_leaves_no_folder(tmp_path):
    with pytest.raises(DamagedFileError):
        convert_minilm_onnx(write_graph(tmp_path / "g.onnx"), tmp_path / "tokenizer.json", tmp_path / "model")
    assert not (tmp_path / "model").exists()


@pytest.mark.real
def test_the_real_weights_give_the_published_tokens_and_scores():
    from rag.models.resolve import resolve
    from rag.rerank.cross_encoder import CrossEncoderReranker

    folder = resolve("cross-encoder/ms-marco-MiniLM-L-12-v2", source="packages").folder
    reranker = CrossEncoderReranker(folder, precision="fp32", device="cpu")
    pairs = [tuple(pair) for pair in EXPECTED["pairs"]]
    assert reranker._runner.tokenize(pairs).ids == EXPECTED["input_ids"]
    assert np.allclose(reranker.score(pairs), EXPECTED["logits"], atol=1e-3)
