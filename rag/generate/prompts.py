"""A prompt: how passages and a question become a conversation, and which parser reads what comes back."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from rag.errors import ConfigError
from rag.generate.demonstrations import Demonstrations
from rag.generate.instructions import withhold
from rag.types import Message, Messages, Passage

# A template can come from a stranger's configuration file: it runs in a sandbox, and an unknown name is an error.
_environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True)


AnswersIn = Literal["phrase", "sentences"]
"""What a prompt asks for: a short phrase out of the passages, or sentences in the model's own words."""


@dataclass(frozen=True, slots=True)
class WorkedExample:
    """A question with its passages and the answer to give. A small model follows an example better than a rule."""

    passages: tuple[str, ...]
    question: str
    answer: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A system message, a template of the user message, and the name of the parser of the output.

    `user` is a jinja2 template over `passages` (each with `number` from 1, `title`, `text`) and `question`. `examples`
    become earlier turns of the conversation, filled into the same template. Before them come the `demonstrations` that
    resemble the question; they have no passages. With `withhold`, sentences that address the model instead of the
    reader are removed from passages (`rag.generate.instructions`).

    `answers_in` says what it asks the model for. Where the settings leave them open, `sentence_margin` (in logits; 0
    shows whole passages) and `max_new_tokens` go along with the prompt.
    """

    name: str
    user: str
    system: str = ""
    parser: str = "layered"
    examples: tuple[WorkedExample, ...] = ()
    withhold: bool = True
    demonstrations: Demonstrations | None = None
    answers_in: AnswersIn = "phrase"
    sentence_margin: float = 6.0
    max_new_tokens: int = 128

    def conversation(self, question: str, passages: Sequence[Passage], *, demonstrate: bool = True) -> Messages:
        """The messages to send: system, demonstrations (unless `demonstrate` is off), examples, then the question.

        Chat-template markers in passages and question are broken up. Raises ConfigError where the template fails.
        """
        messages: Messages = []
        if self.system:
            messages.append(Message(role="system", content=self.system))
        if self.demonstrations and demonstrate:
            for shown in self.demonstrations.like(question):
                messages.append(Message(role="user", content=self._render(shown.question, ())))
                messages.append(Message(role="assistant", content=defuse(shown.answer)))
        for example in self.examples:
            passages_shown = [Passage(f"example@{n}", text) for n, text in enumerate(example.passages)]
            messages.append(Message(role="user", content=self._render(example.question, passages_shown)))
            messages.append(Message(role="assistant", content=example.answer))
        messages.append(Message(role="user", content=self._render(question, passages)))
        return messages

    def sha256(self) -> str:
        """A hash of everything that the model is shown; the parser is not part of it."""
        # What a prompt does not have leaves no trace here, so that runs made before it existed keep their hash.
        shown: list[object] = [self.system, self.user]
        if self.examples:
            shown.append([[list(e.passages), e.question, e.answer] for e in self.examples])
        if self.demonstrations:
            shown.append(self.demonstrations.sha256())
        return hashlib.sha256(json.dumps(shown).encode()).hexdigest()

    def tamed(self, text: str) -> str:
        """A passage's text as the model is shown it."""
        return defuse(withhold(text) if self.withhold else text)

    def _render(self, question: str, passages: Sequence[Passage]) -> str:
        numbered = [
            {"number": n, "title": self.tamed(p.title), "text": self.tamed(p.text)} for n, p in enumerate(passages, 1)
        ]
        try:
            return _environment.from_string(self.user).render(passages=numbered, question=defuse(question))
        except jinja2.TemplateError as error:
            raise ConfigError(f"the prompt {self.name!r} cannot be filled in: {error}") from error


def defuse(text: str) -> str:
    """The text with chat-template markers broken up, so that no tokenizer reads them as such.

    Markers are those such as `<|im_start|>`, `</think>` or `[INST]`, and the `<passage>` tags between which a prompt
    may fence its passages.
    """
    text = re.sub(r"<\|(?=[^|<>\s]{1,40}\|>)", "< |", text)
    text = re.sub(r"<(?=/?(?:think|tool_call|tool_response|s|bos|eos|start_of_turn|end_of_turn)>)", "< ", text)
    text = re.sub(r"\[(?=/?INST\])|<(?=</?SYS>>)", r"\g<0> ", text)
    # Possessive: blanks without end are passed once.
    return re.sub(r"<(?=\s*+(?:/\s*+)?+passage\b)", "(", text, flags=re.I)


def conversation_sha256(conversation: Messages) -> str:
    """A hash of everything that a generator is asked with."""
    return hashlib.sha256(json.dumps(conversation).encode()).hexdigest()
