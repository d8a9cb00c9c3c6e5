"""A hostile document costs itself alone: what is read and split in the worker, what is read once, what is refused."""

import os
import re
import time

import pytest

from benchmarks.attack.hostile_files import (
    book,
    entities_in_word,
    far_cells,
    liar,
    merged_over_everything,
    nested_in_word,
    one_chapter_many_times,
    one_page_many_times,
    one_sheet_many_times,
    pages_in_a_circle,
    secrets_in_word,
    word,
    zip_bomb,
)
from benchmarks.attack.hostile_texts import archive, office
from rag.documents import parse
from rag.documents.chunk import ChunkSettings
from rag.documents.collection import make_passages
from rag.documents.document import Block, Document
from rag.documents.duplicates import signature_of
from rag.documents.formats.html.epub import parse_epub
from rag.documents.formats.office.docx import parse_docx
from rag.documents.formats.office.pptx import parse_pptx
from rag.documents.formats.office.xlsx import parse_xlsx
from rag.documents.parse import parse_file
from rag.documents.parsed import ParsedDocuments, parse_all
from rag.documents.scan import scan
from rag.documents.split import CHARACTERS_AT_ONCE, split_document
from rag.documents.web import crawl
from rag.documents.web.store import WebPages
from rag.documents.worker import ParserProcess
from rag.errors import UnreadableFile
from tests.fakes.web_site import WebSite, page, reply

CHUNKING = {"max_tokens": 20, "overlap_tokens": 0, "encoder": "words"}


def count(texts):
    return [len(text.split()) for text in texts]


def file_of(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    return tmp_path / name


def text_or_reason(parser, path):
    try:
        return parser.parse(path).text
    except UnreadableFile as error:
        return str(error)


@pytest.fixture
def store(tmp_path):
    return ParsedDocuments(tmp_path / "index")


@pytest.fixture
def parser():
    made = ParserProcess(seconds=60)
    yield made
    made.close()


# ------------------------------------------------------------------ split in the worker


def test_a_document_is_split_in_the_worker_and_counted_here(store, parser):
    text = "The ferry sails daily. " * 40
    document = Document("text", "Ferries", text, (Block("text", 0, len(text)),), ("a note",))
    store.write("a", document)
    counted_in = set()

    def counting(texts):
        counted_in.add(os.getpid())
        return count(texts)

    settings = ChunkSettings(20, 4)
    found = parser.split(store, "a", settings, counting)
    assert counted_in == {os.getpid()}
    assert found == split_document(document, count, settings)
    assert (found.kind, found.title, found.n_characters, found.notes) == ("text", "Ferries", len(text), ("a note",))
    assert parser.split(store, "missing", settings, count) is None


def test_a_split_that_takes_too_long_costs_that_document_alone(tmp_path, store, parser, monkeypatch):
    root = tmp_path / "manuals"
    root.mkdir()
    (root / "a.txt").write_text("The ferry sails daily.")
    (root / "b.txt").write_text("Dogs are free. " * 200_000)
    files = scan([root], max_bytes=10**8).files
    assert parse_all(files, store, parser.parse) == {}

    def split(store, sha256, settings, count_tokens):
        parser._seconds = 60 if sha256 == files[0].sha256 else 0.05
        return parser.split(store, sha256, settings, count_tokens)

    failed = {}
    passages, records = make_passages(files, store, count, CHUNKING, {}, split=split, failed=failed)
    assert failed == {str(root / "b.txt"): "took longer than 0.05 s"}
    assert [passage.text for passage in passages] == ["The ferry sails daily."]
    assert [record.title for record in records] == ["a"]


def test_what_the_count_of_tokens_takes_is_not_the_time_of_the_file(store, parser):
    store.write("a", Document("text", "", "The ferry sails.", (Block("text", 0, 16),)))
    parser.split(store, "a", ChunkSettings(), count)
    parser._seconds = 4.0
    n_calls = 0

    def slowly(texts):
        nonlocal n_calls
        n_calls += 1
        time.sleep(2.2)
        return count(texts)

    assert [chunk.text for chunk in parser.split(store, "a", ChunkSettings(), slowly).chunks] == ["The ferry sails."]
    assert n_calls >= 2  # together longer than the limit


def test_an_error_of_the_count_of_tokens_reaches_the_caller_and_the_worker_starts_again(store, parser):
    store.write("a", Document("text", "", "The ferry sails.", (Block("text", 0, 16),)))

    def broken(texts):
        raise RuntimeError("no tokenizer")

    with pytest.raises(RuntimeError, match="no tokenizer"):
        parser.split(store, "a", ChunkSettings(), broken)
    assert len(parser.split(store, "a", ChunkSettings(), count).chunks) == 1


def test_a_document_that_takes_too_much_memory_to_split_is_refused(tmp_path, store):
    store.write("a", Document("text", "", "a" * 150_000_000, (Block("text", 0, 150_000_000),)))
    small = ParserProcess(seconds=60, memory_bytes=400 * 2**20)
    try:
        with pytest.raises(UnreadableFile, match=r"too deep or too large|crashed"):
            small.split(store, "a", ChunkSettings(), count)
    finally:
        small.close()


def test_tokens_are_counted_a_part_of_the_text_at_a_time():
    text = "The ferry sails daily. " * 100_000
    sizes = []

    def counting(texts):
        sizes.append(sum(map(len, texts)))
        return count(texts)

    split_document(Document("text", "", text, (Block("text", 0, len(text)),)), counting, ChunkSettings())
    assert max(sizes) <= CHARACTERS_AT_ONCE
    assert len(sizes) > 4


def test_a_store_of_another_parser_version_is_read_as_that(store):
    other = ParsedDocuments(store.index_folder, parser_version=99)
    other.write("a", Document("text", "", "words", (Block("text", 0, 5),)))
    assert other.read("a").text == "words"
    assert store.read("a") is None


def test_a_signature_is_that_of_all_five_words_that_follow_each_other():
    from datasketch import MinHash

    words = [f"w{n % 700}" for n in range(25_000)]
    made = MinHash(num_perm=64, scheme="affine32", hashfunc=__import__("zlib").crc32)
    made.update_batch([" ".join(words[n : n + 5]).encode() for n in range(len(words) - 4)])
    assert signature_of("  ".join(words)) == tuple(map(int, made.hashvalues))
    assert signature_of("two words") == signature_of("Two\nwords")


# ------------------------------------------------------------------ each part once


def test_a_chapter_whose_name_is_written_in_many_ways_is_read_once(monkeypatch):
    document = parse_epub(one_chapter_many_times())
    assert document.text.count("A chapter that is told once.") == 30
    assert document.notes == ()


def test_a_chapter_that_is_named_twice_stands_at_its_first_place():
    items = '<item id="a" href="A.html" media-type="text/html"/><item id="b" href="b.html" media-type="text/html"/>'
    items += '<item id="c" href="a.html" media-type="text/html"/>'
    spine = "".join(f'<itemref idref="{each}"/>' for each in "abc")
    pages = {"a.html": "<p>first</p>", "b.html": "<p>second</p>"}
    assert parse_epub(book(items, spine, pages=pages)).text == "first\n\nsecond"


def test_a_sheet_that_many_names_lead_to_is_read_once():
    assert parse_xlsx(one_sheet_many_times()).text.count("said once") == 100


def test_a_slide_that_many_places_lead_to_is_read_once():
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    space = 'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" xmlns:r="' + kind + '"'
    draw = 'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main"'
    shape = "<p:sp><p:nvSpPr><p:nvPr/></p:nvSpPr><p:txBody><a:p><a:r><a:t>said once</a:t></a:r></a:p></p:txBody></p:sp>"
    slides = '<p:sldId r:id="r1"/>' * 500
    data = office(
        {
            "ppt/presentation.xml": f"<p:presentation {space}><p:sldIdLst>{slides}</p:sldIdLst></p:presentation>",
            "ppt/_rels/presentation.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
            f'relationships"><Relationship Id="r1" Type="{kind}/slide" Target="slide.xml"/></Relationships>',
            "ppt/slide.xml": f"<p:sld {space} {draw}><p:cSld><p:spTree>{shape}</p:spTree></p:cSld></p:sld>",
        },
        "ppt/presentation.xml",
    )
    assert parse_pptx(data).text == "said once"


# ------------------------------------------------------------------ refused, or read small


@pytest.mark.parametrize(
    ("name", "make", "reason"),
    [
        ("bomb.docx", zip_bomb, "would unpack to"),
        ("liar.docx", liar, "damaged"),
        ("inner.docx", lambda: archive({"inner.zip": b"PK\x03\x04"}), "an archive"),
        ("entities.docx", entities_in_word, "document type declaration"),
    ],
)
def test_bombs_are_refused(tmp_path, name, make, reason):
    with pytest.raises(UnreadableFile, match=reason):
        parse_file(file_of(tmp_path, name, make()))


def test_another_file_is_never_read_through_an_entity(tmp_path):
    secret = file_of(tmp_path, "secret", b"the secret")
    with pytest.raises(UnreadableFile, match="document type declaration"):
        parse_file(file_of(tmp_path, "a.docx", secrets_in_word(secret)))


def test_cells_at_the_end_of_a_sheet_cost_nothing():
    assert parse_xlsx(far_cells()).text.endswith("the last row | the last cell")
    assert len(parse_xlsx(merged_over_everything()).text) < 1_000


def test_tables_in_tables_without_end_are_read_or_refused_within_the_limits(tmp_path, parser):
    path = file_of(tmp_path, "nested.docx", nested_in_word())
    assert re.search("deep|longer than|memory|damaged", text_or_reason(parser, path))


@pytest.mark.parametrize("make", [pages_in_a_circle, one_page_many_times])
def test_pages_in_a_circle_are_no_endless_document(tmp_path, parser, make):
    found = text_or_reason(parser, file_of(tmp_path, "a.pdf", make()))
    assert len(found) < 10**6
    assert re.search("hello from a page|damaged|no text|longer than", found)


@pytest.mark.parametrize(("name", "limit"), [("MAX_CHARACTERS", 10), ("MAX_BLOCKS", 1)])
def test_a_document_of_too_much_text_is_refused_with_what_to_do(tmp_path, monkeypatch, name, limit):
    path = file_of(tmp_path, "a.txt", b"The ferry\n\nsails daily.")
    assert len(parse_file(path).blocks) == 2
    monkeypatch.setattr(parse, name, limit)
    with pytest.raises(UnreadableFile, match="23 characters in 2 paragraphs; split it into several files"):
        parse_file(path)


def test_a_page_inserted_into_a_word_file_may_declare_its_type():
    kind = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
    space = f'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" xmlns:r="{kind}"'
    types = '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
    types += '<Default Extension="html" ContentType="text/html"/></Types>'
    inserted = '<w:altChunk r:id="r1"/>' * 2
    data = office(
        {
            "[Content_Types].xml": types,
            "word/document.xml": f"<w:document {space}><w:body>{inserted}</w:body></w:document>",
            "word/_rels/document.xml.rels": '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/'
            f'relationships"><Relationship Id="r1" Type="{kind}/aFChunk" Target="a.html"/></Relationships>',
            "word/a.html": "<!DOCTYPE html><p>The ferry sails daily.</p>",
        },
        "word/document.xml",
    )
    assert parse_docx(data).text == "The ferry sails daily."


def test_a_word_file_made_for_these_tests_is_read():
    assert parse_docx(word("<w:p><w:r><w:t>words</w:t></w:r></w:p>")).text == "words"


# ------------------------------------------------------------------ web pages


def test_the_links_of_a_large_page_or_sitemap_are_read_in_the_worker(monkeypatch, tmp_path):
    site = WebSite()
    monkeypatch.setattr(crawl, "links_of", None)  # not in this process
    monkeypatch.setattr(crawl, "sitemap_links", None)
    monkeypatch.setattr(crawl, "LARGE_BYTES", 10)
    try:
        site.pages = {
            "/": page('<p>Home</p><a href="/a">a</a>'),
            "/a": page("<p>The ferry sails daily.</p>"),
            "/sitemap.xml": reply(
                200, f"<urlset><url><loc>{site.address}/b</loc></url></urlset>".encode(), Content_Type="text/xml"
            ),
            "/b": page("<p>Dogs are free.</p>"),
        }
        limits = crawl.WebLimits(allow_private=True, seconds_between_requests=0.01)
        sites = {f"{site.address}/": 1, f"{site.address}/sitemap.xml": 0}
        visit = crawl.follow_sites(WebPages(tmp_path / "index"), sites, [], limits)
    finally:
        site.close()
    assert visit.not_updated == {}
    assert {"/a", "/b"} <= set(site.paths)


def test_a_page_whose_links_take_too_long_is_kept_and_named(monkeypatch, tmp_path):
    site = WebSite()
    monkeypatch.setattr(crawl, "LARGE_BYTES", 10)
    monkeypatch.setattr(crawl, "ParserProcess", lambda seconds: ParserProcess(seconds=0.001))
    try:
        site.pages = {"/": page('<p>Home</p><a href="/a">a</a>')}
        limits = crawl.WebLimits(allow_private=True)
        pages = WebPages(tmp_path / "index")
        visit = crawl.follow_sites(pages, {f"{site.address}/": 1}, [], limits)
        assert [kept.address for kept in pages.of(f"{site.address}/")] == [f"{site.address}/"]
    finally:
        site.close()
    assert visit.not_updated == {f"{site.address}/": "its links cannot be read: took longer than 0.001 s"}
