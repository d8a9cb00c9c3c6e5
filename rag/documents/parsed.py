"""Parsed documents, kept beside an index.

INDEX/documents/HASH.json holds a file's text and structure, by the SHA-256 of its bytes. So an unchanged file is parsed
once, a killed run goes on where it was, and a source card can show the text around a passage.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from rag.documents.address import page_name
from rag.documents.document import Block, Document
from rag.documents.scan import FoundFile
from rag.errors import UnreadableFile
from rag.files import clear, is_unbroken, json_if_sound, sealed, write_whole

FOLDER = "documents"
OF_FILE = "of_file"
"""The key of a kept document that holds the hash of its file."""
PARSER_VERSION = 4
"""Goes up when a parser makes other text or blocks of the same bytes: what an older one made is parsed again."""


class ParsedDocuments:
    """The store of parsed documents below an index, by the hash of the file; `parser_version` is this version's."""

    def __init__(self, index_folder: str | Path, parser_version: int | None = None):
        self.index_folder = Path(index_folder)
        self.folder = self.index_folder / FOLDER
        self._parser_version = parser_version

    @property
    def parser_version(self) -> int:
        """The version whose documents it holds."""
        return PARSER_VERSION if self._parser_version is None else self._parser_version

    def read(self, sha256: str, ocr: str = "", *, any_version: bool = False) -> Document | None:
        """The document of a file; None where it must be parsed.

        That is where it was not parsed yet, or by another version, or where pages of it were not recognised in the
        languages `ocr` and now can be. A damaged copy counts as none. `any_version` is for looking at what an index
        holds: an older one's passages stand in the text of its own parser.
        """
        raw = json_if_sound(self._path(sha256))
        if raw is None or not (any_version or raw.get("parser_version") == self.parser_version):
            return None
        # What an earlier version kept has no hash, and does not name its file either.
        if not is_unbroken(raw) or raw.get(OF_FILE, sha256) != sha256:
            return None
        try:
            blocks = tuple(Block(**block) for block in raw["blocks"])
            document = Document(raw["kind"], raw["title"], raw["text"], blocks, tuple(raw["notes"]), raw["ocr"])
        except (KeyError, TypeError):
            return None
        if not isinstance(document.text, str) or not isinstance(document.title, str):
            return None
        return None if ocr and document.ocr not in (None, ocr) else document

    def write(self, sha256: str, document: Document) -> None:
        """Keep a document under the hash of its file."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self._path(sha256).is_dir():
            clear(self._path(sha256))
        content = {"parser_version": self.parser_version, OF_FILE: sha256, **asdict(document)}
        write_whole(self._path(sha256), json.dumps(sealed(content)))

    def keep_only(self, hashes: Iterable[str]) -> None:
        """Delete all documents but these."""
        wanted = set(hashes)
        if self.folder.is_dir():
            for path in self.folder.glob("*.json"):
                if path.stem not in wanted:
                    clear(path)

    def _path(self, sha256: str) -> Path:
        return self.folder / f"{sha256}.json"


def parse_all(
    files: Sequence[FoundFile],
    store: ParsedDocuments,
    parse: Callable[[Path, str], Document],
    advance: Callable[[int], None] = lambda n: None,
    ocr: str = "",
) -> dict[str, str]:
    """Parse what the store lacks; returns path -> reason for those that cannot be read.

    `ocr` names the languages in which scanned pages can be recognised now. The same bytes are parsed once; a failure is
    not kept, so that the next run tries again.
    """
    failed: dict[str, str] = {}
    reasons: dict[str, str] = {}
    for found in files:
        if found.sha256 not in reasons and store.read(found.sha256, ocr) is None:
            try:
                document = parse(found.full_path, found.sha256)
                if found.address and document.title == found.full_path.stem:
                    document = dataclasses.replace(document, title=page_name(found.address))
                store.write(found.sha256, document)
            except UnreadableFile as error:
                reasons[found.sha256] = str(error)
        if found.sha256 in reasons:
            failed[found.name] = reasons[found.sha256]
        advance(1)
    return failed
