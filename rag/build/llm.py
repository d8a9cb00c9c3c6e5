"""A generator chosen by one word, as `--llm` and `serving.models` take it: everything else follows from it.

    packaged, packaged:1.5B            the weights that ship in packages, on this machine
    ollama:qwen3:4b                    a model of Ollama; likewise lmstudio:, llamacpp: and vllm: on this machine
    openai:gpt-5-mini                  a model of OpenAI; likewise gemini:, mistral: and openrouter:
    http://HOST:8000/v1#MODEL          any server that speaks OpenAI's protocol; without #MODEL the only one it serves
    Qwen/Qwen3-4B, a folder            a model that runs in this process

Address, key and window are set by it. The prompt follows, unless it is named in the settings, and with the prompt the
length of answers and whether whole passages are shown (`rag.build.chosen_prompt`).
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rag.config import GeneratorSettings, Settings
from rag.errors import ConfigError
from rag.generate.engines.served import OLLAMA_PORT, KeyRefused, NoServer, ServedModel, served_models, window_of
from rag.models.catalog import FALLBACK_GENERATOR, PACKAGED
from rag.models.size import billions_named
from rag.terminal import shell_word

PACKAGED_NAME = "packaged"
MAX_LISTED = 12
_ADDRESS = re.compile(r"https?://[^\s#]{1,500}", re.I)


@dataclass(frozen=True, slots=True)
class Provider:
    """Where models are served. `address_variable` may name another address, `start` says how a local one starts.

    `reasoning` is how long its models may think (`generator.server_reasoning`).
    """

    title: str
    address: str
    key_variable: str
    address_variable: str = ""
    start: str = ""
    reasoning: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether it usually runs on this machine, where no key is needed."""
        return bool(self.start)


PROVIDERS = {
    "ollama": Provider(
        "Ollama", "http://127.0.0.1:11434/v1", "OLLAMA_API_KEY", "OLLAMA_HOST", "ollama serve", reasoning="none"
    ),
    "lmstudio": Provider("LM Studio", "http://127.0.0.1:1234/v1", "LM_API_TOKEN", start="lms server start"),
    "llamacpp": Provider("llama.cpp", "http://127.0.0.1:8080/v1", "LLAMA_API_KEY", start="llama-server -m FILE"),
    "vllm": Provider("vLLM", "http://127.0.0.1:8000/v1", "VLLM_API_KEY", start="vllm serve MODEL"),
    "openai": Provider("OpenAI", "https://api.openai.com/v1", "OPENAI_API_KEY", "OPENAI_BASE_URL", reasoning="low"),
    "gemini": Provider(
        "Gemini", "https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY", reasoning="low"
    ),
    "mistral": Provider("Mistral", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "openrouter": Provider("OpenRouter", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
}


def with_llm(settings: Settings, choice: str, environment: Mapping[str, str] = os.environ) -> Settings:
    """The settings with this generator. A server is asked which models it serves, and how many tokens they take.

    Raises ConfigError for a choice that is not understood, a key that is not set or a model that is not there;
    GenerationError where no server answers, or where it refuses the key.
    """
    choice = choice.strip()
    if (name := packaged_model(choice)) is not None:
        return _updated(settings, **_in_process(settings), model=name)
    if _ADDRESS.match(choice):
        address, _, model = choice.partition("#")
        return _served(settings, _base_url(address), model, settings.generator.server_api_key_variable, environment)
    provider, colon, model = choice.partition(":")
    if colon and provider in PROVIDERS:
        return _provided(settings, provider, model, environment)
    if "/" in choice or Path(choice).expanduser().is_dir():
        return _updated(settings, **_in_process(settings), model=choice)
    raise ConfigError(_not_understood(choice))


def packaged_model(choice: str) -> str | None:
    """The packaged generator that is meant, None where none is. Raises ConfigError for a size that is not packaged."""
    word, _, which = choice.partition(":")
    if word != PACKAGED_NAME:
        return None
    known = packaged_sizes()
    if not which:
        return FALLBACK_GENERATOR
    for size, name in known.items():
        if which.lower() in (size.lower(), name.lower(), name.rsplit("/", 1)[-1].lower()):
            return name
    raise ConfigError(f"no generator of {which!r} is packaged; there is {_listed([f'packaged:{s}' for s in known])}")


def packaged_sizes() -> dict[str, str]:
    """The packaged generators by their size, as in "0.5B", smallest first."""
    names = [name for name, model in PACKAGED.items() if model.role == "generator"]
    return {f"{billions_named(name) or 0:g}B": name for name in sorted(names, key=lambda n: billions_named(n) or 0)}


def label_of(choice: str) -> str:
    """What a person reads for a choice: the model's name, and where it runs."""
    if (name := packaged_model(choice)) is not None:
        return f"{name.rsplit('/', 1)[-1]} (packaged)"
    if _ADDRESS.match(choice):
        address, _, model = choice.partition("#")
        host = address.split("://", 1)[1].split("/")[0].rsplit("@", 1)[-1]
        return f"{model} ({host})" if model else host
    provider, colon, model = choice.partition(":")
    if colon and provider in PROVIDERS:
        return f"{model} ({PROVIDERS[provider].title})"
    return f"{choice.rstrip('/').rsplit('/', 1)[-1]} (in this process)"


def _updated(settings: Settings, **values: Any) -> Settings:
    """The settings with other values for the generator, which are checked."""
    generator = GeneratorSettings.model_validate({**settings.generator.model_dump(), **values})
    return settings.model_copy(update={"generator": generator})


def _in_process(settings: Settings) -> dict[str, str]:
    return {"kind": "auto"} if settings.generator.kind == "server" else {}


def _provided(settings: Settings, provider: str, model: str, environment: Mapping[str, str]) -> Settings:
    """A model of a provider by its name."""
    known, variable = PROVIDERS[provider], PROVIDERS[provider].key_variable
    if not known.is_local and not environment.get(variable):
        raise ConfigError(f"{known.title} needs a key, and {variable} is not set: export {variable}=…")
    address = _base_url(environment.get(known.address_variable, "").strip() or known.address)
    try:
        return _served(settings, address, model, variable, environment, provider)
    except NoServer as error:
        fix = f"start it: {known.start}" if known.is_local else "is this machine connected?"
        raise NoServer(f"{known.title} does not answer at {address}; {fix}") from error


def _base_url(address: str) -> str:
    """The address below which `chat/completions` is. OLLAMA_HOST may be a host without scheme, port or path."""
    address = address.strip().rstrip("/")
    if "://" not in address:
        host, colon, port = address.partition(":")
        host = "127.0.0.1" if host in ("", "0.0.0.0") else host
        address = f"http://{host}:{port if colon else OLLAMA_PORT}"
    return address if "/" in address.split("://", 1)[1] else f"{address}/v1"


def _served(
    settings: Settings,
    address: str,
    model: str,
    key_variable: str,
    environment: Mapping[str, str],
    provider: str = "",
) -> Settings:
    """A model of a server, found by asking it."""
    key = environment.get(key_variable, "")
    try:
        listed = served_models(address, key)
    except KeyRefused as error:
        raise KeyRefused(f"{error}; set {key_variable} to one that it knows") from error
    name = _one_served(address, model, listed, provider)
    chosen = settings.generator
    reasoning = PROVIDERS[provider].reasoning if provider else None
    return _updated(
        settings,
        kind="server",
        model=name,
        server_url=address,
        server_api_key_variable=key_variable,
        server_reasoning=chosen.server_reasoning or reasoning,
        context_window_tokens=_window(chosen.context_window_tokens, address, name, key, listed),
    )


def _window(chosen: int, address: str, name: str, key: str, listed: Sequence[ServedModel] | None) -> int:
    """The window to use: what the list of models tells, else what is chosen, as far as the server gives as much.

    Ollama's window depends on whether the model is loaded just now. Only a smaller one counts: else a batch that is
    begun again would not be the same.
    """
    told = next((model.window_tokens for model in listed or () if model.name == name), None)
    if told is not None and chosen == GeneratorSettings().context_window_tokens:
        return told
    told = told or window_of(address, name, key)
    return chosen if told is None else min(told, chosen)


def _one_served(address: str, model: str, listed: Sequence[ServedModel] | None, provider: str) -> str:
    """The model that is meant, by the name that its server knows. Raises ConfigError where there is none."""
    if listed is None:
        if model:
            return model
        raise ConfigError(f"the server at {address} does not list its models; name one: --llm {address}#MODEL")
    names = [served.name for served in listed]
    prefix = f"{provider}:" if provider else f"{address}#"
    if not model:
        if len(names) == 1:
            return names[0]
        what = f"serves {len(names):,} models; name one" if names else "serves no model"
        raise ConfigError(f"the server at {address} {what}: {_listed([prefix + name for name in names])}".rstrip(": "))
    found = next((name for name in names if name in (model, f"{model}:latest", f"models/{model}")), None)
    if found is not None:
        return found
    near = difflib.get_close_matches(model, names, n=3, cutoff=0.5) or names
    hint = f"did you mean {_listed([prefix + name for name in near])}?" if near else "it serves no model"
    fetch = f"; or fetch it: ollama pull {shell_word(model)}" if provider == "ollama" else ""
    raise ConfigError(f"the server at {address} does not serve {model!r}; {hint}{fetch}")


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - MAX_LISTED:,} more" if len(names) > MAX_LISTED else ""
    return ", ".join(names[:MAX_LISTED]) + more


def _not_understood(choice: str) -> str:
    forms = "packaged, ollama:MODEL, openai:MODEL, http://HOST/v1#MODEL, or a model's name such as Qwen/Qwen3-4B"
    word, colon, rest = choice.partition(":")
    near = difflib.get_close_matches(word.lower(), [PACKAGED_NAME, *PROVIDERS], n=1, cutoff=0.7)
    if near:
        return f"--llm {choice!r} is not known; did you mean {near[0]}{colon}{rest}? Known are {forms}"
    likely = f"ollama:{choice}" if colon else f"ollama:{choice} or openai:{choice}"
    return f"--llm {choice!r} names no server; did you mean {likely}? Known are {forms}"
