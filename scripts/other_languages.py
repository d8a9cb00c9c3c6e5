"""Make sets of questions and passages in other languages, in the course layout, from Debian's documentation.

    apt-get download debian-faq debian-faq-{de,fr,ja,zh-cn} gnome-user-docs libreoffice-help-{de,en-us,fr,ja,zh-cn}
    for package in *.deb; do dpkg -x $package unpacked; done
    python scripts/other_languages.py unpacked OUT [--passages 1200]

A question is the heading of a section of Debian's FAQ, or the title of a page of GNOME's help or of LibreOffice's
guides. Its gold passages are the text below, without headings, cross-references and lists of related pages. Paragraphs
that were left in English are dropped. The questions of a document (a chapter of the FAQ, a page of the help) are all in
dev or all in test, and in the same one in every language.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from lxml import etree, html

from rag.files import write_json

# language: folder of the FAQ, of GNOME's help, of LibreOffice's help; characters of a passage
LANGUAGES = {
    "de": ("de", "de", "de", 700),
    "en": ("", "C", "en-US", 700),
    "fr": ("fr", "fr", "fr", 700),
    "ja": ("ja", "ja", "ja", 350),
    "zh": ("zh-cn", "zh_CN", "zh-CN", 350),
}
Section = tuple[str, str, list[str]]  # document, question, paragraphs

BLOCKS = {"p", "pre", "screen", "code", "li", "item", "dt", "dd", "tr", "note", "section", "div", "list", "table"}
DROPPED = {"info", "media", "comment", "links", "script", "style", "h1", "h2", "h3", "h4", "title", "desc", "cite"}
BESIDE = """.//*[@class='related' or @class='relatedtopics' or @class='MAC']
    | .//p[normalize-space()=normalize-space(a[@target])]"""  # related pages; the keys of another system
CJK = r"\u3000-\u3002\u3005\u3040-\u30ff\u3400-\u9fff\uff00-\uffef"
WORDS = {
    "de": "der die das und ist sie den zu ein eine nicht mit im von auf",
    "en": "the of and to is you a in for that your it or this with",
    "fr": "le la les de des et est vous un une pour dans du que sur",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("unpacked", type=Path, help="folder that the packages were unpacked into")
    parser.add_argument("out", type=Path, help="folder to write, with a folder for each language")
    parser.add_argument("--passages", type=int, default=1200, help="passages of a language at most")
    given = parser.parse_args()
    for language, (faq, gnome, office, size) in LANGUAGES.items():
        share = given.unpacked / "usr/share"
        sections = chain(
            faq_sections(share / "doc/debian/FAQ" / faq),
            gnome_pages(share / "help" / gnome / "gnome-help"),
            office_pages(share / "libreoffice/help" / office / "text"),
        )
        build(language, sections, size, given.out / language, given.passages)


def build(language: str, sections: Iterator[Section], size: int, out: Path, limit: int) -> None:
    """Write corpus.txt, dev.txt, test_open.txt and qrels.txt of one language."""
    corpus: dict[str, str] = {}
    asked: dict[str, dict[str, str]] = {"dev": {}, "test_open": {}}  # split -> question -> document
    qrels: dict[str, dict[str, int]] = {}
    for document, question, paragraphs in sections:
        texts = packed([text for text in paragraphs if speaks(text, language)], size)
        own = [text for text in dict.fromkeys(texts) if text not in corpus.values()]
        if len(corpus) + len(own) > limit:
            break
        ids = [f"{document}@{n}" for n in range(len(own))]
        corpus.update(zip(ids, own, strict=True))
        length = len(question.split()) if language in WORDS else len(re.findall(f"[{CJK}]", question)) - 2
        is_given_away = any(question.lower() in text.lower() for text in own)
        if own and length >= 3 and not is_given_away and not any(question in split for split in asked.values()):
            qrels[document] = dict.fromkeys(ids, 1)
            is_dev = hashlib.sha256(document.split("#")[0].encode()).digest()[0] % 2
            asked["dev" if is_dev else "test_open"][question] = document
    out.mkdir(parents=True, exist_ok=True)
    write_lines(out / "corpus.txt", [{"id": pid, "text": text} for pid, text in corpus.items()])
    for split, questions in asked.items():
        rows = [{"qid": qid, "question": text, "source": qid.split("-")[0]} for text, qid in questions.items()]
        write_lines(out / f"{split}.txt", rows)
    write_json(out / "qrels.txt", qrels)
    print(language, f"{len(corpus)} passages", {split: len(questions) for split, questions in asked.items()})


def faq_sections(folder: Path) -> Iterator[Section]:
    for page in sorted(folder.glob("*.*.html")):
        body = html.parse(page).getroot()
        for link in body.xpath("//a[@class='xref'] | //*[@class='toc']"):
            link.drop_tree()
        # The inner ones first: what is left of the outer ones is their own.
        for number, section in enumerate(reversed(body.xpath("//div[@class='section']"))):
            heading = section.xpath("string(.//*[self::h2 or self::h3 or self::h4][@class='title'])")
            paragraphs = paragraphs_of(section)
            section.drop_tree()
            yield f"faq-{page.stem.split('.')[0]}#{number}", re.sub(r"^[\d.]+\s*", "", clean(heading)), paragraphs


def gnome_pages(folder: Path) -> Iterator[Section]:
    for page in sorted(folder.glob("*.page")):
        root = etree.parse(page, etree.XMLParser(resolve_entities=False, remove_comments=True)).getroot()
        title = root.find("{*}title")
        if root.get("type") != "guide" and title is not None:  # a guide is a list of pages
            yield f"gnome-{page.stem}", clean("".join(title.itertext())), paragraphs_of(root)


def office_pages(folder: Path) -> Iterator[Section]:
    """In random order, the same in every language."""

    def random_place(page: Path) -> bytes:
        return hashlib.sha256(str(page.relative_to(folder)).encode()).digest()

    for page in sorted(folder.glob("*/guide/*.html"), key=random_place):
        root = html.parse(page).getroot()
        area = root.get_element_by_id("DisplayArea")
        for element in area.xpath(BESIDE):
            element.drop_tree()
        yield f"office-{page.parts[-3]}-{page.stem}", clean(root.findtext(".//title")), paragraphs_of(area)


def paragraphs_of(root: etree._Element) -> list[str]:
    """The text of each block, in order, without headings and what stands beside the text."""
    pieces: list[str] = []
    for event, element in etree.iterwalk(root, events=("start", "end")):
        name = etree.QName(element).localname if isinstance(element.tag, str) else "comment"
        if event == "start" and (name in DROPPED or "nav" in element.get("class", "")):
            element.clear(keep_tail=True)
        pieces.append("\0" if name in BLOCKS else "")
        pieces.append((element.text if event == "start" else element.tail) or "")
    return [text for block in "".join(pieces).split("\0") if (text := clean(block))]


def packed(paragraphs: list[str], size: int) -> Iterator[str]:
    """Passages of about `size` characters, ended behind a sentence; a short rest is left out."""
    passage = ""
    for sentence in (piece for text in paragraphs for piece in re.findall(r".+?(?:[.!?](?=\s)|[。！？]|$)", text)):
        if passage and len(passage) + len(sentence) > size:
            yield passage.strip()
            passage = ""
        passage += sentence if sentence[0].isspace() or passage.endswith(("。", "！", "？")) else f" {sentence}"
    if len(passage) > size / 8:
        yield passage.strip()


def speaks(text: str, language: str) -> bool:
    """Whether a paragraph is short, or in this language rather than in another."""
    if language not in WORDS:
        latin, own = len(re.findall("[A-Za-z]", text)), len(re.findall(f"[{CJK}]", text))
        return latin < 40 or own > latin / 2
    words = re.findall(r"\w+", text.lower())
    counts = {name: sum(word in known.split() for word in words) for name, known in WORDS.items()}
    return counts[language] == max(counts.values())


def clean(text: str) -> str:
    """One line; a line that was broken between Chinese or Japanese characters is joined without a space."""
    return " ".join(re.sub(rf"(?<=[{CJK}])\s*\n\s*(?=[{CJK}])", "", text).split())


def write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")


if __name__ == "__main__":
    main()
