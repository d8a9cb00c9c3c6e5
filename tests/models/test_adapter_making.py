"""An adapter is made of a tuned checkpoint or a LoRA, and merged it is the tuned model again."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from rag.cli.main import app
from rag.errors import ConfigError, ModelError
from rag.models.adapter_making import Start, Words, make_adapter
from rag.models.differences import differences, factors
from rag.models.merge import merge_adapter
from tests.fakes.adapters import write_base
from tests.fakes.tiny import bert_config

SIZE = 0.1


def made(base, tuned, target, **options):
    return make_adapter(Start(base, "some/base"), tuned, target, **{"role": "retriever", "words": Words(), **options})


def merged(made_adapter, base, target):
    merge_adapter(made_adapter.adapter, base, target)
    return load_file(target / "model.safetensors")


def tuned_copy(folder, target, change):
    """A copy of a checkpoint; `change` returns the new value of each tensor by name and value."""
    shutil.copytree(folder, target)
    path = target / "model.safetensors"
    state = load_file(path)
    torch.manual_seed(5)
    save_file({name: change(name, tensor).contiguous() for name, tensor in state.items()}, str(path))
    return target


def a_little(name, tensor):
    return tensor + SIZE * torch.randn_like(tensor)


def test_factors_are_the_best_of_their_rank():
    # Its singular values are 3 and 1, along the axes: rank 1 keeps the 3.
    parts = factors(torch.tensor([[3.0, 0.0], [0.0, 1.0]]), 1)
    assert (parts["b"].float() @ parts["a"].float()).tolist() == [pytest.approx([3, 0], abs=2e-3), [0, 0]]
    assert (parts["b"].shape, parts["a"].shape, parts["a"].dtype) == ((2, 1), (1, 2), torch.float16)


def test_large_matrices_get_the_same_factors_every_time():
    torch.manual_seed(0)
    matrix = torch.randn(2100, 4) @ torch.randn(4, 520)
    parts, again = factors(matrix, 4), factors(matrix, 4)
    assert torch.equal(parts["b"], again["b"])
    assert torch.allclose(parts["b"].float() @ parts["a"].float(), matrix, atol=0.02)


def test_the_share_that_is_kept_is_that_of_the_squared_change(tmp_path):
    # Of 9 + 1 rank 1 keeps 9; a bias is kept whole and adds 10 to both.
    change = torch.zeros(8, 8)
    change[0, 0], change[1, 1] = 3, 1
    base = write_base(tmp_path / "base", {"w": torch.zeros(8, 8), "bias": torch.zeros(10), "same": torch.ones(3)})
    tuned = write_base(tmp_path / "tuned", {"w": change, "bias": torch.ones(10), "same": torch.ones(3)})
    found = differences(base, tuned, 1)
    assert found.kept == pytest.approx(19 / 20, abs=1e-3)
    assert sorted(found.tensors) == ["bias.diff", "w.a", "w.b"]
    assert found.rank == 1


@pytest.mark.parametrize("rank", [32, 64])
def test_full_rank_gives_the_tuned_model(tiny_encoder_folder, tmp_path, rank):
    tuned = tuned_copy(tiny_encoder_folder, tmp_path / "tuned", a_little)
    adapter = made(tiny_encoder_folder, tuned, tmp_path / "adapter", rank=rank)
    state = merged(adapter, tiny_encoder_folder, tmp_path / "merged")
    for name, tensor in load_file(tuned / "model.safetensors").items():
        assert torch.allclose(state[name], tensor, atol=5 * SIZE * 2**-10), name
    assert adapter.changes.kept > 0.99999


def test_low_rank_is_smaller_and_the_card_says_what_it_is(tiny_encoder_folder, tmp_path):
    tuned = tuned_copy(tiny_encoder_folder, tmp_path / "tuned", a_little)
    words = Words("MIT", ("OpenQA: various",), "distill", "rag train", ("MRR@10 .8 [.7, .9]",))
    low = made(tiny_encoder_folder, tuned, tmp_path / "low", rank=4, words=words)
    full = made(tiny_encoder_folder, tuned, tmp_path / "full", rank=32)
    assert low.changes.kept < full.changes.kept
    assert low.adapter.weights.stat().st_size < full.adapter.weights.stat().st_size / 2
    card = json.loads((tmp_path / "low" / "card.json").read_text())
    assert (card["name"], card["role"], card["rank"], card["license"]) == ("rag-qa/low", "retriever", 4, "MIT")
    assert (card["data"], card["figures"]) == (["OpenQA: various"], ["MRR@10 .8 [.7, .9]"])
    assert (card["base"]["model"], card["base"]["sizes"]["hidden_size"]) == ("some/base", 32)


def test_a_run_is_named_by_its_folder_and_unchanged_weights_are_not_kept(tiny_encoder_folder, tmp_path):
    bias = "embeddings.LayerNorm.bias"
    tuned_copy(tiny_encoder_folder, tmp_path / "run" / "model", lambda name, t: t + 1 if name == bias else t)
    adapter = made(tiny_encoder_folder, tmp_path / "run", tmp_path / "adapter")
    assert list(adapter.changes.tensors) == [f"{bias}.diff"]


def test_a_type_with_fewer_digits_is_no_change(tiny_encoder_folder, tmp_path):
    bias = "embeddings.LayerNorm.bias"
    tuned = tmp_path / "tuned"
    tuned_copy(tiny_encoder_folder, tuned, lambda name, t: (t + 1 if name == bias else t).bfloat16())
    assert list(made(tiny_encoder_folder, tuned, tmp_path / "adapter").changes.tensors) == [f"{bias}.diff"]


def a_reader(folder, target):
    """A span reader on the body of a checkpoint; only its head is new."""
    from transformers import BertForQuestionAnswering

    body = {f"bert.{name.removeprefix('bert.')}": t for name, t in load_file(folder / "model.safetensors").items()}
    torch.manual_seed(6)
    reader = BertForQuestionAnswering(bert_config(body["bert.embeddings.word_embeddings.weight"].shape[0]))
    reader.load_state_dict({name: t for name, t in body.items() if name in reader.state_dict()}, strict=False)
    reader.save_pretrained(target)
    return reader.eval()


@pytest.mark.parametrize("kind", ["reranker", "encoder"])
def test_a_span_reader_on_a_rerankers_or_an_encoders_body(request, kind, tmp_path):
    from transformers import AutoConfig, AutoModelForQuestionAnswering, AutoTokenizer

    base = request.getfixturevalue(f"tiny_{kind}_folder")
    reader = a_reader(base, tmp_path / "tuned")
    adapter = made(base, tmp_path / "tuned", tmp_path / "adapter", role="reader")
    heads = ["qa_outputs.bias.whole", "qa_outputs.weight.whole"]
    assert sorted(adapter.changes.tensors) == heads
    expected = ("bert.pooler.dense.weight", "classifier.weight") if kind == "reranker" else ("pooler.dense.weight",)
    assert set(expected) <= set(adapter.changes.dropped)
    merged(adapter, base, tmp_path / "merged")
    assert AutoConfig.from_pretrained(tmp_path / "merged").architectures == ["BertForQuestionAnswering"]
    tokens = AutoTokenizer.from_pretrained(tmp_path / "merged")("where is the tower", "in graz", return_tensors="pt")
    loaded, report = AutoModelForQuestionAnswering.from_pretrained(tmp_path / "merged", output_loading_info=True)
    assert not report["missing_keys"]
    assert not report["unexpected_keys"]
    with torch.no_grad():
        assert torch.equal(loaded.eval()(**tokens).start_logits, reader(**tokens).start_logits)


def test_an_encoder_on_a_rerankers_body_loses_the_head(tiny_reranker_folder, tmp_path):
    from transformers import AutoModel

    tuned = tmp_path / "tuned"
    AutoModel.from_pretrained(tiny_reranker_folder).save_pretrained(tuned)
    state = load_file(tuned / "model.safetensors")
    state["embeddings.LayerNorm.bias"] += 1
    save_file(state, str(tuned / "model.safetensors"), metadata={"format": "pt"})
    adapter = made(tiny_reranker_folder, tuned, tmp_path / "adapter")
    result = merged(adapter, tiny_reranker_folder, tmp_path / "merged")
    assert sorted(result) == sorted(state)
    assert all(torch.equal(result[name], tensor) for name, tensor in state.items())


def test_small_files_that_tuning_added_or_changed_come_along(tiny_encoder_folder, tmp_path):
    tuned = tuned_copy(tiny_encoder_folder, tmp_path / "tuned", a_little)
    (tuned / "prompt.json").write_text('{"system": "Answer."}')
    (tuned / "modules.json").write_text("[]")
    (tuned / "README.md").write_text("# A model")
    (tuned / "large.json").write_text(json.dumps("x" * 300_000))
    adapter = made(tiny_encoder_folder, tuned, tmp_path / "adapter")
    assert sorted(adapter.adapter.files()) == ["modules.json", "prompt.json"]
    assert "1_Pooling/config.json" in adapter.adapter.plan.base_files


LORAS = {
    "plain": {},
    "patterns": {"alpha_pattern": {"q_proj": 7}, "rank_pattern": {"v_proj": 3}},
    "rslora": {"use_rslora": True},
    "embeddings and norms": {"target_modules": ["embed_tokens", "down_proj"], "modules_to_save": ["norm"]},
}


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`:UserWarning")
@pytest.mark.parametrize("kind", LORAS)
def test_a_lora_gives_what_peft_merges(tiny_generator_folder, tmp_path, kind):
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_generator_folder)
    options = {"target_modules": ["q_proj", "v_proj"], "r": 4, "lora_alpha": 10, **LORAS[kind]}
    torch.manual_seed(7)
    tuned = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", init_lora_weights=False, **options))
    with torch.no_grad():
        for name, parameter in tuned.named_parameters():
            if "modules_to_save" in name:
                parameter += 0.25
    tuned.save_pretrained(tmp_path / "lora")
    expected = tuned.merge_and_unload().state_dict()
    adapter = made(tiny_generator_folder, tmp_path / "lora", tmp_path / "adapter", role="generator")
    state = merged(adapter, tiny_generator_folder, tmp_path / "merged")
    before = load_file(tiny_generator_folder / "model.safetensors")
    assert any(not torch.equal(state[name], before[name]) for name in state)
    for name in state:
        change = (expected[name] - before[name]).abs().max().item()
        assert torch.allclose(state[name], expected[name], atol=2e-3 * change + 1e-6), name
    assert (tmp_path / "merged" / "generation_config.json").is_file()


def test_what_is_no_lora_is_refused(tiny_generator_folder, tmp_path):
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "use_dora": true}')
    with pytest.raises(ModelError, match="is DoRA of peft; only plain LoRA"):
        made(tiny_generator_folder, tmp_path, tmp_path / "adapter")
    (tmp_path / "adapter_config.json").write_text('{"peft_type": "LORA", "lora_alpha": 1}')
    pair = {"lora_A.weight": torch.ones(1, 5), "lora_B.weight": torch.ones(64, 1)}
    module = "base_model.model.model.layers.0.self_attn.q_proj"
    save_file({f"{module}.{name}": t for name, t in pair.items()}, str(tmp_path / "adapter_model.safetensors"))
    with pytest.raises(ModelError, match=r"q_proj\.weight is \(64, 64\), its change \(64, 5\)"):
        made(tiny_generator_folder, tmp_path, tmp_path / "adapter")
    save_file({f"{module}.lora_A.weight": torch.ones(1, 5)}, str(tmp_path / "adapter_model.safetensors"))
    with pytest.raises(ModelError, match="one factor without the other"):
        made(tiny_generator_folder, tmp_path, tmp_path / "adapter")
    assert not (tmp_path / "adapter").exists()


def test_models_that_do_not_belong_together_are_refused(
    tiny_encoder_folder, tiny_generator_folder, tiny_reranker_folder, tmp_path
):
    with pytest.raises(ModelError, match="was not tuned from"):
        made(tiny_encoder_folder, tiny_generator_folder, tmp_path / "adapter")
    with pytest.raises(ModelError, match="holds no weights"):
        made(tmp_path, tiny_generator_folder, tmp_path / "adapter")
    with pytest.raises(ModelError, match="nothing was tuned"):
        made(tiny_encoder_folder, tiny_encoder_folder, tmp_path / "adapter")
    with pytest.raises(ModelError, match="holds neither a checkpoint"):
        made(tiny_encoder_folder, tmp_path, tmp_path / "adapter")
    assert list(tmp_path.iterdir()) == []


def test_another_vocabulary_is_refused(tiny_encoder_folder, tmp_path):
    tuned = tuned_copy(tiny_encoder_folder, tmp_path / "tuned", a_little)
    tokenizer = json.loads((tuned / "tokenizer.json").read_text())
    tokenizer["model"]["vocab"]["novel"] = len(tokenizer["model"]["vocab"])
    (tuned / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(ModelError, match="an adapter cannot change the tokenizer"):
        made(tiny_encoder_folder, tuned, tmp_path / "adapter")


def test_weights_that_are_no_numbers_are_refused(tiny_encoder_folder, tmp_path):
    tuned = tuned_copy(tiny_encoder_folder, tmp_path / "tuned", lambda name, t: t * float("nan") if t.ndim == 1 else t)
    with pytest.raises(ModelError, match="no number"):
        made(tiny_encoder_folder, tuned, tmp_path / "adapter")


def test_a_readers_adapter_keeps_the_calibration_without_what_is_of_one_machine(tiny_reader_folder, tmp_path):
    tuned = tuned_copy(tiny_reader_folder, tmp_path / "tuned", a_little)
    evidence = {"features": ["rerank"], "bias": 1.0, "reader": {"model": "/here/reader", "serving": "/x", "depth": 3}}
    calibration = {"threshold": 2.0, "queries": "/here/dev.txt", "index": "ab", "serving": "/x"}
    calibration |= {"evidence": {"features": ["reader_mean"]}, "elsewhere": evidence}
    (tmp_path / "calibration.json").write_text(json.dumps(calibration), "utf-8")
    one = made(tiny_reader_folder, tuned, tmp_path / "one", role="reader", calibration=tmp_path / "calibration.json")
    merged(one, tiny_reader_folder, tmp_path / "merged")
    kept = json.loads((tmp_path / "merged" / "rag_calibration.json").read_text("utf-8"))
    assert kept == {
        "threshold": 2.0,
        "queries": "dev.txt",
        "evidence": {"features": ["rerank"], "bias": 1.0, "reader": {"depth": 3}},
    }
    (tmp_path / "calibration.json").write_text(json.dumps({"threshold": 2.0, "queries": "dev.txt"}), "utf-8")
    with pytest.raises(ConfigError, match="with a reader"):
        made(tiny_reader_folder, tuned, tmp_path / "two", role="reader", calibration=tmp_path / "calibration.json")
    assert not (tmp_path / "two").exists()


def test_the_command_writes_an_adapter_and_overwrites_none(tiny_encoder_folder, tmp_path):
    tuned = tuned_copy(tiny_encoder_folder, tmp_path / "tuned", a_little)
    (tiny_copy := tmp_path / "base").mkdir()
    shutil.copytree(tiny_encoder_folder, tiny_copy, dirs_exist_ok=True)
    (tiny_copy / "rag_model.json").write_text('{"model": "tiny/encoder"}')
    words = ["--role", "retriever", "--rank", "4", "--license", "MIT", "--data", "a (MIT)", "--data", "b (CC0-1.0)"]
    command = ["adapter", str(tiny_copy), str(tuned), "-o", str(tmp_path / "small"), *words]
    shown = CliRunner().invoke(app, command, catch_exceptions=False).stdout
    assert "rag-qa/small, a retriever on tiny/encoder" in shown
    assert "% of the squared change" in shown
    assert json.loads((tmp_path / "small" / "card.json").read_text())["data"] == ["a (MIT)", "b (CC0-1.0)"]
    with pytest.raises(ConfigError, match="exists; name another folder with -o, or delete it first: rm -r"):
        CliRunner().invoke(app, command, catch_exceptions=False)
