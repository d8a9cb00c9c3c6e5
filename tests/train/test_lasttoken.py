"""Last-token embeddings of a causal language model: the forced EOS, the pooling, the loss, all by hand."""

import math

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer

from rag.errors import ModelError
from rag.retrieve.encoder import Encoder
from rag.train.lasttoken import force_eos, is_causal_lm, lasttoken_encoder
from rag.train.retriever_losses import MaskedContrastiveLoss, PairTable
from tests.fakes.losses import Given

PROMPTS = {"query": "query: ", "passage": "passage: "}
TEXTS = ["the river", "who built the old tower in graz", "the amber line"]


@pytest.fixture
def model(tiny_generator_folder):
    return lasttoken_encoder(tiny_generator_folder, PROMPTS, 64).eval()


def test_eos_is_the_last_token_cut_or_not(model):
    eos = model.tokenizer.eos_token_id
    for text in ("", "the river", "the river " * 50):
        ids = model.tokenizer(text, truncation=True, max_length=16).input_ids
        assert ids[-1] == eos
        assert len(ids) <= 16
        assert ids.count(eos) == 1


def test_a_bos_token_stays_in_front(tiny_generator_folder):
    from tokenizers.processors import TemplateProcessing
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_generator_folder, bos_token="<|im_start|>")
    start = tokenizer.convert_tokens_to_ids("<|im_start|>")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", start)]
    )
    plain = tokenizer("the river").input_ids
    assert force_eos(tokenizer)("the river").input_ids == [*plain, tokenizer.eos_token_id]
    assert plain[0] == start


@pytest.mark.parametrize("side", ["right", "left"])
def test_the_vector_is_the_last_real_tokens_state_at_unit_length(model, side):
    model.tokenizer.padding_side = side
    features = model.preprocess(TEXTS)
    assert features["attention_mask"].min() == 0  # there is padding
    with torch.no_grad():
        states = (
            model[0].model(input_ids=features["input_ids"], attention_mask=features["attention_mask"]).last_hidden_state
        )
        vectors = model(features)["sentence_embedding"]
    for row, mask in enumerate(features["attention_mask"].tolist()):
        last = max(place for place, value in enumerate(mask) if value)
        assert features["input_ids"][row, last] == model.tokenizer.eos_token_id
        expected = states[row, last] / states[row, last].norm()
        assert torch.allclose(vectors[row], expected, atol=1e-6)


def test_padding_on_either_side_and_none_at_all_give_the_same_vectors(model):
    alone = np.concatenate([model.encode([text]) for text in TEXTS])
    for side in ("right", "left"):
        model.tokenizer.padding_side = side
        assert np.allclose(model.encode(TEXTS), alone, atol=1e-5)


def test_pooling_by_hand():
    from sentence_transformers.sentence_transformer.modules import Pooling

    states = torch.arange(12, dtype=torch.float).reshape(2, 3, 2)
    mask = torch.tensor([[1, 1, 0], [0, 1, 1]])
    pooled = Pooling(2, "lasttoken")({"token_embeddings": states, "attention_mask": mask})["sentence_embedding"]
    assert pooled.tolist() == [[2.0, 3.0], [10.0, 11.0]]


def test_the_loss_takes_every_passage_of_every_question_and_labels_arange_q_times_p():
    queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    positives = torch.tensor([[0.8, 0.6], [0.6, 0.8]])
    negatives = [torch.tensor([[0.0, 1.0], [1.0, 0.0]]), torch.tensor([[-1.0, 0.0], [0.0, -1.0]])]
    table = PairTable([[0, 2, 4], [1, 3, 5]], [{0}, {1}])
    loss = MaskedContrastiveLoss(Given(), table, temperature=0.1)
    features = [{"input": column} for column in (queries, positives, *negatives)]
    # question by question: 0's positive and two negatives, then 1's
    dots = [[0.8, 0.0, -1.0, 0.6, 1.0, 0.0], [0.6, 1.0, 0.0, 0.8, 0.0, -1.0]]
    labels = [q * 3 for q in range(2)]
    expected = [
        math.log(sum(math.exp(dot / 0.1) for dot in row)) - row[label] / 0.1
        for row, label in zip(dots, labels, strict=True)
    ]
    assert loss(features, torch.arange(2)).item() == pytest.approx(sum(expected) / 2, abs=1e-5)


@pytest.mark.usefixtures("compiled")
def test_the_checkpoint_gives_the_same_vectors_wherever_it_is_loaded(tmp_path, model):
    model.save_pretrained(str(tmp_path / "model"))
    loaded = SentenceTransformer(str(tmp_path / "model"), device="cpu")
    assert np.allclose(loaded.encode(TEXTS), model.encode(TEXTS), atol=1e-5)
    assert np.allclose(np.linalg.norm(loaded.encode(TEXTS), axis=1), 1.0, atol=1e-5)
    encoder = Encoder(tmp_path / "model", device="cpu", precision="fp32")
    assert (encoder.fingerprint.pooling, encoder.fingerprint.max_length_tokens) == ("lasttoken", 64)
    long = [*TEXTS, "the river " * 99]
    ours, cut = encoder.encode_passages(long)
    assert cut == 1
    assert np.allclose(ours, loaded.encode(long, prompt="passage: "), atol=1e-4)


def test_what_is_no_language_model_is_told_in_a_sentence(tmp_path, tiny_generator_folder, tiny_encoder_folder):
    assert is_causal_lm(tiny_generator_folder)
    assert not is_causal_lm(tiny_encoder_folder)
    (tmp_path / "config.json").write_text("{}", "utf-8")
    with pytest.raises(ModelError, match="does not load"):
        lasttoken_encoder(tmp_path, PROMPTS, 16)
