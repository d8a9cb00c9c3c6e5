"""Whether a snapshot is whole."""

import json

import pytest

from rag.errors import ModelError
from rag.models import hub


@pytest.fixture
def snapshot(tmp_path, monkeypatch):
    """A hub whose snapshot of any model is this folder: a chain of three modules, whole."""
    rows = [("Transformer", ""), ("Pooling", "1_Pooling"), ("Dense", "2_Dense")]
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for kind, path in rows]
    (tmp_path / "modules.json").write_text(json.dumps(modules))
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "2_Dense").mkdir()
    for file in ("model.safetensors", "2_Dense/model.safetensors"):
        (tmp_path / file).touch()
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda name, **options: str(tmp_path))
    monkeypatch.setattr(hub, "is_begun", lambda name: True)
    return tmp_path


def test_a_chain_whose_modules_are_all_there_is_whole(snapshot):
    assert hub.hub_snapshot("a/b", ("modules.json",), local_only=True) == snapshot
    (snapshot / "2_Dense" / "model.safetensors").rename(snapshot / "2_Dense" / "pytorch_model.bin")
    assert hub.hub_snapshot("a/b", local_only=True) == snapshot


@pytest.mark.parametrize(
    ("gone", "named"),
    [("model.safetensors", r"\*\.safetensors"), ("2_Dense/model.safetensors", r"2_Dense/\*\.safetensors")],
)
def test_a_chain_that_lacks_the_weights_of_a_module_is_not_whole(snapshot, gone, named):
    (snapshot / gone).unlink()
    with pytest.raises(ModelError, match=f"lacks {named}"):
        hub.hub_snapshot("a/b", local_only=True)


def test_static_embeddings_in_a_folder_of_their_own_are_whole_without_config_json(snapshot):
    module = {"path": "0_StaticEmbedding", "type": "sentence_transformers.models.StaticEmbedding"}
    (snapshot / "modules.json").write_text(json.dumps([module]))
    (snapshot / "config.json").unlink()
    with pytest.raises(ModelError, match=r"lacks 0_StaticEmbedding/\*\.safetensors"):
        hub.hub_snapshot("a/b", local_only=True)
    (snapshot / "0_StaticEmbedding").mkdir()
    (snapshot / "0_StaticEmbedding" / "model.safetensors").touch()
    assert hub.hub_snapshot("a/b", local_only=True) == snapshot


def test_a_model_that_the_cache_lacks_is_told_without_the_hubs_client(tmp_path, monkeypatch):
    def called(*given, **options):
        raise AssertionError("the client was asked")

    monkeypatch.setattr("huggingface_hub.snapshot_download", called)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(ModelError, match="a/b is not in the hub's cache"):
        hub.hub_snapshot("a/b", local_only=True)
    (tmp_path / "models--a--b").mkdir()
    with pytest.raises(AssertionError):
        hub.hub_snapshot("a/b", local_only=True)
