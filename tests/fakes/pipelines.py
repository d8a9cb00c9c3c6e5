"""Components that do what a test can foresee."""

from rag.types import CANNOTANSWER


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
