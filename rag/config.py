"""Settings: `rag.toml`, a user's own file, and `--set a.b=c`, in that order; an unknown key is an error.

Units and effects stand in `rag.toml`, one comment for each setting.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from rag.errors import ConfigError

DEFAULT_FILE = Path(__file__).resolve().parent.parent / "rag.toml"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def _tesseract_languages(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z][\w/-]*(\+[A-Za-z][\w/-]*)*", text):
        raise ValueError('names of Tesseract\'s languages joined by "+", such as "eng+deu", or nothing')
    return text


PositiveInt = Annotated[int, Field(gt=0)]
RetrieverKind = Literal["hybrid", "dense", "bm25"]
ContextOrder = Literal["best-first", "best-last", "best-at-both-ends"]
Precision = Literal["auto", "fp32", "bf16", "int8"]
GeneratorPrecision = Literal["auto", "fp32", "bf16"]


class ModelsSettings(_Section):
    source: Literal["auto", "hub", "packages", "local"] = "auto"


class EncoderSettings(_Section):
    model: str = "intfloat/multilingual-e5-small"
    max_length_tokens: PositiveInt = 512
    precision: Precision = "auto"
    query_prompt: str | None = None
    passage_prompt: str | None = None


class IndexSettings(_Section):
    factory: str | None = None
    window_sentences: Annotated[int, Field(ge=0)] | None = None
    nprobe: PositiveInt = 32
    ef_search: PositiveInt = 128


class DocumentsSettings(_Section):
    chunk_tokens: PositiveInt = 256
    overlap_tokens: Annotated[int, Field(ge=0)] = 32
    max_file_mib: Annotated[float, Field(gt=0)] = 100.0
    max_seconds_per_file: Annotated[float, Field(gt=0)] = 120.0
    ocr_languages: Annotated[str, AfterValidator(_tesseract_languages)] = "eng"


class RetrieverSettings(_Section):
    kind: RetrieverKind = "hybrid"
    depth: PositiveInt = 50
    fusion_depth: PositiveInt = 100
    rrf_k: PositiveInt = 10
    dense_weight: Annotated[float, Field(ge=0)] = 1.0
    bm25_weight: Annotated[float, Field(ge=0)] = 0.5


class RerankerSettings(_Section):
    enabled: bool = True
    model: str = "cross-encoder/ms-marco-MiniLM-L-12-v2"
    depth: PositiveInt = 50
    max_length_tokens: PositiveInt = 512
    precision: Precision = "auto"


class PromptSettings(_Section):
    name: str = "extract-v1"
    contexts: PositiveInt = 3
    order: ContextOrder = "best-first"
    sentence_margin: Annotated[float, Field(ge=0)] = 6.0
    withhold_instructions: bool = True
    demonstrations: str | None = None
    n_demonstrations: PositiveInt = 3
    min_likeness: Annotated[float, Field(ge=0, le=1)] = 0.5


class GeneratorSettings(_Section):
    kind: Literal["auto", "vllm", "server", "transformers"] = "auto"
    model: str = "Qwen/Qwen3-1.7B"
    max_new_tokens: PositiveInt = 128
    context_window_tokens: PositiveInt = 4096
    precision: GeneratorPrecision = "auto"
    temperature: Annotated[float, Field(ge=0)] = 0.0
    seed: int = 0
    server_url: str = "http://127.0.0.1:8000/v1"
    server_api_key_variable: str = "OPENAI_API_KEY"
    server_timeout_seconds: Annotated[float, Field(gt=0)] = 120.0
    server_retries: Annotated[int, Field(ge=0)] = 4
    server_concurrency: PositiveInt = 16
    vllm_memory_gib: Annotated[float, Field(gt=0)] = 4.0
    vllm_gpu_share: Annotated[float, Field(gt=0, le=1)] = 0.85
    vllm_max_sequences: PositiveInt = 64


class AbstainSettings(_Section):
    rerank_threshold: float | None = None
    uncalibrated_threshold: float = -1.0
    strictness: Annotated[float, Field(ge=0, le=1)] | None = None


class ServingSettings(_Section):
    questions_per_minute: Annotated[int, Field(ge=0)] = 60
    uploads: Literal["auto", "on", "off"] = "auto"
    max_waiting: PositiveInt = 64


class ScorerSettings(_Section):
    model: str = "sentence-transformers/all-MiniLM-L6-v2"


class TrainingSettings(_Section):
    """What a recipe leaves open, or a person sets otherwise: None keeps the recipe's own value."""

    epochs: Annotated[float, Field(gt=0)] | None = None
    batch_size: PositiveInt | None = None
    accumulation: PositiveInt | None = None
    mini_batch_size: PositiveInt | None = None
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    temperature: Annotated[float, Field(gt=0)] | None = None
    teacher_temperature: Annotated[float, Field(gt=0)] | None = None
    contrastive_share: Annotated[float, Field(ge=0)] | None = None
    negatives: Annotated[int, Field(ge=0)] | None = None
    max_length_tokens: PositiveInt | None = None
    dropout: Annotated[float, Field(ge=0, lt=1)] | None = None
    freeze_embeddings: bool | None = None
    adam_beta2: Annotated[float, Field(gt=0, lt=1)] | None = None
    tuned_share: Annotated[float, Field(gt=0, le=1)] | None = None
    seed: int | None = None
    loss: (
        Literal["contrastive", "kl", "margin_mse", "bce", "lambda", "listnet", "ranknet", "hybrid", "none_of_these"]
        | None
    ) = None
    negatives_from: Literal["mined", "evidences", "random"] | None = None
    mask_positives: bool | None = None
    filter_by_guide: bool | None = None
    guide_margin: float | None = None
    random_share: Annotated[float, Field(ge=0, le=1)] | None = None
    positive_weight: Annotated[float, Field(gt=0)] | None = None
    soft_share: Annotated[float, Field(ge=0, le=1)] | None = None
    hardest_first: bool | None = None
    skip_easy: float | None = None
    select: Literal["mrr", "loss"] | None = None
    unanswerable: bool | None = None
    embedding_learning_rate: Annotated[float, Field(gt=0)] | None = None
    head_learning_rate: Annotated[float, Field(gt=0)] | None = None
    evaluations: PositiveInt = 4
    dev_questions: PositiveInt = 200
    dev_candidates: PositiveInt = 20
    report_to: Literal["none", "tensorboard", "wandb"] = "none"

    def overrides(self) -> dict:
        """The recipe's fields that are set."""
        own = {"evaluations", "dev_questions", "dev_candidates", "report_to"}
        return {name: value for name, value in self.model_dump().items() if name not in own and value is not None}


class PromptExample(_Section):
    passages: list[str]
    question: str
    answer: str


class PromptTemplate(_Section):
    """A user's own prompt: jinja2 templates over `passages`, `question`, and the examples shown before it."""

    system: str = ""
    user: str
    parser: Literal["none", "strip", "layered"] = "layered"
    examples: list[PromptExample] = []


class Settings(_Section):
    models: ModelsSettings = ModelsSettings()
    encoder: EncoderSettings = EncoderSettings()
    index: IndexSettings = IndexSettings()
    documents: DocumentsSettings = DocumentsSettings()
    retriever: RetrieverSettings = RetrieverSettings()
    reranker: RerankerSettings = RerankerSettings()
    prompt: PromptSettings = PromptSettings()
    generator: GeneratorSettings = GeneratorSettings()
    abstain: AbstainSettings = AbstainSettings()
    serving: ServingSettings = ServingSettings()
    scorer: ScorerSettings = ScorerSettings()
    training: TrainingSettings = TrainingSettings()
    prompts: dict[str, PromptTemplate] = {}


def load_settings(file: str | Path | None = None, overrides: Sequence[str] = ()) -> Settings:
    """The project's defaults, then `file`, then each `section.key=value`. Raises ConfigError naming the key."""
    merged: dict = _read_toml(DEFAULT_FILE) if DEFAULT_FILE.is_file() else {}
    if file is not None:
        _merge(merged, _read_toml(Path(file)))
    for override in overrides:
        _merge(merged, _parse_override(override))
    try:
        return Settings.model_validate(merged)
    except ValidationError as error:
        raise ConfigError("; ".join(_sentence(problem) for problem in error.errors())) from error


def _read_toml(path: Path) -> dict:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"the settings file {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} is not valid TOML: {error}") from error


def _parse_override(text: str) -> dict:
    key, separator, raw = text.partition("=")
    if not separator or "." not in key:
        raise ConfigError(f"--set {text!r} is not section.key=value, as in --set reranker.depth=20")
    try:
        value = tomllib.loads(f"value = {raw}")["value"]
    except tomllib.TOMLDecodeError:
        value = raw  # a bare word is a string
    nested: dict = {}
    node = nested
    *sections, last = key.strip().split(".")
    for section in sections:
        node = node.setdefault(section, {})
    node[last] = value
    return nested


def _merge(into: dict, extra: dict) -> None:
    for key, value in extra.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            _merge(into[key], value)
        else:
            into[key] = value


def _sentence(problem: dict) -> str:
    key = ".".join(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        parent = Settings
        for part in problem["loc"][:-1]:
            is_table = get_origin(parent) is dict  # [prompts.NAME]: any name, each of the same kind
            parent = get_args(parent)[1] if is_table else parent.model_fields[part].annotation
        return f"unknown setting {key!r} (known here: {', '.join(parent.model_fields)})"
    return f"setting {key!r}: {problem['msg'].removeprefix('Value error, ')} (given: {problem['input']!r})"
