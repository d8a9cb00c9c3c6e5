"""A batch over what serves: in this process, or in shards on the workers of a cluster.

RUN/shards/00000/…   a run folder for each shard of the questions, until they are joined into RUN
RUN/shards/size.json how many questions a shard has; it stays, whatever the settings say later

A shard is a batch of its own (`rag.runs.batch`), so that another worker goes on where a lost one was. What RUN holds
already goes into the shards first, and what they hold comes back into RUN: a run begun in one way goes on in the other.
"""

from __future__ import annotations

import functools
import shutil
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.build.identity import run_identity, run_provenance
from rag.build.indexes import corpus_of
from rag.build.parts import cluster_of
from rag.build.pipelines import make_pipeline
from rag.build.serving import Serving, serving_over
from rag.config import Settings
from rag.config.compute import ComputeSettings
from rag.data.passages import Corpus
from rag.data.questions import Question
from rag.errors import RunMismatchError
from rag.files import clear, json_if_sound, json_line, write_json, write_whole
from rag.progress import progress
from rag.resume import differences, read_jsonl, resume_jsonl
from rag.runs.batch import gold_of, only_run, run_batch, whole_identity
from rag.runs.cost import joined_costs
from rag.runs.reuse import read_identity, take_over
from rag.runs.stored import COST_FILE, PREDICTIONS, PROVENANCE_FILE, RUN_FILE, STAGE_KEYS
from rag.types import Qrels

SHARDS, SIZE, JOINED = "shards", "size.json", ".shards-joined"
PATIENCE_SECONDS = 120.0
"""How long a worker waits for one that was taken for lost, and still holds the shard."""


def predict(
    serving: Serving,
    queries: str | Path,
    questions: Sequence[Question],
    folder: str | Path,
    *,
    generate: bool = True,
    reuse: Sequence[str | Path] = (),
    oracle: Qrels | None = None,
) -> Path:
    """`rag.runs.batch.run_batch` over what serves, where the settings let it be done; returns the predictions file.

    `queries` is the file of the questions, which the run notes.
    """
    folder, corpus = Path(folder), corpus_of(serving.index_folder)
    # Before the pipeline: it may fetch the generator, and what is asked of one may depend on its size.
    identity = run_identity(serving, queries, generate=generate)
    runs = [Path(run).absolute() for run in reuse]
    asked = Asked(serving.index_folder.absolute(), Path(queries).absolute(), identity, generate, runs, oracle)
    if serving.settings.compute.kind == "ray":
        return _predict_in_shards(asked, serving, questions, corpus, folder)
    pipeline = make_pipeline(serving, interactive=False)
    provenance = run_provenance(serving, generate=generate)
    if (folder / SHARDS).is_dir():
        with only_run(folder, asked.whole(questions, corpus)):
            _hand_out(asked, folder, _shards(folder, questions, max(len(questions), 1)), corpus)
            _join(folder)
    return run_batch(
        pipeline,
        questions,
        corpus,
        folder,
        identity,
        generate=generate,
        reuse=reuse,
        oracle=oracle,
        provenance=provenance,
    )


@dataclass(frozen=True)
class Asked:
    """What a batch is made of, besides its questions, its settings and its passages."""

    index: Path
    queries: Path
    identity: dict
    generate: bool
    reuse: list[Path]
    oracle: Qrels | None

    def oracle_of(self, questions: Sequence[Question], corpus: Corpus) -> Qrels | None:
        """The judgements of some questions; None where they name none of the passages."""
        judged = {q.id: self.oracle[q.id] for q in questions if q.id in self.oracle} if self.oracle else {}
        found = any(grade > 0 and pid in corpus for grades in judged.values() for pid, grade in grades.items())
        return judged if found else None

    def identity_of(self, questions: Sequence[Question], corpus: Corpus) -> dict:
        """What the run of these questions is made of."""
        gold = gold_of(self.oracle_of(questions, corpus), questions, corpus)
        return whole_identity(self.identity, questions, gold, generate=self.generate)

    def whole(self, questions: Sequence[Question], corpus: Corpus) -> dict:
        """The same of all questions. Raises DataError where the judgements name none of the passages."""
        return whole_identity(self.identity, questions, gold_of(self.oracle, questions, corpus), generate=self.generate)


def _predict_in_shards(
    asked: Asked, serving: Serving, questions: Sequence[Question], corpus: Corpus, folder: Path
) -> Path:
    compute = serving.settings.compute
    identity = asked.whole(questions, corpus)
    with only_run(folder, identity):
        if not (folder / SHARDS).is_dir() and len(resume_jsonl(folder / PREDICTIONS)) == len(questions):
            return folder / PREDICTIONS
        for other in asked.reuse:
            take_over(folder, other, read_identity(other), identity)
        write_json(folder / PROVENANCE_FILE, run_provenance(serving, generate=asked.generate))
        shards = _shards(folder, questions, compute.questions_per_shard)
        _hand_out(asked, folder, shards, corpus)
        left = [(part, some) for part, some in shards.items() if len(resume_jsonl(part / PREDICTIONS)) < len(some)]
        n_left = sum(len(some) for _, some in left)
        make = functools.partial(_shard_worker, _for_workers(serving.settings), asked)
        with progress("Answering", len(questions), "questions", already_done=len(questions) - n_left) as bar:
            items = [(part.absolute(), some) for part, some in left]
            for position, _ in cluster_of(serving.settings).each(make, items, waiting=lambda: bar.advance(0)):
                bar.advance(len(items[position][1]))
        _join(folder)
    return folder / PREDICTIONS


def _for_workers(settings: Settings) -> Settings:
    return settings.model_copy(update={"compute": ComputeSettings()})


def _shards(folder: Path, questions: Sequence[Question], size: int) -> dict[Path, Sequence[Question]]:
    """The folder of each shard and its questions; a run that was begun keeps its shards."""
    (folder / SHARDS).mkdir(exist_ok=True)
    noted = json_if_sound(folder / SHARDS / SIZE) or {}
    if not isinstance(noted.get("questions"), int) or noted["questions"] < 1:
        noted = {"questions": size}
        write_json(folder / SHARDS / SIZE, noted)
    size = noted["questions"]
    return {
        folder / SHARDS / f"{number:05d}": questions[start : start + size]
        for number, start in enumerate(range(0, len(questions), size))
    }


def _hand_out(asked: Asked, folder: Path, shards: Mapping[Path, Sequence[Question]], corpus: Corpus) -> None:
    """Give each shard the rows that the run has of its questions, where it has none of that stage yet."""
    for part, questions in shards.items():
        part.mkdir(exist_ok=True)
        write_json(part / RUN_FILE, asked.identity_of(questions, corpus))
    for name in STAGE_KEYS:
        resume_jsonl(folder / name)  # what is damaged is made again
        rows = {row["qid"]: row for row in read_jsonl(folder / name)}
        for part, questions in shards.items() if rows else ():
            ours = [rows[question.id] for question in questions if question.id in rows]
            if ours and not (part / name).exists():
                write_whole(part / name, b"".join(json_line(row) for row in ours))


def _shard_worker(settings: Settings, asked: Asked) -> Callable[[tuple[Path, Sequence[Question]]], None]:
    """What answers shards in a worker: with the models, the index and the settings of the run, or not at all."""
    serving = serving_over(settings, asked.index)
    found = run_identity(serving, asked.queries, generate=asked.generate)
    if differing := differences(asked.identity, found):
        raise RunMismatchError(
            f"on the node {socket.gethostname()} other answers would be given ({differing}); let all nodes have the "
            "same models, the same rag-qa and the same index"
        )
    corpus = corpus_of(asked.index)
    provenance = run_provenance(serving, generate=asked.generate)

    def answer(shard: tuple[Path, Sequence[Question]]) -> None:
        folder, questions = shard
        if not folder.is_dir():
            raise RunMismatchError(
                f"the node {socket.gethostname()} does not see {folder}; keep the run on a disk that all nodes share"
            )
        run_batch(
            make_pipeline(serving, interactive=False),
            questions,
            corpus,
            folder,
            asked.identity,
            generate=asked.generate,
            reuse=asked.reuse,
            oracle=asked.oracle_of(questions, corpus),
            provenance=provenance,
            patience_seconds=PATIENCE_SECONDS,
        )

    return answer


def _join(folder: Path) -> None:
    """Put the rows of all shards into the run, in the order of its questions, and delete the shards.

    A kill in between leaves the shards, from which the next start does it again.
    """
    parts = sorted(path for path in (folder / SHARDS).iterdir() if path.is_dir())
    for name in (*STAGE_KEYS, PREDICTIONS):
        files = [part / name for part in parts if (part / name).is_file()]
        if files:
            for file in files:
                resume_jsonl(file)  # without a last line that a kill has torn
            _concatenate(files, folder / name)
    write_json(folder / COST_FILE, joined_costs([folder / COST_FILE, *(part / COST_FILE for part in parts)]))
    # All shards are gone at once: with some of them, the run would lose what it has of the others.
    clear(folder / JOINED)
    (folder / SHARDS).rename(folder / JOINED)
    clear(folder / JOINED)


def _concatenate(files: Sequence[Path], target: Path) -> None:
    temporary = target.with_suffix(".tmp")
    with temporary.open("wb") as stream:
        for file in files:
            with file.open("rb") as rows:
                shutil.copyfileobj(rows, stream)
    temporary.replace(target)
