"""A passage opens in its document: marked, whatever the document says, and only for whom it may."""

import json
import re

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from rag.build.indexes import ingest_documents
from rag.build.retrievers import Retrievers
from rag.config import load_settings
from rag.documents.collection import collections_of
from rag.documents.pages import _find, render_page
from rag.errors import DataError, UnreadableFile
from rag.files import file_sha256, sealed
from rag.index.read import open_index
from rag.index.write import build_index
from rag.serve.source_html import CHARACTERS_AROUND
from rag.serve.source_links import source_link
from rag.serve.source_pages import make_source_router
from rag.serve.sources import Sources
from tests.fakes.documents import SETTINGS
from tests.fakes.files import write_pdf

HOSTILE = "<script>window.hacked = 1</script><img src=x onerror=alert(1)>"


@pytest.fixture
def open_sources():
    made = []

    def start(index, may_read=lambda request: True, attached=lambda key: None):
        sources = Sources(index, lambda: open_index(index))
        made.append(sources)
        app = FastAPI()
        app.include_router(make_source_router(sources, may_read, attached))
        return TestClient(app)

    yield start
    for sources in made:
        sources.close()


def passage_with(index, words):
    return next(passage for passage in open_index(index).corpus if words in passage.text)


def marked(html):
    return "".join(re.findall(r"<mark[^>]*>(.*?)</mark>", html, re.S))


def test_a_passage_is_marked_where_it_stands(tmp_path, encoder, open_sources):
    text = "# Ferries\n\n" + " ".join(f"Ferry {n} sails at {n}." for n in range(40)) + "\n\n# Dogs\n\nDogs are free.\n"
    (tmp_path / "rules.md").write_text(text, "utf-8")
    index = tmp_path / "index"
    ingest_documents(SETTINGS, [tmp_path / "rules.md"], index)
    client = open_sources(index)
    for passage in open_index(index).corpus:
        page = client.get("/" + source_link(passage.id))
        assert page.status_code == 200
        assert " ".join(marked(page.text).split()) == " ".join(passage.text.split())
        assert page.text.count("id=passage") == 1
        assert "Dogs are free." in page.text
        assert "Ferry 39" in page.text


def test_a_document_cannot_act(tmp_path, encoder, open_sources):
    (tmp_path / "a.txt").write_text(f"Title {HOSTILE}\n========\n\nThe ferry sails daily. {HOSTILE}", "utf-8")
    ingest_documents(SETTINGS, [tmp_path / "a.txt"], tmp_path / "index")
    page = open_sources(tmp_path / "index").get("/" + source_link(passage_with(tmp_path / "index", "ferry").id))
    assert "<script" not in page.text
    assert "<img" not in page.text
    assert "&lt;script&gt;window.hacked" in page.text
    assert "default-src 'none'" in page.headers["content-security-policy"]


def test_a_theme_that_was_chosen_on_the_page_counts_here_and_no_other_cookie(tmp_path, encoder, open_sources):
    (tmp_path / "a.txt").write_text("The ferry sails daily.", "utf-8")
    ingest_documents(SETTINGS, [tmp_path / "a.txt"], tmp_path / "index")
    client = open_sources(tmp_path / "index")
    address = "/" + source_link(passage_with(tmp_path / "index", "ferry").id)
    for given, shown in (("dark", ' data-theme="dark"'), ("light", ' data-theme="light"'), ("x><b>", ""), ("", "")):
        headers = {"Cookie": f"rag-theme={given}"} if given else {}
        for page in (client.get(address, headers=headers), client.get("/source/none@0", headers=headers)):
            assert f'<html lang="en"{shown}>' in page.text
    assert 'data-theme="dark"] {' in client.get(address).text.replace("\n", "")  # the style sheet knows it


def test_of_a_very_long_document_the_surroundings_are_shown(tmp_path, encoder, open_sources):
    (tmp_path / "a.txt").write_text("\n\n".join(f"Paragraph {n} of many, many words." for n in range(6000)), "utf-8")
    ingest_documents(SETTINGS, [tmp_path / "a.txt"], tmp_path / "index")
    page = open_sources(tmp_path / "index").get(
        "/" + source_link(passage_with(tmp_path / "index", "Paragraph 3000 ").id)
    )
    assert "Paragraph 3000 " in marked(page.text)
    assert "begins before this" in page.text
    assert "goes on after this" in page.text
    assert len(page.text) < 4 * CHARACTERS_AROUND


def test_a_page_of_a_pdf_is_shown_with_the_passage_marked(tmp_path, encoder, open_sources):
    write_pdf(tmp_path / "a.pdf", ["The ferry sails daily.", "Dogs are free of charge on every ferry."])
    index = tmp_path / "index"
    ingest_documents(load_settings(None, ["documents.chunk_tokens=12"]), [tmp_path / "a.pdf"], index)
    client = open_sources(index)
    address = "/" + source_link(passage_with(index, "Dogs").id)
    page = client.get(address).text
    assert page.count("data:image/png;base64,") == 1
    assert "Page 2 of 2" in page
    assert page.count("<i style") == 1
    assert "‹ page 1" in page
    other = client.get(address, params={"page": 1}).text
    assert "Page 1 of 2" in other
    assert "<i style" not in other
    assert "no page 9" in client.get(address, params={"page": 9}).text
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4 something else")
    page = client.get(address).text
    assert "changed since it was ingested" in page
    assert "Dogs" in marked(page)


def test_marks_lie_on_the_words_of_a_page(tmp_path):
    """Where the words are printed the picture is dark below the mark, and a word broken over lines is found whole."""
    import io

    from PIL import Image

    path = tmp_path / "a.pdf"
    write_pdf(path, ["First line.\nThe lighthouse of Tern Is-\nland was built in 1874.\nLast line."])
    sha256 = file_sha256(path)
    page = render_page(path, sha256, 1, "the Lighthouse of Tern Island was built in 1874.")
    assert len(page.marks) == 2
    picture = Image.open(io.BytesIO(page.png)).convert("L")
    assert picture.size == (page.width, page.height)
    for left, top, width, height in page.marks:
        box = (left * page.width, top * page.height, (left + width) * page.width, (top + height) * page.height)
        assert picture.crop(tuple(map(round, box))).getextrema()[0] < 100
    assert render_page(path, sha256, 1, "words that are not there").marks == ()
    with pytest.raises(UnreadableFile, match="changed"):
        render_page(path, "0" * 64, 1, "")


def test_a_turned_page_turns_its_marks(tmp_path):
    import pypdfium2 as pdfium

    write_pdf(tmp_path / "a.pdf", ["The lighthouse was built in 1874."])
    upright = render_page(tmp_path / "a.pdf", file_sha256(tmp_path / "a.pdf"), 1, "lighthouse was built")
    with pdfium.PdfDocument(tmp_path / "a.pdf") as pdf:
        pdf[0].set_rotation(90)
        pdf.save(tmp_path / "b.pdf")
    turned = render_page(tmp_path / "b.pdf", file_sha256(tmp_path / "b.pdf"), 1, "lighthouse was built")
    (left, top, width, height), (x, y, w, h) = upright.marks[0], turned.marks[0]
    assert (x, y, w, h) == pytest.approx((1 - top - height, left, height, width), abs=0.01)


@pytest.mark.parametrize("text", ["cafe\u0301 au lait", "ΟΔΟΣ ΕΡΜΟΥ", "ﬁle Straße", "\u1100\u1161"])
def test_letters_are_found_however_they_are_written(text):
    assert _find(["x", *text, "y"], text) == (1, len(text) + 1)


def test_a_passage_opens_without_the_text_that_was_kept(tmp_path, encoder, open_sources):
    (tmp_path / "a.txt").write_text("The ferry sails daily.", "utf-8")
    index = tmp_path / "index"
    ingest_documents(SETTINGS, [tmp_path / "a.txt"], index)
    for kept in (index / "documents").iterdir():
        kept.write_text("damaged", "utf-8")
    page = open_sources(index).get("/" + source_link(passage_with(index, "ferry").id))
    assert page.status_code == 200
    assert "no longer kept" in page.text
    assert marked(page.text) == "The ferry sails daily."


@pytest.mark.parametrize(
    ("parsed_anew", "is_kept"), [("The ferry sails daily.", True), ("At noon. The ferry sails daily.", False)]
)
def test_text_of_another_parser_is_shown_only_where_the_passage_stands_in_its_place(
    tmp_path, encoder, open_sources, parsed_anew, is_kept
):
    (tmp_path / "a.txt").write_text("The ferry sails daily.", "utf-8")
    index = tmp_path / "index"
    ingest_documents(SETTINGS, [tmp_path / "a.txt"], index)
    (kept,) = (index / "documents").iterdir()
    raw = json.loads(kept.read_text("utf-8"))
    kept.write_text(json.dumps(sealed({**raw, "parser_version": 1, "text": parsed_anew})), "utf-8")
    page = open_sources(index).get("/" + source_link(passage_with(index, "ferry").id))
    assert ("no longer kept" not in page.text) == is_kept
    assert marked(page.text) == "The ferry sails daily."


def test_a_page_number_that_is_none_shows_the_passage(tmp_path, encoder, open_sources):
    write_pdf(tmp_path / "a.pdf")
    ingest_documents(SETTINGS, [tmp_path / "a.pdf"], tmp_path / "index")
    client = open_sources(tmp_path / "index")
    link = "/" + source_link(passage_with(tmp_path / "index", "Dogs").id)
    for page in ("", "x", "-1", "9" * 40, "²"):
        assert "Page 1 of 2" in client.get(link, params={"page": page}).text


def test_collections_are_called_by_what_tells_them_apart():
    def row(*paths):
        return {"paths": [{"root": root, "path": path} for root, path in paths]}

    documents = [
        row(("/a/work/docs", "x.txt"), ("/a/home/docs", "z.txt")),
        row(("/a/home/docs", "y.txt")),
        row(("/b/one.md", "")),
        row(("/b/two.md", "")),
        row(("/c/caf\udce9", "\udce9.md")),
    ]
    found = {name: [row["path"] for row in rows] for name, rows in collections_of(documents).items()}
    assert found == {
        "home/docs": ["z.txt", "y.txt"],
        "work/docs": ["x.txt"],
        "b": ["one.md", "two.md"],
        "caf?": ["?.md"],
    }


def test_a_passage_of_a_corpus_file_stands_among_its_document(corpus_file, tmp_path, encoder, open_sources):
    build_index(corpus_file, tmp_path / "index", encoder)
    corpus = open_index(tmp_path / "index").corpus
    page = open_sources(tmp_path / "index").get("/" + source_link(corpus[0].id))
    assert marked(page.text) == corpus[0].text


def test_what_is_gone_or_not_allowed_is_told(tmp_path, encoder, open_sources):
    (tmp_path / "a.txt").write_text("The ferry sails daily.", "utf-8")
    ingest_documents(SETTINGS, [tmp_path / "a.txt"], tmp_path / "index")
    client = open_sources(tmp_path / "index")
    for path in ("/source/nothing@0", "/source/../../etc/passwd", "/source/%2e%2e%2fpasswd@0"):
        assert client.get(path).status_code == 404
    link = "/" + source_link(passage_with(tmp_path / "index", "ferry").id)
    assert client.get(link).status_code == 200
    assert open_sources(tmp_path / "index", lambda request: False).get(link).status_code == 401


def test_a_search_within_collections_finds_nothing_else(tmp_path, encoder):
    for name, text in (("work", "The ferry of the office sails daily."), ("home", "The ferry of the family sails.")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.txt").write_text(text, "utf-8")
        (tmp_path / name / "both.txt").write_text("The ferry of everybody sails.", "utf-8")
    index = tmp_path / "index"
    ingest_documents(SETTINGS, [tmp_path / "work", tmp_path / "home"], index)
    retrievers = Retrievers(SETTINGS, index)
    assert {name: len(rows) for name, rows in retrievers.collections().items()} == {"home": 2, "work": 2}

    assert len(retrievers.get("bm25").retrieve(["ferry"], 10)[0]) == 3
    (hits,) = retrievers.get("bm25", ["home"]).retrieve(["ferry"], 10)
    found = sorted(hit.passage.text for hit in hits)
    assert found == ["The ferry of everybody sails.", "The ferry of the family sails."]
    with pytest.raises(DataError, match="no collection 'garden'; choose among home, work"):
        retrievers.get("bm25", ["garden"])
