"""Training the generator on a tiny model: what is learnt, what is kept, and the comparison before it serves."""

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset
from peft import PeftModel
from safetensors.torch import load_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

from rag.build import parts
from rag.build.serving import serving_over
from rag.config import load_settings
from rag.data.labelled import Example
from rag.data.questions import Question
from rag.errors import ConfigError, DataError, ModelError, RunMismatchError
from rag.evaluate.verdict import KEEP_BASE, PROMOTE, gate_lines
from rag.generate.builtin import get_prompt
from rag.generate.engines.transformers import TransformersGenerator, render_chat
from rag.generate.saved import PROMPT_FILE, read_prompt
from rag.models.promoted import go_back, what_serves
from rag.resume import read_jsonl
from rag.train import gate_generator as gating
from rag.train.files import TrainingFiles
from rag.train.gate import watched_ids
from rag.train.gate_generator import is_right_answer, verdict_on_answers
from rag.train.generator import train_generator
from rag.train.generator_encoding import IGNORED, collate, encode_row, load_tokenizer, training_dataset
from rag.train.generator_loss import answer_logits, answer_loss, generator_figures
from rag.train.generator_recipes import RECIPES
from rag.train.generator_rows import Row
from rag.train.lora import add_lora, load_causal, merge_lora
from rag.train.meet import gate_model
from rag.train.prepare_generator import is_causal, training_forms
from rag.train.promote import promote_model
from rag.train.run import Watch
from rag.train.telemetry import LOG_FILE
from rag.train.tune import tune_generator
from rag.types import CANNOTANSWER
from tests.conftest import CHAT_TEMPLATE
from tests.fakes.training import rows as train_rows
from tests.fakes.training import unanswerable_rows

WORDS = ("river", "lake", "tower", "bridge", "king", "queen", "ship", "train")
FAST = {"rank": 4, "alpha": 8, "layers": 1, "batch_size": 2, "accumulation": 2, "learning_rate": 5e-3, "epochs": 3}


def row(question, target, system="answer"):
    messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
    return Row(f"q {question}", "found", messages, target)


ROWS = [row(f"where is the {word}", "in graz" if n % 2 else CANNOTANSWER) for n, word in enumerate(WORDS)]
DEV = [row("the old river", CANNOTANSWER), row("who is the old king", "in graz")]


def recipe(**changes):
    return replace(RECIPES["lora"], **{**FAST, **changes})


def train(base, target, evaluations=3, rows=ROWS, **changes):
    watch = Watch(evaluations=evaluations, log_steps=1)
    prompt = get_prompt("tuned-v1")
    return train_generator(base, rows, recipe(**changes), target, prompt=prompt, dev=DEV, watched=["w1"], watch=watch)


@pytest.fixture(scope="session")
def tiny_causal_folder(tmp_path_factory):
    """A Qwen2 of random weights whose tokens are bytes, so that every text has its tokens, capitals too."""
    folder = tmp_path_factory.mktemp("causal")
    torch.manual_seed(3)
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    pieces = [*special, *sorted(pre_tokenizers.ByteLevel.alphabet())]
    bytes_alone = Tokenizer(models.BPE({piece: n for n, piece in enumerate(pieces)}, []))
    bytes_alone.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bytes_alone.decoder = decoders.ByteLevel()
    PreTrainedTokenizerFast(
        tokenizer_object=bytes_alone,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        chat_template=CHAT_TEMPLATE,
    ).save_pretrained(folder)
    config = Qwen2Config(
        vocab_size=len(pieces),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=2048,
        eos_token_id=2,
        pad_token_id=0,
    )
    Qwen2ForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture
def tokenizer(tiny_causal_folder):
    return load_tokenizer(tiny_causal_folder)


@pytest.fixture
def batch(tokenizer):
    """Rows of three lengths, with answers of different lengths."""
    rows = [
        row("where", "in graz"),
        row("who built the old red bridge", "the king"),
        row("what is it", "clara voss in"),
    ]
    return collate(list(training_dataset(rows, tokenizer, 512)))


def test_labels_are_the_answers_tokens_and_the_end_of_the_turn_alone(tokenizer):
    ids, labels = encode_row(tokenizer, row("where is the river", "in graz"))
    prompt = tokenizer(render_chat(tokenizer, row("where is the river", "").messages))["input_ids"]
    known = tokenizer.convert_tokens_to_ids([*"inĠgraz", "<|im_end|>"])  # Ġ is a space
    assert ids == [*prompt, *known]
    assert labels == [IGNORED] * len(prompt) + known


def test_rows_are_padded_behind_their_ends_without_labels():
    made = collate([{"input_ids": [7, 8, 9], "labels": [IGNORED, 8, 9]}, {"input_ids": [5], "labels": [5]}])
    assert made["input_ids"].tolist() == [[7, 8, 9], [5, 0, 0]]
    assert made["labels"].tolist() == [[IGNORED, 8, 9], [5, IGNORED, IGNORED]]
    assert "attention_mask" not in made


def test_rows_that_are_too_long_are_left_out_and_counted(tokenizer, capsys):
    lengths = [len(encode_row(tokenizer, own)[0]) for own in (ROWS[0], ROWS[1])]
    assert lengths[0] > lengths[1]
    made = training_dataset(ROWS[:2], tokenizer, lengths[1])
    assert made["qid"][:] == [ROWS[1].qid]
    assert f"1 of 2 rows are longer than {lengths[1]} tokens" in capsys.readouterr().err


def test_the_loss_is_that_of_all_logits_at_the_answers_meant_over_rows(tiny_causal_folder, batch):
    model = add_lora(AutoModelForCausalLM.from_pretrained(tiny_causal_folder), recipe())
    widths = []
    model.get_base_model().lm_head.register_forward_hook(lambda module, given, made: widths.append(made.shape[:-1]))
    loss = answer_loss(model, batch)
    n_tokens = (batch["labels"] != IGNORED).sum()
    assert widths == [(1, n_tokens)]
    losses = []
    for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True):
        end = int((labels != IGNORED).nonzero().max()) + 1  # each row by itself, without padding
        logits = model(input_ids=ids[None, :end]).logits[0, :-1]
        losses.append(cross_entropy(logits, labels[1:end], ignore_index=IGNORED))
    torch.testing.assert_close(loss, torch.stack(losses).mean())


def test_logits_are_those_of_the_chosen_positions_in_order(tiny_causal_folder, batch):
    model = add_lora(AutoModelForCausalLM.from_pretrained(tiny_causal_folder), recipe())
    at = torch.zeros_like(batch["input_ids"], dtype=torch.bool)
    at[0, 3] = at[1, 0] = at[1, 5] = True
    whole = model(input_ids=batch["input_ids"]).logits
    chosen = answer_logits(model, batch["input_ids"], at)
    torch.testing.assert_close(chosen, torch.stack([whole[0, 3], whole[1, 0], whole[1, 5]]))


def test_adapters_of_the_last_layer_learn_and_nothing_else(tiny_causal_folder, batch):
    model = add_lora(AutoModelForCausalLM.from_pretrained(tiny_causal_folder), recipe())
    learning = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert len(learning) == 7 * 2  # A and B of q, k, v, o, gate, up and down
    assert all("layers.1." in name and "lora_" in name for name in learning)
    needs = {}
    for n, layer in enumerate(model.get_base_model().model.layers):
        layer.register_forward_hook(lambda module, given, made, n=n: needs.update({n: made.requires_grad}))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    answer_loss(model, batch).backward()
    assert needs == {0: False, 1: True}  # nothing of the lower layer is kept for the backward pass
    torch.optim.SGD([p for p in model.parameters() if p.requires_grad], 1.0).step()
    changed = {name for name, tensor in model.state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed == {name for name in learning if "lora_B" in name}  # A moves once B is not zero


def test_all_layers_learn_where_none_is_named_or_more_than_there_are(tiny_causal_folder):
    for layers in (0, 12):
        model = add_lora(AutoModelForCausalLM.from_pretrained(tiny_causal_folder), recipe(layers=layers))
        assert sum(parameter.requires_grad for parameter in model.parameters()) == 2 * 7 * 2


def test_merged_weights_are_base_plus_adapter(tiny_causal_folder):
    base = load_file(tiny_causal_folder / "model.safetensors")
    model = add_lora(AutoModelForCausalLM.from_pretrained(tiny_causal_folder), recipe(rank=3, alpha=6))
    torch.manual_seed(0)
    factors = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            parameter.data = torch.randn_like(parameter)
            factors[name.removeprefix("base_model.model.")] = parameter.data.clone()
    plain, drift = merge_lora(model)
    merged = plain.state_dict()
    for name, weight in base.items():
        module = name.removesuffix(".weight")
        expected = weight
        if f"{module}.lora_B.default.weight" in factors:
            b, a = (factors[f"{module}.lora_{kind}.default.weight"] for kind in "BA")
            expected = weight + 2.0 * (b @ a)
        assert merged[name].dtype == torch.bfloat16
        assert torch.equal(merged[name], expected.to(torch.bfloat16)), name
    assert list(drift) == ["layer 01"]
    assert drift["layer 01"] > 1


def test_a_generator_learns_and_leaves_adapter_model_and_prompt(tmp_path, tiny_causal_folder):
    model = train(tiny_causal_folder, tmp_path / "run", epochs=12)
    log = read_jsonl(tmp_path / "run" / LOG_FILE)
    losses = [line["loss"] for line in log if "loss" in line]
    assert np.mean(losses[-4:]) < np.mean(losses[:4])
    looks = [line for line in log if "eval_dev_loss" in line]
    assert looks[0]["step"] == 0
    assert all("eval_dev_refusal_auc" in line for line in looks)
    states = (tmp_path / "run" / "checkpoints").glob("*/trainer_state.json")
    last = max((json.loads(path.read_text("utf-8")) for path in states), key=lambda state: state["global_step"])
    assert last["best_metric"] == pytest.approx(min(line["eval_dev_loss"] for line in looks[1:]))
    weights = load_file(model / "model.safetensors")
    assert {tensor.dtype for tensor in weights.values()} == {torch.bfloat16}
    assert (tmp_path / "run" / "adapter" / "adapter_model.safetensors").is_file()
    assert read_prompt(model / PROMPT_FILE) == read_prompt(tmp_path / "run" / "adapter" / PROMPT_FILE)
    assert read_prompt(model / PROMPT_FILE) == get_prompt("tuned-v1")
    assert json.loads((tmp_path / "run" / "drift.json").read_text("utf-8"))["layer 01"] > 0
    assert json.loads((tmp_path / "run" / "cost.json").read_text("utf-8"))["n_questions"] == len(ROWS)
    assert watched_ids(model) == {"w1"}
    # what serves says what was trained, up to the rounding of its weights
    ids = torch.tensor([encode_row(load_tokenizer(model), ROWS[0])[0]])
    plain = AutoModelForCausalLM.from_pretrained(tiny_causal_folder)
    base = plain(input_ids=ids).logits
    adapted = PeftModel.from_pretrained(plain, tmp_path / "run" / "adapter")(input_ids=ids).logits
    merged = AutoModelForCausalLM.from_pretrained(model, dtype=torch.float32)(input_ids=ids).logits
    assert (merged - adapted).abs().max() < 0.1 * (adapted - base).abs().max()
    assert len(TransformersGenerator(model, max_new_tokens=2, device="cpu").generate([ROWS[0].messages])) == 1


def test_another_recipe_base_or_data_is_refused_and_a_finished_run_left(tmp_path, tiny_causal_folder):
    model = train(tiny_causal_folder, tmp_path / "run", epochs=1, evaluations=1)
    before = (model / "model.safetensors").stat().st_mtime_ns
    train(tiny_causal_folder, tmp_path / "run", epochs=1, evaluations=1)
    assert (model / "model.safetensors").stat().st_mtime_ns == before
    with pytest.raises(RunMismatchError, match=r"recipe\.rank: 4 there, 2 now"):
        train(tiny_causal_folder, tmp_path / "run", epochs=1, rank=2)
    with pytest.raises(RunMismatchError, match=r"\(data: "):
        train(tiny_causal_folder, tmp_path / "run", epochs=1, rows=[*ROWS[:-1], row("who", "clara")])


def test_what_is_no_causal_language_model_is_told_before_the_folder_is_taken(tmp_path, tiny_reranker_folder):
    (tmp_path / "none").mkdir()
    with pytest.raises(ModelError, match="cannot be loaded as a causal language model"):
        load_causal(tmp_path / "none")
    with pytest.raises(ModelError, match="no chat template"):
        train(tiny_reranker_folder, tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_where_every_row_is_too_long_training_is_refused(tmp_path, tiny_causal_folder):
    with pytest.raises(ConfigError, match=r"raise training\.generator\.max_length_tokens"):
        train(tiny_causal_folder, tmp_path / "run", max_length_tokens=1)
    assert not (tmp_path / "run").exists()


KILLED = """
import os, signal, sys
from pathlib import Path
from rag.train.telemetry import Telemetry
from tests.train.test_generator import train

def killed(self, args, state, control, **kwargs):
    if state.global_step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

Telemetry.on_step_end = killed
train(sys.argv[1], Path(sys.argv[2]))
"""


def test_a_run_killed_within_an_epoch_goes_on_to_the_same_weights(tmp_path, tiny_causal_folder):
    # 8 rows in batches of 2, two of which make a step: an epoch of 2 steps; a checkpoint at 2, 4 and 6, killed at 5
    whole = train(tiny_causal_folder, tmp_path / "whole")
    command = [sys.executable, "-c", KILLED, tiny_causal_folder, tmp_path / "run"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == -signal.SIGKILL, result.stderr[-4000:]
    model = train(tiny_causal_folder, tmp_path / "run")
    steps = [line["step"] for line in read_jsonl(tmp_path / "run" / LOG_FILE) if "loss" in line]
    assert steps == [1, 2, 3, 4, 5, 6]
    one, other = (load_file(folder.parent / "adapter" / "adapter_model.safetensors") for folder in (whole, model))
    assert one.keys() == other.keys()
    assert all(torch.allclose(one[name], other[name], atol=1e-5) for name in one)


def test_figures_on_dev_by_hand():
    logits = {1: [0.0, 0.0, 0.0], 2: [0.0, 5.0, 0.0], 3: [0.0, 1.0, 0.0]}

    class Model:
        device = torch.device("cpu")

        def get_base_model(self):
            return self

        def get_output_embeddings(self):
            return head

        def __call__(self, input_ids, use_cache):
            hidden = torch.tensor([[logits[int(n)] for n in ids] for ids in input_ids])
            return type("Output", (), {"logits": head(hidden)})

    head = torch.nn.Identity()
    first = torch.tensor(logits[1]).log_softmax(-1), torch.tensor(logits[2]).log_softmax(-1)
    third = torch.tensor(logits[3]).log_softmax(-1)
    made = {
        "input_ids": [[1, 2], [2, 1], [3, 2]],
        "labels": [[IGNORED, 2], [IGNORED, 1], [IGNORED, 2]],
        "refuses": [False, True, False],
        "qid": ["a", "b", "c"],
    }
    found = generator_figures(Model(), Dataset.from_dict(made), refusal_id=1)
    assert found["loss"] == pytest.approx(float(-(first[0][2] + first[1][1] + third[2]) / 3))
    assert found["refusal_auc"] == 1.0  # token 1 is likeliest where the question is refused
    made["refuses"] = [True, False, False]
    assert generator_figures(Model(), Dataset.from_dict(made), refusal_id=1)["refusal_auc"] == 0.0


def scores(right, cos_sim, decision):
    return {"right": right, "cos_sim": cos_sim, "right_decision": decision}


def test_one_figure_has_to_rise_and_none_may_fall():
    low, high, same = [0.0] * 40, [1.0] * 40, [0.5] * 40
    base = scores(low, same, same)
    assert verdict_on_answers(scores(high, same, same), base, 0.1, ["a"] * 40)["verdict"] == PROMOTE
    record = verdict_on_answers(scores(high, low, same), base, 0.1, ["a"] * 40)
    assert (record["verdict"], record["reasons"]) == (KEEP_BASE, ["cos_sim falls"])
    # a gain in refusals alone is enough, if the rest is as it was
    base = scores(same, same, low)
    assert verdict_on_answers(scores(same, same, high), base, 0.1, ["a"] * 40)["verdict"] == PROMOTE
    assert verdict_on_answers(base, base, 0.1, ["a"] * 40)["reasons"][0].startswith("none of right (p = 1.000)")
    (reason,) = verdict_on_answers(scores(same, same, high), base, 0.6, ["a"] * 40)["reasons"]
    assert reason == "right is no better than refusing every question (0.600)"


def test_chance_in_one_of_three_figures_promotes_nothing():
    base = [0.0] * 60
    # Of six differences all have one sign by chance with p = 2 / 2^6 = .03: too little for one of three figures.
    tuned = [1.0] * 6 + [0.0] * 54
    record = verdict_on_answers(scores(tuned, base, base), scores(base, base, base), -1.0, ["a"] * 60)
    assert 0.05 / 3 < record["metrics"]["right"]["p_value"] < 0.05
    assert record["verdict"] == KEEP_BASE


def test_a_refusal_is_right_where_there_is_no_answer():
    answerable = Example(Question("q", "", "who built it?", "Clara Voss", ("Voss",)), ("d@0",))
    unanswerable = Example(Question("u", "", "who owns it?", CANNOTANSWER), ())
    assert is_right_answer(answerable, "by Clara Voss")
    assert not is_right_answer(answerable, CANNOTANSWER)
    assert is_right_answer(unanswerable, CANNOTANSWER)
    assert not is_right_answer(unanswerable, "Clara Voss")


@pytest.fixture
def generators(data, tiny_encoder_folder, tiny_causal_folder):
    """Settings with a tiny generator, and questions without answers among those to train and judge by."""
    settings, folder = data
    for name, numbers in (("train", range(8)), ("dev", range(22, 27))):
        with (folder / f"{name}.txt").open("a", encoding="utf-8") as stream:
            stream.write(unanswerable_rows(numbers))
    fast = {**FAST, "epochs": 1, "evaluations": 1, "dev_questions": 3, "gate_questions": 4, "max_length_tokens": 2000}
    overrides = [f"training.generator.{name}={value}" for name, value in fast.items()]
    overrides += [f"generator.model={tiny_causal_folder}", "generator.kind=transformers", "prompt.name=auto"]
    own = load_settings(overrides=[*overrides, "generator.max_new_tokens=4", f"scorer.model={tiny_encoder_folder}"])
    changed = {name: getattr(own, name) for name in ("generator", "training", "scorer", "prompt")}
    return settings.model_copy(update=changed), folder


def test_a_generator_is_trained_compared_and_promoted(generators, capsys):
    settings, folder = generators
    serving, run = serving_over(settings, folder / "index"), folder / "run"
    files = TrainingFiles(folder / "train.txt", folder / "dev.txt")
    record = tune_generator(serving, files, run, "lora")
    assert record == json.loads((run / "gate.json").read_text("utf-8"))
    assert (record["role"], record["base"], record["primary"]) == ("generator", settings.generator.model, "right")
    assert set(record["metrics"]) == {"right", "cos_sim", "right_decision"}
    judged = {line["qid"] for line in read_jsonl(run / "gate-questions.jsonl")}
    assert len(judged) == record["n_dev"] == 6  # 4 answerable, and their share of the 4 or 5 others
    assert not judged & watched_ids(run)
    assert record["shuffle_floor"] == pytest.approx(len(record["unanswerable"]) / 6)
    assert "unanswerable questions refused: " in "\n".join(gate_lines(record))
    assert "rows: " in capsys.readouterr().err
    answers = sorted(run.glob("gate-answers-*.jsonl"))
    assert [len(read_jsonl(path)) for path in answers] == [6, 6]
    (run / "gate.json").write_text(json.dumps({**record, "verdict": PROMOTE}))
    assert "prompt.name = auto" in promote_model(run)
    assert what_serves(settings.generator.model) == str((run / "model").resolve())
    assert parts.find_generator_model(settings).folder == (run / "model").resolve()
    assert parts.make_prompt(settings) == get_prompt("tuned-v1")
    assert go_back(settings.generator.model) == settings.generator.model
    assert parts.make_prompt(settings) == get_prompt("extract-v1")


def test_a_comparison_that_was_killed_asks_for_no_answer_twice(generators, monkeypatch):
    settings, folder = generators
    serving, run = serving_over(settings, folder / "index"), folder / "run"
    files = TrainingFiles(folder / "train.txt", folder / "dev.txt")
    record = tune_generator(serving, files, run, "lora")
    for path in run.glob("gate-answers-*.jsonl"):
        lines = path.read_bytes().splitlines(keepends=True)
        path.write_bytes(b"".join(lines[:2]))
    (run / "gate.json").unlink()
    asked = []
    generate = TransformersGenerator.generate
    monkeypatch.setattr(
        TransformersGenerator, "generate", lambda self, prompts: asked.extend(prompts) or generate(self, prompts)
    )
    assert tune_generator(serving, files, run, "lora") == record
    assert len(asked) == 2 * 4


def test_an_adapter_that_does_nothing_is_refused(generators, tmp_path):
    settings, folder = generators
    serving = serving_over(settings, folder / "index")
    same = shutil.copytree(settings.generator.model, tmp_path / "same")
    record = gate_model(serving, same, folder / "dev.txt", tmp_path / "met")
    assert record["verdict"] == KEEP_BASE
    assert all(figures["difference"] == 0 for figures in record["metrics"].values())
    with pytest.raises(ConfigError, match="KEEP BASE"):
        promote_model(tmp_path / "met")


def test_answers_are_compared_with_references_and_refusals(generators, monkeypatch, tmp_path):
    settings, folder = generators
    serving = serving_over(settings, folder / "index")
    right, wrong = {}, {}
    for line in [*train_rows(range(22, 30)).splitlines(), *unanswerable_rows(range(22, 27)).splitlines()]:
        one = json.loads(line)
        right[one["qid"]], wrong[one["qid"]] = one["answer"]["text"], "somewhere else"
    monkeypatch.setattr(gating, "_answers", lambda *given: right if given[-1] == "tuned" else wrong)
    record = gate_model(serving, settings.generator.model, folder / "dev.txt", tmp_path / "met")
    assert {name: figures["tuned"] for name, figures in record["metrics"].items()} == pytest.approx(
        {"right": 1.0, "cos_sim": 1.0, "right_decision": 1.0}
    )
    assert record["metrics"]["right"]["base"] == 0.0
    assert record["metrics"]["right_decision"]["base"] == pytest.approx(8 / 13)
    assert record["refused"] == {"unanswerable": {"base": 0.0, "tuned": 1.0}, "answerable": {"base": 0.0, "tuned": 0.0}}
    assert record["verdict"] == PROMOTE


def test_what_cannot_be_trained_is_refused_before_contexts_are_found(generators, monkeypatch):
    settings, folder = generators
    files = TrainingFiles(folder / "train.txt", folder / "dev.txt")
    monkeypatch.setattr("rag.train.prepare_generator.find_contexts", lambda *given: pytest.fail("contexts were found"))

    def refused(error, message, section="generator", given=files, recipe_name="lora", **changes):
        changed = settings.model_copy(update={section: getattr(settings, section).model_copy(update=changes)})
        with pytest.raises(error, match=message):
            tune_generator(serving_over(changed, folder / "index"), given, folder / "run", recipe_name)

    refused(ConfigError, "runs on a server", kind="server")
    refused(ModelError, "no causal language model", model=settings.encoder.model)
    refused(ConfigError, r"leave prompt\.demonstrations out", section="prompt", demonstrations="train.txt")
    refused(ConfigError, "no recipe is called 'qlora'", recipe_name="qlora")
    bare = folder / "bare.txt"
    lines = [json.loads(line) for line in train_rows(range(8)).splitlines()]
    bare.write_text("".join(json.dumps({**line, "answer": None}) + "\n" for line in lines), "utf-8")
    refused(DataError, "no answerable question with a reference", given=replace(files, train=bare))
    assert not (folder / "run").exists()


def test_a_model_is_trained_with_the_prompt_that_is_named_or_that_it_knows(tmp_path):
    forms = training_forms(load_settings(overrides=["prompt.name=auto"]))
    assert (forms.short.name, forms.sentences.name) == ("tuned-v1", "tuned-sentences-v1")
    forms = training_forms(load_settings(overrides=["prompt.name=cited-v1"]))
    assert forms.short == forms.sentences == get_prompt("cited-v1")
    (tmp_path / PROMPT_FILE).write_text('{"name": "mine", "system": "", "user": "{{ question }}", "parser": "strip"}')
    (tmp_path / "config.json").write_text("{}")
    forms = training_forms(load_settings(overrides=["prompt.name=auto", f"generator.model={tmp_path}"]))
    assert forms.short.name == forms.sentences.name == "mine"


def test_a_checkpoint_that_names_no_architecture_is_known_by_its_kind_and_its_chat_template(tmp_path):
    chat, config = tmp_path / "chat_template.jinja", tmp_path / "config.json"
    # As the packaged generator is, which was converted from GGUF.
    config.write_text(json.dumps({"model_type": "qwen2"}), "utf-8")
    assert not is_causal(tmp_path)
    chat.write_text("{{ messages }}", "utf-8")
    assert is_causal(tmp_path)
    config.write_text(json.dumps({"model_type": "vit"}), "utf-8")
    assert not is_causal(tmp_path)
    config.write_text(json.dumps({"model_type": "qwen2", "architectures": ["Qwen2ForSequenceClassification"]}), "utf-8")
    assert not is_causal(tmp_path)
