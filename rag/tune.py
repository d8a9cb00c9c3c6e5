"""Settings and files become mined negatives, tuned models and the gate's verdict."""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args, get_origin, get_type_hints

import numpy as np

from rag import build
from rag.config import RetrieverKind, Settings
from rag.data import Corpus, sample_questions
from rag.errors import ConfigError, DataError
from rag.evaluate.gate import GATE_FILE, GATE_QUESTIONS_FILE, PROMOTE, gate, refusal_figures
from rag.evaluate.metrics import ranking_scores, shuffle_floor
from rag.examples import Example, document, load_examples, overlaps, refuse_test_file, refuse_written, split_by_document
from rag.files import json_line, read_jsonl, weights_sha256, write_json, write_whole
from rag.generate.questions import MAX_NEW_TOKENS, Written, write_questions
from rag.models.promoted import all_promoted, promote, serving
from rag.models.resolve import resolve
from rag.progress import say
from rag.retrieve.negatives import Mined, MiningSettings, PairScorer, load_mined, mine, mined_by
from rag.retrieve.store import OpenIndex, open_index
from rag.retrieve.train import RECIPES, make_dev_pool, train_retriever
from rag.training import (
    Watch,
    average_weights,
    check_averageable,
    digest,
    is_first_process,
    note_training,
)
from rag.types import Hit

GATE_DEPTH = 50
GATE_METRICS = ("mrr@10", "recall@10")
Scorer = Literal["encoder", "reranker", "none"]


def write_training_questions(
    settings: Settings, index_folder: str | Path, target: str | Path, *, sample: int | None = None
) -> Written:
    """Let the generator write a question for each passage of an index, or `sample` of them, into a training file."""
    index = open_index(index_folder)
    own = settings.model_copy(
        update={"generator": settings.generator.model_copy(update={"max_new_tokens": MAX_NEW_TOKENS})}
    )
    identity = {"index": index.manifest.fingerprint, "generator": build.generator_identity(own)}
    start = functools.partial(build.make_generator, own, interactive=False)
    return write_questions(index.corpus, start, target, sample=sample, identity=identity)


def mine_negatives(
    settings: Settings,
    train: str | Path,
    index_folder: str | Path,
    target: str | Path,
    mining: MiningSettings,
    *,
    qrels: str | Path | None = None,
    retrievers: Sequence[str] = ("hybrid",),
    scorer: Scorer = "reranker",
    sample: int | None = None,
    unanswerable: bool = True,
) -> dict:
    """Mine hard negatives for the questions of a training file, also for unanswerable ones; returns the report."""
    if scorer not in get_args(Scorer):
        raise ConfigError(f"the scorer {scorer!r} is unknown; choose one of {', '.join(get_args(Scorer))}")
    if unknown := sorted(set(retrievers) - set(get_args(RetrieverKind))):
        raise ConfigError(f"no retriever is called {unknown[0]!r}; choose one of {', '.join(get_args(RetrieverKind))}")
    if scorer == "none":  # nothing to measure a margin by
        mining = dataclasses.replace(mining, margin=None)
    refuse_test_file(train, qrels)
    index = open_index(index_folder)
    given = load_examples(train, index.corpus, qrels)
    examples = _sampled([*given.examples, *given.unanswerable] if unanswerable else given.examples, sample)
    available = build.Retrievers(settings, index_folder)
    score, scorer_sha256 = _pair_scorer(settings, index, scorer)
    identity = {
        "index": index.manifest.fingerprint,
        "retrievers": list(retrievers),
        "scorer": scorer,
        "scorer_sha256": scorer_sha256,
        "questions": digest(_asked(examples)),
    }
    chosen = {kind: available.get(kind) for kind in retrievers}
    return mine(examples, index.corpus, chosen, score, mining, target, identity=identity)


def _sampled(examples: Sequence[Example], sample: int | None) -> list[Example]:
    """`sample` of the answerable questions, each source in its share, and the same share of the unanswerable ones."""
    if sample is None:
        return list(examples)
    answerable = [example.question for example in examples if example.positives]
    others = [example.question for example in examples if not example.positives]
    n_others = round(len(others) * min(sample / max(len(answerable), 1), 1.0))
    drawn = [*sample_questions(answerable, sample), *sample_questions(others, n_others)]
    wanted = {question.id for question in drawn}
    return [example for example in examples if example.question.id in wanted]


def _asked(examples: Sequence[Example]) -> list[list]:
    """What is asked and answered, for a digest."""
    return [[example.question.id, example.question.rewrite, sorted(example.positives)] for example in examples]


def _watched(held_out: Sequence[Example], n: int, without: Sequence[str] = ()) -> tuple[list[Example], list[Example]]:
    """(dev questions watched while training, those left for the gate): no checkpoint is proved by what chose it.

    `n` of the answerable ones are watched, at most half of them, and the same share of the unanswerable ones; none of
    the sources that are left out of training.
    """
    n_answerable = sum(bool(example.positives) for example in held_out)
    if n_answerable < 2:
        raise DataError(
            "dev needs two answerable questions or more: some to watch the training by, others for the gate"
        )
    of_trained = [example for example in held_out if example.question.source not in without]
    if not any(example.positives for example in of_trained):
        raise DataError("dev has no answerable question of a source that is trained on, to watch the training by")
    watched = _sampled(of_trained, min(n, n_answerable // 2))
    ids = {example.question.id for example in watched}
    return watched, [example for example in held_out if example.question.id not in ids]


def _recipe(recipes: Mapping, name: str, settings: Settings):
    """The recipe with what the settings change; raises ConfigError for what it does not know."""
    if name not in recipes:
        raise ConfigError(f"no recipe is called {name!r}; choose one of {', '.join(recipes)}")
    overrides = settings.training.overrides()
    known = {field.name for field in dataclasses.fields(recipes[name])}
    if odd := sorted(overrides.keys() - known):
        raise ConfigError(f"the recipe {name!r} has no setting training.{odd[0]}")
    for setting, hint in get_type_hints(type(recipes[name])).items():
        if get_origin(hint) is Literal and overrides.get(setting, get_args(hint)[0]) not in get_args(hint):
            raise ConfigError(f"training.{setting} of the recipe {name!r} is one of {', '.join(get_args(hint))}")
    return dataclasses.replace(recipes[name], **overrides)


def _pair_scorer(settings: Settings, index: OpenIndex, scorer: Scorer) -> tuple[PairScorer | None, str]:
    """Cosines by the index's own vectors, or the probability that the cross-encoder gives."""
    if scorer == "none":
        return None, ""
    if scorer == "reranker":
        reranker = build.make_reranker(settings)
        if not hasattr(reranker, "score"):
            raise ConfigError("--scorer reranker needs reranker.enabled = true")

        def probability(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
            logits = reranker.score([(query, index.corpus.by_id(pid).content) for query, pid in pairs])
            return 1 / (1 + np.exp(-np.asarray(logits)))

        return probability, reranker.weights_sha256
    encoder = build.make_encoder(settings)
    index.check_encoder(encoder.fingerprint)
    vectors, row_of = index.vectors(), _rows(index.corpus)

    def cosine(pairs: Sequence[tuple[str, str]]) -> np.ndarray:
        queries = list(dict.fromkeys(query for query, _ in pairs))
        number = {query: n for n, query in enumerate(queries)}
        embedded = encoder.encode_queries(queries)
        found = vectors.vectors([row_of[pid] for _, pid in pairs])
        return np.einsum("nd,nd->n", embedded[[number[query] for query, _ in pairs]], found)

    return cosine, encoder.fingerprint.weights_sha256


def _rows(corpus: Corpus) -> dict[str, int]:
    return {passage.id: row for row, passage in enumerate(corpus)}


@dataclass(frozen=True, slots=True)
class TrainingFiles:
    """What a model is trained and chosen on.

    `sample` keeps that many training questions, each source in its share, of those that `negatives` were mined for;
    `without` leaves whole sources out of training and not of dev, to see what tuning does to questions of a kind that
    it has not met.
    """

    train: str | Path
    dev: str | Path | None = None
    qrels: str | Path | None = None
    negatives: str | Path | None = None
    sample: int | None = None
    without: tuple[str, ...] = ()

    def splits(self, corpus: Corpus, *, with_unanswerable: bool = False) -> tuple[list[Example], list[Example]]:
        """(train, dev) examples; tells what is left out and what overlaps. Without `dev` documents are held out.

        With unanswerable questions both hold examples without positives.
        """
        refuse_test_file(self.train, self.dev, self.qrels)
        given = load_examples(self.train, corpus, self.qrels)
        say(given.summary(str(self.train), with_unanswerable=with_unanswerable))
        unanswerable = given.unanswerable if with_unanswerable else ()
        if self.dev is None:
            training, held_out = split_by_document(given.examples)
            documents = {document(pid) for example in held_out for pid in example.positives}
            for example in unanswerable:
                is_dev = any(document(pid) in documents for pid in example.negatives)
                (held_out if is_dev else training).append(example)
            say(f"dev: {len(held_out):,} questions split off by document")
            return self._chosen(training, corpus), held_out
        is_folder = Path(self.dev).is_dir()
        chosen = load_examples(self.dev, corpus, None if is_folder else self.qrels, split="dev")
        say(chosen.summary(str(self.dev), with_unanswerable=with_unanswerable))
        for overlap in overlaps({"train": given.gold, "dev": chosen.gold}):
            say(f"warning: {overlap}")
        training = [*given.examples, *unanswerable]
        held_out = [*chosen.examples, *(chosen.unanswerable if with_unanswerable else ())]
        same = {example.question.id for example in training} & {example.question.id for example in held_out}
        if same:
            raise DataError(f"{len(same):,} questions, such as {min(same)!r}, stand in {self.train} and in {self.dev}")
        return self._chosen(training, corpus), held_out

    def _chosen(self, examples: Sequence[Example], corpus: Corpus) -> list[Example]:
        sources = {example.question.source for example in examples}
        if unknown := sorted(set(self.without) - sources):
            known = ", ".join(sorted(sources - {""})) or "none is named"
            raise DataError(f"no question of {self.train} is of the source {unknown[0]!r}; its sources: {known}")
        left = [example for example in examples if example.question.source not in self.without]
        if not left:
            raise DataError(f"{self.train} holds no question of another source than {', '.join(self.without)}")
        if self.sample is not None and self.negatives is not None:  # another sample's negatives would fit few of them
            mined = load_mined(self.negatives, corpus)
            left = [example for example in left if example.question.id in mined] or left
        return _sampled(left, self.sample)

    def mined(self, corpus: Corpus) -> dict[str, Mined] | None:
        """Mined negatives by question id, where a file of them is named."""
        return None if self.negatives is None else load_mined(self.negatives, corpus)


def tune_retriever(
    settings: Settings,
    files: TrainingFiles,
    index_folder: str | Path,
    target: str | Path,
    recipe_name: str,
    *,
    base: str | None = None,
    with_gate: bool = True,
) -> dict | None:
    """Train the retriever and let it meet the serving one on dev; returns the gate's record, None without the gate.

    `base` names the model to start from, by default the serving one.
    """
    recipe = _recipe(RECIPES, recipe_name, settings)
    index = open_index(index_folder)
    training, held_out = files.splits(index.corpus)
    if with_gate:
        refuse_written(held_out)
    if recipe.loss != "contrastive" and files.negatives is not None and mined_by(files.negatives) != "reranker":
        raise ConfigError(
            f"the recipe {recipe.name!r} learns from the cross-encoder's scores; mine with them: rag mine TRAIN "
            "-i INDEX -o FILE --scorer reranker"
        )
    encoder = build.make_encoder(settings)
    index.check_encoder(encoder.fingerprint)
    retrievers = build.Retrievers(settings, index_folder)
    watched, judged = _watched(held_out, settings.training.dev_questions, files.without)
    candidates = [
        [hit.passage.id for hit in hits]
        for hits in retrievers.get("dense").retrieve(
            [example.question.rewrite for example in watched], settings.training.dev_candidates
        )
    ]
    model = train_retriever(
        resolve(base or serving(settings.encoder.model), source=settings.models.source).folder,
        encoder.prompts,
        training,
        index.corpus,
        recipe,
        target,
        dev=make_dev_pool(watched, index.corpus, candidates),
        mined=files.mined(index.corpus) if recipe.negatives_from == "mined" else None,
        guide=_guide(encoder, index),
        watch=Watch(evaluations=settings.training.evaluations, report_to=settings.training.report_to),
    )
    if not (is_first_process() and with_gate):
        return None
    del retrievers
    return gate_retriever(settings, index_folder, target, model, judged, watched)


def _guide(encoder, index: OpenIndex) -> Callable:
    from rag.retrieve.losses import Guide

    def make(queries: Sequence[str]) -> Guide:
        vectors = index.vectors()
        return Guide(encoder.encode_queries(queries, label="Guide"), vectors.vectors(range(len(vectors))))

    return make


def _gate_scores(held_out: Sequence[Example], found: Sequence[Sequence[Hit]]) -> dict[str, list[float]]:
    """Per question, in the order of `held_out`: the metrics that the gate looks at; 0 where a score is no number."""
    qrels = {example.question.id: dict.fromkeys(example.positives, 1) for example in held_out}
    run = {
        example.question.id: {hit.passage.id: hit.score for hit in hits}
        if all(math.isfinite(hit.score) for hit in hits)
        else {}
        for example, hits in zip(held_out, found, strict=True)
    }
    by_metric = ranking_scores(run, qrels)
    return {metric: [by_metric[metric][qid] for qid in qrels] for metric in GATE_METRICS}


def gate_retriever(
    settings: Settings,
    index_folder: str | Path,
    target: str | Path,
    model: str | Path,
    held_out: Sequence[Example],
    watched: Sequence[Example] = (),
) -> dict:
    """Tuned model against the serving one: dense retrieval over the whole corpus, dev questions, per question.

    Both search an index of the same kind. The record names the `watched` questions, which chose the checkpoint.
    """
    index = open_index(index_folder)
    tuned_settings = settings.model_copy(
        update={
            "encoder": settings.encoder.model_copy(update={"model": str(model)}),
            "index": settings.index.model_copy(update={"factory": index.manifest.factory}),
        }
    )
    own_index = Path(target) / "index"
    corpus_path = index.manifest.corpus_path
    if corpus_path != "embedded" and not Path(corpus_path).is_file():
        corpus_path = str(index.folder / "passages.jsonl")
    build.make_index(tuned_settings, corpus_path, own_index)
    queries = [example.question.rewrite for example in held_out]
    scores = {}
    for name, chosen, folder in (("base", settings, index_folder), ("tuned", tuned_settings, own_index)):
        found = build.Retrievers(chosen, folder).get("dense").retrieve(queries, GATE_DEPTH)
        scores[name] = _gate_scores(held_out, found)
    floors = [shuffle_floor(len(index.corpus), len(example.positives)) for example in held_out]
    record = gate(
        scores["tuned"],
        scores["base"],
        primary="mrr@10",
        floor=sum(floors) / len(floors),
        sources=_sources(held_out),
    )
    record |= {
        "role": "retriever",
        "base": settings.encoder.model,
        "base_fingerprint": dataclasses.asdict(index.manifest.encoder),
        "tuned_fingerprint": dataclasses.asdict(open_index(own_index).manifest.encoder),
        "corpus_sha256": index.manifest.corpus_sha256,
        "dev_digest": digest(_asked(held_out)),
        "n_dev": len(held_out),
        "watched": _ids(watched),
    }
    _write_verdict(target, record, held_out, scores)
    return record


def _ids(examples: Sequence[Example]) -> list[str]:
    return [example.question.id for example in examples]


def _sources(held_out: Sequence[Example]) -> list[str]:
    return [example.question.source for example in held_out]


def _write_verdict(target: str | Path, record: dict, held_out: Sequence[Example], scores: Mapping) -> None:
    """The verdict, and beside it each question's scores, by which runs can be compared with each other."""
    rows = [
        {"qid": example.question.id, "source": example.question.source}
        | {name: {metric: values[n] for metric, values in by_metric.items()} for name, by_metric in scores.items()}
        for n, example in enumerate(held_out)
    ]
    write_whole(Path(target) / GATE_QUESTIONS_FILE, b"".join(map(json_line, rows)))
    write_json(Path(target) / GATE_FILE, record)


def tune_reranker(
    settings: Settings,
    files: TrainingFiles,
    index_folder: str | Path,
    target: str | Path,
    recipe_name: str,
    *,
    reuse: Sequence[str | Path] = (),
    with_gate: bool = True,
) -> dict | None:
    """Train the reranker and let it meet its base on dev; returns the gate's record, None without the gate.

    `reuse` are other runs' folders, from whose gate the base's scores are taken where they are of the same candidates.
    """
    from rag.rerank.train import RECIPES as RERANKER_RECIPES
    from rag.rerank.train import DevCandidates, make_groups, train_reranker

    recipe = _recipe(RERANKER_RECIPES, recipe_name, settings)
    if not settings.reranker.enabled:
        raise ConfigError("a reranker is trained to serve; leave reranker.enabled = true")
    if recipe.select == "loss" and recipe.negatives_from == "mined":
        raise ConfigError(
            "training.select = loss needs dev pairs made as the training pairs are, and dev questions have no mined "
            "negatives; choose select = mrr"
        )
    known = [_verdict(run) for run in reuse]
    index = open_index(index_folder)
    training, held_out = files.splits(index.corpus, with_unanswerable=recipe.unanswerable)
    if with_gate:
        refuse_written(held_out)
    mined = files.mined(index.corpus) if recipe.negatives_from == "mined" else None
    if mined is not None and (without := sum(e.question.id not in mined for e in training)):
        say(f"warning: {without:,} of {len(training):,} questions have none but random negatives ({files.negatives})")
    if recipe.hardest_first or recipe.skip_easy is not None:
        training, mined = _hard(training, mined, files.negatives, recipe)
    hard = None if mined is None else {qid: [pid for pid, _ in one.negatives] for qid, one in mined.items()}
    groups = make_groups(training, index.corpus, recipe, hard)
    base = resolve(serving(settings.reranker.model), source=settings.models.source).folder
    if recipe.soft_share:
        groups = _softened(settings, groups, index.corpus, recipe, target)
    watched, judged = _watched(held_out, settings.training.dev_questions, files.without)
    found = list(zip(held_out, _candidates(settings, index_folder, held_out), strict=True))
    at_gate = set(_ids(judged))
    shown = [(one, hits[: settings.training.dev_candidates]) for one, hits in found if one.question.id not in at_gate]
    shown, shown_unanswerable = _parted(shown)
    dev_groups = []
    if recipe.select == "loss":
        dev_groups = make_groups([example for example, _ in [*shown, *shown_unanswerable]], index.corpus, recipe, None)
        if recipe.soft_share:
            dev_groups = _softened(settings, dev_groups, index.corpus, recipe, target)
    model = train_reranker(
        base,
        groups,
        index.corpus,
        recipe,
        target,
        dev=DevCandidates(
            [example.question.rewrite for example, _ in shown],
            [[hit.passage.content for hit in hits] for _, hits in shown],
            [[hit.passage.id in example.positives for hit in hits] for example, hits in shown],
            [(example.question.rewrite, [hit.passage.content for hit in hits]) for example, hits in shown_unanswerable],
        ),
        dev_groups=dev_groups,
        watch=Watch(evaluations=settings.training.evaluations, report_to=settings.training.report_to),
    )
    if not (is_first_process() and with_gate):
        return None
    answerable, unanswerable = _parted([(one, hits) for one, hits in found if one.question.id in at_gate])
    examples, candidates = (list(column) for column in zip(*answerable, strict=True))
    return gate_reranker(settings, index, target, model, examples, candidates, known, unanswerable, watched)


_Found = list[tuple[Example, Sequence[Hit]]]


def _parted(found: _Found) -> tuple[_Found, _Found]:
    """(answerable, unanswerable) questions with their candidates."""
    return [one for one in found if one[0].positives], [one for one in found if not one[0].positives]


def average_models(
    settings: Settings,
    runs: Sequence[str | Path],
    dev: str | Path,
    index_folder: str | Path,
    target: str | Path,
    *,
    qrels: str | Path | None = None,
    reuse: Sequence[str | Path] = (),
) -> dict:
    """Average the models of several runs and let the mean meet the serving one on dev; returns the gate's record.

    Only dev questions that every run's own gate judged do: no run was trained on them, or watched by them. A
    reranker's refusals of unanswerable dev questions are told where dev has any. For `reuse` see `tune_reranker`.
    """
    verdicts = [_verdict(run) for run in runs]
    roles = {run: record["role"] for run, (record, _) in zip(runs, verdicts, strict=True)}
    if len(runs) < 2 or len(set(roles.values())) > 1:
        told = ", ".join(f"{run} ({role})" for run, role in roles.items())
        raise ConfigError(f"an average is of two models or more of the same kind; these are {told}")
    known = [_verdict(run) for run in reuse]
    refuse_test_file(dev, qrels)
    index = open_index(index_folder)
    chosen = load_examples(dev, index.corpus, None if Path(dev).is_dir() else qrels, split="dev")
    refuse_written(chosen.examples)
    target, models = Path(target), [Path(run) / "model" for run in runs]
    check_averageable(models)
    is_reranker = "reranker" in roles.values()
    say(chosen.summary(str(dev), with_unanswerable=is_reranker))
    examples = [*chosen.examples, *(chosen.unanswerable if is_reranker else ())]
    fresh = set.intersection(*(_at_gate(record, rows, examples) for record, rows in verdicts))
    judged = [example for example in examples if example.question.id in fresh]
    by_runs = {qid for record, _ in verdicts for qid in record.get("watched", ())}
    watched = [example for example in examples if example.question.id in by_runs]
    if not any(example.positives for example in judged):
        raise DataError(f"the gates of the runs have judged no question of {dev} in common; name their dev file")
    if left_out := len(examples) - len(judged) - len(watched):
        say(f"{left_out:,} questions of {dev} are left out: not every run's gate judged them")
    note_training(target, {"average": [weights_sha256(model) for model in models]})
    model = average_weights(models, target)
    if not is_reranker:
        return gate_retriever(settings, index_folder, target, model, judged, watched)
    found = zip(judged, _candidates(settings, index_folder, judged), strict=True)
    answerable, unanswerable = _parted(list(found))
    examples, candidates = (list(column) for column in zip(*answerable, strict=True))
    return gate_reranker(settings, index, target, model, examples, candidates, known, unanswerable, watched)


def _at_gate(record: Mapping, rows: Sequence[Mapping], examples: Sequence[Example]) -> set[str]:
    """Ids of what a run's gate judged; of unanswerable examples, where the run knows none, all."""
    judged = {row["qid"] for row in rows}
    if "unanswerable" in record:
        return judged | set(record["unanswerable"])
    watched = set(record.get("watched", ()))
    return judged | {e.question.id for e in examples if not e.positives and e.question.id not in watched}


def _hard(
    training: Sequence[Example], mined: Mapping[str, Mined] | None, negatives: str | Path, recipe
) -> tuple[list[Example], dict[str, Mined]]:
    """What the cross-encoder that mined finds hard: such questions, and of each the negatives by falling score."""
    if mined is None:
        raise ConfigError(f"the recipe {recipe.name!r} takes no mined negatives, of which the hardest could come first")
    if mined_by(negatives) != "reranker":
        raise ConfigError(
            "training.hardest_first and skip_easy go by the cross-encoder's scores; mine with them: rag mine TRAIN "
            "-i INDEX -o FILE --scorer reranker"
        )
    ordered = {
        qid: dataclasses.replace(one, negatives=tuple(sorted(one.negatives, key=_by_falling_score)))
        for qid, one in mined.items()
    }
    if recipe.skip_easy is None:
        return list(training), ordered
    left = [
        example
        for example in training
        if (one := mined.get(example.question.id)) is None or not one.is_easy(recipe.skip_easy)
    ]
    say(f"{len(training) - len(left):,} of {len(training):,} questions are easy and left out")
    if not left:
        raise ConfigError("every question is easy and nothing is left to train on; raise training.skip_easy")
    return left, ordered


def _by_falling_score(negative: tuple[str, float | None]) -> float:
    """Of a mined negative; random ones, which nothing scored, come last."""
    return float("inf") if negative[1] is None else -negative[1]


def _softened(settings: Settings, groups, corpus: Corpus, recipe, target: str | Path) -> list:
    """Labels mixed with what the serving reranker says of the same pairs; what it says is kept in the run's folder."""
    from rag.rerank.train import soften

    reranker = build.make_reranker(settings)
    pairs = [(group.query, corpus.by_id(pid).content) for group in groups for pid in group.ids]
    path = Path(target) / f"own-scores-{digest([reranker.weights_sha256, *pairs])}.json"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, [float(value) for value in reranker.score(pairs, label="Scoring")])
    logits = np.asarray(json.loads(path.read_text(encoding="utf-8")))
    ends = np.cumsum([len(group.ids) for group in groups])
    return [soften(group, own, recipe) for group, own in zip(groups, np.split(logits, ends[:-1]), strict=True)]


def _candidates(settings: Settings, index_folder: str | Path, held_out: Sequence[Example]) -> list[list[Hit]]:
    """What the serving retriever hands the reranker, per dev question."""
    retriever = build.make_retriever(settings, index_folder)
    return retriever.retrieve([example.question.rewrite for example in held_out], settings.reranker.depth)


def gate_reranker(
    settings: Settings,
    index: OpenIndex,
    target: str | Path,
    model: str | Path,
    held_out: Sequence[Example],
    candidates: Sequence[Sequence[Hit]],
    known: Sequence[tuple[dict, list[dict]]] = (),
    unanswerable: Sequence[tuple[Example, Sequence[Hit]]] = (),
    watched: Sequence[Example] = (),
) -> dict:
    """Tuned model against the serving one: the same retrieved candidates reranked, dev questions, per question.

    `known` are other gates' records and their questions' scores, taken over where they are of the same base.
    `unanswerable` questions with their candidates do not decide: the record says how well the best score tells them
    from the others. With them, nothing known is taken over. The record names the `watched` questions, too, by which
    the checkpoint was chosen.
    """
    queries = [example.question.rewrite for example in held_out]
    how = {
        "corpus_sha256": index.manifest.corpus_sha256,
        "dev_digest": digest(_asked(held_out)),
        "candidates_digest": digest([hit.passage.id for hit in hits] for hits in candidates),
        "depth": settings.reranker.depth,
        "precision": settings.reranker.precision,
        "max_length_tokens": settings.reranker.max_length_tokens,
    }
    if known and unanswerable:
        say("with unanswerable questions nothing is reused: scored again")
        known = ()
    scores, fingerprints, best = {}, {}, {}
    for name, folder in (("base", settings.reranker.model), ("tuned", str(model))):
        chosen = settings.model_copy(update={"reranker": settings.reranker.model_copy(update={"model": folder})})
        reranker = build.make_reranker(chosen)
        fingerprints[name] = reranker.weights_sha256
        same = {"base_fingerprint": reranker.weights_sha256, **how}
        scores[name] = _known_scores(known if name == "base" else (), same)
        if scores[name] is None:
            found = reranker.rerank(
                [*queries, *(example.question.rewrite for example, _ in unanswerable)],
                [*candidates, *(hits for _, hits in unanswerable)],
                label=f"Reranking ({name})",
            )
            scores[name] = _gate_scores(held_out, found[: len(held_out)])
            best[name] = [hits[0].score if hits else float("-inf") for hits in found]
    floor = [
        shuffle_floor(len(hits), sum(hit.passage.id in example.positives for hit in hits))
        for example, hits in zip(held_out, candidates, strict=True)
    ]
    mean_floor = sum(floor) / len(floor)
    record = gate(scores["tuned"], scores["base"], primary="mrr@10", floor=mean_floor, sources=_sources(held_out))
    record |= {
        "role": "reranker",
        "base": settings.reranker.model,
        "base_fingerprint": fingerprints["base"],
        "tuned_fingerprint": fingerprints["tuned"],
        **how,
        "n_dev": len(held_out),
        "watched": _ids(watched),
    }
    if unanswerable:
        record["refusals"] = refusal_figures(best["tuned"], best["base"], len(held_out))
        record["unanswerable"] = _ids([example for example, _ in unanswerable])
    _write_verdict(target, record, held_out, scores)
    return record


def _verdict(run: str | Path) -> tuple[dict, list[dict]]:
    """A run's record of the gate, and the scores of its questions."""
    path = Path(run) / GATE_FILE
    if not path.is_file():
        raise ConfigError(f"{run} holds no verdict ({GATE_FILE}); train with the gate: rag train …")
    return json.loads(path.read_text(encoding="utf-8")), read_jsonl(Path(run) / GATE_QUESTIONS_FILE)


def _known_scores(known: Sequence[tuple[dict, list[dict]]], how: Mapping) -> dict | None:
    """The base's scores from a gate that scored the same candidates in the same way, where there is one."""
    for record, rows in known:
        if all(record.get(name) == value for name, value in how.items()) and len(rows) == record["n_dev"]:
            return {metric: [row["base"][metric] for row in rows] for metric in GATE_METRICS}
    if known:
        say("no reused run has scored this base on these candidates: scored again")
    return None


def promote_model(target: str | Path) -> str:
    """Let a model that passed the gate serve in the place of its base; returns a line to tell.

    Raises ConfigError where the verdict is another, or was given on other weights than those at hand: the model has
    changed since, or what serves is no longer what it has beaten.
    """
    record, _ = _verdict(target)
    if record["verdict"] != PROMOTE:
        raise ConfigError(f"the gate says {record['verdict']}: {'; '.join(record['reasons'])}")
    model, base = Path(target) / "model", record["base"]
    if serving(base) == str(model.resolve()):
        return f"{model} serves already in the place of {base}."
    if weights_sha256(model) != _weights(record["tuned_fingerprint"]):
        raise ConfigError(f"{model} has changed since it met the gate; train it again into another folder")
    if weights_sha256(resolve(serving(base)).folder) != _weights(record["base_fingerprint"]):
        raise ConfigError(
            f"{target} has met another model than the one that serves now in the place of {base}; train again from it, "
            f"or go back first: rag promote --back {base}"
        )
    promote(base, model)
    again = {
        "retriever": "Index again: rag index --rebuild -o INDEX.",
        "reranker": "Its scores have a scale of their own; calibrate again: rag calibrate DEV -i INDEX.",
    }
    names = [name for name in all_promoted() if serving(name) == str(model.resolve())]
    return f"{model} now serves in the place of {', '.join(names)}. {again[record['role']]}"


def _weights(fingerprint: str | Mapping) -> str:
    return fingerprint if isinstance(fingerprint, str) else fingerprint["weights_sha256"]
