"""The sample corpus: Python's own language reference."""

from __future__ import annotations

import re
from collections.abc import Iterator

from rag.data.passages import Corpus
from rag.types import Passage


def embedded_corpus(chunk_words: int = 120) -> Corpus:
    """Python's own language reference, which every CPython ships, in passages of about `chunk_words` words."""
    from pydoc_data.topics import topics

    passages = []
    for topic, text in sorted(topics.items()):
        title, body = _topic_title(topic, text)
        passages += [
            Passage(f"{topic}@{n}", chunk, title, "python") for n, chunk in enumerate(_chunks(body, chunk_words))
        ]
    return Corpus(passages)


def _topic_title(topic: str, text: str) -> tuple[str, str]:
    lines = text.strip().split("\n")
    if len(lines) > 1 and re.fullmatch(r"[*=\-~^]{3,}", lines[1].strip()):
        return lines[0].strip(), "\n".join(lines[2:]).strip()
    return topic, text.strip()


def _chunks(text: str, chunk_words: int) -> Iterator[str]:
    """Whole paragraphs gathered up to `chunk_words`; a heading opens a new chunk."""
    chunk: list[str] = []
    words = 0
    for paragraph in re.split(r"\n\s*\n", text):
        if not paragraph.strip():
            continue
        n = len(paragraph.split())
        is_heading = re.search(r"\n[*=\-~^]{3,}\s*$", paragraph) is not None
        if chunk and (words + n > chunk_words or is_heading):
            yield "\n\n".join(chunk)
            chunk = []
            words = 0
        chunk.append(paragraph.rstrip())
        words += n
    if chunk:
        yield "\n\n".join(chunk)
