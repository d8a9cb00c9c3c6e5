"""Questions about documents that nobody has asked about yet: a language model writes one or more for each passage.

It writes claims and keywords as well (`rag.generate.written_kinds`), as somebody searches who does not ask.

The retriever can be trained on them as on people's questions: InPars (Bonifacio et al. 2022,
https://arxiv.org/abs/2202.05144), Promptagator (Dai et al. 2022, https://arxiv.org/abs/2209.11755). GPL (Wang et al.
2022, https://arxiv.org/abs/2112.07577) uses a cross-encoder's scores as labels, which helps where another passage
answers the question too.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
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
from rag.sentences import sentence_spans
from rag.types import Generator, Message, Messages, Passage

MIN_PASSAGE_WORDS, MAX_PASSAGE_WORDS = 20, 300
MAX_NEW_TOKENS = 48
CHUNK_PASSAGES = 16
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


def texts_about(
    passages: Sequence[Passage],
    generator: Generator,
    n: int,
    before: Sequence[Sequence[str]] | None = None,
    *,
    kind: str = QUESTION,
    whole: Sequence[Passage] | None = None,
    taken: set[str] | None = None,
) -> list[list[str]]:
    """Up to `n` different texts of a kind about each passage; none about one of fewer than MIN_PASSAGE_WORDS words.

    The first is about the whole passage, or what is given as `whole` in its place, each other one about its part of it:
    asked for another question, a small model asks about the examples. `before` are texts about each that are there
    already, and come first. None of `taken`, in lower case, is written again; what is written joins them. A text in
    another language than its passage is left out.
    """
    found = [list(own) for own in before] if before is not None else [[] for _ in passages]
    begun = [len(own) for own in found]
    for number in range(n):
        shown = {
            row: whole[row] if whole and not number else part
            for row, passage in enumerate(passages)
            if number >= begun[row] and is_worth_asking(part := _part_of(passage, number, n))
        }
        raws = generator.generate([question_conversation(part, kind) for part in shown.values()]) if shown else []
        for row, raw in zip(shown, raws, strict=True):
            text = parse_written(raw, kind)
            known = {other.lower() for other in found[row]} if taken is None else taken
            if text and text.lower() not in known and is_of_language(text, passages[row].text):
                known.add(text.lower())
                found[row].append(text)
    return found


def _part_of(passage: Passage, number: int, n: int) -> Passage:
    """What text `number` of `n` is about: the whole passage (0), or of as many parts of whole sentences its own."""
    if not number:
        return passage
    spans = sentence_spans(passage.text)
    if len(spans) < n:
        return replace(passage, text="")
    own = spans[number * len(spans) // n : (number + 1) * len(spans) // n]
    return replace(passage, text=passage.text[own[0][0] : own[-1][1]].strip())


def passages_to_ask(passages: Sequence[Passage], sample: int | None, seed: int = 0) -> list[Passage]:
    """Those that are long enough to be asked about, in random order, and `sample` of them at most."""
    eligible = [passage for passage in passages if is_worth_asking(passage)]
    random.Random(seed).shuffle(eligible)
    return eligible[:sample]


def count_asked(passages: Sequence[Passage], n: int) -> int:
    """How many texts of a kind are asked for, up to `n` about each passage; no short part of one is asked about."""
    return sum(is_worth_asking(_part_of(passage, number, n)) for passage in passages for number in range(n))


def is_worth_asking(passage: Passage) -> bool:
    """Whether a passage is long enough to be asked about."""
    return count_words(passage.text) >= MIN_PASSAGE_WORDS


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


def write_questions(
    passages: Sequence[Passage],
    start_generator: Callable[[], Generator],
    target: str | Path,
    *,
    sample: int | None = None,
    per_passage: int = 1,
    kinds: Sequence[str] = (QUESTION,),
    seed: int = 0,
    identity: Mapping | None = None,
    chunk_size: int = CHUNK_PASSAGES,
) -> Written:
    """Write a question for each of `sample` passages drawn at random into `target`, in the layout of `train.txt`.

    Up to `per_passage` texts of each of `kinds` (`rag.generate.written_kinds`) are written (`texts_about`). Passages of
    fewer than 20 words are skipped; one longer than 300 is summarised first, and its first texts are about the summary,
    where other kinds than questions are wanted. A text that was written for another passage before is left out: both
    answer it, and only one would be labelled.

    Started again it writes what is missing; for other passages or with another model (`identity`) it is refused
    (RunMismatchError). The generator is started last, and only if something is left to write; a kill costs `chunk_size`
    passages at most. Raises DataError where there is nothing to ask about, or nothing usable was written.
    """
    target = Path(target)
    chosen = passages_to_ask(passages, sample, seed)
    if not chosen:
        raise DataError(f"no passage has {MIN_PASSAGE_WORDS} words or more; there is nothing to ask about")
    target.parent.mkdir(parents=True, exist_ok=True)
    identity = {"n": len(chosen), "seed": seed, **(identity or {})}
    if per_passage > 1:  # files from before there could be several, and other kinds, go on
        identity["per_passage"] = per_passage
    if kinds != (QUESTION,):
        identity["kinds"] = list(kinds)
    remember(target.with_suffix(".settings.json"), identity, target)
    writer, start = _Writer.of(target, chosen, kinds, per_passage)
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
            unit="passages",
        )
    rows = read_jsonl(target)
    if not rows:
        what = "question" if kinds == (QUESTION,) else " or ".join(kinds)
        raise DataError(f"the generator wrote no usable {what} for {len(chosen)} passages; choose a larger model")
    return Written(len(chosen), len(rows), examples_of(rows, seed))


def examples_of(rows: Sequence[Mapping], seed: int = 0) -> tuple[tuple[str, str], ...]:
    """Some (text, passage) pairs of what was written."""
    shown = random.Random(seed).sample(rows, min(EXAMPLES_TO_READ, len(rows)))
    return tuple((row["question"], row["evidences"][0]) for row in shown)


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes up to `n` texts of each kind; `there` are those of the file by the ids of their rows, `taken` all texts
    so far in lower case."""

    kinds: Sequence[str]
    n: int
    there: Mapping[str, str]
    taken: set[str]

    @classmethod
    def of(cls, target: Path, chosen: Sequence[Passage], kinds: Sequence[str], n: int) -> tuple[_Writer, int]:
        """(a writer that goes on with a file, the number of the passage from which on texts are missing)."""
        size = target.stat().st_size if target.is_file() else 0
        resume_jsonl(target)
        is_torn = target.is_file() and target.stat().st_size < size
        there = {row["qid"]: row["question"] for row in read_jsonl(target)}
        writer = cls(kinds, n, there, {text.lower() for text in there.values()})
        # Behind the last passage that has a text: those before it without one gave no usable one. Of several texts
        # about a passage a crash may have lost some.
        start = max((number for number, passage in enumerate(chosen, 1) if any(writer._before(passage))), default=0)
        if start and len(kinds) * n > 1 and (is_torn or start < len(chosen)):
            start -= 1
        return writer, start

    def rows(self, generator: Generator, chunk: Sequence[Passage]) -> Iterator[dict]:
        """The rows about some passages, in their order, each in the order of the kinds."""
        whole = self._summarised(generator, chunk)
        before = [self._before(passage) for passage in chunk]
        found = [
            texts_about(chunk, generator, self.n, [own[k] for own in before], kind=kind, whole=whole, taken=self.taken)
            for k, kind in enumerate(self.kinds)
        ]
        for row, passage in enumerate(chunk):
            for k, kind in enumerate(self.kinds):
                for number, text in enumerate(found[k][row]):
                    if number >= len(before[row][k]):
                        yield _row(passage, kind, text, number)

    def _before(self, passage: Passage) -> list[list[str]]:
        """The texts about a passage that are there already, for each kind."""
        ids = [[_qid(passage, kind, number) for number in range(self.n)] for kind in self.kinds]
        return [[self.there[qid] for qid in own if qid in self.there] for own in ids]

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


def _qid(passage: Passage, kind: str, number: int) -> str:
    return f"{WRITTEN}{'' if kind == QUESTION else f'{kind}_'}{passage.id}" + (f"#{number + 1}" if number else "")


def _row(passage: Passage, kind: str, text: str, number: int) -> dict:
    """A row in the layout of `train.txt`; the kind is noted where it is no question."""
    return {
        "qid": _qid(passage, kind, number),
        "question": text,
        "evidences": [passage.text],
        "retrieval_labels": [1],
        "source": passage.source,
        **({} if kind == QUESTION else {"kind": kind}),
    }
