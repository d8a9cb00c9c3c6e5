"""Answers as the report shows them: the text with its citation marks in place, and the passages that they mean."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape

from rag.evaluate.outcomes import Outcome
from rag.evaluate.report.runs import ReportedRun
from rag.marks import marked_parts
from rag.terminal import harmless
from rag.types import Answer, Passage

EXAMPLES_OF_A_CLASS = 3
MAX_ANSWER_CHARACTERS = 200
MAX_PASSAGE_CHARACTERS = 200
MAX_TITLE_CHARACTERS = 80
NO_ANSWER = "–"
_MARKDOWN = re.compile(r"[\\`*_{}\[\]<>#|!&~$]")

Part = str | int
"""A piece of an answer: text, or the number of a cited passage in the prompt."""


@dataclass(frozen=True, slots=True)
class ShownAnswer:
    """An answer with its marks. `cited` holds the passages by their numbers; without a corpus only their ids."""

    parts: tuple[Part, ...]
    cited: Mapping[int, Passage]


def answer_parts(row: Mapping[str, Any]) -> list[Part]:
    """The answer of a prediction, in parts; [] where it has none. A citation outside of the prompt is left out."""
    if row.get("answer") is None:
        return []
    numbers = {pid: number for number, pid in enumerate(row.get("contexts") or (), 1)}
    marks = tuple((offset, tuple(cited)) for offset, cited in row.get("marks") or ())
    answer = Answer(row["answer"], tuple(row.get("citations") or ()), marks=marks)
    return [numbers[pid] if pid else text for text, pid in marked_parts(answer, numbers.__contains__)]


def shown_answer(run: ReportedRun, qid: str) -> ShownAnswer | None:
    """What the run answered; None where it did not answer."""
    row = run.rows.get(qid, {})
    if row.get("answer") is None:
        return None
    parts = answer_parts(row)
    cited: dict[int, Passage] = {}
    for number in sorted({part for part in parts if isinstance(part, int)}):
        pid = row["contexts"][number - 1]
        is_known = run.corpus is not None and pid in run.corpus
        cited[number] = run.corpus.by_id(pid) if run.corpus is not None and is_known else Passage(pid, "")
    return ShownAnswer(tuple(parts), cited)


def answer_html(answer: ShownAnswer | None) -> Markup:
    """The answer for a cell of a table, cut where it is long; a mark's title is what it means."""
    if answer is None:
        return Markup(NO_ANSWER)
    return Markup("").join(
        Markup('<span class="cite" title="{}">[{}]</span>').format(_meaning(answer.cited[part]), part)
        if isinstance(part, int)
        else escape(part)
        for part in _cut(answer.parts)
    )


def answer_markdown(answer: ShownAnswer | None) -> str:
    """The answer for a cell of a Markdown table, cut where it is long; behind it the titles of what it cites."""
    if answer is None:
        return NO_ANSWER
    text = "".join(rf"\[{part}\]" if isinstance(part, int) else plain(part) for part in _cut(answer.parts)).strip()
    sources = [
        rf"\[{number}\] {plain(_shortened(passage.title or passage.id, MAX_TITLE_CHARACTERS))}"
        for number, passage in answer.cited.items()
    ]
    return f"{text} — {'; '.join(sources)}" if sources else text


def plain(text: str) -> str:
    """Text on one line that means nothing in Markdown, nor to the terminal that the file is read in."""
    return _MARKDOWN.sub(r"\\\g<0>", harmless(re.sub(r"\s+", " ", text)))


def examples(run: ReportedRun) -> list[dict[str, Any]]:
    """The first answered questions of every class, with what was asked for and what was answered."""
    rows: dict[str, list[dict[str, Any]]] = {outcome.value: [] for outcome in Outcome}
    for qid, score in run.scores.items():
        own = rows[score["outcome"]]
        if len(own) < EXAMPLES_OF_A_CLASS and (answer := shown_answer(run, qid)) is not None:
            reference = score.get("reference") or ""
            query = run.rows[qid].get("query", "")
            own.append({"outcome": score["outcome"], "query": query, "reference": reference, "answer": answer})
    return [row for own in rows.values() for row in own]


def _meaning(passage: Passage) -> str:
    title = passage.title or passage.id
    return f"{title}: {_shortened(passage.text, MAX_PASSAGE_CHARACTERS)}" if passage.text else title


def _shortened(text: str, characters: int) -> str:
    """Text on one line, cut behind a word where it is longer."""
    text = " ".join(text.split())
    if len(text) <= characters:
        return text
    return f"{text[:characters].rpartition(' ')[0] or text[:characters]} …"


def _cut(parts: Sequence[Part]) -> list[Part]:
    """The parts with at most so much text; what is cited only behind the cut follows the ellipsis."""
    kept: list[Part] = []
    left = MAX_ANSWER_CHARACTERS  # negative behind the cut
    for part in parts:
        if isinstance(part, int):
            if left >= 0 or part not in kept:
                kept.append(part)
        elif left >= 0:
            is_over = len(part.rstrip()) > left
            kept.append(f"{_shortened(part, left)} " if is_over else part)
            left = -1 if is_over else max(left - len(part), 0)
    return kept
