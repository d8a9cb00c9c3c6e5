"""Components that do what a test can foresee."""

from rag.types import CANNOTANSWER, Hit, ReadSpan, ranked


class Echo:
    """Answers with the first context's title and cites it; counts a token per word."""

    max_new_tokens = 10

    def __init__(self, window=10_000):
        self.context_window_tokens = window
        self.calls = []

    def count_tokens(self, conversation):
        return sum(len(message["content"].split()) for message in conversation)

    def generate(self, conversations):
        self.calls.append(len(conversations))
        return [self._answer(conversation) for conversation in conversations]

    def stream(self, conversation):
        for word in self._answer(conversation).split(" "):
            yield word + " "

    def _answer(self, conversation):
        content = conversation[-1]["content"]
        return content.split("[1] ", 1)[1].split(":")[0] + " [1] [8]" if "[1] " in content else CANNOTANSWER


class Finds:
    """A reader that finds one word, at a margin of 5 where it stands and of -5 elsewhere; counts its passages."""

    def __init__(self, word):
        self.word, self.read_passages = word, []

    def read(self, queries, contexts):
        self.read_passages += [passage.id for passages in contexts for passage in passages]
        return [[self._span(passage.text) for passage in passages] for passages in contexts]

    def _span(self, text):
        at = text.find(self.word)
        return ReadSpan(at, at + len(self.word), 7.0, 2.0) if at >= 0 else ReadSpan(0, 1, -4.0, 1.0)


class ByWords:
    """Scores a text by the words that it shares with the query, two logits each; remembers what it was asked."""

    def rerank(self, queries, candidates):
        self.asked = [[hit.passage for hit in hits] for hits in candidates]
        return [
            ranked([Hit(h.passage, 2.0 * len({*q.lower().split()} & {*h.passage.text.lower().split()})) for h in hits])
            for q, hits in zip(queries, candidates, strict=True)
        ]
