"""Measure the engines that write answers, side by side: each in a process of its own, on the same prompts.

    python -m benchmarks answer [--set generator.model=FOLDER]

The prompts are the product's own, over the three passages that BM25 finds for each question; they are asked one by one,
greedily, as a stream. For each engine:

    load_seconds          until the model can be asked, imports included; what is converted once is there already
    first_question        seconds of the first question
    seconds               seconds a question, the median of the others
    first_token_seconds   seconds until the first piece of text, the median of the others
    peak_gib              peak memory of the process
    same_answers          share of the answers that are those of transformers, to the letter
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from rag.build.parts import make_generator, make_prompt
from rag.compute.quiet import quiet_libraries
from rag.config import Settings
from rag.index.read import open_index
from rag.types import Messages

ENGINES = ("transformers", "ctranslate2", "vllm")


def conversations_of(settings: Settings, index: Path, questions: Sequence[str]) -> list[Messages]:
    """The prompt of each question over the passages that BM25 finds; a question asked again gets the next passages."""
    prompt, n = make_prompt(settings), settings.prompt.contexts
    bm25, seen, found = open_index(index).bm25(), dict.fromkeys(questions, 0), []
    for question in questions:
        hits = bm25.retrieve([question], n * (seen[question] + 1))[0]
        found.append(prompt.conversation(question, [hit.passage for hit in hits[n * seen[question] :]]))
        seen[question] += 1
    return found


def compare(settings: Settings, conversations: Sequence[Messages]) -> dict:
    """The figures of every engine that is installed, beside those of transformers."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "asked.json"
        asked = {"settings": settings.model_dump(mode="json"), "conversations": conversations}
        file.write_text(json.dumps(asked), encoding="utf-8")
        engines = {}
        for engine in (name for name in ENGINES if importlib.util.find_spec(name) is not None):
            _measure_elsewhere(engine, file, n=0)  # convert, and fill the disk's cache
            engines[engine] = _measure_elsewhere(engine, file, n=len(conversations))
    answers = {engine: figures.pop("answers") for engine, figures in engines.items()}
    base = engines["transformers"]
    for engine, figures in engines.items():
        same = [a == b for a, b in zip(answers[engine], answers["transformers"], strict=True)]
        figures["same_answers"] = float(np.mean(same))
        figures["times_as_fast"] = base["seconds"] / figures["seconds"]
        figures["times_as_fast_to_load"] = base["load_seconds"] / figures["load_seconds"]
    return {"questions": len(conversations), "engines": engines}


def _measure_elsewhere(engine: str, file: Path, n: int) -> dict:
    command = [sys.executable, "-m", "benchmarks.answer", engine, str(file), "-n", str(n)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()[-1])


def measure(settings: Settings, conversations: Sequence[Messages], started: float) -> dict:
    """The figures of one engine in this process, which began at `started` by `time.perf_counter`."""
    generator = make_generator(settings, interactive=True)
    loaded = time.perf_counter()
    first_piece, whole, answers = [], [], []
    for conversation in conversations:
        asked, pieces, first = time.perf_counter(), [], None
        for piece in generator.stream(conversation):
            first = first or time.perf_counter()
            pieces.append(piece)
        ended = time.perf_counter()
        whole.append(ended - asked)
        first_piece.append((first or ended) - asked)
        answers.append("".join(pieces))
    if hasattr(generator, "close"):
        generator.close()
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return {
        "load_seconds": loaded - started,
        "first_question": whole[0] if whole else None,
        "seconds": float(np.median(whole[1:])) if whole[1:] else None,
        "first_token_seconds": float(np.median(first_piece[1:])) if whole[1:] else None,
        "prompt_tokens": float(np.mean([generator.count_tokens(c) for c in conversations])) if whole else None,
        "peak_gib": round(peak / 2**20, 2),
        "answers": answers,
    }


def main() -> None:
    started = time.perf_counter()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engine", choices=ENGINES)
    parser.add_argument("asked", type=Path, help="JSON with settings and conversations")
    parser.add_argument("-n", type=int, help="only the first N conversations")
    arguments = parser.parse_args()
    quiet_libraries()
    asked = json.loads(arguments.asked.read_text("utf-8"))
    settings = Settings.model_validate(asked["settings"])
    generator = settings.generator.model_copy(update={"kind": arguments.engine})
    settings = settings.model_copy(update={"generator": generator})
    print(json.dumps(measure(settings, asked["conversations"][: arguments.n], started)))


if __name__ == "__main__":
    main()
