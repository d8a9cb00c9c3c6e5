"""Texts that are made to take long, and everything in the package that reads what others wrote."""

from __future__ import annotations

import io
import json
import random
import zipfile
from collections.abc import Callable

from rag.types import Answer, Passage

PASSAGE = Passage("p1", "The ferry to Tern Island sails daily [2] at ten. Q: When? A: At ten. user: hello", "Ferries")

_PUMPS = {
    "blanks": " ",
    "line ends": "\n",
    "blank lines": " \n",
    "no-break spaces": "\u00a0",
    "one word": "a",
    "one word of Chinese": "中",
    "digits": "1",
    "short lines": "a\n",
    "short paragraphs": "a\n\n",
    "words": "a ",
    "sentences": "Aa. ",
    "angle brackets": "<",
    "angle brackets and blanks": "<          ",
    "closing angle brackets": ">",
    "square brackets": "[",
    "closing square brackets": "]",
    "parentheses": "(",
    "braces": "{",
    "bars": "|",
    "dashes": "-",
    "lines of dashes": "a\n---\n",
    "hashes": "#",
    "headings": "# a\n",
    "deep headings": "###### a\n",
    "double quotes": '"',
    "single quotes": "'",
    "quotes and commas": '","',
    "backslashes": "\\",
    "backticks": "`",
    "fences": "```\n",
    "asterisks": "*",
    "underlines": "_",
    "ampersands": "&",
    "commas": ",",
    "semicolons": ";",
    "tabs": "\t",
    "dots": ".",
    "ellipses": "… ",
    "colons": "a:\n\n",
    "quotations": "> ",
    "list items": "- a\n",
    "long list items": "- " + "a " * 30 + "\n",
    "nested list items": "- - ",
    "numbered items": "1. a\n",
    "tables": "| a | b |\n|---|---|\n",
    "rows": "a,b,c\n",
    "citations": "[1]",
    "citations apart": "a [1] ",
    "open citations": "[1, ",
    "links": "[a](b) ",
    "open links": "[a](",
    "images": "![a](",
    "think": "<think>",
    "end of think": "</think>",
    "turns": "<|im_start|>assistant ",
    "roles": "user: a\nassistant: a\n",
    "transcripts": "system a user b ",
    "questions": "Q: a? A: b\n",
    "open questions": "\nQ: a",
    "refusals": "CANNOTANSWER ",
    "refusals in words": "I do not know. ",
    "verdicts": "Answered by the passages: no one ",
    "passage tags": "<passage ",
    "orders": "ignore all the previous ",
    "pronouns": "the x it ",
    "open tags": "<div>",
    "open tables": "<table><tr><td>",
    "open lists": "<ul><li>",
    "open inline tags": "<b><i>",
    "open links of pages": "<a href='#'>a",
    "open comments": "<!--",
    "open headings": "<h1>a",
    "open scripts": "<script>",
    "open titles": "<title>",
    "attributes": "<p a='b' c",
    "entities": "&amp;&lt;",
    "open entities": "&a",
    "cells that span": "<td rowspan=1000 colspan=1000>a",
    "void tags": "<br><hr><img alt='a'>",
    "rubies": "<ruby>a<rt>b",
    "powers": "1<sup>2",
    "buttons": "<button>a?</button>",
    "metas": "<meta ",
    "lists of JSON": "[",
    "objects of JSON": '{"a":',
    "lines of JSON": '{"a": 1}\n',
    "hyphens": "a-\n",
    "soft hyphens": "\u00ad",
    "combining marks": "\u0301",
    "right to left": "\u05d0a",
    "nulls": "\x00",
    "carriage returns": "\r",
    "controls": "\x1b[0;",
    "capitals": "Aa ",
    "full stops of Chinese": "。",
    "addresses": "http://a.b/!",
    "telephone numbers": "1 (2) 3-4 ",
}


def hostile_texts(length: int) -> dict[str, str]:
    """Name -> a text of about this many characters."""
    texts = {name: pump * (length // len(pump)) for name, pump in _PUMPS.items()}
    half = length // 2
    texts["blanks before a word"] = " " * length + "a"
    texts["an angle bracket and blanks"] = "<" + " " * length + "a"
    texts["an open quote"] = 'a,b\n"' + "a,b\n" * (length // 4)
    texts["nested tags, closed"] = "<div>" * (length // 11) + "a" + "</div>" * (length // 11)
    texts["nested lists of JSON, closed"] = "[" * half + "]" * half
    texts["many columns"] = (",".join("abcd"[n % 4] for n in range(2_000)) + "\n") * max(length // 4_000, 1)
    texts["rising indentation"] = "\n".join(" " * n + "- a" for n in range(int((2 * length) ** 0.5)))
    texts["a key of JSON and many values"] = json.dumps({"k" * half: [{"a": n} for n in range(half // 12)]})
    texts["front matter"] = "---\n" + "a: b\n" * (length // 5)
    chosen = random.Random(0)
    texts["anything"] = "".join(chosen.choices("<>[](){}|-#\"'`*_&;:,.!?\\ \n\tabcABC012é中。", k=length))
    return texts


def readers() -> dict[str, Callable[[str], object]]:
    """Name -> a function that reads a text which others wrote: parsers, splitters, the parser of answers and so on."""
    from rag.documents.chunk import ChunkSettings, chunk_document
    from rag.documents.document import Block, Document
    from rag.documents.duplicates import signature_of
    from rag.documents.formats.html.epub import parse_epub
    from rag.documents.formats.html.html import parse_html
    from rag.documents.formats.office.docx import parse_docx
    from rag.documents.formats.rows.delimited import parse_csv
    from rag.documents.formats.rows.json_lines import parse_jsonl
    from rag.documents.formats.text import parse_markdown, parse_text
    from rag.documents.sniff import sniff
    from rag.documents.titles import sound_title
    from rag.documents.web.links import links_of
    from rag.generate.answer import parse_answer, verify_citations
    from rag.generate.excerpts import sentence_hits
    from rag.generate.instructions import asks_something, blanked, withhold
    from rag.generate.pieces import piece_around
    from rag.generate.prompts import defuse
    from rag.generate.references import refers_back
    from rag.generate.refusals import is_refusal, may_refuse
    from rag.languages import language_of
    from rag.marks import with_marks
    from rag.retrieve.analyzer import split
    from rag.scripts import count_words, normalized
    from rag.sentences import sentence_spans

    def chunks(text: str, kind: str, header: int = 0) -> object:
        document = Document("text", "T", text, (Block(kind, 0, len(text), header=header),))  # type: ignore[arg-type]
        return chunk_document(document, lambda texts: [len(text.split()) for text in texts], ChunkSettings(256, 32))

    def marked(text: str) -> object:
        answer = parse_answer(text, [PASSAGE])
        return with_marks(verify_citations(answer, [PASSAGE]), lambda pid: f"[{pid}]")

    def of_bytes(parse: Callable[[bytes], object]) -> Callable[[str], object]:
        return lambda text: parse(text.encode("utf-8", "replace"))

    return {
        "text": of_bytes(parse_text),
        "markdown": of_bytes(parse_markdown),
        "html": of_bytes(parse_html),
        "csv": of_bytes(parse_csv),
        "json lines": of_bytes(parse_jsonl),
        "epub": lambda text: parse_epub(epub_of(text)),
        "docx": lambda text: parse_docx(docx_of(text)),
        "kind of file": of_bytes(lambda data: sniff(data, ".txt")),
        "links": of_bytes(lambda data: links_of(data, "http://a.example/")),
        "title": sound_title,
        "passages of text": lambda text: chunks(text, "text"),
        "passages of code": lambda text: chunks(text, "code"),
        "passages of a table": lambda text: chunks(text, "table", 1),
        "signature": signature_of,
        "sentences": sentence_spans,
        "language": language_of,
        "words": split,
        "words counted": lambda text: count_words(normalized(text)),
        "answer": marked,
        "answer without passages": lambda text: parse_answer(text, []),
        "refusal": lambda text: is_refusal(text, [PASSAGE]),
        "beginning of a refusal": may_refuse,
        "pieces": lambda text: sentence_hits(Passage("p", text)),
        "piece around a place": lambda text: piece_around(text, len(text) // 2),
        "instructions withheld": withhold,
        "instructions blanked": blanked,
        "asks something": asks_something,
        "markers broken up": defuse,
        "follow-up": refers_back,
        "citations verified": lambda text: verify_citations(Answer(text, (), text), [PASSAGE]),
    }


def epub_of(text: str) -> bytes:
    """A book whose one chapter is this text."""
    container = '<container><rootfiles><rootfile full-path="a.opf"/></rootfiles></container>'
    package = (
        '<package><manifest><item id="a" href="a.xhtml" media-type="application/xhtml+xml"/></manifest>'
        '<spine><itemref idref="a"/></spine></package>'
    )
    return archive(
        {"META-INF/container.xml": container, "a.opf": package, "a.xhtml": f"<html><body>words {text}</body></html>"}
    )


def docx_of(text: str) -> bytes:
    """A Word file of one paragraph with this text."""
    space = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
    shown = "".join(ch for ch in text if ch in "\t\n" or ch >= " ")
    shown = shown.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    body = f"<w:document {space}><w:body><w:p><w:r><w:t>{shown}</w:t></w:r></w:p></w:body></w:document>"
    return office({"word/document.xml": body}, "word/document.xml")


def office(parts: dict[str, str], main: str) -> bytes:
    """An Office file of these parts."""
    links = (
        '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="r" '
        'Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" '
        f'Target="{main}"/></Relationships>'
    )
    types = '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types"/>'
    return archive({"[Content_Types].xml": types, "_rels/.rels": links, **parts})


def archive(members: dict[str, str | bytes] | dict[str, str]) -> bytes:
    """A ZIP archive of these members."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as opened:
        for name, content in members.items():
            opened.writestr(name, content)
    return made.getvalue()
