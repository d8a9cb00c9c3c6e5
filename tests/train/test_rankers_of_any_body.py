"""Rerankers of other bodies than BERT: made of plain bodies, trained by every recipe, saved, scored and compared."""

import json

import numpy as np
import pytest
import torch
from sentence_transformers import CrossEncoder

from rag.build.serving import serving_over
from rag.errors import ConfigError, ModelError
from rag.models.adapter_making import Start, Words, make_adapter
from rag.rerank.checkpoint import read_reranker
from rag.rerank.cross_encoder import CrossEncoderReranker
from rag.resume import read_jsonl
from rag.train.gate import GATE_FILE
from rag.train.meet import role_of
from rag.train.model_parts import freeze_layers, learning_rates, parts_of
from rag.train.reranker_recipes import RECIPES
from rag.train.reranker_start import check_start, load_start
from rag.train.telemetry import LOG_FILE
from rag.train.tune import tune_reranker
from tests.fakes.bodies import make_body
from tests.fakes.training import mined, quick
from tests.train.test_reranker import recipe, train

BODIES = {
    "t5": ("t5", "T5EncoderModel", "chain"),
    "t5 with its decoder": ("t5", "T5ForConditionalGeneration", "chain"),
    "t5 with a head": ("t5", "T5ForSequenceClassification", "head"),
    "t5gemma": ("t5gemma", "T5GemmaEncoderModel", "chain"),
    "modernbert": ("modernbert", "ModernBertForMaskedLM", "chain"),
    "deberta": ("deberta", "DebertaV2Model", "chain"),
    "an encoder": ("e5", "", "chain"),
    "qwen3 without its head": ("qwen3", "Qwen3Model", "chain"),
    "qwen3": ("qwen3", "Qwen3ForCausalLM", "own"),
    "qwen3 with a head": ("qwen3", "Qwen3ForSequenceClassification", "head"),
}
PAIRS = [
    ("who built the river", "the river"),
    ("who built the tower", "the red bridge " * 3),
    ("who built the city", "in graz and in the north " * 40),
]


def body(folder, name):
    kind, architecture, runs = BODIES[name]
    extra = {"num_labels": 1} if runs == "head" else {}
    return make_body(folder, kind, architecture, **extra)


def scores(folder, **options):
    return CrossEncoderReranker(folder, device="cpu", precision="fp32", **options).score(PAIRS)


@pytest.mark.parametrize("name", BODIES)
def test_a_ranker_of_any_body_is_trained_by_hybrid_and_scores_as_sentence_transformers(tmp_path, name):
    model = train(body(tmp_path / "body", name), tmp_path / "run", "hybrid", epochs=2, max_length_tokens=400)
    assert read_reranker(model).kind == BODIES[name][2]
    assert role_of(model) == "reranker"
    drift = json.loads((tmp_path / "run" / "drift.json").read_text("utf-8"))
    assert list(drift) == ["embeddings", "head", "layer 00", "layer 01"]
    assert 0 < drift["embeddings"] < drift["layer 00"]
    assert drift["head"] > 0
    theirs = CrossEncoder(str(model), device="cpu").predict(PAIRS[:2], activation_fn=torch.nn.Identity())
    found = scores(model)
    assert np.allclose(found[:2], theirs, atol=1e-4)
    assert len(set(found)) == 3


@pytest.mark.parametrize("name", sorted(set(RECIPES) - {"hybrid"}))
@pytest.mark.parametrize("kind", ["t5", "qwen3"])
def test_every_recipe_trains_an_encoder_ranker_and_one_that_says_yes_or_no(tmp_path, kind, name):
    start = body(tmp_path / "body", kind)
    train(start, tmp_path / "run", name, epochs=4, max_length_tokens=400, learning_rate=1e-2)
    losses = [row["loss"] for row in read_jsonl(tmp_path / "run" / LOG_FILE) if "loss" in row]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


@pytest.mark.parametrize(("pooling", "mode"), [("first", "cls"), ("last", "lasttoken"), ("mean", "mean")])
def test_the_pooling_is_that_of_the_setting(tmp_path, pooling, mode):
    model = load_start(body(tmp_path / "body", "t5"), recipe("lambda", pooling=pooling))
    assert model[1].pooling_mode == mode


@pytest.mark.parametrize(
    ("name", "mode"), [("t5", "cls"), ("an encoder", "mean"), ("qwen3 without its head", "lasttoken")]
)
def test_without_the_setting_it_is_that_of_the_body(tmp_path, name, mode):
    assert load_start(body(tmp_path / "body", name), recipe("lambda"))[1].pooling_mode == mode


def test_a_body_whose_tokenizer_joins_question_and_passage_parts_them_and_keeps_its_last_token_when_cut(tmp_path):
    model = load_start(body(tmp_path / "body", "qwen3"), recipe("lambda", pooling="last"))
    model.max_seq_length = 12
    first, second = model.preprocess([("the river", "the king"), ("the river", "the king " * 9)])["input_ids"].tolist()
    end = model.tokenizer.eos_token_id
    assert [ids.count(end) for ids in (first, second)] == [2, 2]
    assert second[-1] == end


def test_a_score_does_not_depend_on_the_company(tmp_path):
    folder = tmp_path / "ranker"
    load_start(body(tmp_path / "body", "t5gemma"), recipe("lambda", pooling="mean")).save_pretrained(str(folder))
    reranker = CrossEncoderReranker(folder, device="cpu", precision="fp32")
    assert np.allclose(reranker.score(PAIRS), [reranker.score([pair])[0] for pair in PAIRS], atol=1e-5)


def test_a_text_that_writes_out_the_mark_of_its_end_is_scored_in_any_batch(tmp_path):
    reranker = CrossEncoderReranker(body(tmp_path / "body", "t5 with a head"), device="cpu", precision="fp32")
    pairs = [*PAIRS[:2], ("who built the city", "the tower [SEP] the bridge")]
    assert np.allclose(reranker.score(pairs), [reranker.score([pair])[0] for pair in pairs], atol=1e-5)


class TestYesOrNo:
    def ranker(self, tmp_path, max_length_tokens=512):
        folder = body(tmp_path / "tiny-reranker", "qwen3")
        return CrossEncoderReranker(folder, device="cpu", precision="fp32", max_length_tokens=max_length_tokens)

    def test_a_template_that_leaves_pairs_out_is_replaced_by_a_question(self, tmp_path):
        reranker = self.ranker(tmp_path)
        model = reranker._runner._model
        ids = model.preprocess([("the river", "the king")])["input_ids"][0]
        written = model.tokenizer.decode(ids)
        assert "the river < d" in written
        assert written.index("the river") < written.index("the king") < written.index("<|im_end|> <|im_start|> a ##s")
        assert len(set(reranker.score(PAIRS))) == 3

    def test_only_the_passage_is_cut_and_counted(self, tmp_path):
        reranker = self.ranker(tmp_path, max_length_tokens=290)
        reranker.score(PAIRS)
        assert reranker.passages_cut == 1
        model = reranker._runner._model
        written = model.tokenizer.decode(model.preprocess(PAIRS[2:])["input_ids"][0])
        assert "who built the city" in written
        assert written.endswith("a ##s ##s ##i ##s ##t ##a ##n ##t")

    def test_no_room_for_the_pair_is_said(self, tmp_path):
        with pytest.raises(ModelError, match=r"puts \d+ tokens around a question and a passage"):
            self.ranker(tmp_path, max_length_tokens=64)

    def test_a_tokenizer_without_the_two_words_is_refused(self, tmp_path, tiny_generator_folder):
        with pytest.raises(ModelError, match="no single token for yes and another for no"):
            load_start(tiny_generator_folder, recipe("lambda"))


class TestRefused:
    def test_a_pooling_for_what_has_a_head(self, tiny_reranker_folder):
        with pytest.raises(ConfigError, match=r"training\.reranker\.pooling is for a body without a head"):
            check_start(tiny_reranker_folder, recipe("lambda", pooling="mean"))

    def test_the_first_token_of_a_causal_body(self, tmp_path):
        with pytest.raises(ConfigError, match="has seen nothing but itself"):
            load_start(body(tmp_path / "body", "qwen3"), recipe("lambda", pooling="first"))

    def test_an_encoder_that_needs_its_decoder(self, tmp_path):
        folder = make_body(tmp_path / "body", "bart", "BartModel")
        with pytest.raises(ModelError, match="does not load without its decoder"):
            load_start(folder, recipe("lambda"))

    def test_a_folder_without_a_checkpoint(self, tmp_path):
        with pytest.raises(ModelError, match=r"config\.json is missing"):
            check_start(tmp_path, recipe("lambda"))

    def test_an_adapter_of_a_chain_which_would_lose_its_head(self, tmp_path):
        base = body(tmp_path / "body", "t5")
        load_start(base, recipe("lambda")).save_pretrained(str(tmp_path / "ranker"))
        start, words = Start(base, "body"), Words()
        with pytest.raises(ModelError, match=r"keeps weights in more than one folder \(2_Dense\)"):
            make_adapter(start, tmp_path / "ranker", tmp_path / "adapter", role="reranker", words=words)


class TestParts:
    def parts(self, tmp_path, name, **changes):
        model = load_start(body(tmp_path / "body", name), recipe("lambda", **changes))
        return model, parts_of(model, model.model)

    @pytest.mark.parametrize("name", BODIES)
    def test_layers_and_word_embeddings_are_found_by_structure(self, tmp_path, name):
        model, parts = self.parts(tmp_path, name)
        assert len(parts.layers) == (4 if name == "t5 with a head" else 2)  # that has a decoder
        assert parts.embeddings
        assert parts.head
        words = model.model.get_input_embeddings().weight
        assert any(parameter is words for _, parameter in model.named_parameters() if _ in parts.embeddings)
        named = [*parts.embeddings, *parts.head, *(one for layer in parts.layers for one in layer)]
        assert len(named) == len(set(named))

    def test_the_lowest_layers_stay_as_they_are(self, tmp_path):
        model, parts = self.parts(tmp_path, "t5")
        freeze_layers(model, parts, 1)
        frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
        assert frozen == set(parts.layers[0])
        with pytest.raises(ConfigError, match="the model has 2 layers"):
            freeze_layers(model, parts, 3)

    def test_each_layer_learns_at_a_share_of_the_rate_above(self, tmp_path):
        chosen = recipe("lambda", layer_decay=0.5, learning_rate=1e-3, head_learning_rate=1e-2)
        _, parts = self.parts(tmp_path, "t5")
        assert list(learning_rates(parts, chosen).values()) == pytest.approx([5e-4, 1e-3, 2.5e-4, 1e-2])

    def test_both_settings_shape_a_run(self, tmp_path):
        train(body(tmp_path / "body", "t5"), tmp_path / "run", "lambda", epochs=1, freeze_layers=1, layer_decay=0.1)
        drift = json.loads((tmp_path / "run" / "drift.json").read_text("utf-8"))
        assert drift["layer 00"] == 0 < drift["embeddings"] < drift["layer 01"]


def test_a_ranker_of_another_base_meets_the_serving_one(data):
    settings, folder = data
    files = mined(settings, folder)
    start = body(folder / "body", "t5")
    serving = serving_over(quick(settings), folder / "index")
    record = tune_reranker(serving, files, folder / "run", "listnet", base=str(start))
    assert record is not None
    assert record["role"] == "reranker"
    assert record["base"] == settings.reranker.model
    assert (folder / "run" / GATE_FILE).is_file()
    assert scores(folder / "run" / "model") == pytest.approx(scores(folder / "run" / "model"))
