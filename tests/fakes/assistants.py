"""A small library for assistants; as a program, it serves that library over stdin and stdout."""

import os
import sys
import threading
import time
from types import SimpleNamespace

from rag.data.passages import Corpus
from rag.documents.document import Block, Document
from rag.errors import DataError
from rag.generate.builtin import get_prompt
from rag.lazy import Lazy
from rag.pipeline import Depths
from rag.rerank.keep_order import KeepOrder
from rag.retrieve.bm25 import BM25Retriever
from rag.serve.chat import Chat
from rag.serve.library import Library
from rag.serve.sources import Sources
from rag.serve.turns import Options
from rag.types import Passage
from tests.fakes.pipelines import Echo

PASSAGES = [
    Passage("line@0", "The Amber Line was designed by Clara Voss.", "Amber Line"),
    Passage("line@1", "The Amber Line opened in 1931.", "Amber Line"),
    Passage("isle@0", "The ferry to Tern Island leaves twice a day.", "Tern Island"),
    Passage("page@0", "The ferry office is closed on Sundays.", "Office", "https://ferry.example/office"),
]
COLLECTIONS = {"trains": ["line"], "boats": ["isle", "page"]}


class Talks(Echo):
    """Says its answer word by word, and prints, as libraries do; asked to tell slowly, it goes on for long."""

    def __init__(self):
        super().__init__()
        self.n_words, self.stopped, self.begun = 0, threading.Event(), threading.Event()

    def stream(self, conversation):
        print("a library says something on stdout", flush=True)
        os.write(1, b"and another one past Python\n")
        if "slowly" not in conversation[-1]["content"]:
            yield from super().stream(conversation)
            return
        try:
            for _ in range(3000):
                self.n_words += 1
                self.begun.set()
                yield "word "
                time.sleep(0.02)
        finally:
            self.stopped.set()


def narrow(kind, collections, attached):
    if missing := [name for name in collections if name not in COLLECTIONS]:
        raise DataError(f"there is no collection {missing[0]!r}; choose among {', '.join(COLLECTIONS)}")
    documents = {document for name in collections for document in COLLECTIONS[name]}
    return Lazy.of(BM25Retriever(Corpus([p for p in PASSAGES if p.document in documents])))


def make_library(generator=None, passages=PASSAGES, collections=COLLECTIONS):
    """A library of `PASSAGES`, whose collections are named by their topics."""
    corpus = Corpus(passages)
    chat = Chat(
        {"bm25": Lazy.of(BM25Retriever(corpus))},
        Lazy.of(KeepOrder()),
        Lazy.of(generator or Talks()),
        get_prompt("cited-v1"),
        lambda strictness: None,
        narrow=narrow,
    )
    sources = Sources("nowhere", lambda: SimpleNamespace(corpus=corpus))
    return Library(chat, Options("bm25", Depths(10, 10, 2)), sources, lambda: collections)


def long_document(n):
    """A document of n words in blocks of a hundred."""
    text, blocks = "", []
    for start in range(0, n, 100):
        part = " ".join(f"word{k}" for k in range(start, min(start + 100, n)))
        blocks.append(Block("text", len(text), len(text) + len(part), 0))
        text += part + "\n\n"
    return Document("text", "Words", text, tuple(blocks))


def serve():
    """Serve the library over stdin and stdout."""
    from rag.serve.pipes import claim_pipes

    pipes = claim_pipes()
    print("said before anything is served")
    from rag.serve.library import url_on_disk
    from rag.serve.mcp_server import ToolServer
    from rag.serve.mcp_stdio import leave, serve_stdio
    from rag.serve.mcp_tools import library_tools, reading

    library = make_library()
    url_of = url_on_disk(dict)
    server = ToolServer(
        library_tools(library, lambda asked: None, lambda asked: url_of),
        reads=reading(library, lambda asked: None, lambda asked: url_of),
    )
    serve_stdio(server, pipes)
    print("served", file=sys.stderr)
    leave()


if __name__ == "__main__":
    serve()
