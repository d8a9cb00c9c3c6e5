"""Rerankers of every kind give the logits that sentence-transformers gives; what is none says what it is instead."""

import json
import shutil

import numpy as np
import pytest

from rag.errors import ModelError
from rag.rerank.cross_encoder import CrossEncoderReranker
from tests.fakes.tiny import bert_config, bert_tokenizer

PAIRS = [
    ("who designed the amber line", "Clara Voss designed it in 1931"),
    ("why does bread rise", "tern island is a port in the north"),
    ("why does bread rise", "yeast"),
]


def body(folder, max_length=64, **extra):
    """A BERT of random weights, as the first module of a chain."""
    import torch
    from sentence_transformers.base.modules import Transformer
    from transformers import BertModel

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(6)
    BertModel(bert_config(bert_tokenizer(folder, max_length), **extra)).save_pretrained(folder)
    return Transformer(str(folder))


def save(folder, *modules, **settings):
    from sentence_transformers import CrossEncoder

    CrossEncoder(modules=list(modules), device="cpu", **settings).save_pretrained(str(folder), create_model_card=False)
    return folder


def chain(tmp_path, *, out=1, **settings):
    """Transformer, Pooling, Dense, LayerNorm, and a Dense for the scores."""
    import torch
    from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Pooling

    return save(
        tmp_path / "chain",
        body(tmp_path / "body"),
        Pooling(32, "cls"),
        Dense(32, 24, activation_function=torch.nn.GELU()),
        LayerNorm(24),
        Dense(24, out, activation_function=torch.nn.Identity(), module_output_name="scores"),
        **settings,
    )


def change(folder, name, **values):
    path = folder / name
    path.write_text(json.dumps({**json.loads(path.read_text("utf-8")), **values}), "utf-8")
    return folder


def theirs(folder, pairs=PAIRS, **options):
    from sentence_transformers import CrossEncoder
    from torch.nn import Identity

    return CrossEncoder(str(folder), device="cpu", **options).predict(pairs, activation_fn=Identity())


def ours(folder, pairs=PAIRS, **options):
    return CrossEncoderReranker(folder, device="cpu", precision="fp32", **options).score(pairs)


def test_a_chain_that_ends_in_a_dense_for_scores(tmp_path):
    folder = chain(tmp_path)
    np.testing.assert_allclose(ours(folder), theirs(folder), atol=1e-4)


@pytest.mark.parametrize("name", ["Sigmoid", "Identity"])
def test_the_score_is_the_logit_whatever_the_activation(tmp_path, name):
    import torch

    folder = chain(tmp_path, activation_fn=getattr(torch.nn, name)())
    np.testing.assert_allclose(ours(folder), theirs(folder), atol=1e-4)


def test_a_default_prompt_stands_before_each_question(tmp_path):
    folder = chain(tmp_path, prompts={"search": "who wrote "}, default_prompt_name="search")
    np.testing.assert_allclose(ours(folder), theirs(folder), atol=1e-4)
    without = change(folder, "config_sentence_transformers.json", default_prompt_name=None)
    assert not np.allclose(ours(without), theirs(folder, [("who wrote " + q, p) for q, p in PAIRS]), atol=1e-4)


def test_chains_of_the_same_weights_and_other_settings_are_other_graphs(tmp_path):
    first = chain(tmp_path)
    second = tmp_path / "second"
    shutil.copytree(first, second)
    change(second, "2_Dense/config.json", activation_function="torch.nn.modules.linear.Identity")
    for folder in (first, second):
        scores = ours(folder, weights_sha256="a" * 64, cache_root=tmp_path / "compiled")
        np.testing.assert_allclose(scores, theirs(folder), atol=1e-4)


def test_a_head_saved_by_newer_sentence_transformers(tmp_path, tiny_reranker_folder):
    from sentence_transformers import CrossEncoder

    folder = tmp_path / "new"
    CrossEncoder(str(tiny_reranker_folder), device="cpu").save_pretrained(str(folder), create_model_card=False)
    assert (folder / "modules.json").is_file()
    np.testing.assert_allclose(ours(folder), ours(tiny_reranker_folder), atol=1e-5)


def test_a_pair_is_cut_where_the_positions_end_whatever_the_tokenizer_says(tmp_path, tiny_reranker_folder):
    folder = tmp_path / "long"
    shutil.copytree(tiny_reranker_folder, folder)
    change(folder, "tokenizer_config.json", model_max_length=10**30)
    reranker = CrossEncoderReranker(folder, device="cpu", precision="fp32")
    reranker.score([("who built it", "the river " * 200)])
    assert reranker.passages_cut == 1


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48}


class TestBodies:
    """Newer small bodies, which name no token types."""

    def test_modernbert(self, tmp_path):
        import torch
        from transformers import ModernBertConfig, ModernBertForSequenceClassification

        torch.manual_seed(7)
        size = bert_tokenizer(tmp_path, 64, with_types=False)
        config = ModernBertConfig(
            vocab_size=size, max_position_embeddings=64, num_labels=1, pad_token_id=0, cls_token_id=2, sep_token_id=3,
            bos_token_id=2, eos_token_id=3, **SIZES,
        )  # fmt: skip
        ModernBertForSequenceClassification(config).save_pretrained(tmp_path)
        np.testing.assert_allclose(ours(tmp_path), theirs(tmp_path), atol=1e-4)

    def test_deberta(self, tmp_path):
        import torch
        from transformers import DebertaV2Config, DebertaV2ForSequenceClassification

        torch.manual_seed(7)
        size = bert_tokenizer(tmp_path, 64, with_types=False)
        config = DebertaV2Config(
            vocab_size=size, max_position_embeddings=64, num_labels=1, relative_attention=True, pad_token_id=0,
            position_buckets=16, pos_att_type=["p2c", "c2p"], type_vocab_size=0, **SIZES,
        )  # fmt: skip
        DebertaV2ForSequenceClassification(config).save_pretrained(tmp_path)
        np.testing.assert_allclose(ours(tmp_path), theirs(tmp_path), atol=1e-4)

    def test_a_decoder_with_a_head_whose_settings_name_no_padding(self, tmp_path):
        import torch
        from transformers import Qwen2Config, Qwen2ForSequenceClassification

        torch.manual_seed(7)
        size = bert_tokenizer(tmp_path, 64, with_types=False)
        config = Qwen2Config(
            vocab_size=size, num_key_value_heads=1, max_position_embeddings=64, num_labels=1, pad_token_id=0,
            **SIZES,
        )  # fmt: skip
        Qwen2ForSequenceClassification(config).save_pretrained(tmp_path)
        wanted = theirs(tmp_path)
        change(tmp_path, "config.json", pad_token_id=None)
        np.testing.assert_allclose(ours(tmp_path), wanted, atol=1e-4)


class TestLanguageModels:
    @pytest.fixture
    def causal(self, tmp_path, tiny_generator_folder):
        folder = tmp_path / "writer"
        shutil.copytree(tiny_generator_folder, folder)
        return folder

    def test_the_difference_of_yes_and_no_is_the_score(self, causal, tmp_path):
        from sentence_transformers.base.modules import Transformer
        from sentence_transformers.cross_encoder.modules import LogitScore

        modalities = {"text": {"method": "forward", "method_output_name": "logits"}}
        first = Transformer(
            str(causal),
            transformer_task="text-generation",
            modality_config=modalities,
            module_output_name="causal_logits",
        )
        folder = save(tmp_path / "judge", first, LogitScore(true_token_id=9, false_token_id=10))
        scores = ours(folder)
        np.testing.assert_allclose(scores, theirs(folder), atol=1e-4)
        assert len(set(scores)) == len(PAIRS)

    def test_one_that_only_writes_is_refused(self, causal):
        with pytest.raises(ModelError, match=r"is a language model that writes \(Qwen2ForCausalLM\)"):
            ours(causal)


class TestLabels:
    def two(self, folder, names, tiny_reranker_folder):
        import torch
        from transformers import BertForSequenceClassification

        shutil.copytree(tiny_reranker_folder, folder)
        size = json.loads((folder / "config.json").read_text())["vocab_size"]
        torch.manual_seed(8)
        config = bert_config(size, id2label=dict(enumerate(names)), label2id={n: i for i, n in enumerate(names)})
        BertForSequenceClassification(config).save_pretrained(folder)
        return folder

    @pytest.mark.parametrize(("names", "sign"), [(("not_relevant", "relevant"), 1), (("Yes", "No"), -1)])
    def test_two_labels_that_say_which_is_which_give_the_difference(self, tmp_path, tiny_reranker_folder, names, sign):
        folder = self.two(tmp_path / "two", names, tiny_reranker_folder)
        logits = theirs(folder)
        np.testing.assert_allclose(ours(folder), sign * (logits[:, 1] - logits[:, 0]), atol=1e-4)

    @pytest.mark.parametrize(
        ("names", "shown"),  # transformers does not write the names that it gives itself
        [(("LABEL_0", "LABEL_1"), "without names"), (("relevant", "true"), "relevant, true")],
    )
    def test_two_labels_that_do_not_are_refused(self, tmp_path, tiny_reranker_folder, names, shown):
        folder = self.two(tmp_path / "two", names, tiny_reranker_folder)
        with pytest.raises(ModelError, match=rf"2 labels \({shown}\), which do not say whose"):
            ours(folder)

    def test_a_classifier_of_entailment_is_refused(self, tmp_path, tiny_reranker_folder):
        names = ("contradiction", "entailment", "neutral")
        folder = self.two(tmp_path / "nli", names, tiny_reranker_folder)
        with pytest.raises(ModelError, match=r"3 labels \(contradiction, entailment, neutral\), as a classifier has"):
            ours(folder)

    def test_a_chain_with_several_scores_is_refused(self, tmp_path):
        with pytest.raises(ModelError, match="2 labels, as a classifier has"):
            ours(chain(tmp_path, out=2))


class TestRefused:
    def test_an_encoder_named_as_a_reranker(self, tiny_encoder_folder):
        with pytest.raises(ModelError, match=r"is a SentenceTransformer, which gives vectors, not a score"):
            ours(tiny_encoder_folder)

    def test_a_body_without_a_head(self, tmp_path):
        body(tmp_path / "bare")
        with pytest.raises(ModelError, match=r"has no classification head \(BertModel\)"):
            ours(tmp_path / "bare")

    def test_a_head_that_the_weights_lack(self, tmp_path):
        body(tmp_path / "bare")
        names = {"0": "LABEL_0"}
        change(tmp_path / "bare", "config.json", architectures=["BertForSequenceClassification"], id2label=names)
        with pytest.raises(ModelError, match=r"has no classification head \(classifier\.\w+ is missing\)"):
            ours(tmp_path / "bare")

    def test_a_chain_that_ends_in_a_vector(self, tmp_path):
        folder = chain(tmp_path)
        change(folder, "4_Dense/config.json", module_output_name="sentence_embedding")
        with pytest.raises(ModelError, match="end in no score for question and passage"):
            ours(folder)

    def test_code_of_its_own(self, tmp_path, tiny_reranker_folder):
        folder = tmp_path / "own"
        shutil.copytree(tiny_reranker_folder, folder)
        change(folder, "config.json", model_type="mine", auto_map={"AutoConfig": "mine.Config"})
        with pytest.raises(ModelError, match=r"brings Python code of its own \(trust_remote_code\)"):
            ours(folder)

    def test_weights_in_another_form_alone(self, tmp_path, tiny_reranker_folder):
        folder = tmp_path / "onnx"
        shutil.copytree(tiny_reranker_folder, folder)
        (folder / "model.safetensors").rename(folder / "model.onnx")
        with pytest.raises(ModelError, match=r"as \.onnx alone, which are not read"):
            ours(folder)
