"""Named, versioned prompts: how passages and a question become a conversation, and which parser reads the output."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

import jinja2
from jinja2.sandbox import SandboxedEnvironment

from rag.errors import ConfigError
from rag.types import Conversation, Message, Passage

PARSERS = ("none", "strip", "layered")

_environment = SandboxedEnvironment(undefined=jinja2.StrictUndefined, autoescape=False, keep_trailing_newline=True)

PASSAGES = "{% for p in passages %}[{{ p.number }}] {{ p.text }}\n\n{% endfor %}"
TITLED_PASSAGES = (
    "{% for p in passages %}[{{ p.number }}] {% if p.title %}{{ p.title }}: {% endif %}{{ p.text }}\n\n{% endfor %}"
)

COURSE_SYSTEM = (
    "You are a precise QA assistant. Answer based only on the given context. "
    "If the answer is not in the context, say 'CANNOTANSWER'."
)
EXTRACT_SYSTEM = "Answer the question with a short phrase copied from the passages."
CITED_SYSTEM = (
    "Answer the question with a short phrase copied from the passages, followed by the number of the passage in "
    "brackets, like [2]. If the passages do not contain the answer, reply CANNOTANSWER."
)


@dataclass(frozen=True, slots=True)
class Prompt:
    """A system message, a template of the user message, and the parser of what comes back.

    `user` and `system` are jinja2 templates over `passages` (each with number, title, text) and `question`.
    """

    name: str
    user: str
    system: str = ""
    parser: str = "layered"

    def conversation(self, question: str, passages: Sequence[Passage]) -> Conversation:
        """The messages to send. Chat-template markers inside passages and question are broken up."""
        messages: Conversation = []
        if self.system:
            messages.append(Message(role="system", content=self.system))
        messages.append(Message(role="user", content=self._render(question, passages)))
        return messages

    def sha256(self) -> str:
        """A hash of everything that the model gets to see; the parser is not part of it."""
        return hashlib.sha256(json.dumps([self.system, self.user]).encode()).hexdigest()

    def _render(self, question: str, passages: Sequence[Passage]) -> str:
        numbered = [{"number": n, "title": defuse(p.title), "text": defuse(p.text)} for n, p in enumerate(passages, 1)]
        try:
            return _environment.from_string(self.user).render(passages=numbered, question=defuse(question))
        except jinja2.TemplateError as error:
            raise ConfigError(f"the prompt {self.name!r} cannot be filled in: {error}") from error


def defuse(text: str) -> str:
    """Break up chat-template markers such as `<|im_start|>` or `</think>`, so that no tokenizer reads them as such."""
    text = re.sub(r"<\|(?=[^|<>\s]{1,40}\|>)", "< |", text)
    return re.sub(r"<(?=/?(?:think|tool_call|tool_response|s)>)", "< ", text)


BUILT_IN: dict[str, Prompt] = {
    prompt.name: prompt
    for prompt in (
        Prompt(name="course-v1", user="*****", parser="none"),
        Prompt(name="course-v2", system=COURSE_SYSTEM, user=PASSAGES + "Q: {{ question }}\nA: ", parser="strip"),
        Prompt(name="course-v3", system=COURSE_SYSTEM, user=PASSAGES + "Q: {{ question }}\nA: ", parser="layered"),
        # Asks for no citation and no refusal: a small model that is asked for `[n]` often gives nothing else, and one
        # that may refuse does so blindly. Citations are found by the answer's words, refusals by the rerank score.
        Prompt(name="extract-v1", system=EXTRACT_SYSTEM, user=TITLED_PASSAGES + "Question: {{ question }}"),
        # For models that follow several instructions at once.
        Prompt(name="cited-v1", system=CITED_SYSTEM, user=TITLED_PASSAGES + "Question: {{ question }}"),
    )
}


def get_prompt(name: str, own: dict[str, Prompt] | None = None) -> Prompt:
    """A prompt by name, the user's own first. Raises ConfigError with the names there are."""
    prompts = {**BUILT_IN, **(own or {})}
    if name not in prompts:
        raise ConfigError(f"no prompt is called {name!r}; there are: {', '.join(prompts)}")
    prompt = prompts[name]
    if prompt.parser not in PARSERS:
        raise ConfigError(f"the prompt {name!r} names the parser {prompt.parser!r}; there are: {', '.join(PARSERS)}")
    return prompt
