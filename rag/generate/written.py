"""Questions about documents that nobody has asked about yet: a language model writes one or more for each passage.

The retriever can be trained on them as on people's questions: InPars (Bonifacio et al. 2022,
https://arxiv.org/abs/2202.05144), Promptagator (Dai et al. 2022, https://arxiv.org/abs/2209.11755). GPL (Wang et al.
2022, https://arxiv.org/abs/2112.07577) uses a cross-encoder's scores as labels, which helps where another passage
answers the question too.
"""

from __future__ import annotations

import dataclasses
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rag.data.labelled import WRITTEN
from rag.errors import DataError
from rag.generate.answer import parse_answer
from rag.generate.instructions import withhold
from rag.generate.prompts import defuse
from rag.resume import append_rows, read_jsonl, remember, resume_jsonl
from rag.scripts import count_words
from rag.sentences import sentence_spans
from rag.types import Generator, Message, Messages, Passage

MIN_PASSAGE_WORDS, MAX_PASSAGE_WORDS = 20, 300
MIN_QUESTION_WORDS, MAX_QUESTION_WORDS = 4, 40
MAX_NEW_TOKENS = 48
CHUNK_PASSAGES = 64
EXAMPLES_TO_READ = 5

SYSTEM = (
    "Write one question that the passage answers, as somebody would ask it who has not read the passage: it names what "
    "it is about. Reply with the question only."
)
EXAMPLES = (
    (
        "Alder Bridge\nThe Alder Bridge crosses the Mura at Stenfeld. It was designed by the engineer Ines Halloran "
        "and opened to carts in 1874, two years after the flood that took the old ford.",
        "Who designed the Alder Bridge at Stenfeld?",
    ),
    (
        "Staff handbook, Northwind Ltd\nUnused days of leave may be carried into the next year with the consent of the "
        "head of department, but not more than five, and they lapse at the end of March.",
        "How many days of leave can staff of Northwind take over into the next year?",
    ),
    (
        "Pump P-40\nIf the pump runs dry it switches itself off. Fill the housing with clean water through the upper "
        "plug, wait a minute, then press Start for three seconds.",
        "How is the P-40 pump started again after it has run dry?",
    ),
)
_SPEAKS_OF_PASSAGE = re.compile(r"\b(?:this|the|that|above|given) (?:passage|text|excerpt|paragraph|context)\b", re.I)


def question_conversation(passage: Passage) -> Messages:
    """The conversation that asks the generator for a question; sentences that give it orders are withheld."""
    messages: Messages = [Message(role="system", content=SYSTEM)]
    for text, question in EXAMPLES:
        messages.append(Message(role="user", content=text))
        messages.append(Message(role="assistant", content=question))
    words = withhold(passage.text).split(" ")
    shown = " ".join(words[:MAX_PASSAGE_WORDS])
    return [*messages, Message(role="user", content=defuse(f"{passage.title}\n{shown}".strip()))]


def questions_about(
    passages: Sequence[Passage], generator: Generator, n: int, before: Sequence[Sequence[str]] | None = None
) -> list[list[str]]:
    """Up to `n` different questions about each passage; none about one of fewer than MIN_PASSAGE_WORDS words.

    The first question is about the whole passage, each other one about its part of it: asked for another question, a
    small model asks about the examples. `before` are questions about each that are there already, and come first.
    """
    found = [list(own) for own in before] if before is not None else [[] for _ in passages]
    begun = [len(own) for own in found]
    for number in range(n):
        shown = {
            row: part
            for row, passage in enumerate(passages)
            if number >= begun[row] and is_worth_asking(part := _part_of(passage, number, n))
        }
        raws = generator.generate([question_conversation(part) for part in shown.values()]) if shown else []
        for row, raw in zip(shown, raws, strict=True):
            question = parse_question(raw)
            if question and question.lower() not in {other.lower() for other in found[row]}:
                found[row].append(question)
    return found


def _part_of(passage: Passage, number: int, n: int) -> Passage:
    """What question `number` of `n` is about: the whole passage (0), or of as many parts of whole sentences its own."""
    if not number:
        return passage
    spans = sentence_spans(passage.text)
    if len(spans) < n:
        return dataclasses.replace(passage, text="")
    own = spans[number * len(spans) // n : (number + 1) * len(spans) // n]
    return dataclasses.replace(passage, text=passage.text[own[0][0] : own[-1][1]].strip())


def is_worth_asking(passage: Passage) -> bool:
    """Whether a passage is long enough to be asked about."""
    return count_words(passage.text) >= MIN_PASSAGE_WORDS


def parse_question(raw: str) -> str:
    """The question in the generator's output; empty where nobody could ask it who does not see the passage."""
    text = parse_answer(raw, ()).text.strip().splitlines()[0]
    text = re.sub(r"\A(?:Q|Question)\s*:\s*", "", text, flags=re.I).strip(" \"'“”*")
    if not text.endswith(("?", "？", "؟")) or _SPEAKS_OF_PASSAGE.search(text):
        return ""
    # A small model sometimes repeats the question of an example.
    if text in dict(EXAMPLES).values():
        return ""
    return text if MIN_QUESTION_WORDS <= count_words(text) <= MAX_QUESTION_WORDS else ""


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
    seed: int = 0,
    identity: Mapping | None = None,
    chunk_size: int = CHUNK_PASSAGES,
) -> Written:
    """Write a question for each of `sample` passages drawn at random into `target`, in the layout of `train.txt`.

    Up to `per_passage` questions for each (`questions_about`). A question that was written for another passage before
    is left out: both answer it, and only one would be labelled. Started again it writes what is missing; for other
    passages or with another model (`identity`) it is refused (RunMismatchError). The generator is started last, and
    only if something is left to write; a kill costs the questions about `chunk_size` passages at most. Raises DataError
    where there is nothing to ask about, or no usable question was written.
    """
    target = Path(target)
    eligible = [passage for passage in passages if is_worth_asking(passage)]
    if not eligible:
        raise DataError(f"no passage has {MIN_PASSAGE_WORDS} words or more; there is nothing to ask about")
    random.Random(seed).shuffle(eligible)
    chosen = eligible[:sample]
    target.parent.mkdir(parents=True, exist_ok=True)
    identity = {"n": len(chosen), "seed": seed, **(identity or {})}
    if per_passage > 1:  # files from before there could be several go on
        identity["per_passage"] = per_passage
    remember(target.with_suffix(".settings.json"), identity, target)
    done = resume_jsonl(target)
    asked = {row["question"].lower() for row in read_jsonl(target)}
    # Behind the last passage that has a question: those before it without one gave no usable question.
    numbers = range(per_passage)
    start = max((n for n, passage in enumerate(chosen, 1) if any(_qid(passage, k) in done for k in numbers)), default=0)
    if start < len(chosen):
        # A file that cannot be written is an error now, before the generator is loaded.
        target.open("ab").close()
        _write_rest(chosen, start, start_generator(), target, asked, per_passage, chunk_size)
    rows = read_jsonl(target)
    if not rows:
        raise DataError(f"the generator wrote no usable question for {len(chosen)} passages; choose a larger model")
    shown = random.Random(seed).sample(rows, min(EXAMPLES_TO_READ, len(rows)))
    return Written(len(chosen), len(rows), tuple((row["question"], row["evidences"][0]) for row in shown))


def _write_rest(
    chosen: Sequence[Passage],
    start: int,
    generator: Generator,
    target: Path,
    asked: set[str],
    per_passage: int,
    chunk_size: int,
) -> None:
    """Append the questions for the passages from `start` on; `asked` are those of earlier ones, in lower case."""

    def rows(chunk: Sequence[Passage]) -> Iterator[dict]:
        for passage, questions in zip(chunk, questions_about(chunk, generator, per_passage), strict=True):
            for number, question in enumerate(questions):
                if question.lower() not in asked:
                    asked.add(question.lower())
                    yield _row(passage, question, number)

    append_rows(target, chosen[start:], rows, label="Writing", n_done=start, chunk_size=chunk_size)


def _qid(passage: Passage, number: int = 0) -> str:
    return f"{WRITTEN}{passage.id}" + (f"#{number + 1}" if number else "")


def _row(passage: Passage, question: str, number: int) -> dict:
    """A row in the layout of `train.txt`."""
    return {
        "qid": _qid(passage, number),
        "question": question,
        "evidences": [passage.text],
        "retrieval_labels": [1],
        "source": passage.source,
    }
