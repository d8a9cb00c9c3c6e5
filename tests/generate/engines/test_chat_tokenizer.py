"""A chat template without transformers gives transformers' text and tokens, byte for byte."""

import pytest
from transformers import AutoTokenizer

from rag.config import load_settings
from rag.errors import ModelError
from rag.generate.engines.chat_tokenizer import CHAT, TOKENIZER, ChatTokenizer, save_chat_tokenizer
from rag.generate.engines.ctranslate2 import CTranslate2Generator
from rag.generate.engines.transformers import render_chat
from rag.models.resolve import rag_home, resolve
from tests.fakes.chat_models import CHAT_TEMPLATE, make_tiny_chat_model

CONVERSATIONS = [
    [{"role": "user", "content": "the river"}],
    [{"role": "system", "content": "  a\n"}, {"role": "user", "content": 'Größe <b> & "x" 渡轮 🛳️\n\n{{ 7 }}'}],
    [
        {"role": "user", "content": "who?"},
        {"role": "assistant", "content": "clara <|im_end|>"},
        {"role": "user", "content": ""},
    ],
]
TEMPLATES = {
    "plain": CHAT_TEMPLATE,
    "special tokens": "{{ bos_token }}{% for m in messages %}{{ m.content | trim }}{{ eos_token }}{% endfor %}",
    "json": "{{ messages | tojson }}{{ messages | tojson(indent=2) }}{{ tools is none }}{{ documents is none }}",
    "marks of training": (
        "{% for m in messages %}\n    {% if m.role == 'assistant' %}\n{% generation %}{{ m.content }}"
        "{% endgeneration %}\n{% else %}{% continue %}{% endif %}{% endfor %}"
    ),
}


@pytest.mark.parametrize("template", TEMPLATES.values(), ids=TEMPLATES)
def test_the_prompt_is_that_of_transformers(tmp_path, template):
    folder = make_tiny_chat_model(tmp_path / "model", template=template)
    theirs = AutoTokenizer.from_pretrained(folder)
    save_chat_tokenizer(folder, tmp_path)
    ours = ChatTokenizer(tmp_path)
    for conversation in CONVERSATIONS:
        text = render_chat(theirs, conversation)
        assert ours.render(conversation) == text
        ids = theirs(text, add_special_tokens=False)["input_ids"]
        assert ours.encode(text) == ids
        assert ours.tokens(ids) == theirs.convert_ids_to_tokens(ids)
        assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True)


def test_a_template_may_refuse_a_conversation(tmp_path):
    from jinja2 import TemplateError

    save_chat_tokenizer(make_tiny_chat_model(tmp_path / "model", template="{{ raise_exception('no') }}"), tmp_path)
    with pytest.raises(TemplateError, match="no"):
        ChatTokenizer(tmp_path).render(CONVERSATIONS[0])


def test_a_template_that_is_none_becomes_a_sentence(tmp_path):
    save_chat_tokenizer(make_tiny_chat_model(tmp_path / "model", template="{% if %}"), tmp_path)
    with pytest.raises(ModelError, match="the chat template cannot be read"):
        ChatTokenizer(tmp_path)


def test_a_checkpoint_without_a_template_is_refused(tiny_reranker_folder, tmp_path):
    with pytest.raises(ModelError, match="chat template"):
        save_chat_tokenizer(tiny_reranker_folder, tmp_path)


@pytest.mark.parametrize("file", [CHAT, TOKENIZER])
def test_a_damaged_file_is_named(tmp_path, file):
    save_chat_tokenizer(make_tiny_chat_model(tmp_path / "model"), tmp_path)
    (tmp_path / file).write_text('{"half', "utf-8")
    with pytest.raises(ModelError, match=f"{file} is damaged"):
        ChatTokenizer(tmp_path)


@pytest.mark.real
def test_the_packaged_model_answers_from_a_passage_by_the_very_prompt_of_transformers():
    settings = load_settings()
    folder = resolve("Qwen/Qwen2.5-Coder-0.5B-Instruct", source=settings.models.source).folder
    generator = CTranslate2Generator(folder, cache_root=rag_home() / "compiled", max_new_tokens=24)
    theirs = AutoTokenizer.from_pretrained(folder)
    for conversation in CONVERSATIONS:
        text = render_chat(theirs, conversation)
        assert generator._tokenizer.render(conversation) == text
        assert generator._tokenizer.encode(text) == theirs(text, add_special_tokens=False)["input_ids"]
    asked = [
        {"role": "system", "content": "Answer from the passage in a few words."},
        {"role": "user", "content": "[1] Tern Island has a lighthouse, built in 1874.\n\nWhen was it built?"},
    ]
    assert "1874" in generator.generate([asked])[0]
    right, wrong = (generator.beginning_logprobs([asked], text)[0] for text in ("1874", "CANNOTANSWER"))
    assert right > wrong
