"""What is shown of the models on this machine."""

import hashlib

from rag.models.records import describe
from rag.models.resolve import ResolvedModel


def test_a_model_from_elsewhere_is_described_by_its_files(tmp_path):
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"weights")
    (tmp_path / "README.md").write_text("---\nlicense: mit\n---\n# A model\n", "utf-8")
    record = describe(ResolvedModel("tiny/model", tmp_path, "hub cache"))
    assert record["license"] == "mit"
    assert record["sha256"] == [hashlib.sha256(b"weights").hexdigest()]
    assert record["revision"] == tmp_path.name
