"""The index that the chat serves, and what replaces it when it changes."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from rag.build.retrievers import Retrievers
from rag.config import Settings
from rag.documents.ingested_lines import ingested_lines
from rag.index.folder import serving_manifest
from rag.lazy import Lazy
from rag.retrieve.joined import JoinedRetriever
from rag.serve.attachments import Attachments
from rag.serve.conversation import Conversation
from rag.types import Retriever


class Shelf:
    """The documents that answers come from: everybody's, and those of one conversation; and what adds files to them."""

    def __init__(self, settings: Settings, index: str | Path, attached: Path, kept: Callable[[], Collection[str]]):
        self.settings, self.index = settings, Path(index)
        self.retrievers = Retrievers(settings, index)
        self.attachments = Attachments(settings, attached, lambda: self.retrievers.encoder.get(), kept)

    def take_in(self, paths: Sequence[str], conversation: Conversation) -> Sequence[str]:
        """Take files in beside the index's documents, and let the conversation search them; returns what came of it."""
        from rag.build.indexes import add_files
        from rag.index.ingest import uploads_folder

        result = add_files(self.settings, paths, self.index, uploads_folder(self.index))
        encoder = self.retrievers.encoder
        if encoder.loaded and encoder.get().fingerprint != serving_manifest(self.index)[1].encoder:
            encoder = None  # another one was promoted since
        self.retrievers = Retrievers(self.settings, self.index, encoder)
        conversation.retrievers = self.retrievers.each()
        return ingested_lines(result, self.index)[:-1]

    def narrowed(self, kind: str, collections: Sequence[str] | None, attached: str) -> Lazy[Retriever]:
        """A retriever over some collections (None: all) and the files of a conversation, where it has any."""
        retrievers, parts = self.retrievers, []
        if collections is None or collections:
            parts.append(lambda: retrievers.get(kind, collections))
        if attached:
            parts.append(lambda: self.attachments.retriever(attached, kind))
        return Lazy(parts[0] if len(parts) == 1 else lambda: JoinedRetriever([part() for part in parts]))
