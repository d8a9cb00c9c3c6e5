"""The settings: every section with its keys, their defaults, limits and descriptions.

They are stated here once. rag.toml and docs/settings.md are written from them: `python -m rag.cli.reference`.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from rag.config.compute import ComputeSettings
from rag.config.reader import ReaderSettings
from rag.config.section import (
    CountOrZero,
    Positive,
    PositiveInt,
    PositiveOrZero,
    PositiveShare,
    Precision,
    Section,
    Share,
)
from rag.config.store import StoreSettings
from rag.config.support import SupportSettings
from rag.config.training import TrainingSettings
from rag.config.web import WebSettings
from rag.languages import LANGUAGES


def _tesseract_languages(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z][\w/-]*(\+[A-Za-z][\w/-]*)*", text):
        raise ValueError('names of Tesseract\'s languages joined by "+", such as "eng+deu", or nothing')
    return text


def _language(text: str) -> str:
    text = text.strip().lower()
    if text != "auto" and text not in LANGUAGES:
        raise ValueError(f"auto or one of {', '.join(LANGUAGES)}")
    return text


RetrieverKind = Literal["hybrid", "dense", "bm25"]
ContextOrder = Literal["best-first", "best-last", "best-at-both-ends"]
GeneratorPrecision = Literal["auto", "fp32", "bf16", "int8"]


class ModelsSettings(Section):
    """Where models come from."""

    source: Literal["auto", "hub", "packages", "local"] = Field(
        default="auto",
        description="Where a model's name is looked up. auto tries a local cache, then the hub if it answers within "
        "3 s, then the package index. local reads folders only.",
    )


class EncoderSettings(Section):
    """The bi-encoder, which embeds questions and passages. After a change of `model`, index again."""

    model: str = Field(
        default="intfloat/multilingual-e5-small", description="A name on the hub, or a sentence-transformers folder."
    )
    query_model: str | None = Field(
        default=None,
        description="The model that embeds questions in the place of this one, as made by `rag train retriever "
        "--recipe query`. Indexes stay valid. If not set: what was promoted for questions, else `model` itself, which "
        "can also be named here.",
        examples=["tuned/questions/model"],
    )
    max_length_tokens: PositiveInt = Field(
        default=512, description="Longest passage in tokens, with its prompt. Longer passages are cut and counted."
    )
    truncate_dim: PositiveInt | None = Field(
        default=None,
        description="Keep only the first so many numbers of each vector, for models that were trained for it "
        "(Matryoshka): a smaller index. If not set, the checkpoint decides.",
        examples=[256],
    )
    precision: Precision = Field(
        default="auto",
        description="Arithmetic of the encoder. int8 is faster on CPUs with VNNI; among 384 passages the lowest cosine "
        "to the fp32 vector was .9987.",
    )
    query_prompt: str | None = Field(
        default=None,
        description="Text put before each question. Set it only for a checkpoint that names no prompts of its own; "
        "without it, the family of its name decides, and an unknown one has none.",
        examples=["query: "],
    )
    passage_prompt: str | None = Field(
        default=None, description="Text put before each passage. See query_prompt.", examples=["passage: "]
    )


class IndexSettings(Section):
    """The vector index."""

    factory: str | None = Field(
        default=None,
        description="FAISS factory string: Flat is exact; HNSW32 and IVF1024,Flat are faster approximations. If not "
        "set, an existing index keeps its own and a new one is Flat.",
        examples=["Flat"],
    )
    window_sentences: CountOrZero | None = Field(
        default=None,
        description="Also embed windows of this many sentences of each passage. Dense retrieval finds more, and "
        "indexing takes twice as long; 3 is worth trying. If not set, an existing index keeps its own and a new one "
        "has none.",
        examples=[3],
    )
    questions: CountOrZero | None = Field(
        default=None,
        description="Also let the generator write this many questions about each passage. They are embedded beside it, "
        "and BM25 counts their words. Indexing takes seconds for each new passage. If not set, an existing index keeps "
        "its own and a new one has none.",
        examples=[2],
    )
    language: Annotated[str, AfterValidator(_language)] = Field(
        default="auto",
        description="The language of the passages, such as german: BM25 finds stems and leaves out stop words by it, "
        "and models that know English alone are used for English only. none is for a language without a name here. "
        "auto is the one that most passages are written in; an index keeps its own while a third of them are.",
    )
    nprobe: PositiveInt = Field(
        default=32, description="IVF indexes: cells searched per question. More is slower and more exact."
    )
    ef_search: PositiveInt = Field(
        default=128, description="HNSW indexes: candidates kept while searching. More is slower and more exact."
    )


class DocumentsSettings(Section):
    """How `rag ingest` reads documents."""

    chunk_tokens: PositiveInt = Field(
        default=256, description="Longest passage with its title, counted in the encoder's own tokens."
    )
    overlap_tokens: CountOrZero = Field(
        default=32,
        description="A passage repeats at most this many tokens of sentences from the end of the one before it.",
    )
    max_file_mib: Positive = Field(default=100.0, description="Largest file in MiB. Larger files are left out.")
    max_seconds_per_file: Positive = Field(
        default=120.0,
        description="Longest time to read one file. Slower files are left out. A scan may take as long per page.",
    )
    watch_seconds: Positive = Field(
        default=2.0,
        description="`rag ingest --watch` looks at the folders this often. A file is taken once it has not changed "
        "from one look to the next.",
    )
    ocr_languages: Annotated[str, AfterValidator(_tesseract_languages)] = Field(
        default="eng",
        description="Tesseract languages for scanned pages, such as eng+deu. An empty text leaves scans unread. Needs "
        "Tesseract.",
    )


class RetrieverSettings(Section):
    """How passages are found."""

    kind: RetrieverKind = Field(
        default="hybrid", description="hybrid fuses the ranks of the other two (reciprocal rank fusion)."
    )
    depth: PositiveInt = Field(default=50, description="Passages retrieved per question, and stored in a run.")
    fusion_depth: PositiveInt = Field(
        default=100, description="hybrid: candidates that fusion takes from each retriever."
    )
    rrf_k: PositiveInt = Field(
        default=10,
        description="hybrid: a passage scores weight / (rrf_k + its rank). The larger, the less a difference in rank "
        "matters.",
    )
    dense_weight: PositiveOrZero = Field(
        default=1.0, description="hybrid: weight of the dense ranks. Only its ratio to bm25_weight matters."
    )
    bm25_weight: PositiveOrZero = Field(
        default=0.5,
        description="hybrid: weight of the BM25 ranks. With rrf_k 10 and this value, MRR@10 on dev questions was .700; "
        "with 60 and 1.0 it was .682. Over an index in another language than English, 0.5 means 0.3.",
    )
    hops: PositiveInt = Field(
        default=1,
        le=2,
        description="2 searches in two rounds, for questions whose answer takes two documents (multi-hop): then also "
        "with the names in the best passage. Passages whose title the best one names count more.",
    )


class RerankerSettings(Section):
    """The cross-encoder, which orders the passages found."""

    enabled: bool = Field(default=True, description="false keeps the retriever's order.")
    model: str = Field(
        default="rag-qa/minilm-reranker-openqa",
        description="A name on the hub, or a folder: a sequence classifier with one label, or a CrossEncoder of "
        "sentence-transformers.",
    )
    depth: PositiveInt = Field(
        default=10,
        description="Candidates scored per question, at most retriever.depth. Time grows in proportion. With 20, "
        "MRR@10 on 233 dev questions was .791 instead of .780, and as many answers were right.",
    )
    max_length_tokens: PositiveInt = Field(
        default=512,
        description="Longest question and passage together, in tokens. Longer passages are cut and counted.",
    )
    precision: Precision = Field(
        default="auto",
        description="Arithmetic of the reranker. int8 is faster on CPUs with VNNI; over 256 pairs its logits had a "
        "correlation of .9993 with those of fp32.",
    )
    cosine_weight: PositiveOrZero = Field(
        default=0.0,
        description="Order passages by their logit plus this times the cosine of question and passage. Worth trying "
        "with a tuned retriever beside an untuned reranker. Refusals go by the logit alone. 0: the logit alone.",
    )


class PromptSettings(Section):
    """What the generator is shown."""

    name: str = Field(
        default="auto",
        description="auto takes the prompt that the generator was trained with. Without one, a server and a model of "
        "at least 3 billion parameters are asked with cited-v2, for sentences with citations; all others with "
        "extract-v1, for a short phrase. Or a built-in prompt: tuned-v1, tuned-sentences-v1, extract-v1, fewshot-v1, "
        "fewshot-refuse-v1, decide-v1, cited-v1, cited-v2, fenced-v1, course-v1, course-v2 or course-v3; or the "
        "name of one of your own.",
    )
    contexts: PositiveInt = Field(default=3, description="Passages shown to the generator. More takes longer.")
    order: ContextOrder = Field(default="best-first", description="Order of the passages in the prompt.")
    sentence_margin: PositiveOrZero | None = Field(
        default=None,
        description="Show only the sentences whose rerank logit is at most this far below the best sentence's. 0 shows "
        "whole passages. If not set, the prompt decides: 0 for cited-v2, 6 for the other built-in prompts, for a "
        "trained model what it was trained with.",
        examples=[6.0],
    )
    withhold_instructions: bool = Field(
        default=True, description="Hide sentences of a passage that give orders to the model."
    )
    demonstrations: str | None = Field(
        default=None,
        description="A file of JSON lines with question and answer. Answers to similar questions are shown as examples "
        "of form, for prompts that ask for the answer alone.",
        examples=["train.txt"],
    )
    n_demonstrations: PositiveInt = Field(default=3, description="Most demonstrations shown per question.")
    min_likeness: Share = Field(
        default=0.5, description="Smallest Jaccard index of the words of two questions at which they count as similar."
    )


class GeneratorSettings(Section):
    """The language model that writes answers."""

    kind: Literal["auto", "vllm", "server", "ctranslate2", "transformers"] = Field(
        default="auto",
        description="vllm runs in this process and is made for batches. server is any OpenAI-compatible server. "
        "ctranslate2 computes with 8-bit weights on a CPU and starts in a second. auto chooses among vllm, ctranslate2 "
        "and transformers, by what is installed and the hardware.",
    )
    model: str = Field(
        default="Qwen/Qwen3-1.7B",
        description="A name on the hub, or a folder. Where the hub cannot be reached, the packaged "
        "Qwen2.5-Coder-0.5B-Instruct takes the place of the default.",
    )
    max_new_tokens: PositiveInt | None = Field(
        default=None,
        description="Longest answer in tokens; a longer one is cut off. If not set, the prompt decides: 800 for "
        "cited-v2, but no more than a quarter of context_window_tokens; 128 for the other built-in prompts.",
        examples=[128],
    )
    context_window_tokens: PositiveInt = Field(
        default=4096,
        description="Longest prompt and answer together, in tokens. Passages that do not fit are left out and counted.",
    )
    precision: GeneratorPrecision = Field(
        default="auto",
        description="Arithmetic of the generator. auto is int8 for ctranslate2; for the others bf16 where the hardware "
        "multiplies it, else fp32: four times faster there, in twice the memory. A server chooses its own.",
    )
    temperature: PositiveOrZero = Field(
        default=0.0, description="0 always takes the likeliest token. The higher, the more freely tokens are drawn."
    )
    seed: CountOrZero = Field(default=0, description="Seed for drawing tokens. It changes nothing at temperature 0.")
    server_url: str = Field(default="http://127.0.0.1:8000/v1", description="Kind server: its address.")
    server_api_key_variable: str = Field(
        default="OPENAI_API_KEY",
        description="Kind server: the environment variable that holds the key. No key if it is unset.",
    )
    server_timeout_seconds: Positive = Field(default=120.0, description="Kind server: longest wait for one request.")
    server_retries: CountOrZero = Field(
        default=4, description="Kind server: how often a failed request is repeated, after growing pauses."
    )
    server_reasoning: Literal["none", "minimal", "low", "medium", "high"] | None = Field(
        default=None,
        description="Kind server: how long the model may think before it answers, sent as reasoning_effort. Thinking "
        "takes tokens beside max_new_tokens. If not set, nothing is sent.",
        examples=["low"],
    )
    server_concurrency: PositiveInt = Field(default=16, description="Kind server: requests sent at the same time.")
    vllm_memory_gib: Positive = Field(default=4.0, description="vLLM on a CPU: GiB for its key-value cache.")
    vllm_gpu_share: PositiveShare = Field(
        default=0.85, description="vLLM on a GPU: share of its memory that vLLM may use."
    )
    vllm_max_sequences: PositiveInt = Field(default=64, description="vLLM: answers generated at the same time.")


class AbstainSettings(Section):
    """When to answer "not in these documents"."""

    rerank_threshold: float | None = Field(
        default=None,
        description="Refuse when the best rerank logit is below this. If not set: what `rag calibrate` stored with the "
        "index.",
        examples=[-2.0],
    )
    uncalibrated_threshold: float = Field(
        default=-1.0,
        description="The threshold where neither the index nor the span reader has a calibration. It applies to the "
        "default reranker only.",
    )
    strictness: Share | None = Field(
        default=None,
        description="Choose another point of the calibration: 0 never refuses by score, 1 refuses most. If not set: "
        "the calibrated threshold.",
        examples=[0.5],
    )


class ServingSettings(Section):
    """The chat page and its API (`rag chat`)."""

    questions_per_minute: CountOrZero = Field(
        default=60, description="Questions allowed per person, or per address without --auth. 0: no limit."
    )
    uploads: Literal["auto", "on", "off"] = Field(
        default="auto",
        description="Whether documents can be added from the page. auto allows it where nobody else can reach the "
        "page: on this machine's own address, without --auth.",
    )
    max_waiting: PositiveInt = Field(
        default=64,
        description="Questions that may wait in the page's queue. Further ones are asked to come back later.",
    )
    origins: list[Annotated[str, Field(pattern=r"^https?://[^\s/?#@]+(/[^\s?#]*)?$")]] = Field(
        default=[],
        description="Addresses under which browsers reach the chat by way of a proxy, beside the one that a request is "
        "for. Pages of other addresses may not use it.",
        examples=[["https://docs.example.org/rag"]],
    )
    max_upload_mib: Positive = Field(
        default=512.0, description="What one person may send at once, in MiB, all files together."
    )
    max_conversation_mib: Positive = Field(default=512.0, description="What the files of one conversation may take.")
    max_added_mib: Positive = Field(
        default=4096.0,
        description="What the files added from the page may take: those of all conversations together, and those of "
        "the index.",
    )
    models: list[Annotated[str, Field(pattern=r"^\S(.*\S)?$")]] = Field(
        default=[],
        description="Further models that a person may choose to answer, named as `--llm` takes them. Each is loaded "
        "when it is first asked. The packaged one is always offered.",
        examples=[["ollama:qwen3:4b", "openai:gpt-5-mini"]],
    )
    metrics: bool = Field(
        default=False,
        description="Serve figures for Prometheus at /metrics. With --auth they need an API key. Needs "
        "prometheus-client.",
    )
    traces: bool = Field(
        default=False,
        description="Send a trace of each question to where OTEL_EXPORTER_OTLP_ENDPOINT says. Those variables alone "
        "turn it on, too. Needs opentelemetry-sdk and an exporter.",
    )


class ScorerSettings(Section):
    """The model that compares answers with references."""

    model: str = Field(
        default="sentence-transformers/all-MiniLM-L6-v2", description="Embeds both texts for CosSim, their cosine."
    )


class PromptExample(Section):
    """An answered question shown before the real one."""

    passages: list[str] = Field(description="The passages of the example.")
    question: str = Field(description="Its question.")
    answer: str = Field(description="The answer that the model should have given.")


class PromptTemplate(Section):
    """A prompt of your own, chosen with prompt.name = "NAME". `system` and `user` are jinja2 templates over `question`
    and `passages`, a list of items with .number, .title and .text.
    """

    system: str = Field(default="", description="The system message.", examples=["Answer in one sentence."])
    user: str = Field(
        description="The user's message.",
        examples=["{% for p in passages %}[{{ p.number }}] {{ p.text }}\n\n{% endfor %}Question: {{ question }}"],
    )
    parser: Literal["none", "strip", "layered"] = Field(
        default="layered", description="How the answer is read from the model's text."
    )
    answers_in: Literal["phrase", "sentences"] = Field(
        default="phrase",
        description="What the prompt asks for: a short phrase out of the passages, or sentences. With sentences, "
        "prompt.sentence_margin and generator.max_new_tokens are by default as with cited-v2.",
    )
    examples: list[PromptExample] = Field(
        default=[],
        description="Answered questions shown before the real one.",
        examples=[[{"passages": ["…"], "question": "…", "answer": "…"}]],
    )


class Settings(Section):
    """All settings."""

    models: ModelsSettings = ModelsSettings()
    encoder: EncoderSettings = EncoderSettings()
    index: IndexSettings = IndexSettings()
    documents: DocumentsSettings = DocumentsSettings()
    web: WebSettings = WebSettings()
    store: StoreSettings = StoreSettings()
    compute: ComputeSettings = ComputeSettings()
    retriever: RetrieverSettings = RetrieverSettings()
    reranker: RerankerSettings = RerankerSettings()
    reader: ReaderSettings = ReaderSettings()
    prompt: PromptSettings = PromptSettings()
    generator: GeneratorSettings = GeneratorSettings()
    abstain: AbstainSettings = AbstainSettings()
    support: SupportSettings = SupportSettings()
    serving: ServingSettings = ServingSettings()
    scorer: ScorerSettings = ScorerSettings()
    training: TrainingSettings = TrainingSettings()
    prompts: dict[str, PromptTemplate] = Field(default={}, description="Prompts of your own, by name.")
