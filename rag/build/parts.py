"""Single components from settings; every heavy import waits until it is needed."""

from __future__ import annotations

import dataclasses
import functools
import os
from typing import TYPE_CHECKING, Any, TypedDict

from rag import fixes
from rag.build.chosen_prompt import choose_prompt, max_new_tokens_of
from rag.compute.cluster import Cluster
from rag.compute.hardware import choose_precision, default_device
from rag.compute.remembered import remembered_weights_sha256
from rag.config import Settings
from rag.config.compute import ComputeSettings
from rag.data.questions import load_questions
from rag.errors import ConfigError, DataError, ModelError
from rag.generate.demonstrations import Demonstration, Demonstrations
from rag.generate.prompts import Prompt
from rag.models.promoted import questions_of, serves_for_questions, what_serves
from rag.models.query_encoder import NOTE, differing, passages_of
from rag.models.resolve import ResolvedModel, rag_home, resolve, resolve_generator
from rag.progress import say
from rag.rerank.keep_order import KeepOrder
from rag.types import CANNOTANSWER

if TYPE_CHECKING:
    from rag.read.reader import SpanReader
    from rag.rerank.cross_encoder import CrossEncoderReranker
    from rag.retrieve.encoder import Encoder
    from rag.types import Generator


ENCODER_FILES = ("modules.json",)


def make_encoder(settings: Settings, *, lazy: bool = False) -> Encoder:
    """The encoder that serves by these settings; `lazy`, to embed passages, loads its weights with the first text.

    A lazy one shares its work with a cluster where the settings say so.
    """
    model = resolve(what_serves(settings.encoder.model), source=settings.models.source, needs=ENCODER_FILES)
    if passages_of(model.folder) is not None:
        raise ModelError(
            f"{settings.encoder.model} embeds questions alone, beside the encoder that it was trained beside; name it "
            "as encoder.query_model, and that one as encoder.model"
        )
    shares = lazy and settings.compute.kind == "ray"
    query = query_model(settings)
    encoder = _spread_encoder(settings, model, query) if shares else encoder_of(settings, model, query, lazy=lazy)
    for note in encoder.notes if lazy else ():  # where passages are embedded, and so before an index is made
        say(note)
    return encoder


def query_model(settings: Settings) -> str | None:
    """The model that embeds questions beside the encoder that serves; None where that one embeds both."""
    named = settings.encoder.query_model
    if named == settings.encoder.model:
        return None
    return serves_for_questions(what_serves(settings.encoder.model)) if named is None else what_serves(named)


def encoder_of(settings: Settings, model: ResolvedModel, query: str | None = None, *, lazy: bool = False) -> Encoder:
    """A model as the encoder that the settings describe, whichever of them serves.

    `query` names the model that embeds questions; the weights of the other one are then loaded with the first passage.
    """
    from rag.retrieve.encoder import Encoder

    options = _encoder_options(settings, model)
    if query is None:
        return Encoder(model.folder, lazy=lazy, **options)
    return _checked(Encoder(model.folder, lazy=True, questions=_question_encoder(settings, query, lazy), **options))


def _question_encoder(settings: Settings, name: str, lazy: bool) -> Encoder:
    model = resolve(name, source=settings.models.source, needs=ENCODER_FILES)
    return encoder_of(settings, model, lazy=lazy)


def _checked(encoder: Encoder) -> Encoder:
    """The encoder, if the model that embeds its questions was trained beside it; raises ModelError for another."""
    assert encoder.questions is not None
    folder, passages = encoder.questions.folder, encoder.fingerprint
    then = (
        "name the one that was trained beside this encoder, or leave encoder.query_model out; what was promoted for "
        f"questions goes back with {fixes.go_back(questions_of('ENCODER'))}"
    )
    if encoder.questions.fingerprint.dimension != passages.dimension:
        raise ModelError(
            f"{folder} embeds questions in {encoder.questions.fingerprint.dimension} dimensions, and {encoder.folder} "
            f"passages in {passages.dimension}; {then}"
        )
    if passages_of(folder) is None:
        raise ModelError(
            f"{folder} was not trained to embed questions alone (it holds no {NOTE}), so its questions do not go with "
            f"the passages of {encoder.folder}; {then}"
        )
    if names := differing(folder, dataclasses.asdict(passages)):
        raise ModelError(
            f"{folder} was trained beside another encoder than {encoder.folder} (other: {', '.join(names)}); {then}"
        )
    return encoder


def _encoder_options(settings: Settings, model: ResolvedModel) -> dict[str, Any]:
    given = {"query": settings.encoder.query_prompt, "passage": settings.encoder.passage_prompt}
    return {
        "name": model.name,
        "prompts": {**model.prompts, **{role: text for role, text in given.items() if text is not None}},
        "max_length_tokens": settings.encoder.max_length_tokens,
        "truncate_dim": settings.encoder.truncate_dim,
        "precision": settings.encoder.precision,
        "cache_root": rag_home() / "compiled",
    }


def _spread_encoder(settings: Settings, model: ResolvedModel, query: str | None) -> Encoder:
    """A model as an encoder whose blocks of passages are encoded on the workers of the cluster of the settings."""
    from rag.retrieve.spread import SpreadEncoder

    # One precision for all vectors, whatever each node would choose.
    precision = choose_precision(settings.encoder.precision, default_device())
    there = settings.model_copy(
        update={"encoder": settings.encoder.model_copy(update={"precision": precision}), "compute": ComputeSettings()}
    )
    encoder = SpreadEncoder(
        model.folder,
        cluster=cluster_of(settings),
        make=functools.partial(_encoder_of_a_worker, there, dataclasses.replace(model, folder=model.folder.absolute())),
        lazy=True,
        questions=None if query is None else _question_encoder(settings, query, lazy=True),
        **_encoder_options(settings, model),
    )
    return encoder if query is None else _checked(encoder)


def _encoder_of_a_worker(settings: Settings, model: ResolvedModel) -> Encoder:
    """The same model in a worker; on another machine it is looked up by its name."""
    return encoder_of(settings, model) if model.folder.is_dir() else make_encoder(settings)


def cluster_of(settings: Settings) -> Cluster:
    """The cluster that the settings name."""
    return Cluster(settings.compute.address, settings.compute.worker_cores)


def make_scorer(settings: Settings) -> Encoder:
    """The encoder whose cosine compares answers with references: CosSim."""
    from rag.retrieve.encoder import Encoder

    model = resolve(settings.scorer.model, source=settings.models.source, needs=ENCODER_FILES)
    prompts = {"query": "", "passage": "", **model.prompts}
    return Encoder(model.folder, prompts=prompts, precision="fp32", cache_root=rag_home() / "compiled")


def make_reranker(settings: Settings) -> CrossEncoderReranker | KeepOrder:
    """The reranker that serves by these settings, or one that keeps the order where they use none."""
    if not settings.reranker.enabled:
        return KeepOrder()
    return reranker_of(settings, resolve(what_serves(settings.reranker.model), source=settings.models.source))


def reranker_of(settings: Settings, model: ResolvedModel) -> CrossEncoderReranker:
    """A model as the reranker that the settings describe, whichever of them serves."""
    from rag.rerank.cross_encoder import CrossEncoderReranker

    return CrossEncoderReranker(
        model.folder,
        max_length_tokens=settings.reranker.max_length_tokens,
        precision=settings.reranker.precision,
        weights_sha256=remembered_weights_sha256(model.folder, rag_home() / "compiled"),
        cache_root=rag_home() / "compiled",
    )


def reader_of(settings: Settings, model: ResolvedModel) -> SpanReader:
    """A model as the span reader that the settings describe."""
    from rag.read.reader import SpanReader

    return SpanReader(
        model.folder,
        max_length_tokens=settings.reader.max_length_tokens,
        precision=settings.reader.precision,
        weights_sha256=remembered_weights_sha256(model.folder, rag_home() / "compiled"),
        cache_root=rag_home() / "compiled",
    )


class Decoding(TypedDict):
    """What every generator is given: lengths in tokens, temperature (0: greedy), and the seed of its sampling."""

    max_new_tokens: int
    context_window_tokens: int
    temperature: float
    seed: int


def generator_kind(settings: Settings, *, interactive: bool) -> str:
    """The kind that `auto` means here; any other kind is itself.

    Batches: vLLM where it is installed. Everything else on a CPU: CTranslate2, where it is installed and its answers
    were compared for the architecture. It loads in a second where transformers takes ten to fifteen; a question takes
    as long on CPUs that multiply bf16, half as long on others, in less memory. One engine for `rag ask`, the chat and a
    batch also means that all three give the same answers. transformers where neither can be used.
    """
    chosen = settings.generator
    if chosen.kind != "auto":
        return chosen.kind
    if not interactive and _is_installed("vllm"):
        return "vllm"
    if chosen.precision == "bf16" or default_device() != "cpu" or not _is_installed("ctranslate2"):
        return "transformers"
    from rag.generate.engines.conversion import is_compared

    folder = find_generator_model(settings, quiet=True).folder
    return "ctranslate2" if is_compared(folder) else "transformers"


def _is_installed(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


def make_generator(settings: Settings, *, interactive: bool) -> Generator:
    """The generator of the settings, for one question at a time (`interactive`) or for batches."""
    chosen = settings.generator
    decoding = Decoding(
        max_new_tokens=max_new_tokens_of(settings),
        context_window_tokens=chosen.context_window_tokens,
        temperature=chosen.temperature,
        seed=chosen.seed,
    )
    kind = generator_kind(settings, interactive=interactive)
    if kind == "server":
        from rag.generate.engines.server import ServerGenerator

        return ServerGenerator(
            chosen.model,
            base_url=chosen.server_url,
            api_key=os.environ.get(chosen.server_api_key_variable, ""),
            timeout_seconds=chosen.server_timeout_seconds,
            retries=chosen.server_retries,
            concurrency=chosen.server_concurrency,
            reasoning=chosen.server_reasoning,
            **decoding,
        )
    model = find_generator_model(settings)
    if kind == "ctranslate2":
        from rag.generate.engines.ctranslate2 import CTranslate2Generator

        return CTranslate2Generator(
            model.folder, precision=chosen.precision, cache_root=rag_home() / "compiled", **decoding
        )
    if chosen.precision == "int8":
        raise ConfigError(
            f"generator.precision int8 is for CTranslate2, and {kind} runs {model.name} here; use --set "
            "generator.precision=auto, or --set generator.kind=ctranslate2"
        )
    if kind == "vllm":
        from rag.generate.engines.vllm import VllmGenerator

        return VllmGenerator(
            model.folder,
            precision=chosen.precision,
            max_sequences=chosen.vllm_max_sequences,
            cpu_cache_gib=chosen.vllm_memory_gib,
            gpu_share=chosen.vllm_gpu_share,
            **decoding,
        )
    from rag.generate.engines.transformers import TransformersGenerator

    return TransformersGenerator(model.folder, precision=chosen.precision, **decoding)


def find_generator_model(settings: Settings, *, quiet: bool = False) -> ResolvedModel:
    """The generator that serves by these settings; it may be fetched.

    Where the packaged one stands in for a model that cannot be reached, that is said unless `quiet`, and what was
    promoted in its place serves.
    """
    model = resolve_generator(what_serves(settings.generator.model), source=settings.models.source)
    if model.notice:
        if not quiet:
            say(model.notice)
        if (tuned := what_serves(model.name)) != model.name:
            return resolve(tuned, source=settings.models.source)
    return model


def make_prompt(settings: Settings) -> Prompt:
    """The prompt of the settings (`rag.build.chosen_prompt`), with their demonstrations."""
    return dataclasses.replace(
        choose_prompt(settings),
        withhold=settings.prompt.withhold_instructions,
        demonstrations=_demonstrations(settings),
    )


def _demonstrations(settings: Settings) -> Demonstrations | None:
    """What answers look like, from the file that the settings name. Raises DataError where it holds no answer."""
    path = settings.prompt.demonstrations
    if path is None:
        return None
    answered = [
        Demonstration(question.rewrite, question.answer)
        for question in load_questions(path)
        if question.answer and question.answer != CANNOTANSWER
    ]
    if not answered:
        raise DataError(f"{path} (prompt.demonstrations) holds no question with its answer")
    return Demonstrations(answered, n=settings.prompt.n_demonstrations, min_likeness=settings.prompt.min_likeness)
