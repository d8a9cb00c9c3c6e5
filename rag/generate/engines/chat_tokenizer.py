"""A chat model's tokenizer and template without transformers, whose import takes longer than a small model's answer.

What `AutoTokenizer` makes of a checkpoint is written down once (`save_chat_tokenizer`) and read by `tokenizers` and
jinja2 alone from then on: the same text, the same tokens.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rag.errors import ModelError
from rag.files import read_json, write_json
from rag.types import Messages

TOKENIZER = "tokenizer.json"
CHAT = "chat.json"


def save_chat_tokenizer(source: str | Path, target: Path) -> None:
    """Write the tokenizer and the chat template of a checkpoint into a folder. Loads transformers.

    Raises ModelError where the checkpoint has no chat template, or a tokenizer that `tokenizers` cannot read.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(source, local_files_only=True)
        template = tokenizer.get_chat_template()
    except (OSError, ValueError) as error:
        raise ModelError(f"{source} has no tokenizer with a chat template: {error}") from error
    if getattr(tokenizer, "backend_tokenizer", None) is None:
        raise ModelError(f"the tokenizer of {source} is not one of the package tokenizers (tokenizer.json)")
    (target / TOKENIZER).write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    special = {name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)}
    write_json(target / CHAT, {"template": template, "special_tokens": special})


class ChatTokenizer:
    """Conversations become text and token ids, token ids become text. Raises ModelError where a file is damaged."""

    def __init__(self, folder: Path):
        from tokenizers import Tokenizer

        stored = read_json(folder / CHAT, ModelError)
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(folder / TOKENIZER))
        except Exception as error:  # tokenizers raises nothing narrower
            raise ModelError(f"{folder / TOKENIZER} is damaged ({error})") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._special = stored["special_tokens"]
        self._template = _compile(stored["template"])

    def render(self, conversation: Messages) -> str:
        """The text of a prompt by the chat template, with thinking switched off: that of `render_chat`."""
        return self._template.render(
            messages=conversation,
            tools=None,
            documents=None,
            add_generation_prompt=True,
            **{**self._special, "enable_thinking": False},
        )

    def encode(self, text: str) -> list[int]:
        """Token ids of a text as it is, without tokens that the tokenizer would add."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def tokens(self, ids: Sequence[int]) -> list[str]:
        """The vocabulary's entries of these ids."""
        return [self._tokenizer.id_to_token(token) for token in ids]

    def decode(self, ids: Sequence[int]) -> str:
        """The text of these ids, without special tokens."""
        return self._tokenizer.decode(list(ids), skip_special_tokens=True)


def _compile(template: str) -> Any:
    """A chat template in the environment that transformers gives it. Raises ModelError where it is no template.

    https://huggingface.co/docs/transformers/chat_templating_writing
    """
    from jinja2 import TemplateError, TemplateSyntaxError, nodes
    from jinja2.ext import Extension, loopcontrols
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Generation(Extension):
        """`{% generation %}` marks what an assistant said, for training; what stands in it is rendered as it is."""

        tags = {"generation"}  # noqa: RUF012 (jinja2 declares it so)

        def parse(self, parser: Any) -> list[nodes.Node]:
            next(parser.stream)
            return parser.parse_statements(("name:endgeneration",), drop_needle=True)

    def refuse(message: str) -> None:
        raise TemplateError(message)

    def to_json(value: Any, **options: Any) -> str:
        return json.dumps(value, ensure_ascii=options.pop("ensure_ascii", False), **options)

    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, loopcontrols]
    )
    environment.filters["tojson"] = to_json
    environment.globals["raise_exception"] = refuse
    environment.globals["strftime_now"] = lambda form: datetime.datetime.now().strftime(form)
    try:
        return environment.from_string(template)
    except TemplateSyntaxError as error:
        raise ModelError(f"the chat template cannot be read: {error}") from error
