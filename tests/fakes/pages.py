"""The page over a chat that answers at once, as an application and as its parts."""

from rag.data.passages import Corpus
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.pipeline import Depths
from rag.rerank.keep_order import KeepOrder
from rag.retrieve.bm25 import BM25Retriever
from rag.serve.chat import Chat
from rag.serve.history import History
from rag.serve.page_parts import PageParts
from rag.serve.turns import Options
from rag.types import Passage
from tests.fakes.pipelines import Echo

PASSAGES = (
    Passage("line@0", "The Amber Line opened in 1931. It was designed by Clara Voss.", "Amber Line"),
    Passage("voss@0", "Clara Voss studied architecture in Graz.", "Clara Voss"),
    Passage("rye@0", "Rye has less gluten than wheat.", "Rye"),
)


def make_chat(generator=None, passages=PASSAGES, threshold_at=lambda strictness: None, prompt="cited-v1", **more):
    """A chat over passages that is ready."""
    chat = Chat(
        {"bm25": Lazy.of(BM25Retriever(Corpus(passages)))},
        Lazy.of(KeepOrder()),
        Lazy.of(generator or Echo()),
        get_prompt(prompt),
        threshold_at,
        **more,
    )
    chat.status, chat.ready = "Ready.", True
    return chat


def make_parts(folder, chat=None, **more):
    """The parts of the page of the one person at this machine, unless said otherwise."""
    options = Options("bm25", Depths(10, 10, 2))
    more = {"is_local": True, **more}
    return PageParts(chat or make_chat(), options, History(folder / "conversations.sqlite"), **more)


class As:
    """An application before the page that says who sends a request, as the guard does."""

    def __init__(self, app, person=""):
        self.app, self.person = app, person

    async def __call__(self, scope, receive, send):
        scope.setdefault("state", {})["person"] = self.person
        await self.app(scope, receive, send)


class Given(list):
    """Suggestions that are there already."""

    def __call__(self, person):
        return list(self)

    def are_final(self):
        return True
