"""Any OpenAI-compatible server: `vllm serve`, llama.cpp, and others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from rag.errors import GenerationError
from rag.types import Conversation

ASCII_CHARACTERS_PER_TOKEN = 3.0


class ServerGenerator:
    """Chat completions over HTTP, with time limits and retries by exponential backoff.

    The server's tokenizer is not at hand, so tokens are estimated from characters, on the careful side: one for each
    that is not ASCII.
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
    ):
        self.model, self.base_url = model, base_url
        self.max_new_tokens, self.temperature, self.seed = max_new_tokens, temperature, seed
        self.concurrency = concurrency
        self._window = context_window_tokens
        self._extras: dict = {"chat_template_kwargs": {"enable_thinking": False}}
        self._options = {
            "base_url": base_url,
            "api_key": api_key or "none",
            "timeout": timeout_seconds,
            "max_retries": retries,
        }

    @property
    def context_window_tokens(self) -> int:
        return self._window

    def count_tokens(self, conversation: Conversation) -> int:
        return sum(_estimated_tokens(message["content"]) + 8 for message in conversation)

    def generate(self, conversations: Sequence[Conversation]) -> list[str]:
        """One raw answer per conversation, in order, several requests at once."""
        return asyncio.run(self._generate_all(conversations))

    async def _generate_all(self, conversations: Sequence[Conversation]) -> list[str]:
        from openai import AsyncOpenAI, BadRequestError, OpenAIError, UnprocessableEntityError

        gate = asyncio.Semaphore(self.concurrency)
        async with AsyncOpenAI(**self._options) as client:

            async def one(conversation: Conversation) -> str:
                async with gate:
                    try:
                        reply = await client.chat.completions.create(messages=conversation, **self._request())
                    except (BadRequestError, UnprocessableEntityError) as error:
                        self._do_without_extras(error)
                        reply = await client.chat.completions.create(messages=conversation, **self._request())
                    return reply.choices[0].message.content or ""

            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one(conversation)) for conversation in conversations]
            except* OpenAIError as errors:
                raise self._failure(errors.exceptions[0]) from errors
        return [task.result() for task in tasks]

    def stream(self, conversation: Conversation) -> Iterator[str]:
        """Text deltas of one answer; closing the iterator closes the connection."""
        from openai import BadRequestError, OpenAI, OpenAIError, UnprocessableEntityError

        try:
            with OpenAI(**self._options) as client:
                try:
                    opened = client.chat.completions.create(messages=conversation, stream=True, **self._request())
                except (BadRequestError, UnprocessableEntityError) as error:
                    self._do_without_extras(error)
                    opened = client.chat.completions.create(messages=conversation, stream=True, **self._request())
                with opened as chunks:
                    for chunk in chunks:
                        if chunk.choices and (delta := chunk.choices[0].delta.content):
                            yield delta
        except OpenAIError as error:
            raise self._failure(error) from error

    def _request(self) -> dict:
        return {
            "model": self.model,
            "max_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "extra_body": self._extras,
        }

    def _do_without_extras(self, refusal: Exception) -> None:
        """A server that knows only the standard fields says which it does not know; it is asked without them."""
        if "chat_template_kwargs" not in str(refusal):
            raise refusal
        self._extras = {}

    def _failure(self, error: Exception) -> GenerationError:
        from openai import APIConnectionError, APITimeoutError, AuthenticationError, NotFoundError

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


def _estimated_tokens(text: str) -> int:
    n_ascii = len(text.encode("ascii", "ignore"))
    return int(n_ascii / ASCII_CHARACTERS_PER_TOKEN) + len(text) - n_ascii
