"""The passages that stand beside a question in a row, each with what it is worth as an answer.

Read are the layouts of

- the course: `evidences` and `retrieval_labels`;
- sentence-transformers, Tevatron and DPR: `positive` and `negative`, numbered or as lists, of texts or of objects;
- MS MARCO: `passages` with `is_selected` and `passage_text`;
- SQuAD, and pairs with a label: one `context` or `passage`, a `label` of 0 or 1 where there is one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rag.data.rows import line_error, parsed
from rag.data.source import NUMBERED, USUAL, Source
from rag.types import CANNOTANSWER

NO_LABELS = "the fields 'evidences' and 'retrieval_labels' do not match"
SELECTED, TEXTS = "is_selected", ("text", "passage_text", "contents", "content", "passage")


@dataclass(frozen=True, slots=True)
class Evidence:
    """A passage beside a question: whether it answers, its text, and its id and title where these are known."""

    answers: bool
    text: str
    id: str = ""
    title: str = ""


def holds_evidences(source: Source, found: Collection[str]) -> bool:
    """Whether rows with these fields hold a question, and passages beside it."""
    has_question = any(name in found for name in source.names("question") if name not in ("text", "rewrite"))
    names = {"evidences", "passages", *source.names("positive"), *source.names("text")}
    return has_question and bool(names & set(found))


def evidences_of(row: Mapping, source: Source, number: int, answer: str | None) -> list[Evidence] | None:
    """The passages of a row, those that answer it first; None where it holds none.

    Raises DataError where what it holds is not understood. A lone passage without a label answers, unless the question
    has no answer.
    """
    reader = _Reader(row, source, number)
    if "evidences" in row and "positive" not in source.columns:
        return reader.course()
    if (found := reader.positives()) is not None:
        return found
    if isinstance(parsed(row.get("passages")), dict | list):
        return reader.selected()
    return reader.lone(answer)


@dataclass(frozen=True, slots=True)
class _Reader:
    row: Mapping
    source: Source
    number: int

    def course(self) -> list[Evidence]:
        texts: Any = parsed(self.row.get("evidences"))
        labels: Any = parsed(self.row.get("retrieval_labels"))
        is_labelled = isinstance(texts, list) and isinstance(labels, list) and len(texts) == len(labels)
        if not is_labelled or not all(isinstance(text, str) for text in texts) or not set(labels) <= {0, 1}:
            raise line_error(
                self.source,
                self.number,
                NO_LABELS,
                "write a 0 or 1 per evidence",
            )
        return _sorted(Evidence(bool(label), text) for text, label in zip(texts, labels, strict=True))

    def positives(self) -> list[Evidence] | None:
        name = self.source.holder("positive", self.row)
        if name is None:
            return None
        negative = [name for name in (self.source.holder("negative", self.row),) if name]
        if "negative" not in self.source.columns:
            negative += sorted((each for each in self.row if NUMBERED.fullmatch(each)), key=lambda name: int(name[9:]))
        found = self._items(name, True)
        return found + [item for each in negative for item in self._items(each, False)]

    def selected(self) -> list[Evidence]:
        return _sorted(self._items("passages", None))

    def lone(self, answer: str | None) -> list[Evidence] | None:
        names = [name for name in self.source.names("text") if name not in self.source.names("question")]
        name = next((name for name in (*names, "text") if name in self.row), None)
        if name is None or (name == "text" and name == self.source.holder("question", self.row)):
            return None
        label = self.source.holder("label", self.row)
        answers = answer != CANNOTANSWER if label is None else self._label(label)
        ids = [each for each in self.source.names("passage_id") if self.row.get(each) is not None]
        passage_id = str(self.row[ids[0]]) if ids else ""
        title = self.row.get(self.source.names("title")[0])
        items = self._items(name, answers)
        if len(items) == 1 and not items[0].id:
            item = items[0]
            return [Evidence(item.answers, item.text, passage_id, item.title or str(title or ""))]
        return items

    def _label(self, name: str) -> bool:
        value = self.row[name]
        if isinstance(value, bool) or value in (0, 1):
            return bool(value)
        if value in ("0", "1"):
            return value == "1"
        raise line_error(self.source, self.number, f"the label {name!r} is {value!r:.40}", "write 0 or 1")

    def _items(self, name: str, answers: bool | None) -> list[Evidence]:
        """The passages of a field; where `answers` is None, each says itself whether it was selected."""
        value = parsed(self.row[name])
        if isinstance(value, dict):  # of lists, as data sets write a list of objects
            lists = {key: each for key, each in value.items() if isinstance(each, list)}
            if len({len(each) for each in lists.values()}) == 1:
                value = [dict(zip(lists, each, strict=True)) for each in zip(*lists.values(), strict=True)]
        if value is None:
            value = []
        items = [value] if isinstance(value, str | dict) else value
        found = [self._item(name, item, answers) for item in items] if isinstance(items, list) else None
        if found is None or None in found:
            raise line_error(
                self.source,
                self.number,
                f"the field {name!r} holds no passages that are understood",
                "write a text, a list of texts, or objects with docid, title and text",
            )
        return [item for item in found if item is not None and (item.text.strip() or item.title.strip())]

    def _item(self, name: str, item: object, answers: bool | None) -> Evidence | None:
        if isinstance(item, str):
            return None if answers is None else Evidence(answers, item)
        text = next((item[key] for key in TEXTS if key in item), None) if isinstance(item, dict) else None
        if not isinstance(item, dict) or not isinstance(text, str) or (answers is None and SELECTED not in item):
            return None
        own = next((item[key] for key in USUAL["id"] if item.get(key) is not None), "")
        return Evidence(
            bool(item[SELECTED]) if answers is None else answers, text, str(own), str(item.get("title") or "")
        )


def _sorted(found: Iterable[Evidence]) -> list[Evidence]:
    return sorted(found, key=lambda item: not item.answers)
