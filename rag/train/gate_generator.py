"""The comparison before a generator serves: it and the one in service answer dev questions from the same contexts.

RUN/gate-answers-….jsonl   the answers of each model, so that a comparison that was killed goes on
RUN/gate.json              the verdict; see `rag.train.gate`
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rag.build import parts
from rag.build.chosen_prompt import settled
from rag.build.identity import generator_identity, generator_record
from rag.build.pipelines import make_pipeline, sentence_margin
from rag.build.serving import Serving
from rag.data.answers import references
from rag.data.labelled import Example, asked
from rag.data.passages import Corpus
from rag.evaluate.answers import is_right
from rag.evaluate.metrics import mean
from rag.evaluate.significance import holm
from rag.evaluate.verdict import ALPHA, KEEP_BASE, PROMOTE, gate
from rag.files import weights_sha256
from rag.index.read import open_index
from rag.models.promoted import what_serves
from rag.models.resolve import resolve_generator
from rag.resume import append_rows, read_jsonl, resume_jsonl
from rag.train.gate import Scores, check_serves_itself, question_ids, write_verdict
from rag.train.prepare_generator import Found
from rag.train.run import digest
from rag.types import CANNOTANSWER

ANSWER_CHUNK = 32
RIGHT, COS_SIM, DECISION = "right", "cos_sim", "right_decision"
FLOOR = "refusing every question"


def gate_generator(serving: Serving, target: str | Path, model: str | Path, judged: Found) -> dict:
    """Compare the tuned model with the serving one: both answer the questions in `judged`; returns the record.

    Each is asked with its own prompt, and both from the same contexts. PROMOTE needs that none of right answers, CosSim
    and right decisions to refuse falls, and that one of them rises (p by Holm, because there are three).
    """
    check_serves_itself(model)
    target, corpus = Path(target), open_index(serving.index_folder).corpus
    held_out = [example for example, _ in judged]
    replaced = replaced_generator(serving)
    # Answered before the base is asked for its own: what fails should fail soon.
    tuned = _answers(_with_generator(serving, model), target, corpus, judged, "tuned")
    base = _answers(serving, target, corpus, judged, "base")
    scores = {"base": base, "tuned": tuned}
    scored = _scores(serving, held_out, scores)
    refusing_all = sum(not example.positives for example in held_out) / len(held_out)
    of_sources = [example.question.source for example in held_out]
    record = verdict_on_answers(scored["tuned"], scored["base"], refusing_all, of_sources) | {
        "role": "generator",
        "base": replaced,
        "base_fingerprint": weights_sha256(parts.find_generator_model(serving.settings).folder),
        "tuned_fingerprint": weights_sha256(Path(model)),
        "corpus_sha256": serving.manifest.corpus_sha256,
        "dev_digest": digest(asked(held_out)),
        "candidates_digest": digest(dataclasses.asdict(contexts) for _, contexts in judged),
        "n_dev": len(held_out),
        "refused": _refused(held_out, scores),
        "unanswerable": question_ids([example for example in held_out if not example.positives]),
    }
    write_verdict(target, record, held_out, scored)
    return record


def verdict_on_answers(tuned: Scores, base: Scores, refusing_all: float, sources: Sequence[str]) -> dict[str, Any]:
    """The verdict with its reasons and figures, by metric and source, as `rag.evaluate.verdict.gate` gives them.

    `PROMOTE` needs all of: no metric's interval lies below zero; one metric's lies above it, with p < .05 after Holm's
    correction for the number of metrics; and more right answers than the share of `refusing_all` questions gives.
    """
    record = gate(tuned, base, primary=RIGHT, floor=refusing_all, floor_name=FLOOR, sources=sources)
    metrics: Mapping[str, Mapping[str, Any]] = record["metrics"]
    corrected = dict(zip(metrics, holm([figures["p_value"] for figures in metrics.values()]), strict=True))
    intervals = {name: figures["interval"] or {"low": 0.0, "high": 0.0} for name, figures in metrics.items()}
    reasons = [f"{name} falls" for name, interval in intervals.items() if interval["high"] < 0]
    if not any(interval["low"] > 0 and corrected[name] < ALPHA for name, interval in intervals.items()):
        reasons.append(
            "none of " + ", ".join(f"{name} (p = {p:.3f})" for name, p in corrected.items()) + " rises beyond chance"
        )
    if metrics[RIGHT]["tuned"] <= refusing_all:
        reasons.append(f"{RIGHT} is no better than {FLOOR} ({refusing_all:.3f})")
    return {**record, "verdict": KEEP_BASE if reasons else PROMOTE, "reasons": reasons, "p_values_by_holm": corrected}


def replaced_generator(serving: Serving) -> str:
    """The name in whose place a tuned generator will serve: that of the settings, or of what stands in for it."""
    chosen = serving.settings.generator.model
    if what_serves(chosen) != chosen:
        return chosen
    return resolve_generator(chosen, source=serving.settings.models.source).name


def choosing_sentences(serving: Serving, model: str | Path) -> Serving:
    """The side whose prompt is shown chosen sentences: from the contexts that it finds, both can be asked."""
    return serving if sentence_margin(serving.settings) is not None else _with_generator(serving, model)


def _with_generator(serving: Serving, model: str | Path) -> Serving:
    generator = serving.settings.generator.model_copy(update={"model": str(model)})
    return dataclasses.replace(serving, settings=serving.settings.model_copy(update={"generator": generator}))


def _answers(serving: Serving, target: Path, corpus: Corpus, judged: Found, side: str) -> dict[str, str]:
    """The parsed answer of every question, by its id. Those of an earlier start with the same models are kept."""
    pipeline = make_pipeline(serving, interactive=False)
    made_of = [
        generator_identity(serving.settings),
        generator_record(settled(serving.settings)),
        pipeline.prompt.sha256(),
        [pipeline.order, pipeline.sentence_margin, pipeline.depths.contexts, repr(pipeline.rerank_threshold)],
        [dataclasses.asdict(contexts) for _, contexts in judged],
    ]
    file = target / f"gate-answers-{digest(made_of)}.jsonl"
    done = resume_jsonl(file)
    todo = [contexts for _, contexts in judged if contexts.qid not in done]

    def work(chunk: Sequence[Any]) -> list[dict]:
        found = [contexts.response(pipeline, corpus, contexts.best(pipeline.depths.contexts)) for contexts in chunk]
        parsed = pipeline.parse(pipeline.generate(pipeline.read(found)))
        answers = [CANNOTANSWER if one.answer is None else one.answer.text for one in parsed]
        raw = ["" if one.answer is None else one.answer.raw for one in parsed]
        return [
            {"qid": contexts.qid, "answer": answer, "raw": own}
            for contexts, answer, own in zip(chunk, answers, raw, strict=True)
        ]

    append_rows(file, todo, work, label=f"Answering ({side})", n_done=len(judged) - len(todo), chunk_size=ANSWER_CHUNK)
    pipeline.generator.release()
    return {row["qid"]: row["answer"] for row in read_jsonl(file)}


def _scores(
    serving: Serving, held_out: Sequence[Example], answers: Mapping[str, Mapping[str, str]]
) -> dict[str, Scores]:
    """side -> metric -> a score per question."""
    wanted = [reference(example) for example in held_out]
    texts = dict.fromkeys([*wanted, *(own[example.question.id] for own in answers.values() for example in held_out)])
    row_of = {text: row for row, text in enumerate(texts)}
    vectors = np.asarray(parts.make_scorer(serving.settings).encode_queries(list(texts)))
    scored = {}
    for side, own in answers.items():
        given = [own[example.question.id] for example in held_out]
        pairs = list(zip(held_out, given, strict=True))
        scored[side] = {
            RIGHT: [float(is_right_answer(example, answer)) for example, answer in pairs],
            COS_SIM: [float(vectors[row_of[a]] @ vectors[row_of[b]]) for a, b in zip(given, wanted, strict=True)],
            DECISION: [float((answer == CANNOTANSWER) == (not example.positives)) for example, answer in pairs],
        }
    return scored


def reference(example: Example) -> str:
    """What CosSim compares an answer with."""
    return (example.question.answer or "") if example.positives else CANNOTANSWER


def is_right_answer(example: Example, answer: str) -> bool:
    """Whether an answer is right; of an unanswerable question, whether it is a refusal."""
    if not example.positives or answer == CANNOTANSWER:
        return not example.positives and answer == CANNOTANSWER
    return is_right(answer, references(example.question), example.question.rewrite)


def _refused(held_out: Sequence[Example], answers: Mapping[str, Mapping[str, str]]) -> dict[str, dict[str, float]]:
    """The shares of unanswerable and of answerable questions that each side refuses."""
    shares: dict[str, dict[str, float]] = {"unanswerable": {}, "answerable": {}}
    for side, own in answers.items():
        for kind, of_kind in (("unanswerable", False), ("answerable", True)):
            refused = [own[e.question.id] == CANNOTANSWER for e in held_out if bool(e.positives) == of_kind]
            if refused:
                shares[kind][side] = mean(refused) or 0.0
    return shares
