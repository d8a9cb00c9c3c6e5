"""The index that the chat serves, and what replaces it when files are added."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rag.documents.ingested_lines import ingested_lines
from rag.index.folder import serving_manifest
from rag.lazy import Lazy
from rag.retrieve.joined import JoinedRetriever
from rag.serve.attachments import Attachments

if TYPE_CHECKING:
    from rag.build.retrievers import Retrievers
    from rag.documents.collection import Ingested
    from rag.retrieve.encoder import Encoder
    from rag.serve.chat import Chat
    from rag.types import Retriever


class Shelf:
    """The documents that answers come from: those of the index, and those of single conversations.

    `open_retrievers` opens the index as it is now; it is given an encoder that is loaded already, or None. `add_files`
    adds files to the index.
    """

    def __init__(
        self,
        index: str | Path,
        open_retrievers: Callable[[Lazy[Encoder] | None], Retrievers],
        add_files: Callable[[Sequence[str]], Ingested],
        attachments: Attachments,
    ):
        self.index = Path(index)
        self.retrievers = open_retrievers(None)
        self.attachments = attachments
        self._open_retrievers = open_retrievers
        self._add_files = add_files

    def add(self, paths: Sequence[str], chat: Chat) -> Sequence[str]:
        """Add files to the index and let the chat search them; returns lines that say what was done."""
        result = self._add_files(paths)
        encoder = self.retrievers.encoder
        # The index was built again where another encoder has been promoted: the one that is loaded no longer fits.
        is_replaced = encoder.loaded and encoder.get().fingerprint != serving_manifest(self.index)[1].encoder
        self.retrievers = self._open_retrievers(None if is_replaced else encoder)
        chat.retrievers = self.retrievers.each()
        return ingested_lines(result, self.index)[:-1]

    def narrowed(self, kind: str, collections: Sequence[str] | None, attached: str) -> Lazy[Retriever]:
        """A retriever over some collections (None: all; none of them where empty), and over attached files."""
        retrievers = self.retrievers
        parts: list[Callable[[], Retriever]] = []
        if collections is None or collections:
            parts.append(lambda: retrievers.get(kind, collections))
        if attached:
            parts.append(lambda: self.attachments.retriever(attached, kind))
        if len(parts) == 1:
            return Lazy(parts[0])
        return Lazy(lambda: JoinedRetriever([part() for part in parts]))
