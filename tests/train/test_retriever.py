"""Training the retriever on a tiny model: what it learns, writes, resumes and refuses."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from datasets import Dataset
from sentence_transformers import SentenceTransformer

from rag.data.labelled import Example
from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.errors import ConfigError, RunMismatchError
from rag.resume import read_jsonl
from rag.retrieve.encoder import Encoder
from rag.train.dev_evaluation import make_dev_pool, pool_figures
from rag.train.negatives import Mined
from rag.train.retriever import train_retriever
from rag.train.retriever_recipes import RECIPES
from rag.train.retriever_rows import training_rows, unasked_passages
from rag.train.run import Watch
from rag.train.sampler import WholeEpochSampler
from rag.train.telemetry import LOG_FILE, Telemetry
from rag.types import Passage
from tests.fakes.tiny import WORDS

PROMPTS = {"query": "query: ", "passage": "passage: "}
NOUNS = [word for word in WORDS if word.isalpha() and len(word) > 3][:24]
CORPUS = Corpus([Passage(f"d{n}@0", f"the {word} and the {NOUNS[n - 1]}") for n, word in enumerate(NOUNS)])
EXAMPLES = [Example(Question(f"q{n}", "", f"who built the {word}"), (f"d{n}@0",)) for n, word in enumerate(NOUNS)]
MINED = {
    f"q{n}": Mined(
        f"q{n}",
        f"who built the {word}",
        ((f"d{n}@0", 0.9),),
        tuple((f"d{(n + step) % len(NOUNS)}@0", 0.1 * step) for step in (1, 2, 3)),
    )
    for n, word in enumerate(NOUNS)
}
DEV = make_dev_pool(EXAMPLES[:8], CORPUS, [[f"d{n}@0" for n in range(12)]] * 8)
FAST = {"epochs": 8, "batch_size": 8, "learning_rate": 5e-3, "warmup_steps": 2, "freeze_embeddings": False}


def read_training_log(run):
    return read_jsonl(run / LOG_FILE)


def recipe(name, **changes):
    return replace(RECIPES[name], **{**FAST, "negatives": min(RECIPES[name].negatives, 3), **changes})


def train(base, target, name="mined", **options):
    chosen = options.pop("recipe", None) or recipe(name, filter_by_guide=False)
    examples = options.pop("examples", EXAMPLES)
    options = {"dev": DEV, "mined": MINED, "watch": Watch(log_steps=1), **options}
    return train_retriever(base, PROMPTS, examples, CORPUS, chosen, target, **options)


@pytest.mark.usefixtures("curves")
@pytest.mark.parametrize("name", sorted(name for name, one in RECIPES.items() if not one.query_only))
def test_every_recipe_learns_and_leaves_a_plain_checkpoint(tmp_path, tiny_encoder_folder, tiny_generator_folder, name):
    last_token = RECIPES[name].pooling == "lasttoken"
    model = train(tiny_generator_folder if last_token else tiny_encoder_folder, tmp_path / "run", name)
    log = read_training_log(tmp_path / "run")
    losses = [row["loss"] for row in log if "loss" in row]
    assert np.mean(losses[-5:]) < np.mean(losses[:5])
    assert all(row["separation"] is not None for row in log if "loss" in row)
    loaded = SentenceTransformer(str(model), device="cpu")
    assert loaded.prompts["query"] == "query: "
    assert loaded.max_seq_length == (512 if last_token else 64)
    encoder = Encoder(model, device="cpu", precision="fp32")
    assert encoder.fingerprint.passage_prompt == "passage: "
    assert (tmp_path / "run" / "curves.png").stat().st_size > 1000
    drift = json.loads((tmp_path / "run" / "drift.json").read_text("utf-8"))
    assert {"layer 00", "layer 01", "embeddings"} <= {layer for layer, value in drift.items() if value > 0}


def test_questions_are_not_trained_alone_without_the_vectors_of_an_index(tmp_path, tiny_encoder_folder):
    with pytest.raises(ConfigError, match="'query' needs the vectors of an index"):
        train(tiny_encoder_folder, tmp_path / "run", "query")
    assert not (tmp_path / "run").exists()


def test_the_best_by_dev_is_kept_and_better_than_the_base(tmp_path, tiny_encoder_folder):
    train(tiny_encoder_folder, tmp_path / "run")
    log = read_training_log(tmp_path / "run")
    dev = [row["eval_dev_mrr@10"] for row in log if "eval_dev_mrr@10" in row]
    assert log[0]["step"] == 0
    assert max(dev[1:]) > dev[0]
    encoder = Encoder(tmp_path / "run" / "model", device="cpu", precision="fp32")
    passages, _ = encoder.encode_passages(DEV.passages)
    kept = pool_figures(encoder.encode_queries(DEV.queries), passages, DEV.gold)["mrr@10"]
    assert kept == pytest.approx(max(dev), abs=0.05)


@pytest.mark.parametrize("tension_share", [None, 0.5])
def test_a_killed_run_goes_on_from_its_checkpoint(tmp_path, tiny_encoder_folder, monkeypatch, tension_share):
    # An epoch of 3 steps, a checkpoint at 5, 10, 15 and 20; killed at 15, before that one is written. With dropout,
    # whose random numbers have to go on, too.
    changes = {"filter_by_guide": False, "dropout": 0.1, "tension_share": tension_share}
    how = {"recipe": recipe("mined", **changes), "watch": Watch(log_steps=1, evaluations=5), "examples": EXAMPLES[:20]}
    whole = train(tiny_encoder_folder, tmp_path / "whole", **how)
    plain = Telemetry.on_step_end

    def killed(self, args, state, control, **kwargs):
        plain(self, args, state, control, **kwargs)
        if state.global_step == 15:
            raise KeyboardInterrupt

    monkeypatch.setattr(Telemetry, "on_step_end", killed)
    with pytest.raises(KeyboardInterrupt):
        train(tiny_encoder_folder, tmp_path / "run", **how)
    assert not (tmp_path / "run" / "model").exists()
    monkeypatch.setattr(Telemetry, "on_step_end", plain)
    (tmp_path / "run" / "checkpoints" / "checkpoint-99").mkdir()  # the kill fell into the writing of another one
    model = train(tiny_encoder_folder, tmp_path / "run", **how)
    steps = [row["step"] for row in read_training_log(tmp_path / "run") if "loss" in row]
    assert steps == list(range(1, 25))
    one, other = (SentenceTransformer(str(folder), device="cpu").encode(list(DEV.queries)) for folder in (whole, model))
    assert np.allclose(one, other, atol=1e-3)


@pytest.mark.usefixtures("curves")
@pytest.mark.parametrize(("name", "changes"), [("mined", {"mini_batch_size": 4}), ("distill", {}), ("margin", {})])
def test_passages_without_questions_are_learnt_from_too(tmp_path, tiny_encoder_folder, name, changes):
    plain = recipe(name, filter_by_guide=False, epochs=1, **changes)
    with_tension = replace(plain, tension_share=2.0)
    folders = [
        train(tiny_encoder_folder, tmp_path / run, recipe=one, examples=EXAMPLES[:16])
        for run, one in (("plain", plain), ("tension", with_tension))
    ]
    rows = training_rows(EXAMPLES[:16], CORPUS, with_tension, MINED)
    unasked = unasked_passages(EXAMPLES[:16], rows, CORPUS, with_tension)
    texts = [CORPUS[n].content for n in range(16, 24)]
    assert sorted(unasked) == sorted(2 * texts)
    assert sorted(unasked[:8]) == sorted(texts)
    one, other = (SentenceTransformer(str(folder), device="cpu").encode(texts) for folder in folders)
    assert not np.allclose(one, other, atol=1e-4)
    assert {path.name for path in folders[0].iterdir()} == {path.name for path in folders[1].iterdir()}
    with pytest.raises(RunMismatchError, match="unasked"):
        train(tiny_encoder_folder, tmp_path / "tension", recipe=replace(with_tension, seed=1), examples=EXAMPLES[:16])
    with pytest.raises(ConfigError, match="every passage has a training question"):
        train(tiny_encoder_folder, tmp_path / "asked", recipe=with_tension)


def test_a_finished_run_is_left_as_it_is(tmp_path, tiny_encoder_folder):
    model = train(tiny_encoder_folder, tmp_path / "run")
    before = (model / "model.safetensors").stat().st_mtime_ns
    assert train(tiny_encoder_folder, tmp_path / "run") == model
    assert (model / "model.safetensors").stat().st_mtime_ns == before


def test_a_folder_of_another_run_is_refused(tmp_path, tiny_encoder_folder):
    train(tiny_encoder_folder, tmp_path / "run")
    with pytest.raises(RunMismatchError, match=r"\(data: .* now; recipe\.dropout: 0\.0 there, 0\.1 now"):
        train(tiny_encoder_folder, tmp_path / "run", "report")


def test_a_recipe_without_what_it_needs_is_refused(tmp_path, tiny_encoder_folder):
    with pytest.raises(ConfigError, match="rag mine"):
        train(tiny_encoder_folder, tmp_path / "a", mined=None)
    with pytest.raises(ConfigError, match="guide"):
        train(tiny_encoder_folder, tmp_path / "b", recipe=recipe("mined"))
    with pytest.raises(ConfigError, match="starts from a causal language model"):
        train(tiny_encoder_folder, tmp_path / "b", "lasttoken")
    assert not (tmp_path / "b").exists()
    with pytest.raises(ConfigError, match="mine more"):
        train(tiny_encoder_folder, tmp_path / "c", recipe=recipe("mined", negatives=5, filter_by_guide=False))


def test_frozen_embeddings_stay_as_they_are(tmp_path, tiny_encoder_folder):
    train(tiny_encoder_folder, tmp_path / "run", recipe=recipe("mined", filter_by_guide=False, freeze_embeddings=True))
    drift = json.loads((tmp_path / "run" / "drift.json").read_text("utf-8"))
    before, after = (
        SentenceTransformer(str(f), device="cpu")[0].model.get_input_embeddings().weight.detach().numpy()
        for f in (tiny_encoder_folder, tmp_path / "run" / "model")
    )
    assert np.array_equal(before, after)
    assert drift["layer 00"] > 0


def test_a_share_of_the_tuned_weights_is_kept_and_the_rest_is_the_bases(tmp_path, tiny_encoder_folder):
    chosen = recipe("mined", filter_by_guide=False, epochs=1)
    whole = train(tiny_encoder_folder, tmp_path / "whole", recipe=chosen)
    mixed = train(tiny_encoder_folder, tmp_path / "mixed", recipe=replace(chosen, tuned_share=0.25))
    base, tuned, found = (
        SentenceTransformer(str(f), device="cpu").state_dict() for f in (tiny_encoder_folder, whole, mixed)
    )
    assert any(not torch.allclose(tuned[name], base[name]) for name in base)
    for name in base:
        torch.testing.assert_close(found[name], 0.25 * tuned[name] + 0.75 * base[name], atol=1e-5, rtol=1e-4)


def test_dev_is_asked_of_what_would_be_kept(tmp_path, tiny_encoder_folder):
    def separations(folder):
        return [row["eval_dev_separation"] for row in read_training_log(folder) if "eval_dev_separation" in row]

    chosen = recipe("mined", filter_by_guide=False)
    train(tiny_encoder_folder, tmp_path / "whole", recipe=chosen)
    train(tiny_encoder_folder, tmp_path / "hardly", recipe=replace(chosen, tuned_share=1e-6))
    untuned, *whole = separations(tmp_path / "whole")
    assert separations(tmp_path / "hardly") == pytest.approx([untuned] * (1 + len(whole)), abs=1e-4)
    assert abs(whole[-1] - untuned) > 1e-2


def test_pool_figures_by_hand():
    passages = np.eye(12, dtype=np.float32)
    queries = np.zeros((2, 12), np.float32)
    queries[0, [3, 5]] = 2.0, 1.0
    gold = [frozenset({5, 11}), frozenset({9})]
    # query 0: order 3, 5, then all equal, 11 as gold the last of them; query 1: all equal, 9 the last
    figures = pool_figures(queries, passages, gold)
    assert figures["recall@10"] == pytest.approx((0.5 + 0.0) / 2)
    assert figures["mrr@10"] == pytest.approx((1 / 2 + 0.0) / 2)
    assert figures["spread"] == pytest.approx((queries[0].std() + 0.0) / 2)
    assert figures["separation"] == pytest.approx(((1.0 - 2.0) + 0.0) / 2)


def test_pool_figures_of_what_is_no_number_are_nothing():
    queries, passages = np.full((1, 4), np.nan, np.float32), np.eye(4, dtype=np.float32)
    assert set(pool_figures(queries, passages, [frozenset({0})]).values()) == {0.0}


def test_other_texts_are_another_run(tmp_path, tiny_encoder_folder):
    chosen = recipe("mined", filter_by_guide=False, epochs=1)
    train(tiny_encoder_folder, tmp_path / "run", recipe=chosen)
    edited = Corpus([replace(passage, text=passage.text + " again") for passage in CORPUS])
    with pytest.raises(RunMismatchError, match=r"\(data: \S+ there, \S+ now\)"):
        train_retriever(tiny_encoder_folder, PROMPTS, EXAMPLES, edited, chosen, tmp_path / "run", dev=DEV, mined=MINED)


def test_an_epoch_holds_every_row_once_though_passages_are_few():
    def sampled(n_passages):
        rows = [
            {"anchor": f"q{n}", "positive": f"p{n % n_passages}", "negative": f"p{(n + 1) % n_passages}", "label": n}
            for n in range(100)
        ]
        sampler = WholeEpochSampler(
            Dataset.from_list(rows), batch_size=16, drop_last=False, valid_label_columns=["label"]
        )
        batches = list(sampler)
        assert len(batches) == len(sampler) == 7
        assert sorted(row for batch in batches for row in batch) == list(range(100))
        assert max(map(len, batches)) == 16
        texts = [[rows[row][column] for row in batch for column in ("positive", "negative")] for batch in batches]
        return sum(len(own) - len(set(own)) for own in texts)

    assert sampled(6) > 0  # sixteen rows of two passages out of six
    assert sampled(200) == 0


def test_a_corpus_with_too_few_passages_for_random_negatives_is_told(tmp_path, tiny_encoder_folder):
    tiny = Corpus(CORPUS[:3])
    with pytest.raises(ConfigError, match=r"set training\.retriever\.negatives lower"):
        training_rows(EXAMPLES[:3], tiny, recipe("report", negatives=3), None)
    rows = training_rows(EXAMPLES[:3], tiny, recipe("report", negatives=2), None)
    assert [sorted(row.columns) for row in rows] == [[0, 1, 2]] * 3


def test_a_rate_that_only_rises_is_told(tmp_path, tiny_encoder_folder, capsys):
    chosen = recipe("mined", filter_by_guide=False, epochs=1, warmup_steps=1000)
    train(tiny_encoder_folder, tmp_path / "run", recipe=chosen)
    expected = "the learning rate only rises: training.retriever.warmup_steps is 1,000, the whole run 3 steps"
    assert expected in capsys.readouterr().err


def test_other_teacher_scores_are_another_run(tmp_path, tiny_encoder_folder):
    chosen = recipe("distill", epochs=1, filter_by_guide=False)
    train(tiny_encoder_folder, tmp_path / "run", recipe=chosen)
    other = {
        qid: replace(one, negatives=tuple((pid, score / 2) for pid, score in one.negatives))
        for qid, one in MINED.items()
    }
    with pytest.raises(RunMismatchError, match=r"\(data: \S+ there, \S+ now\)"):
        train(tiny_encoder_folder, tmp_path / "run", recipe=chosen, mined=other)


@pytest.mark.parametrize("name", ["mined", "distill"])
def test_what_has_become_gold_since_mining_is_no_negative(name):
    examples = [replace(EXAMPLES[0], positives=("d0@0", "d1@0")), *EXAMPLES[1:]]
    found = training_rows(examples, CORPUS, recipe(name, negatives=2), MINED)
    assert all(set(row.columns[1:]) == {2, 3} for row in found if row.query == "who built the " + NOUNS[0])


def test_a_teacher_is_asked_only_for_what_it_scored(capsys):
    unscored = {
        qid: replace(one, negatives=(("d20@0", None), *one.negatives[: 1 + (qid == "q5")]))
        for qid, one in MINED.items()
    }
    found = training_rows(EXAMPLES, CORPUS, recipe("distill", negatives=2), unscored)
    assert [row.columns for row in found] == [(5, 6, 7)]
    assert "warning: 23 gold passages are not trained on" in capsys.readouterr().err


def test_a_base_of_the_wrong_kind_is_refused(tmp_path, tiny_encoder_folder, tiny_generator_folder):
    with pytest.raises(ConfigError, match="--base"):
        train(tiny_encoder_folder, tmp_path / "a", "lasttoken")
    with pytest.raises(ConfigError, match="--base"):
        train(tiny_generator_folder, tmp_path / "b", "mined")
