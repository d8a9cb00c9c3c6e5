"""Which questions a batch asks."""

from __future__ import annotations

from pathlib import Path

from rag.data.passages import Corpus
from rag.data.qrels import check_qrels, qrels_of_folder
from rag.data.questions import Question, load_questions, question_format, sample_questions
from rag.errors import DataError
from rag.progress import say


def questions_to_ask(
    path: str | Path, corpus: Corpus, *, unjudged: bool = False, sample: int | None = None, limit: int | None = None
) -> list[Question]:
    """The questions of a file, or of a BEIR folder those that are judged, `unjudged` ones too; says how many it read.

    `sample` draws so many of them, else `limit` takes the first. Raises DataError where the questions cannot be read,
    where a judgement of a folder names a passage that `corpus` lacks, and where none of its questions is judged.
    """
    read = load_questions(path)
    meant = read
    if (qrels := qrels_of_folder(path)) is not None:
        check_qrels(qrels, corpus, path, otherwise=f"ask without judgements: name {Path(path) / 'queries.jsonl'}")
        if not unjudged:
            meant = [question for question in read if question.id in qrels]
            if not meant:
                raise DataError(f"{path}: none of its {len(read):,} questions is judged; ask all with --unjudged")
    questions = sample_questions(meant, sample) if sample else meant[:limit]
    judged = "" if len(meant) == len(read) else f"; {len(meant):,} of them are judged"
    asked = "" if len(questions) == len(meant) else f"; {len(questions):,} of them are asked"
    say(f"{path}: {len(read):,} questions read ({question_format(path)}){judged}{asked}")
    return questions
