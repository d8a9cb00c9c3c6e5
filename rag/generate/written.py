"""Questions about documents that nobody has asked about yet: a language model writes one for each passage.

It writes claims and keywords as well (`rag.generate.written_kinds`), as somebody searches who does not ask.

The retriever can be trained on them as on people's questions: InPars (Bonifacio et al. 2022,
https://arxiv.org/abs/2202.05144), Promptagator (Dai et al. 2022, https://arxiv.org/abs/2209.11755). GPL (Wang et al.
2022, https://arxiv.org/abs/2112.07577) uses a cross-encoder's scores as labels, which helps where another passage
answers the question too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from rag.data.labelled import WRITTEN
from rag.errors import DataError
from rag.generate.answer import parse_answer
from rag.generate.instructions import withhold
from rag.generate.prompts import defuse
from rag.generate.written_kinds import KINDS, QUESTION, Kind, in_language, is_of_language, summary_conversation
from rag.resume import append_rows, read_jsonl, remember, resume_jsonl
from rag.scripts import count_words
from rag.types import Generator, Message, Messages, Passage

MIN_PASSAGE_WORDS, MAX_PASSAGE_WORDS = 20, 300
MAX_NEW_TOKENS = 48
CHUNK_PASSAGES = 64
EXAMPLES_TO_READ = 5

EXAMPLES = KINDS[QUESTION].examples
_SPEAKS_OF_PASSAGE = re.compile(r"\b(?:this|the|that|above|given) (?:passage|text|excerpt|paragraph|context)\b", re.I)


def question_conversation(passage: Passage, kind: str = QUESTION) -> Messages:
    """The conversation that asks the generator for a question, or a text of another kind, in the passage's language.

    Sentences of the passage that give it orders are withheld.
    """
    asked = KINDS[kind]
    messages: Messages = [Message(role="system", content=asked.system + in_language(passage.text))]
    for text, written in asked.examples:
        messages.append(Message(role="user", content=text))
        messages.append(Message(role="assistant", content=written))
    words = withhold(passage.text).split(" ")
    shown = " ".join(words[:MAX_PASSAGE_WORDS])
    return [*messages, Message(role="user", content=defuse(f"{passage.title}\n{shown}".strip()))]


def parse_question(raw: str) -> str:
    """The question in the generator's output; empty where nobody could ask it who does not see the passage."""
    return parse_written(raw, QUESTION)


def parse_written(raw: str, kind: str) -> str:
    """The text of a kind in the generator's output; empty where it is none, or speaks of the passage before it."""
    asked: Kind = KINDS[kind]
    text = parse_answer(raw, ()).text.strip().splitlines()[0]
    text = re.sub(asked.label, "", text, flags=re.I).strip(" \"'“”*")
    if not asked.is_form(text) or _SPEAKS_OF_PASSAGE.search(text):
        return ""
    # A small model sometimes repeats the text of an example.
    if text in dict(asked.examples).values():
        return ""
    return asked.cleaned(text) if asked.least_words <= count_words(text) <= asked.most_words else ""


@dataclass(frozen=True, slots=True)
class Written:
    """How many passages were read and questions written, and some (question, passage) pairs to read."""

    n_passages: int
    n_questions: int
    examples: tuple[tuple[str, str], ...]


Keep = Callable[[Sequence[tuple[str, Passage]]], Sequence[bool]]
"""Which of the texts, each written about a passage, are kept."""


def write_questions(
    passages: Sequence[Passage],
    start_generator: Callable[[], Generator],
    target: str | Path,
    *,
    sample: int | None = None,
    seed: int = 0,
    identity: Mapping | None = None,
    chunk_size: int = CHUNK_PASSAGES,
    kinds: Sequence[str] = (QUESTION,),
    keep: Keep | None = None,
) -> Written:
    """Write a question for each of `sample` passages drawn at random into `target`, in the layout of `train.txt`.

    Of other `kinds` (`rag.generate.written_kinds`) one text each is written. Passages of fewer than 20 words are
    skipped; one longer than 300 is summarised first, and written about by its summary, where other kinds than questions
    are wanted. A text that was written for another passage before is left out: both answer it, and only one would be
    labelled. So is one that is in another language than its passage, or that `keep` does not keep.

    Started again it writes what is missing; for other passages or with another model (`identity`) it is refused
    (RunMismatchError). The generator is started last, and only if something is left to write; a kill costs `chunk_size`
    passages at most. Raises DataError where there is nothing to ask about, or nothing usable was written.
    """
    target = Path(target)
    eligible = [passage for passage in passages if count_words(passage.text) >= MIN_PASSAGE_WORDS]
    if not eligible:
        raise DataError(f"no passage has {MIN_PASSAGE_WORDS} words or more; there is nothing to ask about")
    random.Random(seed).shuffle(eligible)
    chosen = eligible[:sample]
    target.parent.mkdir(parents=True, exist_ok=True)
    identity = {"n": len(chosen), "seed": seed, **(identity or {})}
    remember(target.with_suffix(".settings.json"), identity, target)
    done = resume_jsonl(target)
    # From the last passage on that has a text: those before it without one gave no usable one.
    last = (n for n, passage in enumerate(chosen, 1) if any(_qid(passage, kind) in done for kind in kinds))
    start = max(max(last, default=0) - (len(kinds) > 1), 0)
    writer = _Writer(kinds, keep, {row["question"].lower() for row in read_jsonl(target)}, done)
    if start < len(chosen):
        # A file that cannot be written is an error now, before the generator is loaded.
        target.open("ab").close()
        generator = start_generator()
        append_rows(
            target,
            chosen[start:],
            lambda chunk: writer.rows(generator, chunk),
            label="Writing",
            n_done=start,
            chunk_size=chunk_size,
        )
    rows = read_jsonl(target)
    if not rows:
        what = "question" if kinds == (QUESTION,) else " or ".join(kinds)
        raise DataError(f"the generator wrote no usable {what} for {len(chosen)} passages; choose a larger model")
    shown = random.Random(seed).sample(rows, min(EXAMPLES_TO_READ, len(rows)))
    return Written(len(chosen), len(rows), tuple((row["question"], row["evidences"][0]) for row in shown))


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes texts of some kinds; `asked` are those there already, in lower case, and `done` the ids of their rows."""

    kinds: Sequence[str]
    keep: Keep | None
    asked: set[str]
    done: Set[str]

    def rows(self, generator: Generator, chunk: Sequence[Passage]) -> Iterator[dict]:
        """The rows about some passages, in their order, each in the order of the kinds."""
        about = self._summarised(generator, chunk)
        wanted = [(n, kind) for n, passage in enumerate(chunk) for kind in self.kinds]
        wanted = [(n, kind) for n, kind in wanted if _qid(chunk[n], kind) not in self.done]
        raws = generator.generate([question_conversation(about[n], kind) for n, kind in wanted])
        found: list[tuple[Passage, str, str]] = []
        for (n, kind), raw in zip(wanted, raws, strict=True):
            text = parse_written(raw, kind)
            if text and text.lower() not in self.asked and is_of_language(text, chunk[n].text):
                self.asked.add(text.lower())
                found.append((chunk[n], kind, text))
        kept = (
            self.keep([(text, passage) for passage, _, text in found]) if self.keep and found else [True] * len(found)
        )
        for (passage, kind, text), is_kept in zip(found, kept, strict=True):
            if is_kept:
                yield _row(passage, kind, text)

    def _summarised(self, generator: Generator, chunk: Sequence[Passage]) -> list[Passage]:
        """The passages; the long ones as their summaries, where there are kinds besides questions."""
        long = [n for n, passage in enumerate(chunk) if count_words(passage.text) > MAX_PASSAGE_WORDS]
        about = list(chunk)
        if long and any(kind != QUESTION for kind in self.kinds):
            summaries = generator.generate([summary_conversation(chunk[n]) for n in long])
            for n, raw in zip(long, summaries, strict=True):
                if text := parse_answer(raw, ()).text.strip():
                    about[n] = replace(chunk[n], text=text)
        return about


def _qid(passage: Passage, kind: str = QUESTION) -> str:
    return f"{WRITTEN}{'' if kind == QUESTION else f'{kind}_'}{passage.id}"


def _row(passage: Passage, kind: str, text: str) -> dict:
    """A row in the layout of `train.txt`; the kind is noted where it is no question."""
    return {
        "qid": _qid(passage, kind),
        "question": text,
        "evidences": [passage.text],
        "retrieval_labels": [1],
        "source": passage.source,
        **({} if kind == QUESTION else {"kind": kind}),
    }
