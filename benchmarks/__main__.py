"""Measure speed. Each benchmark runs in a process of its own, to measure its peak memory; results are JSON lines.

    encode                our encoder against SentenceTransformer.encode (fp32, its defaults), on the same passages
    rerank                our reranker against CrossEncoder.predict (fp32, its defaults), on the same pairs
    answer                the engines that write answers, question by question: loading, seconds, first token, memory
    answer_vllm           vLLM, all prompts in one call
    answer_transformers   transformers, the same prompts; with both, the ratio is printed too
    train                 forward and backward passes of the reranker as `rag train` runs them, against the checkpoint
                          as loaded; both in the fastest precision, without dropout, word embeddings frozen
    warm                  one question with everything loaded, by the settings (default: hybrid, 10 reranked, 3 read)
    first_token           one question until its first token, where a fast server writes: seconds of each stage
    cold                  `rag ask` as a new process, weights and compiled graphs cached; the ratio is its CPU seconds
                          to those of the same question with everything loaded

`scale` measures how building, opening, searching and changing each store grow with it (`scale --help`).
`attack` is no measure of speed: it tries again what docs/security.md lists (`attack --help`).

The passages are those of the sample corpus, or of `--index INDEX`.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import answer, attack, first_token, scale
from rag.build.indexes import corpus_of, make_index
from rag.build.parts import make_encoder, make_generator, make_prompt, make_reranker
from rag.build.pipelines import make_pipeline
from rag.build.serving import serving_over
from rag.compute.quiet import quiet_libraries
from rag.config import load_settings
from rag.types import Query

QUESTIONS = (
    "What does the nonlocal statement do?",
    "Which statement raises an exception?",
    "How are default parameter values evaluated?",
    "What is the difference between a class and an instance?",
    "When is the else clause of a loop executed?",
    "How does the with statement work?",
    "What does the yield expression produce?",
    "How are comparisons chained?",
)


def timed(function, *arguments):
    started = time.perf_counter()
    result = function(*arguments)
    return result, time.perf_counter() - started


def sample_passages(corpus, n: int) -> list:
    rows = np.random.default_rng(0).choice(len(corpus), min(n, len(corpus)), replace=False)
    return [corpus[row] for row in rows.tolist()]


def bench_encode(settings, index: Path, n: int) -> dict:
    from sentence_transformers import SentenceTransformer

    encoder = make_encoder(settings)
    texts = [p.content for p in sample_passages(corpus_of(index), n)]
    encoder.encode_passages(texts[:8])
    (ours, _), our_seconds = timed(encoder.encode_passages, texts)
    plain = SentenceTransformer(str(encoder.folder), device="cpu", local_files_only=True)
    plain.encode(texts[:8], prompt_name="passage")
    theirs, their_seconds = timed(lambda: plain.encode(texts, prompt_name="passage"))
    queries = encoder.encode_queries(list(QUESTIONS))
    orders = (np.argsort(-(queries @ ours.T))[:, :10], np.argsort(-(queries @ theirs.T))[:, :10])
    return {
        "ratio": their_seconds / our_seconds,
        "ours_per_second": len(texts) / our_seconds,
        "theirs_per_second": len(texts) / their_seconds,
        "precision": encoder.precision,
        "lowest_cosine": float(np.einsum("nd,nd->n", ours, theirs).min()),
        "same_top_1": float((orders[0][:, 0] == orders[1][:, 0]).mean()),
        "top_10_overlap": float(np.mean([len({*a} & {*b}) / 10 for a, b in zip(*orders, strict=True)])),
    }


def bench_rerank(settings, index: Path, n: int) -> dict:
    from sentence_transformers import CrossEncoder

    reranker = make_reranker(settings)
    passages = sample_passages(corpus_of(index), n // 8)
    pairs = [(question, p.content) for question in QUESTIONS for p in passages]
    reranker.score(pairs[:8])
    ours, our_seconds = timed(reranker.score, pairs)
    plain = CrossEncoder(str(reranker.folder), device="cpu", local_files_only=True)
    plain.predict(pairs[:8])
    theirs, their_seconds = timed(plain.predict, pairs)
    from scipy.stats import spearmanr

    ours, theirs = np.array(ours).reshape(len(QUESTIONS), -1), np.array(theirs).reshape(len(QUESTIONS), -1)
    return {
        "ratio": their_seconds / our_seconds,
        "ours_per_second": len(pairs) / our_seconds,
        "theirs_per_second": len(pairs) / their_seconds,
        "precision": reranker.precision,
        "largest_logit_difference": float(np.abs(ours - theirs).max()),
        "same_top_1": float((ours.argmax(1) == theirs.argmax(1)).mean()),
        "rank_correlation": float(spearmanr(ours.ravel(), theirs.ravel()).statistic),
    }


def _conversations(settings, index: Path, n: int) -> list:
    corpus, prompt = corpus_of(index), make_prompt(settings)
    passages = sample_passages(corpus, 3 * n)
    return [prompt.conversation(QUESTIONS[i % len(QUESTIONS)], passages[3 * i : 3 * i + 3]) for i in range(n)]


def bench_answer_vllm(settings, index: Path, n: int) -> dict:
    return _bench_answer(settings, index, n, "vllm")


def bench_answer_transformers(settings, index: Path, n: int) -> dict:
    return _bench_answer(settings, index, n, "transformers")


def _bench_answer(settings, index: Path, n: int, kind: str) -> dict:
    settings = settings.model_copy(update={"generator": settings.generator.model_copy(update={"kind": kind})})
    generator, load_seconds = timed(lambda: make_generator(settings, interactive=False))
    conversations = _conversations(settings, index, n)
    generator.generate(conversations[:1])
    _, seconds = timed(generator.generate, conversations)
    if hasattr(generator, "close"):
        generator.close()
    return {"questions_per_second": n / seconds, "load_seconds": load_seconds}


def bench_answer(settings, index: Path, n: int) -> dict:
    asked = [QUESTIONS[i % len(QUESTIONS)] for i in range(n)]
    return answer.compare(settings, answer.conversations_of(settings, index, asked))


def bench_train(settings, index: Path, n: int) -> dict:
    import torch
    from sentence_transformers import CrossEncoder

    from rag.compute.hardware import default_device, fastest_precision
    from rag.train.by_length import prepare_model
    from rag.train.reranker_recipes import RECIPES

    recipe, device = RECIPES["lambda"], default_device()
    texts = [p.content for p in sample_passages(corpus_of(index), n)]
    n = len(texts)
    batches = [[(QUESTIONS[0], text) for text in texts[start : start + 48]] for start in range(0, n, 48)]
    folder = make_reranker(settings).folder

    def passes(ours: bool) -> float:
        model = CrossEncoder(str(folder), device=device, local_files_only=True, max_length=recipe.max_length_tokens)
        prepare_model(model, model.model, recipe)
        if not ours and "forward" in vars(model.model):
            del model.model.forward  # our forward pass, which runs rows of similar length together
            model.model.set_attn_implementation("sdpa")

        def once(pairs) -> None:
            with torch.autocast(device, dtype=torch.bfloat16, enabled=fastest_precision(device) == "bf16"):
                logits = model(model.preprocess(pairs))["scores"]
            logits.float().pow(2).mean().backward()
            model.zero_grad()

        model.train()
        once(batches[0][:16])
        return timed(lambda: [once(pairs) for pairs in batches])[1]

    theirs, ours = passes(False), passes(True)
    return {"ratio": theirs / ours, "ours_pairs_per_second": n / ours, "theirs_pairs_per_second": n / theirs}


def bench_warm(settings, index: Path, n: int) -> dict:
    pipeline = make_pipeline(serving_over(settings, index), interactive=True)
    pipeline.run([Query("0", QUESTIONS[0])])
    seconds = []
    stages: dict[str, list[float]] = {}
    for question in QUESTIONS:
        (response,), took = timed(pipeline.run, [Query("q", question)])
        seconds.append(took)
        for stage, share in response.timings.items():
            stages.setdefault(stage, []).append(share)
    return {
        "median_seconds": float(np.median(seconds)),
        "max_seconds": max(seconds),
        "stages_median": {stage: float(np.median(values)) for stage, values in stages.items()},
    }


def bench_first_token(settings, index: Path, n: int) -> dict:
    return first_token.measure(settings, index, QUESTIONS[:n])


def bench_cold(settings, index: Path, n: int) -> dict:
    command = [sys.executable, "-m", "rag", "ask", QUESTIONS[0], "-i", str(index), "--json", "--no-chat"]
    before = cpu_seconds(resource.RUSAGE_CHILDREN)
    result, seconds = timed(lambda: subprocess.run(command, capture_output=True, text=True, check=True))
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    cold = cpu_seconds(resource.RUSAGE_CHILDREN) - before
    pipeline = make_pipeline(serving_over(settings, index), interactive=True)
    pipeline.run([Query("0", QUESTIONS[0])])
    before = cpu_seconds(resource.RUSAGE_SELF)
    pipeline.run([Query("q", QUESTIONS[0])])
    warm = cpu_seconds(resource.RUSAGE_SELF) - before
    return {
        "cpu_ratio": cold / warm,
        "cold_cpu_seconds": cold,
        "warm_cpu_seconds": warm,
        "seconds": seconds,
        "answer": json.loads(result.stdout)["answer"],
        "peak_gib": usage.ru_maxrss / 2**20,
    }


def cpu_seconds(whose: int) -> float:
    """Seconds that this process, or those that it started, have computed."""
    usage = resource.getrusage(whose)
    return usage.ru_utime + usage.ru_stime


BENCHMARKS = {
    "encode": (bench_encode, 256),
    "rerank": (bench_rerank, 320),
    "answer": (bench_answer, 10),
    "answer_vllm": (bench_answer_vllm, 64),
    "answer_transformers": (bench_answer_transformers, 64),
    "train": (bench_train, 192),
    "warm": (bench_warm, 8),
    "first_token": (bench_first_token, 8),
    "cold": (bench_cold, 1),
}


def main() -> None:
    if sys.argv[1:2] == ["attack"]:
        sys.exit(attack.main(sys.argv[2:]))
    if sys.argv[1:2] == ["scale"]:
        scale.main(sys.argv[2:])
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"any of: {', '.join(BENCHMARKS)}; all by default")
    parser.add_argument("--index", type=Path, help="index folder; the sample corpus is indexed by default")
    parser.add_argument("--set", action="append", default=[], dest="overrides", help="section.key=value")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    quiet_libraries()
    settings = load_settings(overrides=arguments.overrides)
    if arguments.here:
        function, n = BENCHMARKS[arguments.names[0]]
        result = function(settings, arguments.index, n)
        peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
        print(json.dumps({"name": arguments.names[0], **result, "peak_process_gib": round(peak / 2**20, 2)}))
        return
    with tempfile.TemporaryDirectory() as scratch:
        index = arguments.index
        if index is None:
            index = Path(scratch) / "index"
            make_index(settings, "embedded", index)
        results = {}
        for name in arguments.names or BENCHMARKS:
            command = [sys.executable, "-m", "benchmarks", name, "--here", "--index", str(index)]
            command += [word for override in arguments.overrides for word in ("--set", override)]
            line = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1]
            print(line, flush=True)
            results[name] = json.loads(line)
        if {"answer_vllm", "answer_transformers"} <= results.keys():
            fast, slow = (results[f"answer_{kind}"]["questions_per_second"] for kind in ("vllm", "transformers"))
            print(json.dumps({"name": "answer_batch", "ratio": fast / slow}))


if __name__ == "__main__":
    main()
