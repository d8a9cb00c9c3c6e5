"""What a request for a chat completion says, as far as it is read.

The last message of the user is the question; earlier turns are what it may follow up on. System messages are not read:
the prompt is ours. What cannot be honoured is left out, and a note says so, where the answer is of use all the same:
content parts that are no text, unknown roles, sampling parameters, tools that need not be called, unknown fields. What
would break a program that counts on it is refused: several answers, JSON, a tool that must be called, log
probabilities, audio.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rag.serve.api_errors import ApiError, quoted
from rag.serve.turns import Turn
from rag.types import Answer, Query, Response

MODEL = "rag"
SOURCES = "\n\nSources:\n"
MAX_MESSAGES = 100
MAX_NAMED = 20
ROLES = ("system", "developer", "user", "assistant", "tool", "function")
UNREAD_ROLES = ("system", "developer", "tool", "function")
AFTER_THE_QUESTION = ("system", "developer")
TEXT_PARTS = ("text", "input_text", "output_text")
READ = {"model", "messages", "stream", "stream_options", "collections", "n", "logprobs", "top_logprobs"}
READ |= {"response_format", "tool_choice", "function_call", "modalities"}


@dataclass(frozen=True, slots=True)
class ChatRequest:
    """The question with the turns before it, and how to answer. `notes` say what of the request was ignored.

    `collections` are those to search in; None for all. `writer` is the generator that is named as the model, "" for
    the usual one.
    """

    question: str
    turns: tuple[Turn, ...] = ()
    model: str = MODEL
    stream: bool = False
    with_usage: bool = False
    collections: tuple[str, ...] | None = None
    notes: tuple[str, ...] = ()
    writer: str = ""


def read_request(body: Mapping[str, Any], known: Sequence[str] = (), writers: Sequence[str] = ()) -> ChatRequest:
    """The request in a JSON object; `known` are the collections, `writers` the generators that may be named.

    A null is as if the field were not there.

    Raises ApiError for what is not of the type that it has to be, for an unknown model or collection, and for what
    cannot be done.
    """
    given = {name: value for name, value in body.items() if value is not None}
    model = _of_type(given, "model", str, "a string") or MODEL
    collections = _collections(given, model, known, writers)
    stream = bool(_of_type(given, "stream", bool, "a boolean"))
    with_usage = _with_usage(given)
    _check_possible(given)
    notes = Counter[str]()
    messages = _messages(given, notes)
    # What the model would have been told after the question is not read, as nothing is that it is told.
    while len(messages) > 1 and messages[-1].role in AFTER_THE_QUESTION:
        messages.pop()
    last = messages[-1]
    if last.role != "user":
        raise ApiError(400, "the last message must be a question of the user", "invalid_value", last.param)
    if not last.text.strip():
        what = f"no text (only {', '.join(map(quoted, last.other_parts))})" if last.other_parts else "no text"
        message = f"the last message must be a question of the user, and it holds {what}; ask in words"
        raise ApiError(400, message, "invalid_value", f"{last.param}.content")
    return ChatRequest(
        question=last.text,
        turns=tuple(_turns(messages[-MAX_MESSAGES:-1])),
        model=model,
        stream=stream,
        with_usage=with_usage and stream,
        collections=collections,
        notes=tuple(_notes(notes, given)),
        writer=model if model in writers else "",
    )


def models_of(collections: Sequence[str], writers: Sequence[str] = ()) -> list[str]:
    """The models that there are: one over all documents and, where there are several collections, one over each.

    The generators that may be named come last; each answers from all documents.
    """
    over = [f"{MODEL}/{name}" for name in collections] if len(collections) > 1 else []
    return [MODEL, *over, *writers]


def unknown_model(model: str, known: Sequence[str], writers: Sequence[str] = ()) -> ApiError:
    """The error for a model that is not there."""
    models = ", ".join(map(quoted, models_of(known, writers)[:MAX_NAMED]))
    return ApiError(404, f"there is no model {quoted(model)}; there is {models}", "model_not_found", "model")


@dataclass(frozen=True, slots=True)
class _Message:
    """A message as far as it is read; `param` is its place in the request, `other_parts` the kinds of what is not."""

    role: str
    text: str
    param: str
    other_parts: tuple[str, ...] = ()


def _of_type(given: Mapping[str, Any], name: str, kind: type, called: str, within: str = "") -> Any:
    """The value of a field, None where it is not there. Raises ApiError where it is of another type."""
    value = given.get(name)
    if value is None or (isinstance(value, kind) and (kind is bool or not isinstance(value, bool))):
        return value
    param = f"{within}{name}"
    raise ApiError(400, f"{param} must be {called}, not {_type_of(value)}", "invalid_type", param)


def _type_of(value: object) -> str:
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        str: "a string",
        list: "an array",
        dict: "an object",
    }
    return names.get(type(value), "null")


def _collections(
    given: Mapping[str, Any], model: str, known: Sequence[str], writers: Sequence[str]
) -> tuple[str, ...] | None:
    """The collections to search in, by the field or by the model's name."""
    chosen = _of_type(given, "collections", list, "an array of strings")
    of_model = model.removeprefix(f"{MODEL}/") if model.startswith(f"{MODEL}/") else None
    if model != MODEL and model not in writers and of_model not in known:
        raise unknown_model(model, known, writers)
    if chosen is None:
        return None if of_model is None else (of_model,)
    if not chosen:
        raise ApiError(
            400, "collections is empty; name those to search in, or leave it out", "empty_array", "collections"
        )
    names = ", ".join(map(quoted, known[:MAX_NAMED])) or "none here"
    for n, name in enumerate(chosen):
        if not isinstance(name, str):
            at = f"collections[{n}]"
            raise ApiError(400, f"{at} must be a string, not {_type_of(name)}", "invalid_type", at)
        if name not in known:
            message = f"there is no collection {quoted(name)}; there are {names}"
            raise ApiError(404, message, "collection_not_found", "collections")
    if of_model is not None and set(chosen) != {of_model}:
        message = f"the model {quoted(model)} searches in {quoted(of_model)}, and collections names others"
        raise ApiError(400, message, "invalid_value", "collections")
    return tuple(dict.fromkeys(chosen))


def _with_usage(given: Mapping[str, Any]) -> bool:
    options = _of_type(given, "stream_options", dict, "an object") or {}
    return bool(_of_type(options, "include_usage", bool, "a boolean", "stream_options."))


def _check_possible(given: Mapping[str, Any]) -> None:
    """Raises ApiError for what a program could not do without, and cannot get."""
    n = _of_type(given, "n", int, "a number")
    is_json = _of_type(given, "response_format", dict, "an object") or {}
    modalities = given.get("modalities", [])
    impossible = {
        "n": n is not None and n != 1 and "there is one answer to a question",
        "logprobs": given.get("logprobs", 0) not in (0,) and "log probabilities are not given",
        "top_logprobs": given.get("top_logprobs", 0) not in (0,) and "log probabilities are not given",
        "response_format": is_json.get("type") not in (None, "text") and "an answer is text with citations",
        "tool_choice": given.get("tool_choice", "auto") not in ("auto", "none") and "tools are not called",
        "function_call": given.get("function_call", "auto") not in ("auto", "none") and "functions are not called",
        "modalities": modalities not in ([], ["text"]) and "an answer is text",
    }
    for name, reason in impossible.items():
        if reason:
            raise ApiError(400, f"{name} cannot be what the request says: {reason}", "unsupported_value", name)


def _messages(given: Mapping[str, Any], notes: Counter[str]) -> list[_Message]:
    """The messages that are known, at least one; `notes` counts what was left out."""
    rows = _of_type(given, "messages", list, "an array")
    if rows is None:
        raise ApiError(400, "messages is missing; it holds the question", "missing_required_parameter", "messages")
    if not rows:
        raise ApiError(400, "messages is empty; it holds the question", "empty_array", "messages")
    found = [_message(row, f"messages[{n}]", notes) for n, row in enumerate(rows)]
    if found[-1].role not in ROLES:
        roles = ", ".join(map(quoted, ROLES))
        sentence = f"{found[-1].param}.role is {quoted(found[-1].role)}; the roles are {roles}"
        raise ApiError(400, sentence, "invalid_value", f"{found[-1].param}.role")
    for message in found:
        if message.role not in ROLES:
            notes[f"a message of the unknown role {quoted(message.role)}"] += 1
    return [message for message in found if message.role in ROLES]


def _message(row: object, param: str, notes: Counter[str]) -> _Message:
    if not isinstance(row, dict):
        raise ApiError(400, f"{param} must be an object, not {_type_of(row)}", "invalid_type", param)
    role = _of_type(row, "role", str, "a string", f"{param}.")
    if role is None:
        raise ApiError(400, f"{param}.role is missing", "missing_required_parameter", f"{param}.role")
    content = row.get("content")
    if content is None or isinstance(content, str):
        return _Message(role, content or "", param)
    if not isinstance(content, list):
        message = f"{param}.content must be a string or an array of parts, not {_type_of(content)}"
        raise ApiError(400, message, "invalid_type", f"{param}.content")
    texts: list[str] = []
    others: Counter[str] = Counter()
    for part in content:
        if (text := _text_of(part)) is not None:
            texts.append(text)
        else:
            others[_kind_of(part)] += 1
    notes.update({f"a content part of the type {quoted(kind)}": n for kind, n in others.items()})
    return _Message(role, "\n".join(texts), param, tuple(others)[:MAX_NAMED])


def _text_of(part: object) -> str | None:
    """The text of a content part; None for one that is no text."""
    if isinstance(part, str):
        return part
    if not isinstance(part, dict) or (part.get("type") or "text") not in TEXT_PARTS:
        return None
    return part["text"] if isinstance(part.get("text"), str) else None


def _kind_of(part: object) -> str:
    """What a note calls a content part that is no text."""
    if not isinstance(part, dict):
        return _type_of(part)
    return kind if isinstance(kind := part.get("type"), str) else "unknown"


def _notes(left_out: Counter[str], given: Mapping[str, Any]) -> list[str]:
    """Sentences that say what of a request was ignored."""
    left = left_out.most_common(MAX_NAMED)
    notes = [f"ignored: {what}" + (f" ({n:,} times)" if n > 1 else "") for what, n in left]
    if roles := [role for role in UNREAD_ROLES if any(row["role"] == role for row in given["messages"])]:
        notes.append(f"ignored: messages of the role {', '.join(map(quoted, roles))}; the prompt is this server's own")
    if unread := sorted(given.keys() - READ):
        more = f" and {len(unread) - MAX_NAMED:,} more" if len(unread) > MAX_NAMED else ""
        notes.append(f"not used: {', '.join(map(quoted, unread[:MAX_NAMED]))}{more}")
    return notes


def _turns(messages: Sequence[_Message]) -> list[Turn]:
    """Earlier questions with their answers, without the sources that we wrote below them."""
    turns: list[Turn] = []
    question = ""
    for message in messages:
        if message.role == "user":
            question = message.text
        elif message.role == "assistant" and question:
            text = message.text.split(SOURCES)[0]
            turns.append(Turn(question, response=Response(Query("", question), answer=Answer(text)), done=True))
            question = ""
    return turns
