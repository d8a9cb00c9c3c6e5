"""Encoders of every kind give what sentence-transformers gives: chains of modules, poolings, prompts, static ones."""

import json

import numpy as np
import pytest

from rag.errors import ModelError
from rag.models.prompts import known_prompts
from rag.retrieve.encoder import Encoder
from tests.fakes.tiny import bert_config, bert_tokenizer, word_tokenizer

TEXTS = ["the amber line", "why does bread rise when the yeast is old", "Tern Island", "who painted the red bridge"]
SETTINGS = "config_sentence_transformers.json"


def body(folder, **extra):
    """A BERT of random weights as the first module; 32 dimensions, 64 tokens."""
    import torch
    from sentence_transformers.base.modules import Transformer
    from transformers import BertModel

    folder.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(4)
    BertModel(bert_config(bert_tokenizer(folder, 64), **extra)).save_pretrained(folder)
    return Transformer(str(folder))


def save(folder, *modules, **settings):
    """The modules as a checkpoint in `folder`."""
    from sentence_transformers import SentenceTransformer

    SentenceTransformer(modules=list(modules), device="cpu", **settings).save_pretrained(
        str(folder), create_model_card=False
    )
    return folder


def change(folder, name=SETTINGS, **values):
    path = folder / name
    stored = json.loads(path.read_text("utf-8"))
    path.write_text(json.dumps({**stored, **values}), "utf-8")
    return folder


def same_as_theirs(folder, texts=TEXTS, role="query", **options):
    """Whether our vectors are those of sentence-transformers' own encode; returns the encoder."""
    from sentence_transformers import SentenceTransformer

    ours = Encoder(folder, device="cpu", precision="fp32", **options)
    model = SentenceTransformer(str(folder), device="cpu")
    encode = model.encode_query if role == "query" else model.encode_document
    theirs = encode(texts, prompt=ours.prompts[role], normalize_embeddings=True)
    vectors = ours.encode_queries(texts) if role == "query" else ours.encode_passages(texts)[0]
    assert vectors.shape == (len(texts), ours.fingerprint.dimension)
    np.testing.assert_allclose(vectors, theirs, atol=1e-4)
    return ours


class TestChains:
    def test_a_last_dense_that_changes_the_width_decides_the_dimension(self, tmp_path):
        from sentence_transformers.sentence_transformer.modules import Dense, Normalize, Pooling

        chain = (body(tmp_path / "body"), Pooling(32, "mean"), Dense(32, 12), Normalize())
        ours = same_as_theirs(save(tmp_path / "made", *chain))
        assert (ours.fingerprint.dimension, ours.fingerprint.pooling) == (12, "mean")

    def test_several_dense_modules_with_their_own_activations_and_a_norm(self, tmp_path):
        import torch
        from sentence_transformers.sentence_transformer.modules import Dense, LayerNorm, Pooling

        chain = (
            body(tmp_path / "body"),
            Pooling(32, ("cls", "mean")),
            Dense(64, 40, bias=False, activation_function=torch.nn.GELU()),
            LayerNorm(40),
            Dense(40, 8, activation_function=torch.nn.Identity(), use_residual=True),
        )
        ours = same_as_theirs(save(tmp_path / "made", *chain))
        assert (ours.fingerprint.dimension, ours.fingerprint.pooling) == (8, "cls+mean")

    def test_the_same_weights_behind_another_activation_are_another_graph(self, tmp_path):
        from sentence_transformers.sentence_transformer.modules import Dense, Pooling

        chain = (body(tmp_path / "body"), Pooling(32, "mean"), Dense(32, 12))
        first = save(tmp_path / "first", *chain)
        second = save(tmp_path / "second", *chain)
        change(second, "2_Dense/config.json", activation_function="torch.nn.modules.linear.Identity")
        same_as_theirs(first, cache_root=tmp_path / "compiled")
        same_as_theirs(second, cache_root=tmp_path / "compiled")

    def test_a_mean_of_layers(self, tmp_path):
        from sentence_transformers.sentence_transformer.modules import Pooling, WeightedLayerPooling

        first = body(tmp_path / "body", output_hidden_states=True)
        same_as_theirs(save(tmp_path / "made", first, WeightedLayerPooling(32, 2, 1), Pooling(32, "mean")))

    def test_an_index_of_another_width_is_refused_with_a_sentence(self, tmp_path, passages):
        from sentence_transformers.sentence_transformer.modules import Dense, Pooling

        from rag.errors import IndexMismatchError
        from rag.index.read import open_index
        from rag.index.write import build_index
        from tests.fakes.tiny import write_corpus

        chain = (body(tmp_path / "body"), Pooling(32, "mean"), Dense(32, 12))
        folder = save(tmp_path / "made", *chain)
        whole = Encoder(folder, device="cpu", precision="fp32")
        corpus = write_corpus(tmp_path / "corpus.txt", passages)
        build_index(corpus, tmp_path / "index", whole)
        opened = open_index(tmp_path / "index")
        assert opened.vectors().vectors([0]).shape == (1, 12)
        shorter = Encoder(folder, device="cpu", precision="fp32", truncate_dim=8, lazy=True)
        with pytest.raises(IndexMismatchError, match="dimension: 12 in the index, 8 now"):
            opened.check_encoder(shorter.fingerprint)


class TestPooling:
    @pytest.mark.parametrize("mode", ["cls", "max", "weightedmean", "lasttoken", "mean_sqrt_len_tokens"])
    def test_every_pooling(self, tmp_path, mode):
        from sentence_transformers.sentence_transformer.modules import Pooling

        ours = same_as_theirs(save(tmp_path / "made", body(tmp_path / "body"), Pooling(32, mode)))
        assert ours.fingerprint.pooling == mode

    def test_the_switches_of_older_checkpoints_are_joined(self, tmp_path):
        from sentence_transformers.sentence_transformer.modules import Pooling

        folder = save(tmp_path / "made", body(tmp_path / "body"), Pooling(32, "mean"))
        old = {"word_embedding_dimension": 32, "pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(old), "utf-8")
        assert same_as_theirs(folder).fingerprint.dimension == 64

    def test_a_prompt_that_is_not_pooled_is_left_out(self, tmp_path):
        from sentence_transformers.sentence_transformer.modules import Pooling

        pooling = Pooling(32, "mean", include_prompt=False)
        folder = save(tmp_path / "made", body(tmp_path / "body"), pooling, prompts={"query": "who wrote "})
        ours = same_as_theirs(folder)
        pooled = Encoder(change(folder, "1_Pooling/config.json", include_prompt=True), device="cpu", precision="fp32")
        assert ours.fingerprint.pooling != pooled.fingerprint.pooling
        assert not np.allclose(ours.encode_queries(TEXTS), pooled.encode_queries(TEXTS), atol=1e-3)


class TestStatic:
    @pytest.fixture
    def static(self, tmp_path):
        import torch
        from sentence_transformers.sentence_transformer.modules import Normalize, StaticEmbedding

        tokenizer, size = word_tokenizer(["[PAD]", "[UNK]"], None)
        torch.manual_seed(5)
        return save(tmp_path / "static", StaticEmbedding(tokenizer, torch.randn(size, 24)), Normalize())

    def test_static_embeddings_are_read_and_have_no_limit(self, static):
        ours = same_as_theirs(static, [*TEXTS, "the river " * 600])
        assert (ours.fingerprint.dimension, ours.fingerprint.pooling) == (24, "none")
        assert ours.encode_passages(["the river " * 600])[1] == 0
        assert ours.count_tokens(["the amber line", ""]) == [3, 0]

    def test_static_embeddings_are_cut_where_a_length_is_set(self, static):
        short = Encoder(static, device="cpu", max_length_tokens=2)
        vectors, n_cut = short.encode_passages(["the river is old", "the river"])
        np.testing.assert_allclose(vectors[0], vectors[1], atol=1e-6)
        assert n_cut == 1
        assert short.count_tokens(["the river is old"]) == [4]

    def test_a_model2vec_folder_is_read(self, static):
        from safetensors.numpy import load_file, save_file

        # model2vec keeps few rows, and says for each token which row and with which weight.
        weights = load_file(static / "model.safetensors")["embedding.weight"]
        rng = np.random.default_rng(0)
        mapping, share = rng.integers(0, 9, len(weights)), rng.random(len(weights)).astype(np.float32)
        save_file({"embeddings": weights[:9], "mapping": mapping, "weights": share}, static / "model.safetensors")
        same_as_theirs(static)


class TestPrompts:
    @pytest.fixture
    def bare(self, tiny_encoder_folder, tmp_path):
        import shutil

        folder = tmp_path / "bare"
        shutil.copytree(tiny_encoder_folder, folder)
        return folder

    def prompts(self, folder, **options):
        return Encoder(folder, device="cpu", lazy=True, **options).prompts

    @pytest.mark.parametrize("stored", [{"prompts": {}}, {"prompts": None}, {"prompts": {"classification": "topic: "}}])
    def test_a_checkpoint_that_names_no_prompts_has_none_and_says_so(self, bare, stored):
        change(bare, **stored)
        assert self.prompts(bare) == {"query": "", "passage": ""}
        (note,) = Encoder(bare, device="cpu", lazy=True).notes
        assert "names no prompts" in note
        assert "encoder.query_prompt" in note

    def test_a_checkpoint_without_settings_has_no_prompts(self, bare):
        (bare / SETTINGS).unlink()
        assert self.prompts(bare) == {"query": "", "passage": ""}

    def test_the_family_of_a_name_decides_where_the_files_say_nothing(self, bare):
        change(bare, prompts={})
        assert self.prompts(bare, name="intfloat/e5-base-v2") == {"query": "query: ", "passage": "passage: "}
        assert self.prompts(bare, name="someone/encoder") == {"query": "", "passage": ""}
        assert self.prompts(bare.rename(bare.with_name("multilingual-e5-small")))["query"] == "query: "

    @pytest.mark.parametrize(
        ("name", "query"),
        [
            ("intfloat/multilingual-e5-small", "query: "),
            ("BAAI/bge-small-en-v1.5", "Represent this sentence for searching relevant passages: "),
            ("BAAI/bge-m3", ""),
            ("nomic-ai/nomic-embed-text-v1.5", "search_query: "),
            ("Snowflake/snowflake-arctic-embed-m-v2.0", "query: "),
            ("sentence-transformers/all-MiniLM-L6-v2", ""),
            ("thenlper/gte-small", ""),
        ],
    )
    def test_families_that_are_known_by_name(self, name, query):
        assert known_prompts(name)["query"] == query

    @pytest.mark.parametrize("name", ["me/my-e5", "org/not-a-bge-small-en", "e5", ""])
    def test_names_that_only_resemble_a_family_are_not_known(self, name):
        assert known_prompts(name) == {}

    def test_what_the_files_say_wins_over_the_name_and_over_what_is_given(self, bare):
        change(bare, prompts={"search_query": "q: ", "retrieval.passage": "p: "})
        assert self.prompts(bare, name="intfloat/e5-base-v2", prompts={"query": "x"}) == {
            "query": "q: ",
            "passage": "p: ",
        }
        change(bare, prompts={"query": "", "document": ""})
        assert self.prompts(bare, name="intfloat/e5-base-v2") == {"query": "", "passage": ""}

    def test_a_default_prompt_stands_before_everything_that_has_no_other(self, bare):
        change(bare, prompts={"retrieval": "find: "}, default_prompt_name="retrieval")
        assert self.prompts(bare) == {"query": "find: ", "passage": "find: "}


class TestLengths:
    def test_truncated_vectors_are_as_short_as_the_checkpoint_says(self, tmp_path):
        from sentence_transformers.sentence_transformer.modules import Pooling

        folder = save(tmp_path / "made", body(tmp_path / "body"), Pooling(32, "mean"), truncate_dim=16)
        assert same_as_theirs(folder).fingerprint.dimension == 16
        shorter = Encoder(folder, device="cpu", precision="fp32", truncate_dim=8)
        full = Encoder(change(folder, truncate_dim=None), device="cpu", precision="fp32").encode_queries(TEXTS)
        wanted = full[:, :8] / np.linalg.norm(full[:, :8], axis=1, keepdims=True)
        np.testing.assert_allclose(shorter.encode_queries(TEXTS), wanted, atol=1e-5)
        assert Encoder(folder, device="cpu", truncate_dim=99, lazy=True).fingerprint.dimension == 32

    def test_a_text_is_cut_where_the_positions_end_whatever_the_settings_say(self, tmp_path):
        from sentence_transformers.sentence_transformer.modules import Pooling

        folder = save(tmp_path / "made", body(tmp_path / "body"), Pooling(32, "mean"))
        change(folder, "tokenizer_config.json", model_max_length=10**30)
        change(folder, "sentence_bert_config.json", max_seq_length=4096)
        ours = Encoder(folder, device="cpu", precision="fp32")
        assert ours.encode_passages(["the river " * 200, "the river"])[1] == 1
        assert ours.room_tokens == 62

    def test_positions_behind_the_padding_are_not_counted(self, tmp_path):
        from rag.retrieve.checkpoint import most_positions

        config = {"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": 1}
        (tmp_path / "config.json").write_text(json.dumps(config))
        assert most_positions(tmp_path) == 512

    def test_small_letters_where_the_checkpoint_says_so(self, tmp_path):
        from sentence_transformers.sentence_transformer.modules import Pooling
        from tokenizers import Tokenizer

        folder = save(tmp_path / "made", body(tmp_path / "body"), Pooling(32, "mean"))
        tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        stored = json.loads(tokenizer.to_str())
        (folder / "tokenizer.json").write_text(json.dumps({**stored, "normalizer": None}), "utf-8")
        change(folder, "sentence_bert_config.json", do_lower_case=True)
        same_as_theirs(folder, ["The Amber Line", "TERN island"])


class TestRefused:
    @pytest.fixture
    def made(self, tmp_path):
        from sentence_transformers.sentence_transformer.modules import Pooling

        return save(tmp_path / "made", body(tmp_path / "body"), Pooling(32, "mean"))

    def says(self, folder, pattern):
        with pytest.raises(ModelError, match=pattern):
            Encoder(folder, device="cpu", precision="fp32")

    def test_modules_with_code_of_their_own(self, made):
        rows = json.loads((made / "modules.json").read_text())
        rows[0]["type"] = "modeling_mine.MyTransformer"
        (made / "modules.json").write_text(json.dumps(rows))
        self.says(made, r"brings Python code of its own \(trust_remote_code\), which is never run here")

    def test_a_body_with_code_of_its_own(self, made):
        change(made, "config.json", model_type="mine", auto_map={"AutoConfig": "mine.C", "AutoModel": "mine.M"})
        self.says(made, r"brings Python code of its own \(trust_remote_code\), which is never run here")

    def test_a_body_that_transformers_does_not_know(self, made):
        change(made, "config.json", model_type="of-next-year")
        self.says(made, "does not know; update it: pip install -U transformers")

    @pytest.mark.parametrize("kind", ["SparseEncoder", "CrossEncoder", "MultiVectorEncoder"])
    def test_models_of_another_kind(self, made, kind):
        self.says(change(made, model_type=kind), f"is a {kind}, not an encoder of texts as single vectors")

    @pytest.mark.parametrize("name", ["onnx/model.onnx", "model_q4.gguf", "openvino/openvino_model.xml"])
    def test_weights_of_another_kind_alone(self, made, name):
        (made / "model.safetensors").unlink()
        (made / name).parent.mkdir(exist_ok=True)
        (made / name).touch()
        self.says(made, r"holds its weights as \.\w+ alone, which are not read")

    @pytest.mark.parametrize("text", ["{}", "[1]", "[{}]", "not json", "[]"])
    def test_a_damaged_list_of_modules(self, made, text):
        (made / "modules.json").write_text(text)
        self.says(made, r"modules\.json.*fetch the model again")

    def test_a_module_outside_the_checkpoint(self, made):
        rows = json.loads((made / "modules.json").read_text())
        rows[1]["path"] = "../elsewhere"
        (made / "modules.json").write_text(json.dumps(rows))
        self.says(made, "names a module outside the checkpoint")


def test_vectors_for_another_similarity_are_compared_by_cosine_and_it_is_said(tiny_encoder_folder, tmp_path):
    import shutil

    folder = tmp_path / "dot"
    shutil.copytree(tiny_encoder_folder, folder)
    change(folder, similarity_fn_name="dot")
    (note,) = Encoder(folder, device="cpu", lazy=True).notes
    assert "compared by dot" in note
    assert Encoder(tiny_encoder_folder, device="cpu", lazy=True).notes == ()


def test_a_body_that_openvino_does_not_compute_alike_is_run_by_torch(
    tiny_encoder_folder, tmp_path, monkeypatch, capsys
):
    from rag.compute import openvino_graph

    monkeypatch.setattr(openvino_graph, "_agrees", lambda *given: False)
    for _ in range(2):
        same_as_theirs(tiny_encoder_folder, cache_root=tmp_path)
    # The second time it is known.
    assert capsys.readouterr().err.count("torch runs it") == 1
