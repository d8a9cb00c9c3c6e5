"""Which of the texts that a model wrote find their own passage again: what is too general, or false, does not.

The round trip of Promptagator (Dai et al. 2022, https://arxiv.org/abs/2209.11755). It leaves out some that is right but
hard to find, too.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from rag.build.identity import retriever_record
from rag.build.serving import Serving
from rag.data.labelled import Example, load_examples
from rag.errors import DataError
from rag.files import json_line, write_whole
from rag.index.read import open_index
from rag.progress import say
from rag.resume import append_rows, read_jsonl, remember, resume_jsonl

CHUNK_TEXTS = 64


def keep_found(serving: Serving, written: Path, ranks: Path, kept: Path, n: int) -> int:
    """Copy the rows of `written` that find their passage, or a copy of it, among the first `n` to `kept`; 0 copies all.

    Returns how many. They are searched by the retriever of the settings; the file `ranks` keeps at which rank each was
    found, and a killed round trip goes on from it. Raises DataError where none finds its passage.
    """
    rows = read_jsonl(written)
    if n:
        examples = load_examples(written, open_index(serving.index_folder).corpus).examples
        found = _ranks(serving, examples, ranks, n)
        rows = [row for row in rows if found.get(row["qid"])]
        if not rows:
            raise DataError(
                f"none of {len(examples):,} written questions finds its own passage among the first {n}; choose a "
                "larger generator: --set generator.model=MODEL, or keep all with --round-trip 0"
            )
        say(f"{len(rows):,} of {len(examples):,} find their own passage among the first {n}")
    content = b"".join(map(json_line, rows))
    if not kept.is_file() or kept.read_bytes() != content:
        write_whole(kept, content)
    return len(rows)


def _ranks(serving: Serving, examples: Sequence[Example], file: Path, n: int) -> dict[str, int]:
    """The rank at which each text finds its own passage, by its id; 0 where it is not among the first `n`."""
    texts = [[example.question.id, example.question.rewrite] for example in examples]
    identity = {
        "index": serving.manifest.fingerprint,
        **serving.query_identity(),
        "retriever": retriever_record(serving.settings),
        "n": n,
        "questions": hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16],
    }
    remember(file.with_suffix(".settings.json"), identity, file)
    done = resume_jsonl(file)
    todo = [example for example in examples if example.question.id not in done]
    retriever = serving.retriever() if todo else None

    def rows(chunk: Sequence[Example]) -> Iterable[dict]:
        assert retriever is not None
        hits = retriever.retrieve([example.question.rewrite for example in chunk], n)
        for example, found in zip(chunk, hits, strict=True):
            ids = [hit.passage.id for hit in found]
            own = [ids.index(pid) + 1 for pid in example.positives if pid in ids]
            yield {"qid": example.question.id, "rank": min(own, default=0)}

    append_rows(file, todo, rows, label="Round trip", n_done=len(examples) - len(todo), chunk_size=CHUNK_TEXTS)
    return {row["qid"]: row["rank"] for row in read_jsonl(file)}
