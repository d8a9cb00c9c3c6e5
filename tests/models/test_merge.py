"""Base and adapter become one checkpoint: hand-worked sums, other copies of a base, and what is refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from rag.errors import DamagedFileError, ModelError
from rag.files import weights_sha256
from rag.models.adapters import packaged_adapters, read_adapter
from rag.models.merge import checkpoint_sha256, merge_adapter, merged_tensors
from rag.models.query_encoder import NOTE, note_of, passages_of
from tests.fakes.adapters import edit_card, write_adapter, write_base

FACTORS = {"x.weight.b": torch.tensor([[1.0], [2.0]]).half(), "x.weight.a": torch.tensor([[10.0, 20.0]]).half()}
W = torch.tensor([[1.0, 2.0], [3.0, 4.0]])


@pytest.fixture
def base(tmp_path):
    return write_base(tmp_path / "base", {"x.weight": W, "x.bias": torch.tensor([1.0, 1.0])})


def merged(adapter_folder, base, tmp_path):
    merge_adapter(read_adapter(adapter_folder), base, tmp_path / "merged")
    return load_file(tmp_path / "merged" / "model.safetensors")


def test_a_weight_is_the_bases_plus_the_product_of_its_factors(tmp_path, base):
    state = merged(write_adapter(tmp_path / "tiny", base, FACTORS), base, tmp_path)
    assert state["x.weight"].tolist() == [[11.0, 22.0], [23.0, 44.0]]
    assert state["x.bias"].tolist() == [1.0, 1.0]


def test_differences_are_added_new_weights_are_taken_and_others_dropped(tmp_path):
    base = write_base(
        tmp_path / "base", {"x.bias": torch.tensor([1.0, 2.0]), "old.weight": torch.ones(1), "same": torch.ones(1)}
    )
    tensors = {"body.x.bias.diff": torch.tensor([0.5, -2.0]).half(), "head.weight.whole": torch.tensor([[7.0]])}
    adapter = write_adapter(tmp_path / "tiny", base, tensors, add="body.", dropped=["old.weight"])
    state = merged(adapter, base, tmp_path)
    assert {name: tensor.tolist() for name, tensor in state.items()} == {
        "body.x.bias": [1.5, 0.0],
        "body.same": [1.0],
        "head.weight": [[7.0]],
    }


def test_a_prefix_of_the_base_is_removed(tmp_path):
    base = write_base(tmp_path / "base", {"bert.x": torch.ones(1), "head": torch.ones(1)})
    adapter = write_adapter(tmp_path / "tiny", base, {"x.diff": torch.ones(1).half()}, remove="bert.", dropped=["head"])
    assert merged(adapter, base, tmp_path)["x"].tolist() == [2.0]


def test_the_configuration_is_laid_over_the_bases_and_files_beside_it(tmp_path, base):
    (base / "config.json").write_text('{"hidden_size": 2, "architectures": ["Old"], "id2label": {"0": "x"}}')
    (base / "tokenizer.json").write_text("of the base")
    (base / "modules.json").write_text("[]")
    (base / "notes.json").write_text("[]")
    adapter = write_adapter(
        tmp_path / "tiny",
        base,
        FACTORS,
        files={"prompt.json": "mine", "1_Pooling/config.json": "{}", "evil.py": "raise SystemExit"},
        config={"architectures": ["New"]},
        config_dropped=["id2label"],
        base_files=["modules.json"],
    )
    merged(adapter, base, tmp_path)
    folder = tmp_path / "merged"
    assert json.loads((folder / "config.json").read_text()) == {"hidden_size": 2, "architectures": ["New"]}
    assert (folder / "tokenizer.json").read_text() == "of the base"
    assert (folder / "prompt.json").read_text() == "mine"
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    tokenizer_and_weights = {"config.json", "tokenizer.json", "model.safetensors"}
    assert names == tokenizer_and_weights | {"modules.json", "prompt.json", "1_Pooling/config.json"}


def test_sums_do_not_depend_on_their_order(tmp_path):
    # 2^-24 is lost beside 1 in float32, and kept if two of them meet first; the sum here is exact, then rounded once.
    base = write_base(tmp_path / "base", {"x.weight": torch.tensor([[1.0]])})
    small = 2.0**-12
    factors = torch.tensor([[small, small, small, small]])
    tensors = {"x.weight.b": factors.half(), "x.weight.a": factors.T.contiguous().half()}
    state = merged(write_adapter(tmp_path / "tiny", base, tensors), base, tmp_path)
    assert state["x.weight"].item() == 1 + 2.0**-22


def test_another_copy_of_the_base_is_accepted_and_said_once(tmp_path, base, capsys):
    adapter = read_adapter(write_adapter(tmp_path / "tiny", base, FACTORS))
    assert merge_adapter(adapter, base, tmp_path / "same")["notice"] == ""
    assert capsys.readouterr().err == ""
    other = write_base(tmp_path / "other", {"x.weight": W + 1, "x.bias": torch.zeros(2)})
    record = merge_adapter(adapter, other, tmp_path / "merged")
    assert capsys.readouterr().err.count("another copy of") == 1
    assert "another copy of" in record["notice"]
    assert load_file(tmp_path / "merged" / "model.safetensors")["x.weight"].tolist() == [[12.0, 23.0], [24.0, 45.0]]


def test_a_question_encoder_goes_with_the_copy_of_its_base_that_it_is_merged_with(tmp_path, base):
    passages = {"weights_sha256": "another copy", "passage_prompt": "", "pooling": "mean_tokens"}
    note = json.dumps(note_of(passages))
    adapter = read_adapter(write_adapter(tmp_path / "tiny", base, FACTORS, files={NOTE: note}))
    merge_adapter(adapter, base, tmp_path / "merged")
    assert passages_of(tmp_path / "merged") == {**passages, "weights_sha256": weights_sha256(base)}


def test_a_base_in_several_files_and_another_type_keeps_its_type(tmp_path, base):
    adapter = read_adapter(write_adapter(tmp_path / "tiny", base, FACTORS))
    other = tmp_path / "other"
    other.mkdir()
    (other / "config.json").write_text((base / "config.json").read_text())
    save_file({"x.weight": W.bfloat16()}, str(other / "model-00001-of-00002.safetensors"))
    save_file({"x.bias": torch.ones(2).bfloat16()}, str(other / "model-00002-of-00002.safetensors"))
    (other / "model.safetensors.index.json").write_text("{}")
    merge_adapter(adapter, other, tmp_path / "merged")
    state = load_file(tmp_path / "merged" / "model.safetensors")
    assert (state["x.weight"].dtype, state["x.weight"].tolist()) == (torch.bfloat16, [[11.0, 22.0], [23.0, 44.0]])
    assert not (tmp_path / "merged" / "model.safetensors.index.json").exists()


@pytest.mark.parametrize(
    ("tensors", "sizes", "reason"),
    [
        ({"x.weight": torch.zeros(2, 3)}, {}, r"x\.weight is \(2, 3\), the change \(2, 2\)"),
        ({"y.weight": torch.zeros(2, 2)}, {}, r"the base has no x\.weight"),
        ({"x.weight": torch.zeros(2, 2)}, {"hidden_size": 4}, "hidden_size is 4, not 2"),
    ],
)
def test_a_base_of_another_shape_is_refused_with_both_names(tmp_path, base, tensors, sizes, reason):
    adapter = read_adapter(write_adapter(tmp_path / "tiny", base, FACTORS))
    other = write_base(tmp_path / "other", tensors, **sizes)
    with pytest.raises(ModelError, match=f"rag-qa/tiny does not fit {other}.*{base}: {reason}"):
        merge_adapter(adapter, other, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


def test_a_result_that_is_not_the_cards_is_refused(tmp_path, base):
    adapter = read_adapter(write_adapter(tmp_path / "tiny", base, FACTORS, merged_sha256="0" * 64))
    with pytest.raises(DamagedFileError, match="not the card's 000"):
        merge_adapter(adapter, base, tmp_path / "merged")
    assert not (tmp_path / "merged").exists()


@pytest.mark.parametrize("keep", [0, 5, 60, -4])
def test_damaged_weights_are_refused(tmp_path, base, keep):
    folder = write_adapter(tmp_path / "tiny", base, FACTORS)
    path = folder / "adapter.safetensors"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedFileError, match="damaged or was exchanged"):
        read_adapter(folder)


@pytest.mark.parametrize(
    ("tensors", "error", "match"),
    [
        ({"x.weight": W}, ModelError, "no adapter of this kind: it holds 'x.weight'"),
        ({"x.weight.b": W.half()}, DamagedFileError, r"'x\.weight\.b' without its other factor"),
        ({"x.weight.b": W.half(), "x.weight.a": torch.ones(3, 2).half()}, DamagedFileError, "factors of x.weight"),
    ],
)
def test_weights_that_are_no_adapter_are_refused(tmp_path, base, tensors, error, match):
    folder = write_adapter(tmp_path / "tiny", base, tensors, merged_sha256="0" * 64)
    with pytest.raises(error, match=match):
        list(merged_tensors(read_adapter(folder), base))


@pytest.mark.parametrize(
    ("entries", "match"),
    [
        ({"merge": None}, "is not the card of an adapter"),
        ({"base": {"model": "x"}}, "it lacks 'sha256'"),
        ({"role": "poet"}, "names no role"),
        ({"base": {"model": "rag-qa/tiny", "sha256": "", "sizes": {}}}, "the adapter itself"),
    ],
)
def test_a_foreign_card_is_refused(tmp_path, base, entries, match):
    folder = write_adapter(tmp_path / "tiny", base, FACTORS)
    edit_card(folder, entries)
    with pytest.raises(ModelError, match=match):
        read_adapter(folder)


def test_a_damaged_or_missing_card_is_refused(tmp_path, base):
    folder = write_adapter(tmp_path / "tiny", base, FACTORS)
    (folder / "card.json").write_text("{")
    with pytest.raises(ModelError, match=r"card\.json is damaged"):
        read_adapter(folder)
    (folder / "card.json").unlink()
    with pytest.raises(ModelError, match=r"card\.json is missing"):
        read_adapter(folder)


def test_a_card_cannot_name_files_outside_the_base(tmp_path, base):
    folder = write_adapter(tmp_path / "tiny", base, FACTORS, merged_sha256="0" * 64, base_files=["../secret.json"])
    with pytest.raises(ModelError, match="outside the base's folder"):
        read_adapter(folder)


def test_the_hash_of_weights_does_not_depend_on_their_file(tmp_path, base):
    several = tmp_path / "several"
    several.mkdir()
    save_file({"x.weight": W}, str(several / "model-00002-of-00002.safetensors"), metadata={"some": "thing"})
    save_file({"x.bias": torch.ones(2)}, str(several / "model-00001-of-00002.safetensors"))
    assert checkpoint_sha256(several) == checkpoint_sha256(base)
    other = write_base(tmp_path / "other", {"x.weight": W.T.contiguous(), "x.bias": torch.ones(2)})
    assert checkpoint_sha256(other) != checkpoint_sha256(base)


def test_the_adapters_in_this_package_are_small_and_their_cards_complete():
    adapters = packaged_adapters()
    assert sum(adapter.size_mb for adapter in adapters) <= 40
    for adapter in adapters:
        lacking = [key for key in ("license", "data", "recipe", "command", "date", "figures") if not adapter.card[key]]
        assert lacking == [], f"the card of {adapter.name} lacks {lacking}"
