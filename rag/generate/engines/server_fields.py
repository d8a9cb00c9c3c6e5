"""What a server of chat completions takes of a request, learnt from what it refuses.

Servers differ in the fields that they know, and in how they say which one they refuse:

    OpenAI            {"error": {"message": "…", "param": "max_tokens", "code": "unsupported_parameter"}}
    vLLM              {"message": "[{'type': 'extra_forbidden', 'loc': ('body', 'seed'), …}]", "param": null}
    FastAPI, Mistral  {"detail": [{"loc": ["body", "seed"], "msg": "Extra inputs are not permitted"}]}
    Gemini            [{"error": {"message": "… Unknown name \"seed\": Cannot find field."}}]
    Ollama and others {"error": "json: unknown field \"seed\""}
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from rag.types import Messages

KEPT = ("model", "messages")  # nothing can be asked without them
NAMES_OF_THE_LIMIT = ("max_tokens", "max_completion_tokens", "max_output_tokens", "max_new_tokens")
"""How servers call the most tokens that an answer may have, the usual name first."""
MAX_CHARACTERS_READ = 20_000
SYSTEM_ROLE = "system role"
_LOCATION = re.compile(
    r"""['"]?loc['"]?\s{0,9}:\s{0,9}[(\[]((?:\s{0,9}(?:['"][^'"]{0,80}['"]|\d{1,9})\s{0,9},?){1,8})[)\]]"""
)
_QUOTED = re.compile(r"""[`'"“‘]([A-Za-z_][\w.]{0,80})[`'"”’]""")
_IS_REFUSED = re.compile(
    r"unsupported|unknown|unrecogni[sz]ed|unexpected|not (?:be )?(?:supported|permitted|allowed|accepted|recogni[sz]ed)"
    r"|n't supported?|does not (?:support|accept|take)|no(?:t a)? (?:such|valid)|invalid|extra|forbidden|deprecated"
    r"|only (?:the )?default|cannot|must be",
    re.I,
)
# The limit is known, and its value is at fault: without it an answer would go on for ever.
_IS_TOO_LARGE = re.compile(
    r"too (?:large|long|high|big|small|low)|exceed|context (?:length|window|size)|maximum context|context_length"
    r"|at (?:least|most)|(?:greater|less|larger|smaller) than|positive|in the range|between",
    re.I,
)
_NO_SYSTEM = re.compile(
    r"(?:system|developer) (?:role|message|prompt|instruction)s?\b.{0,80}\b(?:not|n't|un)\s?\w{1,40}"
    r"|\brole\W{1,3}system\b"
    r"|(?:not|n't|un)\s?\w{1,40}.{0,40}(?:['\"]system['\"]|system (?:role|message|prompt|instruction))"
    r"|['\"]system['\"].{0,60}(?:not|n't|un)\s?\w{1,40}"
    r"|roles? must alternate|only user(?:,| and)[\w ,]* roles? (?:is|are)",
    re.I | re.S,
)


class ServerFields:
    """The fields to ask a server with. Each refusal that names one is learnt from once, for all later requests."""

    def __init__(self, fields: Mapping[str, Any]):
        self._fields = dict(fields)
        self._refused: set[str] = set()
        self._no_system = False
        self._lock = threading.Lock()

    def request(self, conversation: Messages, *, streamed: bool = False) -> dict[str, Any]:
        """The body of a request, of what the server is not known to refuse; with `stream` where that is wanted."""
        with self._lock:
            messages = without_system(conversation) if self._no_system else list(conversation)
            stream = {"stream": True} if streamed and "stream" not in self._refused else {}
            return {**self._fields, **stream, "messages": messages}

    def learn(self, status: int, body: str, sent: Mapping[str, Any]) -> str | None:
        """What to tell the person about a refusal of what was sent, "" where it is known by now.

        None where the refusal names nothing that a request could do without: asking again would not help.
        """
        has_system = any(message["role"] == "system" for message in sent["messages"])
        if has_system and is_against_system_role(body):
            with self._lock:
                is_new, self._no_system = not self._no_system, True
            return "it takes no system message: instructions go along with the question" if is_new else ""
        name = refused_field(body, sent.keys() - set(KEPT)) if status < 500 else None
        if name is None:
            return None
        with self._lock:
            is_known = name in self._refused
            self._refused.add(name)
            if is_known or name not in self._fields:
                return "" if is_known else f"it does not take {name!r}: answers come whole"
            value = self._fields.pop(name)
            other = self._other_name(name, body)
            if other is None:
                return f"it does not take {name!r}: asked without it"
            self._fields[other] = value
            return f"it does not take {name!r}: asked with {other!r}"

    def _other_name(self, name: str, body: str) -> str | None:
        """Another name for a refused field: the one that the refusal names, else the next that was not tried."""
        if name not in NAMES_OF_THE_LIMIT:
            return None
        left = [other for other in NAMES_OF_THE_LIMIT if other not in self._refused]
        named = [other for other in left if re.search(rf"(?<!\w){other}(?!\w)", body)]
        if named:
            return named[0]
        return next((other for other in left[:1] if other in NAMES_OF_THE_LIMIT[:2]), None)


def refused_field(body: str, sent: Collection[str]) -> str | None:
    """The field, of those that were sent, that a server's refusal names; None where it names none of them.

    What stands in a place made for it counts first, then what stands in quotes, then a plain word of a sentence that
    refuses. Of several in a sentence it is the first: what follows is advice. A limit whose value is at fault is none.
    """
    body = body[:MAX_CHARACTERS_READ]
    name = next((found for found in _candidates(body) if found in sent), None)
    if name in NAMES_OF_THE_LIMIT and _IS_TOO_LARGE.search(body):
        return None
    return name


def is_against_system_role(body: str) -> bool:
    """Whether a refusal says that no message may have the role of the system."""
    return _NO_SYSTEM.search(body[:MAX_CHARACTERS_READ]) is not None


def without_system(conversation: Messages) -> Messages:
    """The conversation with its system messages put before the first message of the user."""
    told = [message["content"] for message in conversation if message["role"] == "system"]
    others = [message for message in conversation if message["role"] != "system"]
    if not others:
        return [{"role": "user", "content": "\n\n".join(told)}]
    first = others[0]
    return [{"role": first["role"], "content": "\n\n".join([*told, first["content"]])}, *others[1:]]


def _candidates(body: str) -> Iterator[str]:
    """The names in a refusal, the surest first."""
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        parsed = body
    texts: list[str] = []
    yield from _places(parsed, texts)
    text = "\n".join(texts)
    locations = [last for match in _LOCATION.finditer(text) if (last := _QUOTED.findall(match[1]))]
    if locations:
        # A list of problems as text, which repeats what was sent: nothing else in it names a field.
        yield from (_first_part(names[-1] if names[0] == "body" else names[0]) for names in locations)
        return
    yield from (_first_part(match[1]) for match in _QUOTED.finditer(text))
    if _IS_REFUSED.search(text):
        yield from (word for word in re.findall(r"[A-Za-z_]\w{0,80}", text) if word != "stream")  # a word of any text


def _places(value: object, texts: list[str], depth: int = 0) -> Iterator[str]:
    """The names in `param`, `loc` and `field`, anywhere in a refusal; its sentences are added to `texts`."""
    if isinstance(value, str):
        texts.append(value)
    elif depth < 8 and isinstance(value, list):
        for item in value[:50]:
            yield from _places(item, texts, depth + 1)
    elif depth < 8 and isinstance(value, dict):
        for key in ("param", "field"):
            if isinstance(name := value.get(key), str):
                yield _first_part(name)
        if isinstance(loc := value.get("loc"), list):
            yield from (part for part in loc if isinstance(part, str) and part != "body")
        for key in ("error", "message", "msg", "detail", "details", "errors", "fieldViolations", "description", "body"):
            yield from _places(value.get(key), texts, depth + 1)


def _first_part(name: str) -> str:
    """`chat_template_kwargs` of `body.chat_template_kwargs.enable_thinking`."""
    return re.split(r"[.\[]", name.removeprefix("body."))[0]
