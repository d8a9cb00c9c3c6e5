"""Measure what follow-up questions find: as typed, by the human rewrite, and as the chat searches for them.

    python -m benchmarks.follow_ups DEV -i INDEX [--qrels QRELS] [--per-source 40] [--rewrite 0] [--set …]

The conversations are made by rule from judged questions (`benchmarks/conversations.py`). Earlier turns are answered by
their reference and cite the best passage that the chat's own search finds for them. The ways of searching:

    typed      the question as it was typed
    human      the human rewrite, or the question before a name in it became a pronoun
    title      the title of the passage that was cited last, then the question as typed
    before     the last question with its answer, then the question as typed
    fused      what the chat searches, without a rewrite by the generator: the question as typed, fused with both
    rewritten  the generator's rewrite where words refer back, else as typed; for at most `--rewrite` conversations
    fused rewritten   the same, fused

One JSON line for each kind of conversation and way: Recall@10, MRR@10, the share of the gap in Recall@10 between typed
and human that is closed, and the paired difference in Recall@10 from typed. `refer_back` is the share of questions that
are sent to be rewritten. On the controls, which stand alone, nothing may be lost.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import random
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from benchmarks.conversations import CONTROLS, FOLLOW_UPS, Conversation, make_conversations
from rag.build.parts import make_generator
from rag.build.retrievers import Retrievers
from rag.compute.quiet import quiet_libraries
from rag.config import load_settings
from rag.data.labelled import load_examples
from rag.evaluate.metrics import recall, reciprocal_rank
from rag.evaluate.significance import paired_difference
from rag.generate.references import refers_back
from rag.generate.rewrite import rewrite_question
from rag.retrieve.follow_up import DEPTH, Before, FollowUpRetriever
from rag.serve.before import what_was_before
from rag.serve.turns import Turn
from rag.types import Answer, Generator, Hit, Query, Response, Retriever


class Remembering:
    """A retriever that asks another one for each text once, always for `DEPTH` passages."""

    def __init__(self, retriever: Retriever):
        self._retriever = retriever
        self._found: dict[str, list[Hit]] = {}

    def retrieve(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """The k best passages of each query, of at most `DEPTH`."""
        new = [text for text in dict.fromkeys(queries) if text not in self._found]
        if new:
            self._found.update(zip(new, self._retriever.retrieve(new, DEPTH), strict=True))
        return [self._found[text][:k] for text in queries]


def earlier_turns(conversation: Conversation, retriever: Retriever) -> list[Turn]:
    """The turns before the last question, each answered by its reference and citing the best passage found for it."""
    turns: list[Turn] = []
    for earlier in conversation.before:
        (hits,) = _chat_search(earlier.question, turns, retriever).retrieve([earlier.question], 1)
        answer = Answer(earlier.answer, tuple(hit.passage.id for hit in hits))
        response = Response(Query("", earlier.question), reranked=tuple(hits), contexts=tuple(hits), answer=answer)
        turns.append(Turn(earlier.question, response=response, done=True))
    return turns


def _chat_search(question: str, turns: Sequence[Turn], retriever: Retriever) -> Retriever:
    if not turns:
        return retriever
    before = what_was_before(turns, retriever)
    return FollowUpRetriever(retriever, question, before, refers_back=refers_back(question))


def texts_of(conversation: Conversation, before: Before) -> dict[str, str]:
    """The ways that search for one text, with the text of each."""
    question = conversation.question
    title = f"{before.title} {question}" if before.title else question
    return {
        "typed": question,
        "human": conversation.rewrite,
        "title": title,
        "before": f"{before.text} {question}",
    }


def search(conversation: Conversation, retriever: Retriever, generator: Generator | None) -> dict[str, list[Hit]]:
    """What each way finds, best first."""
    turns = earlier_turns(conversation, retriever)
    question, before = conversation.question, what_was_before(turns, retriever)
    found = {way: retriever.retrieve([text], 10)[0] for way, text in texts_of(conversation, before).items()}
    fusing = FollowUpRetriever(retriever, question, before, refers_back=refers_back(question))
    found["fused"] = fusing.retrieve([question], 10)[0]
    if generator is not None:
        history = [
            (turn.question, turn.response.answer.text) for turn in turns if turn.response and turn.response.answer
        ]
        rewrite = rewrite_question(question, history, generator)
        found["rewritten"] = retriever.retrieve([rewrite], 10)[0]
        found["fused rewritten"] = fusing.retrieve([rewrite], 10)[0]
    return found


def scores(conversation: Conversation, found: Mapping[str, Sequence[Hit]]) -> dict[str, tuple[float, float]]:
    """(Recall@10, reciprocal rank) of each way."""
    gold = dict.fromkeys(conversation.gold, 1)
    ids = {way: [hit.passage.id for hit in hits] for way, hits in found.items()}
    return {way: (recall(own, gold, 10), reciprocal_rank(own, gold, 10)) for way, own in ids.items()}


def rows(kind: str, scored: Sequence[tuple[Conversation, Mapping[str, tuple[float, float]]]]) -> Iterator[dict]:
    """One row for each way, over the conversations that were searched in that way."""
    for way in dict.fromkeys(way for _, own in scored for way in own):
        own = [each for _, each in scored if way in each]
        values = {name: np.array([each[name] for each in own]) for name in {"typed", "human", way}}
        recalls = {name: value[:, 0] for name, value in values.items()}
        gap = float((recalls["human"] - recalls["typed"]).mean())
        difference = paired_difference(recalls[way].tolist(), recalls["typed"].tolist())
        yield {
            "kind": kind,
            "way": way,
            "recall@10": round(float(recalls[way].mean()), 4),
            "mrr@10": round(float(values[way][:, 1].mean()), 4),
            "gap_closed": round(difference.difference / gap, 3) if gap > 0 else None,
            **{key: _rounded(value) for key, value in dataclasses.asdict(difference).items()},
        }


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return [round(bound, 4) for bound in value.values()]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("questions", type=Path, help="dev questions in the course layout")
    parser.add_argument("-i", "--index", type=Path, required=True)
    parser.add_argument("--qrels", type=Path, help="judgements; else the labels of the questions")
    parser.add_argument("--per-source", type=int, default=40, help="conversations of each kind from each source")
    parser.add_argument("--rewrite", type=int, default=0, help="follow-ups that the generator rewrites too")
    parser.add_argument("--set", action="append", default=[], help="section.key=value")
    arguments = parser.parse_args()
    quiet_libraries()
    settings = load_settings(None, arguments.set)
    retrievers = Retrievers(settings, arguments.index)
    corpus = retrievers.index.get().corpus
    examples = load_examples(arguments.questions, corpus, arguments.qrels)
    print(json.dumps({"questions": examples.summary(arguments.questions.name)}))
    titles = {passage.document: passage.title for passage in corpus}
    conversations = make_conversations(examples.examples, titles, per_source=arguments.per_source)
    retriever = Remembering(retrievers.get(settings.retriever.kind))
    # In one call, which fills the encoder's batches.
    retriever.retrieve([text for one in conversations for text in (one.question, one.rewrite)], DEPTH)
    to_rewrite = [one for one in conversations if one.is_follow_up and refers_back(one.question)]
    to_rewrite = random.Random(0).sample(to_rewrite, min(arguments.rewrite, len(to_rewrite)))
    generator = make_generator(settings, interactive=True) if to_rewrite else None
    scored = []
    for one in conversations:
        found = search(one, retriever, generator if one in to_rewrite else None)
        scored.append((one, scores(one, found)))
    groups = {kind: (kind,) for kind in (*FOLLOW_UPS, *CONTROLS)} | {"follow-ups": FOLLOW_UPS, "controls": CONTROLS}
    for name, kinds in groups.items():
        own = [(one, each) for one, each in scored if one.kind in kinds]
        if not own:
            continue
        share = sum(refers_back(one.question) for one, _ in own) / len(own)
        print(json.dumps({"kind": name, "n": len(own), "refer_back": round(share, 3)}))
        for row in rows(name, own):
            print(json.dumps(row), flush=True)


if __name__ == "__main__":
    main()
