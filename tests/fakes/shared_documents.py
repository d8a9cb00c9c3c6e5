"""The documents of several people, served in every way over one small index, without real models."""

from types import SimpleNamespace

from fastapi import FastAPI, Request
from fastapi.testclient import TestClient

from rag.build.indexes import add_address, add_files, remove_from_index
from rag.build.retrievers import Retrievers
from rag.build.serving import serving_over
from rag.documents.parse import parse_file
from rag.generate.builtin import get_prompt
from rag.index.ingest import uploads_folder
from rag.lazy import Lazy
from rag.pipeline import Depths
from rag.rerank.keep_order import KeepOrder
from rag.serve.access import Access
from rag.serve.api import make_router
from rag.serve.api_documents import document_files
from rag.serve.chat import Chat
from rag.serve.history import History
from rag.serve.library import Library
from rag.serve.page_documents import PageDocuments, make_documents_router
from rag.serve.page_parts import PageParts
from rag.serve.readers import Readers
from rag.serve.shelf import Shelf
from rag.serve.source_pages import make_source_router
from rag.serve.sources import Sources
from rag.serve.start import make_attachments
from rag.serve.turns import Options
from rag.serve.upload_room import UploadRoom
from rag.serve.users import RateLimit
from tests.fakes.documents import SETTINGS
from tests.fakes.pipelines import Echo


class ParsesHere:
    """Parses in this process, which takes no time to start."""

    def __init__(self, **limits):
        self.parse = parse_file

    def close(self):
        pass


class Person:
    """Requests of one person, as the guard lets them through; "" where nobody has to log in."""

    def __init__(self, app, name="", key=""):
        headers = {"X-Person": name, "Authorization": f"Bearer {key}"}
        self.client = TestClient(app, headers=headers)

    def page(self, method, path, **more):
        return self.client.request(method, f"/page/documents{path}", **more)

    def listed(self, **query):
        return self.page("GET", "", params=query).json()

    def names(self, **query):
        return [row["name"] for row in self.listed(**query)["documents"]]

    def send(self, files, **query):
        parts = [("files", (name, data)) for name, data in files.items()]
        return self.page("POST", "/files", params=query, files=parts)

    def ask(self, question, **fields):
        body = {"messages": [{"role": "user", "content": question}], **fields}
        return self.client.post("/v1/chat/completions", json=body).json()

    def found(self, question, **fields):
        return [citation["text"] for citation in self.ask(question, **fields)["citations"]]


def serve_documents(index, root, encoder, *, users=None, may_upload=True, settings=SETTINGS):
    """Everything that is served over an index: `person(name, key)` sends requests, `intake` holds what is added."""
    uploads = uploads_folder(index)
    attachments = make_attachments(settings, root / ".files", lambda: encoder)
    shelf = Shelf(
        index,
        open_retrievers=lambda loaded: Retrievers(settings, index, loaded or Lazy(lambda: encoder)),
        add_files=lambda paths, **where: add_files(settings, paths, index, uploads, **where),
        attachments=attachments,
        add_address=lambda address, collection: add_address(settings, index, address, collection),
        remove=lambda sha256, within: remove_from_index(settings, sha256, index, uploads, within=within),
    )
    chat = Chat(
        shelf.retrievers.each(), Lazy.of(KeepOrder()), Lazy.of(Echo()), get_prompt("cited-v1"), lambda strictness: None
    )
    chat.narrow = shelf.narrowed
    readers = Readers(users, shelf.collections)
    options = Options("bm25", Depths(10, 10, 3))
    (root / "room").mkdir(exist_ok=True)
    parts = PageParts(
        chat=chat,
        defaults=options,
        history=History(root / "history.sqlite"),
        access=Access(users),
        is_local=users is None,
        shelf=shelf,
        attachments=attachments if may_upload else None,
        room=UploadRoom(root / "room", 2**20, 2**20) if may_upload else None,
        readers=readers,
        add_to_all=(lambda paths: shelf.add(paths, chat)) if may_upload else None,
        index=index,
    )
    documents = document_files(serving_over(settings, index), shelf, chat, may_upload=may_upload)
    sources = Sources(index, lambda: shelf.retrievers.index.get())
    app = FastAPI()

    @app.middleware("http")
    async def as_the_guard(request: Request, call_next):
        request.state.person = request.headers.get("X-Person", "")
        return await call_next(request)

    api = make_router(
        chat, options, users=users, limit=RateLimit(0), collections=shelf.collections, documents=documents
    )
    of_page = PageDocuments(parts)
    pages = make_documents_router(parts, of_page)
    source_pages = make_source_router(
        sources,
        lambda request: True,
        attachments.sources,
        readers,
        parts.history.keeper_of if users else lambda key: None,
    )
    app.router.routes = [*api.routes, *pages.routes, *source_pages.routes, *app.router.routes]
    return SimpleNamespace(
        app=app,
        shelf=shelf,
        chat=chat,
        parts=parts,
        readers=readers,
        uploads=uploads,
        attachments=attachments,
        library=Library(chat, options, sources, shelf.collections, readers),
        intake=of_page.intake,
        person=lambda name="", key="": Person(app, name, key),
    )
