"""What a server of chat completions says of itself: which models it serves, and how many tokens each takes.

Servers that tell a model's window do so in different places:

    vLLM          GET /v1/models, max_model_len       llama.cpp     GET /v1/models, meta.n_ctx
    OpenRouter    GET /v1/models, context_length      Groq          GET /v1/models, context_window
    Mistral       GET /v1/models, max_context_length

Ollama tells it apart from them: for a model that is loaded GET /api/ps, for others POST /api/show. One that is not
loaded gets `num_ctx` of its file, if that is set. Else nobody knows yet: at least 4,096 tokens, by the memory of the
GPU, however many it was trained for. OpenAI tells nothing.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rag.errors import GenerationError

if TYPE_CHECKING:
    import httpx

WINDOWS = ("max_model_len", "context_length", "context_window", "max_context_length")
OLLAMA_PORT = 11434
OLLAMA_LEAST = 4096
"""Tokens that Ollama gives at least to a model that takes them (its docs/context-length.mdx)."""
TIMEOUT_SECONDS = 5.0
MAX_BYTES = 8 * 2**20
MAX_NAME_CHARACTERS = 300
_NUM_CTX = re.compile(r"^num_ctx\s{1,40}(\d{1,9})\s{0,40}$", re.M)


class NoServer(GenerationError):
    """No server answers at an address."""


class KeyRefused(GenerationError):
    """A server refused the key."""


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model by the name that its server knows, and its window in tokens, where the server tells."""

    name: str
    window_tokens: int | None = None


def served_models(
    base_url: str, api_key: str = "", *, timeout_seconds: float = TIMEOUT_SECONDS
) -> list[ServedModel] | None:
    """The models of a server; None where it does not list them.

    Raises GenerationError where no server answers, or where it refuses the key.
    """
    import httpx

    try:
        with _client(base_url, api_key, timeout_seconds) as client:
            listed = _get(client, "models")
    except httpx.TimeoutException as error:
        raise GenerationError(f"the server at {base_url} did not answer within {timeout_seconds:g} s") from error
    except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
        raise NoServer(f"no server answers at {base_url}") from error
    return None if listed is None else [*_listed(listed)]


def window_of(base_url: str, model: str, api_key: str = "", *, timeout_seconds: float = TIMEOUT_SECONDS) -> int | None:
    """The tokens that a served model takes, prompt and answer together; None where the server does not tell."""
    import httpx

    with (
        contextlib.suppress(GenerationError, httpx.HTTPError, httpx.InvalidURL, OSError),
        _client(base_url, api_key, timeout_seconds) as client,
    ):
        found = _entry(_get(client, "models"), model)
        if found is not None and (window := _window(found)) is not None:
            return window
        if _is_ollama(client, found):
            return _ollama_window(client, model)
    return None


def _client(base_url: str, api_key: str, timeout_seconds: float) -> httpx.Client:
    import httpx

    headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
    return httpx.Client(base_url=base_url.rstrip("/") + "/", headers=headers, timeout=timeout_seconds)


def _get(client: httpx.Client, path: str) -> Any:
    """The JSON of an address, None where there is none. Raises GenerationError where the key is refused."""
    reply = client.get(path)
    if reply.status_code in (401, 403):
        raise KeyRefused(f"the server at {str(client.base_url).rstrip('/')} refused the key")
    return _json(reply)


def _json(reply: httpx.Response) -> Any:
    if reply.status_code != 200 or len(reply.content) > MAX_BYTES:
        return None
    try:
        return reply.json()
    except (ValueError, RecursionError):
        return None


def _listed(listed: object) -> Iterator[ServedModel]:
    for entry in _entries(listed):
        yield ServedModel(entry["id"], _window(entry))


def _entries(listed: object) -> list[dict]:
    """The records of models, in `data` as OpenAI's are, or in a list of their own."""
    rows = listed.get("data") if isinstance(listed, dict) else listed
    if not isinstance(rows, list):
        return []
    named = (row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str))
    return [row for row in named if len(row["id"]) <= MAX_NAME_CHARACTERS]


def _entry(listed: object, model: str) -> dict | None:
    names = {model, f"{model}:latest", f"models/{model}"}
    return next((entry for entry in _entries(listed) if entry["id"] in names), None)


def _window(entry: Mapping[str, Any]) -> int | None:
    meta = entry.get("meta")
    given = [*([meta.get("n_ctx")] if isinstance(meta, dict) else []), *(entry.get(name) for name in WINDOWS)]
    return next((n for n in given if _is_count(n)), None)


def _is_count(n: object) -> bool:
    return isinstance(n, int) and not isinstance(n, bool) and n > 0


def _is_ollama(client: httpx.Client, entry: Mapping[str, Any] | None) -> bool:
    return client.base_url.port == OLLAMA_PORT or (entry is not None and entry.get("owned_by") == "library")


def _ollama_window(client: httpx.Client, model: str) -> int | None:
    """The window that Ollama gives a model: of the loaded one, else as its file says, or its training forbids."""
    root = client.base_url.copy_with(path="/")
    running = _json(client.get(root.join("api/ps")))
    for row in running.get("models") or [] if isinstance(running, dict) else []:
        is_it = isinstance(row, dict) and row.get("name") in (model, f"{model}:latest")
        if is_it and _is_count(n := row.get("context_length")):
            return n
    shown = _json(client.post(root.join("api/show"), json={"model": model}))
    if not isinstance(shown, dict):
        return None
    information = shown.get("model_info")
    items = information.items() if isinstance(information, dict) else ()
    trained = next((n for key, n in items if key.endswith(".context_length") and _is_count(n)), None)
    set_to = _NUM_CTX.search(str(shown.get("parameters") or "")[:20_000])
    if set_to:
        return min(int(set_to[1]), trained or int(set_to[1]))
    return trained if trained is not None and trained < OLLAMA_LEAST else None
