"""Make a smaller copy of data in the course layout, for comparisons of many runs that would take too long on all of it.

    python scripts/subset.py DATA OUT [--train 2000] [--dev 400] [--passages 8000]

DATA holds corpus.txt, train.txt and dev.txt, and optionally qrels.txt. Questions are drawn at random (seeded); each
source keeps its share, and within it so do unanswerable questions. Passages that the evidences and judgements of these
questions name are all kept; others are drawn at random until there are enough.
"""

from __future__ import annotations

import argparse
import json
import random
from pathlib import Path

from rag.data.corpus import load_corpus
from rag.data.labelled import JUDGEMENTS_FILE, load_examples
from rag.data.qrels import load_qrels
from rag.data.questions import load_questions, sample_questions
from rag.files import write_json, write_whole

NEEDED = ("corpus.txt", "train.txt", "dev.txt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("data", type=Path, help="folder in the course layout")
    parser.add_argument("out", type=Path, help="folder to write")
    parser.add_argument("--train", type=int, default=2_000, help="training questions")
    parser.add_argument("--dev", type=int, default=400, help="dev questions")
    parser.add_argument("--passages", type=int, default=8_000, help="passages, if the questions name fewer")
    given = parser.parse_args()
    for name in NEEDED:
        if not (given.data / name).is_file():
            missing = f"{given.data / name} is missing; the course layout and how to make a dev.txt: docs/train.md"
            parser.exit(1, f"subset: {missing}\n")
    corpus = load_corpus(given.data / "corpus.txt")
    given.out.mkdir(parents=True, exist_ok=True)
    named: set[str] = set()
    asked: set[str] = set()
    for name, n in (("train.txt", given.train), ("dev.txt", given.dev)):
        path = given.data / name
        chosen = {question.id for question in sample_questions(load_questions(path), n)}
        examples = load_examples(path, corpus)
        for example in (*examples.examples, *examples.unanswerable):
            if example.question.id in chosen:
                named.update(example.positives, example.negatives)
        asked |= chosen
        _keep(path, given.out / name, "qid", chosen)
    others = sorted({passage.id for passage in corpus} - named)
    left = max(min(given.passages - len(named), len(others)), 0)
    named.update(random.Random(0).sample(others, left))
    _keep(given.data / "corpus.txt", given.out / "corpus.txt", "id", named)
    if (given.data / JUDGEMENTS_FILE).is_file():
        judged = load_qrels(given.data / JUDGEMENTS_FILE)
        write_json(given.out / JUDGEMENTS_FILE, {qid: judged[qid] for qid in sorted(asked & judged.keys())})
    print(f"{given.out}: {len(named):,} of {len(corpus):,} passages")


def _keep(source: Path, target: Path, key: str, wanted: set[str]) -> None:
    """Copy the lines of a file whose `key` is wanted, unchanged."""
    lines = (line for line in source.read_text("utf-8").split("\n") if line.strip())
    write_whole(target, "".join(f"{line}\n" for line in lines if str(json.loads(line)[key]) in wanted))


if __name__ == "__main__":
    main()
