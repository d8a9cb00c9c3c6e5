"""Each kind of file, written by its own library, becomes text with structure; bad files say why."""

import contextlib
import io
import json
import os
import shutil
import threading
import time
import zipfile

import psutil
import pytest
from PIL import Image, ImageDraw, ImageFont

from rag.documents.ocr import why_not
from rag.documents.parse import PARSERS, parse_file
from rag.documents.sniff import SUFFIXES, sniff
from rag.documents.worker import ParserProcess
from rag.errors import UnreadableFile
from tests.fakes.files import write_pdf

HTML = """<!doctype html><html><head><title>Tern Island</title><style>p {color: red}</style></head><body>
<nav><a href="/">Home</a> Menu</nav>
<main><h1>Ferries<a class="headerlink" href="#f">¶</a></h1><p>The ferry <b>sails</b> daily.</p>
<h2>Fares</h2><table><tr><th>who</th><th>price</th></tr><tr><td>adults</td><td>4</td></tr></table>
<ul><li>Dogs are free.</li><li>So are <i>birds</i>.</li></ul><pre>tide  table</pre>
<script>alert("no")</script></main><footer>Imprint</footer></body></html>"""


def write_docx(path):
    from docx import Document

    docx = Document()
    docx.core_properties.title = "Tern Island"
    docx.add_heading("Ferries", 1)
    docx.add_paragraph("The ferry sails daily.")
    table = docx.add_table(rows=2, cols=2)
    for cell, text in zip(table._cells, ("who", "price", "adults", "4"), strict=True):
        cell.text = text
    docx.add_heading("Fares", 2)
    docx.add_paragraph("Dogs are free.")
    docx.save(path)


def write_pptx(path):
    from pptx import Presentation

    deck = Presentation()
    for title, body in (("Ferries", "The ferry sails daily."), ("Fares", "Dogs are free.")):
        slide = deck.slides.add_slide(deck.slide_layouts[1])
        slide.shapes.title.text = title
        slide.placeholders[1].text = body
    slide.notes_slide.notes_text_frame.text = "Mention the birds."
    deck.save(path)


def write_xlsx(path):
    from openpyxl import Workbook

    book = Workbook()
    book.active.title = "Fares"
    for row in (["who", "price"], ["adults", 4], ["=HYPERLINK(1)", None]):
        book.active.append(row)
    book.create_sheet("Tides").append(["high", "noon"])
    book.save(path)


def write_epub(path):
    with zipfile.ZipFile(path, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        rootfile = '<rootfile full-path="OPS/book.opf" media-type="application/oebps-package+xml"/>'
        book.writestr("META-INF/container.xml", f"<container><rootfiles>{rootfile}</rootfiles></container>")
        book.writestr(
            "OPS/book.opf",
            '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
            '<dc:title>Tern Island</dc:title></metadata><manifest><item id="b" href="two.html"/>'
            '<item id="a" href="one.html"/></manifest><spine><itemref idref="a"/><itemref idref="b"/></spine>'
            "</package>",
        )
        book.writestr("OPS/one.html", "<html><body><h1>Ferries</h1><p>The ferry sails daily.</p></body></html>")
        book.writestr("OPS/two.html", "<html><body><h1>Fares</h1><p>Dogs are free.</p></body></html>")


def shown(document):
    """(kind, text, level or page) of every block."""
    return [(b.kind, document.text[b.start : b.end], b.level or b.page) for b in document.blocks]


def test_html_keeps_headings_tables_and_the_main_part(tmp_path):
    path = tmp_path / "page.html"
    path.write_text(HTML, "utf-8")
    document = parse_file(path)
    assert (document.kind, document.title) == ("html", "Tern Island")
    assert shown(document) == [
        ("heading", "Ferries", 1),
        ("text", "The ferry sails daily.", None),
        ("heading", "Fares", 2),
        ("table", "who | price\nadults | 4", None),
        ("text", "Dogs are free.", None),
        ("text", "So are birds.", None),
        ("code", "tide  table", None),
    ]


def test_word(tmp_path):
    write_docx(tmp_path / "a.docx")
    document = parse_file(tmp_path / "a.docx")
    assert (document.kind, document.title) == ("docx", "Tern Island")
    assert shown(document) == [
        ("heading", "Ferries", 1),
        ("text", "The ferry sails daily.", None),
        ("table", "who | price\nadults | 4", None),
        ("heading", "Fares", 2),
        ("text", "Dogs are free.", None),
    ]


def test_slides_are_pages(tmp_path):
    write_pptx(tmp_path / "a.pptx")
    document = parse_file(tmp_path / "a.pptx")
    assert [(text, document.blocks[n].page) for n, (_, text, _) in enumerate(shown(document))] == [
        ("Ferries", 1),
        ("The ferry sails daily.", 1),
        ("Fares", 2),
        ("Dogs are free.", 2),
        ("Mention the birds.", 2),
    ]


def test_sheets_are_pages_and_formulas_never_run(tmp_path):
    write_xlsx(tmp_path / "a.xlsx")
    document = parse_file(tmp_path / "a.xlsx")
    assert [block.page for block in document.blocks] == [1, 1, 2, 2]
    assert shown(document)[1][1] == "who | price\nadults | 4\n=HYPERLINK(1)"  # it was never computed
    assert document.blocks[1].header == 1


def test_pdf_pages(tmp_path):
    write_pdf(tmp_path / "a.pdf")
    document = parse_file(tmp_path / "a.pdf")
    assert (document.kind, document.title) == ("pdf", "Tern Island")
    assert shown(document) == [("text", "The ferry sails daily.", 1), ("text", "Dogs are free.", 2)]


def test_lines_that_run_through_a_pdf_are_left_out(tmp_path):
    pages = [f"Harbour rules\nRule {n} is about {'dogs' * n}.\n\nPage {n} of 5" for n in range(1, 6)]
    write_pdf(tmp_path / "a.pdf", pages)
    text = parse_file(tmp_path / "a.pdf").text
    assert text.count("Harbour rules") == 1  # one copy stays
    assert "Page 3" not in text
    assert "Rule 3 is about dogsdogsdogs." in text


def test_an_electronic_book_reads_in_the_order_of_its_spine(tmp_path):
    write_epub(tmp_path / "a.epub")
    document = parse_file(tmp_path / "a.epub")
    assert document.title == "Tern Island"
    assert [text for _, text, _ in shown(document)] == ["Ferries", "The ferry sails daily.", "Fares", "Dogs are free."]


def test_markdown_blocks_are_ranges_of_the_file_itself(tmp_path):
    source = (
        "---\ntitle: 'Tern Island'\n---\n# Ferries #\n\nThe *ferry* sails [daily](http://x.y).\n\n"
        "Fares\n-----\n\n| who | price |\n|---|---|\n| adults | 4 |\n\n```py\nx = 1\n```"
        "\n\n- Dogs\n- Birds\n\n<!-- no -->\n"
    )
    path = tmp_path / "a.md"
    path.write_text(source, "utf-8")
    document = parse_file(path)
    assert document.title == "Tern Island"
    assert document.text == source
    assert shown(document) == [
        ("heading", "Ferries", 1),
        ("text", "The *ferry* sails [daily](http://x.y).", None),
        ("heading", "Fares", 2),
        ("table", "| who | price |\n|---|---|\n| adults | 4 |", None),
        ("code", "```py\nx = 1\n```", None),
        ("text", "- Dogs\n- Birds", None),
    ]


def test_plain_text_with_underlined_headings(tmp_path):
    path = tmp_path / "a.rst"
    source = "=======\nFerries\n=======\n\nThe ferry\nsails daily.\n\nFares\n-----\nDogs are free.\n"
    path.write_text(source, "utf-8")
    document = parse_file(path)
    assert document.title == "Ferries"
    assert document.text == source
    assert shown(document) == [
        ("heading", "Ferries", 1),
        ("text", "The ferry\nsails daily.", None),
        ("heading", "Fares", 2),
        ("text", "Dogs are free.", None),
    ]


def test_comma_separated_values_and_json_lines(tmp_path):
    (tmp_path / "a.csv").write_text('who;price\nadults;"4\n5"\n', "utf-8")
    assert shown(parse_file(tmp_path / "a.csv")) == [("table", "who | price\nadults | 4 5", None)]
    rows = [{"title": "Ferries", "text": "Daily."}, {"id": 7, "fare": 4}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    assert [text for _, text, _ in shown(parse_file(tmp_path / "a.jsonl"))] == [
        "Ferries",
        "Daily.",
        "7",
        "id: 7\nfare: 4",
    ]


def test_the_name_of_the_file_is_the_title_of_last_resort(tmp_path):
    (tmp_path / "harbour rules.txt").write_text("Dogs are free.", "utf-8")
    assert parse_file(tmp_path / "harbour rules.txt").title == "harbour rules"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_encodings(tmp_path, encoding):
    text = "Die Fähre fährt täglich um fünf Uhr über den großen See nach Süden.\r\nHunde dürfen mit.\n" * 5
    (tmp_path / "a.txt").write_bytes(text.encode(encoding))
    assert "Die Fähre fährt täglich um fünf Uhr" in parse_file(tmp_path / "a.txt").text


def encrypted_pdf():
    """A PDF whose trailer names a standard encryption that no empty password opens."""
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [] /Count 0 >>",
        b"<< /Filter /Standard /V 1 /R 2 /O <" + b"00" * 32 + b"> /U <" + b"11" * 32 + b"> /P -4 >>",
    ]
    out, places = b"%PDF-1.4\n", []
    for number, body in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n" % number + body + b"\nendobj\n"
    table = b"xref\n0 4\n0000000000 65535 f \n" + b"".join(b"%010d 00000 n \n" % place for place in places)
    trailer = b"trailer << /Size 4 /Root 1 0 R /Encrypt 3 0 R /ID [<00><00>] >>\nstartxref\n%d\n%%%%EOF" % len(out)
    return out + table + trailer


def zip_of(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name.replace("__", "/").replace("_xml", ".xml"), data)
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("a.txt", b"", "empty"),
        ("a.txt", b" \n\t ", "empty"),
        ("a.pdf", b"%PDF-1.4 and then nothing", "damaged"),
        ("a.pdf", b"just words", "does not hold such a file"),
        ("a.pdf", encrypted_pdf(), "encrypted"),
        ("a.docx", b"PK\x03\x04 and then nothing", "damaged archive"),
        ("a.docx", zip_of(word__document_xml="<broken"), "damaged docx"),
        ("a.docx", zip_of(word__document_xml=b"\x00" * 300_000_000), "would unpack to 286 MiB"),
        ("a.docx", zip_of(other="x"), "an archive"),
        ("a.xls", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + b"\x00" * 600, "old or encrypted Office file"),
        ("a.txt", b"\x7fELF\x00\x00\x01", "none of the kinds"),
        ("a.txt", b"--- ... ---", "holds no text"),
        ("a.jsonl", b'{"a": 1}\n{"b": ', "line 2 is not valid JSON"),
    ],
)
def test_what_cannot_be_read_says_why(tmp_path, name, data, reason):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(UnreadableFile, match=reason):
        parse_file(tmp_path / name)


def test_pages_without_text_say_how_they_could_be_read(tmp_path, monkeypatch):
    write_pdf(tmp_path / "a.pdf", [""])
    write_pdf(tmp_path / "b.pdf", ["Dogs are free.", ""])
    with pytest.raises(UnreadableFile, match=r"documents\.ocr_languages is empty"):
        parse_file(tmp_path / "a.pdf", ocr_languages="")
    monkeypatch.setattr("shutil.which", lambda name: None)
    why_not.cache_clear()
    with pytest.raises(UnreadableFile, match="install Tesseract"):
        parse_file(tmp_path / "a.pdf", ocr_languages="eng")
    (note,) = parse_file(tmp_path / "b.pdf", ocr_languages="eng").notes
    assert note.startswith("1 of 2 pages hold no text (scanned? install Tesseract")
    why_not.cache_clear()


def write_scan(path, pages):
    """A PDF whose pages are pictures of their words."""
    pictures = []
    for words in pages:
        picture = Image.new("L", (1240, 1754), 255)
        ImageDraw.Draw(picture).multiline_text((100, 150), words, 0, ImageFont.load_default(36), spacing=16)
        pictures.append(picture)
    pictures[0].save(path, save_all=True, append_images=pictures[1:], resolution=150)


@pytest.mark.skipif(shutil.which("tesseract") is None, reason="needs Tesseract")
def test_scanned_pages_are_recognised(tmp_path):
    write_scan(
        tmp_path / "a.pdf", ["The ferry sails every\nmorning at seven.", "", "A return ticket costs\nforty crowns."]
    )
    seen = []
    document = parse_file(tmp_path / "a.pdf", ocr_languages="eng", alive=lambda: seen.append(1))
    texts = [(document.text[block.start : block.end], block.page) for block in document.blocks]
    assert texts == [("The ferry sails every morning at seven.", 1), ("A return ticket costs forty crowns.", 3)]
    assert document.notes[0].startswith("2 of 3 pages are scanned")
    assert len(seen) == 3
    with pytest.raises(UnreadableFile, match="Tesseract lacks tlh"):
        parse_file(tmp_path / "a.pdf", ocr_languages="eng+tlh")


@pytest.fixture
def stand_in(tmp_path, monkeypatch):
    """Puts a program in Tesseract's place, given what it does with a page."""

    def put(does):
        program = tmp_path / "bin" / "tesseract"
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\ncase $1 in --list-langs) echo eng;; *) {does};; esac\n", "utf-8")
        program.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=os.pathsep)
    why_not.cache_clear()
    yield put
    why_not.cache_clear()


def test_a_page_and_not_a_scan_has_the_time_of_a_file(tmp_path, stand_in):
    stand_in("sleep 2; echo words")
    write_scan(tmp_path / "a.pdf", ["One.", "Two.", "Three."])
    parser = ParserProcess(seconds=60, ocr_languages="eng")
    seen = []
    parser.on_page = lambda: seen.append(1)
    try:
        assert parser.parse(tmp_path / "a.pdf").blocks[-1].page == 3
        parser._seconds = 5
        assert parser.parse(tmp_path / "a.pdf").blocks[-1].page == 3
    finally:
        parser.close()
    assert len(seen) == 8  # a call for each page and each result


def test_a_page_that_cannot_be_recognised_costs_that_page(tmp_path, stand_in):
    write_scan(tmp_path / "a.pdf", ["One.", "Two."])
    stand_in("echo no memory >&2; exit 3")
    with pytest.raises(UnreadableFile, match=r"Tesseract ended with 3 \(no memory\)"):
        parse_file(tmp_path / "a.pdf", ocr_languages="eng")
    stand_in(f"if [ -f {tmp_path}/again ]; then exec sleep 30; fi; touch {tmp_path}/again; echo words")
    document = parse_file(tmp_path / "a.pdf", ocr_languages="eng", ocr_seconds=1)
    assert document.text == "words"
    assert document.notes[1] == "1 pages could not be recognised (the first: took longer than 1 s)"


def test_blank_pages_are_not_given_to_tesseract(tmp_path, stand_in):
    stand_in("echo words")
    write_pdf(tmp_path / "a.pdf", ["", ""])
    with pytest.raises(UnreadableFile, match="holds no text"):
        parse_file(tmp_path / "a.pdf", ocr_languages="eng")


def test_what_a_stopped_parser_had_started_stops_too(tmp_path, stand_in):
    stand_in(f"echo $$ > {tmp_path}/number; exec sleep 300")
    write_scan(tmp_path / "a.pdf", ["One."])
    parser = ParserProcess(seconds=600, ocr_languages="eng")
    parser.on_page = lambda: threading.Timer(0.1, stop).start()

    def stop():
        while not (tmp_path / "number").is_file() or not (tmp_path / "number").read_text("utf-8").strip():
            time.sleep(0.05)
        parser._process.kill()

    with pytest.raises(UnreadableFile, match="crashed"):
        parser.parse(tmp_path / "a.pdf")
    number = int((tmp_path / "number").read_text("utf-8"))
    with contextlib.suppress(psutil.NoSuchProcess):
        assert psutil.Process(number).wait(10) is None or psutil.Process(number).status() == psutil.STATUS_ZOMBIE


def test_every_kind_that_a_suffix_stands_for_has_a_parser():
    assert set(SUFFIXES.values()) == set(PARSERS)


def test_a_file_is_read_for_what_it_holds(tmp_path):
    assert sniff(b"%PDF-1.7", ".txt") == "pdf"
    assert sniff(HTML.encode(), ".txt") == "html"
    assert sniff(b"# words", ".md") == "markdown"
    write_docx(tmp_path / "a.zip")
    assert sniff((tmp_path / "a.zip").read_bytes(), ".zip") == "docx"


def test_outside_entities_are_not_followed(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("hidden words", "utf-8")
    entity = f'<!DOCTYPE p [<!ENTITY x SYSTEM "file://{secret}">]>'
    (tmp_path / "a.html").write_text(f"{entity}<html><body><p>seen &x;</p></body></html>", "utf-8")
    assert "hidden" not in parse_file(tmp_path / "a.html").text


def test_markup_in_cells_and_titles_stays_text_or_goes(tmp_path):
    (tmp_path / "a.csv").write_text('name,price\n"<script>alert(1)</script>",=cmd()\n', "utf-8")
    assert "<script>alert(1)</script> | =cmd()" in parse_file(tmp_path / "a.csv").text  # escaped where it is shown
