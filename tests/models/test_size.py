"""How large a model is, by its configuration or its name."""

import pytest

from rag.models.size import billions_named, count_parameters

TINY = {"hidden_size": 8, "num_hidden_layers": 2, "vocab_size": 10, "num_attention_heads": 4, "intermediate_size": 16}


def test_parameters_are_counted_by_the_shapes():
    # embeddings 10 x 8; in each of 2 layers four matrices of 8 x 8, and three of 8 x 16
    assert count_parameters(TINY) == 80 + 2 * (4 * 64 + 3 * 128)
    assert count_parameters({**TINY, "tie_word_embeddings": False}) == 160 + 2 * (4 * 64 + 3 * 128)
    # one head of keys and values instead of four: two matrices of 8 x 2
    assert count_parameters({**TINY, "num_key_value_heads": 1}) == 80 + 2 * (2 * 64 + 2 * 16 + 3 * 128)
    assert count_parameters({**TINY, "head_dim": 4}) == 80 + 2 * (4 * 128 + 3 * 128)
    experts = {**TINY, "num_experts": 5, "moe_intermediate_size": 4}
    assert count_parameters(experts) == 80 + 2 * (4 * 64 + 5 * 3 * 32)
    assert count_parameters({"text_config": TINY, "vision_config": {}}) == count_parameters(TINY)


@pytest.mark.parametrize(
    ("hidden", "inner", "layers", "heads", "key_heads", "vocabulary", "tied", "billions"),
    [
        (896, 4864, 24, 14, 2, 151936, True, 0.49),  # Qwen2.5-0.5B
        (1536, 8960, 28, 12, 2, 151936, True, 1.54),  # Qwen2.5-1.5B
        (2048, 11008, 36, 16, 2, 151936, True, 3.09),  # Qwen2.5-3B
        (3584, 18944, 28, 28, 4, 152064, False, 7.61),  # Qwen2.5-7B
        (3072, 8192, 28, 24, 8, 128256, True, 3.21),  # Llama-3.2-3B
    ],
)
def test_the_count_agrees_with_what_model_cards_say(
    hidden, inner, layers, heads, key_heads, vocabulary, tied, billions
):
    config = {
        "hidden_size": hidden,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_heads,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
    }
    assert count_parameters(config) == pytest.approx(billions * 1e9, rel=0.01)


@pytest.mark.parametrize(
    "config", [{}, {"hidden_size": 8}, {**TINY, "vocab_size": None}, {**TINY, "num_attention_heads": 0}]
)
def test_a_configuration_without_the_shapes_gives_no_count(config):
    assert count_parameters(config) is None
    assert count_parameters({"text_config": "odd"}) is None


@pytest.mark.parametrize(
    ("name", "billions"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", 7.0),
        ("Qwen/Qwen2.5-Coder-0.5B-Instruct", 0.5),
        ("google/gemma-3-4b-it", 4.0),
        ("Qwen/Qwen3-30B-A3B", 30.0),
        ("mistralai/Mixtral-8x7B-Instruct-v0.1", 56.0),
        ("7b-lab/small", None),
        ("microsoft/phi-4", None),
        ("HuggingFaceTB/SmolLM2-360M-Instruct", None),
        ("some/model-4bit", None),
    ],
)
def test_a_name_may_state_the_billions(name, billions):
    assert billions_named(name) == billions
