"""Any OpenAI-compatible server: `vllm serve`, llama.cpp, and others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import Any

from rag.errors import GenerationError
from rag.types import Messages

ASCII_CHARACTERS_PER_TOKEN = 3.0


class ServerGenerator:
    """Chat completions over HTTP, with time limits, and retries with exponential backoff.

    The server's tokenizer is not available here. Tokens are estimated from characters, rather too many than too few:
    one for each character that is not ASCII.
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
        self.model = model
        self.base_url = base_url
        self.max_new_tokens = max_new_tokens
        self.temperature = temperature
        self.seed = seed
        self.concurrency = concurrency
        self._window = context_window_tokens
        # Outside the standard: vLLM and others pass it on to the chat template.
        self._extras: dict[str, Any] = {"chat_template_kwargs": {"enable_thinking": False}}
        self._options: dict[str, Any] = {
            "base_url": base_url,
            "api_key": api_key or "none",
            "timeout": timeout_seconds,
            "max_retries": retries,
        }

    @property
    def context_window_tokens(self) -> int:
        """Tokens that prompt and answer may take together."""
        return self._window

    def count_tokens(self, conversation: Messages) -> int:
        """An estimate of the conversation's tokens: those of its texts, and eight for the markup of each message."""
        return sum(_estimated_tokens(message["content"]) + 8 for message in conversation)

    def generate(self, conversations: Sequence[Messages]) -> list[str]:
        """One raw answer per conversation, in order; `concurrency` requests at once. Raises GenerationError."""
        return asyncio.run(self._generate_all(conversations))

    async def _generate_all(self, conversations: Sequence[Messages]) -> list[str]:
        from openai import AsyncOpenAI, BadRequestError, OpenAIError, UnprocessableEntityError

        gate = asyncio.Semaphore(self.concurrency)
        async with AsyncOpenAI(**self._options) as client:

            async def one(conversation: Messages) -> str:
                async with gate:
                    try:
                        reply = await client.chat.completions.create(**self._request(conversation))
                    except (BadRequestError, UnprocessableEntityError) as error:
                        self._do_without_extras(error)
                        reply = await client.chat.completions.create(**self._request(conversation))
                    return reply.choices[0].message.content or ""

            try:
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(one(conversation)) for conversation in conversations]
            except* OpenAIError as errors:
                raise self._failure(errors.exceptions[0]) from errors
        return [task.result() for task in tasks]

    def stream(self, conversation: Messages) -> Iterator[str]:
        """Text deltas of one answer; closing the iterator closes the connection. Raises GenerationError."""
        from openai import BadRequestError, OpenAI, OpenAIError, UnprocessableEntityError

        try:
            with OpenAI(**self._options) as client:
                try:
                    opened = client.chat.completions.create(stream=True, **self._request(conversation))
                except (BadRequestError, UnprocessableEntityError) as error:
                    self._do_without_extras(error)
                    opened = client.chat.completions.create(stream=True, **self._request(conversation))
                with opened as chunks:
                    for chunk in chunks:
                        if chunk.choices and (delta := chunk.choices[0].delta.content):
                            yield delta
        except OpenAIError as error:
            raise self._failure(error) from error

    def _request(self, conversation: Messages) -> dict[str, Any]:
        return {
            "messages": conversation,
            "model": self.model,
            "max_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "seed": self.seed,
            "extra_body": self._extras,
        }

    def _do_without_extras(self, refusal: Exception) -> None:
        """Leave the extras out from now on, where the server refused them by name; raises any other refusal."""
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
