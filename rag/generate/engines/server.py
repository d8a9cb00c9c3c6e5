"""Any OpenAI-compatible server: `vllm serve`, llama.cpp, and others."""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from rag.errors import GenerationError
from rag.generate.engines.deltas import deltas
from rag.generate.engines.served import window_of
from rag.generate.engines.server_fields import ServerFields
from rag.progress import say, who_waits
from rag.types import Messages

if TYPE_CHECKING:
    from openai import AsyncOpenAI

CLIENT = "openai.resources.chat.completions"
"""Imported with the generator: it takes seconds on a slow machine, for which the first question should not wait."""
MAX_REFUSALS = 16
ASCII_CHARACTERS_PER_TOKEN = 3.0
THINKING_TOKENS = 4096
"""What a model that thinks gets beside the tokens of its answer: servers count both against one limit."""
WITHOUT_THINKING = (None, "none")

T = TypeVar("T")


class ServerGenerator:
    """Chat completions over HTTP, with time limits, and retries with exponential backoff.

    What a server refuses by name is left out, or called otherwise, from then on (`rag.generate.engines.server_fields`).
    The server's tokenizer is not available here. Tokens are estimated from characters, rather too many than too few:
    one for each character that is not ASCII. `reasoning` is how long the model may think (`reasoning_effort`); None
    sends nothing. A server that tells a smaller window than `context_window_tokens` is believed.
    """

    def __init__(
        self,
        model: str,
        *,
        base_url: str,
        api_key: str = "",
        max_new_tokens: int = 128,
        context_window_tokens: int = 4096,
        temperature: float = 0.0,
        seed: int = 0,
        timeout_seconds: float = 120.0,
        retries: int = 4,
        concurrency: int = 16,
        reasoning: str | None = None,
    ):
        self.model = model
        self.base_url = base_url
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.seed = seed
        self.concurrency = concurrency
        self._window = context_window_tokens
        self._asked_window: threading.Lock | None = threading.Lock()
        self._max_tokens = max_new_tokens + (0 if reasoning in WITHOUT_THINKING else THINKING_TOKENS)
        self._fields = ServerFields(
            {
                "max_tokens": self._max_tokens,
                "temperature": temperature,
                "seed": seed,
                **({} if reasoning is None else {"reasoning_effort": reasoning}),
                # Outside the standard: vLLM and others pass it on to the chat template.
                "chat_template_kwargs": {"enable_thinking": False},
            }
        )
        importlib.import_module(CLIENT)
        self._api_key = api_key
        self._options: dict[str, Any] = {
            "base_url": base_url,
            "api_key": api_key or "none",
            "timeout": timeout_seconds,
            "max_retries": retries,
        }

    @property
    def context_window_tokens(self) -> int:
        """Tokens that prompt and answer may take together. The server is asked once, with the first question."""
        if (lock := self._asked_window) is not None:
            with lock:
                if self._asked_window is not None:
                    self._ask_window()
                    self._asked_window = None
        return self._window

    def _ask_window(self) -> None:
        found = window_of(self.base_url, self.model, self._api_key)
        if found is None:
            return
        room = max(found - (self._max_tokens - self.max_new_tokens), found // 2)
        if room < self._window:
            say(f"{self.model} at {self.base_url} takes {found:,} tokens: passages that do not fit are left out")
            self._window = room

    def count_tokens(self, conversation: Messages) -> int:
        """An estimate of the conversation's tokens: those of its texts, and eight for the markup of each message."""
        return sum(_estimated_tokens(message["content"]) + 8 for message in conversation)

    def generate(self, conversations: Sequence[Messages]) -> list[str]:
        """One raw answer per conversation, in order; `concurrency` requests at once. Raises GenerationError."""
        return _run_while_waited_for(self._generate_all(conversations))

    async def _generate_all(self, conversations: Sequence[Messages]) -> list[str]:
        from openai import AsyncOpenAI, OpenAIError

        gate = asyncio.Semaphore(self.concurrency)
        async with AsyncOpenAI(**self._options) as client:

            async def one(conversation: Messages) -> str:
                async with gate:
                    return self._answer(await self._ask(client, conversation))

            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one(conversation)) for conversation in conversations]
            except* (OpenAIError, GenerationError) as errors:
                raise self._failure(errors.exceptions[0]) from errors
        return [task.result() for task in tasks]

    def stream(self, conversation: Messages) -> Iterator[str]:
        """Text deltas of one answer; closing the iterator closes the connection. Raises GenerationError."""
        yield from deltas(lambda put: _run_while_waited_for(self._stream_to(put, conversation)))

    async def _stream_to(self, put: Callable[[str], None], conversation: Messages) -> None:
        from openai import AsyncOpenAI, AsyncStream, OpenAIError

        try:
            async with AsyncOpenAI(**self._options) as client:
                opened = await self._ask(client, conversation, streamed=True)
                if not isinstance(opened, AsyncStream):
                    put(self._answer(opened))
                    return
                said, reason = "", None
                async with opened as chunks:
                    async for chunk in chunks:
                        if not chunk.choices:
                            continue
                        reason = chunk.choices[0].finish_reason or reason
                        if delta := chunk.choices[0].delta.content:
                            said = said or delta.strip()
                            put(delta)
                self._check_begun(said, reason)
        except OpenAIError as error:
            raise self._failure(error) from error

    async def _ask(self, client: AsyncOpenAI, conversation: Messages, *, streamed: bool = False) -> Any:
        """The server's reply, a stream if wanted. A field that it refuses by name is not sent again, by any request."""
        from openai import APIStatusError

        for _ in range(MAX_REFUSALS):
            sent = self._fields.request(conversation, streamed=streamed)
            known: dict[str, Any] = {name: sent.pop(name) for name in ("messages", "stream") if name in sent}
            try:
                return await client.chat.completions.create(model=self.model, extra_body=sent, **known)
            except APIStatusError as error:
                learnt = self._fields.learn(error.status_code, error.response.text, {**sent, **known})
                if learnt is None:
                    raise
                if learnt:
                    say(f"the server at {self.base_url} refused a request: {learnt}")
        raise GenerationError(f"the server at {self.base_url} refuses every request; ask it for its log")

    def _answer(self, reply: Any) -> str:
        """The text of a whole reply. Raises GenerationError where it holds none, as behind some gateways."""
        if not (choices := getattr(reply, "choices", None)):
            what = getattr(reply, "error", None) or reply
            raise GenerationError(f"the server at {self.base_url} sent no answer, but {str(what)[:300]!r}")
        text = choices[0].message.content or ""
        self._check_begun(text, choices[0].finish_reason)
        return text

    def _check_begun(self, text: str, finish_reason: str | None) -> None:
        """Raise GenerationError where all tokens went before the answer began."""
        if finish_reason == "length" and not text.strip():
            raise GenerationError(
                f"{self.model} used its {self._max_tokens:,} tokens before it began to answer, for thinking; raise "
                "generator.max_new_tokens, or let it think less: --set generator.server_reasoning=low"
            )

    def _failure(self, error: Exception) -> GenerationError:
        from openai import APIConnectionError, APITimeoutError, AuthenticationError, NotFoundError

        if isinstance(error, GenerationError):
            return error
        if isinstance(error, APITimeoutError):
            return GenerationError(
                f"the server at {self.base_url} did not answer within {self._options['timeout']:g} s; it may be busy: "
                "try again, or raise generator.server_timeout_seconds"
            )
        if isinstance(error, APIConnectionError):
            return GenerationError(f"no server answers at {self.base_url}; start it, or correct generator.server_url")
        if isinstance(error, AuthenticationError):
            return GenerationError(f"the server at {self.base_url} refused the key; set the variable that holds it")
        if isinstance(error, NotFoundError):
            return GenerationError(f"the server at {self.base_url} does not serve {self.model!r}: {error}")
        return GenerationError(f"the server at {self.base_url} failed: {error}")


def _run_while_waited_for(requests: Coroutine[Any, Any, T]) -> T:
    """What the requests return. Raises Left, and ends their connections, once whoever this thread works for leaves."""
    waiting = who_waits()
    if waiting is None:
        return asyncio.run(requests)

    async def while_waited_for() -> T:
        loop, task = asyncio.get_running_loop(), asyncio.ensure_future(requests)

        def cancel() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(task.cancel)

        with waiting.telling(cancel):
            return await task

    try:
        return asyncio.run(while_waited_for())
    except asyncio.CancelledError:
        waiting.check()
        raise


def _estimated_tokens(text: str) -> int:
    n_ascii = len(text.encode("ascii", "ignore"))
    return int(n_ascii / ASCII_CHARACTERS_PER_TOKEN) + len(text) - n_ascii
