"""The prompt beside a trained model, with what goes along with it."""

import dataclasses
import json

import pytest

from rag.errors import ModelError
from rag.generate.builtin import get_prompt
from rag.generate.prompts import Prompt
from rag.generate.saved import PROMPT_FILE, read_prompt, save_prompt


def test_what_goes_along_with_a_prompt_is_kept(tmp_path):
    for prompt in (
        get_prompt("cited-v2"),
        dataclasses.replace(get_prompt("tuned-v1"), sentence_margin=3.5),
        Prompt("mine", "{{ question }}", answers_in="sentences", sentence_margin=0.0, max_new_tokens=300),
    ):
        save_prompt(prompt, tmp_path)
        assert read_prompt(tmp_path / PROMPT_FILE) == prompt


def test_a_file_from_before_it_was_kept_means_the_built_in_prompt_or_a_phrase(tmp_path):
    built_in = get_prompt("tuned-sentences-v1")
    for prompt in (built_in, Prompt("mine", "{{ question }}"), dataclasses.replace(built_in, system="Other.")):
        texts = {field: getattr(prompt, field) for field in ("name", "system", "user", "parser")}
        (tmp_path / PROMPT_FILE).write_text(json.dumps(texts), "utf-8")
        read = read_prompt(tmp_path / PROMPT_FILE)
        assert read.answers_in == ("sentences" if prompt == built_in else "phrase")
        assert (read.sentence_margin, read.max_new_tokens, read.system) == (6.0, 128, prompt.system)


@pytest.mark.parametrize(
    "wrong",
    [
        {"answers_in": "verse"},
        {"sentence_margin": -1},
        {"sentence_margin": None},
        {"max_new_tokens": 0},
        {"max_new_tokens": "800"},
        {"max_new_tokens": True},
    ],
)
def test_wrong_values_are_told_with_what_to_do(tmp_path, wrong):
    save_prompt(get_prompt("tuned-v1"), tmp_path)
    stored = json.loads((tmp_path / PROMPT_FILE).read_text("utf-8"))
    (tmp_path / PROMPT_FILE).write_text(json.dumps(stored | wrong), "utf-8")
    with pytest.raises(ModelError, match=r"wrong values.*prompt\.name=extract-v1"):
        read_prompt(tmp_path / PROMPT_FILE)
