"""Tiny chat models of random weights, in architectures that CTranslate2 reads."""

from pathlib import Path

from tests.fakes.tiny import word_tokenizer

CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)


def make_tiny_chat_model(folder: Path, architecture: str = "qwen2", template: str = CHAT_TEMPLATE) -> Path:
    """Grouped queries, another base of rotation than the default, and weights large enough to differ by token."""
    import torch
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

    torch.manual_seed(2)
    tokenizer, size = word_tokenizer(["<|endoftext|>", "[UNK]", "<|im_start|>", "<|im_end|>"], None)
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<|endoftext|>",
        eos_token="<|im_end|>",
        unk_token="[UNK]",
        additional_special_tokens=["<|im_start|>"],
        chat_template=template,
    ).save_pretrained(folder)
    config_class, model_class = {
        "qwen2": (Qwen2Config, Qwen2ForCausalLM),
        "qwen3": (Qwen3Config, Qwen3ForCausalLM),
    }[architecture]
    config = config_class(
        vocab_size=size,
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=64,
        max_position_embeddings=512,
        eos_token_id=3,
        pad_token_id=0,
        bos_token_id=0,
        initializer_range=0.2,
        rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        **({"head_dim": 32} if architecture == "qwen3" else {}),
    )
    model_class(config).save_pretrained(folder)
    return folder
