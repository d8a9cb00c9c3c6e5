"""Files that are made to hold, to blow up or to mislead whatever reads them; each is small."""

from __future__ import annotations

import gzip
import io
import itertools
import json
import os
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from benchmarks.attack.hostile_texts import archive, docx_of, office

_W = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
_S = 'xmlns="http://schemas.openxmlformats.org/spreadsheetml/2006/main"'
_R = 'xmlns:r="http://schemas.openxmlformats.org/officeDocument/2006/relationships"'
_LINKS = 'xmlns="http://schemas.openxmlformats.org/package/2006/relationships"'
_KIND = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
_LAUGHS = "".join(f'<!ENTITY l{n} "{f"&l{n - 1};" * 10}">' for n in range(1, 10))
_DOCTYPE = f'<!DOCTYPE x [<!ENTITY l0 "laugh">{_LAUGHS}]>'


def zeros_packed(n_bytes: int) -> bytes:
    """So many zeros as a stream of zlib, without holding them."""
    packer = zlib.compressobj(1)
    block = bytes(2**20)
    return b"".join([*(packer.compress(block) for _ in range(n_bytes // 2**20)), packer.flush()])


def zip_bomb() -> bytes:
    made = io.BytesIO()
    with (
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
        bomb.open("word/document.xml", "w", force_zip64=True) as member,
    ):
        for _ in range(550):
            member.write(bytes(2**20))
    return made.getvalue()


def liar() -> bytes:
    """An archive whose directory says that a part is small; it unpacks to 550 MiB."""
    made = io.BytesIO()
    with (
        zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as bomb,
        bomb.open("word/document.xml", "w") as member,
    ):
        for _ in range(550):
            member.write(bytes(2**20))
    size = (550 * 2**20).to_bytes(4, "little")
    return made.getvalue().replace(size, (1_000).to_bytes(4, "little"))


def gzip_bomb() -> bytes:
    made = io.BytesIO()
    with gzip.GzipFile(fileobj=made, mode="wb", compresslevel=1, mtime=0) as packed:
        for _ in range(550):
            packed.write(b"a " * 2**19)
    return made.getvalue()


def workbook(sheet: str, *, strings: str = "", n_sheets: int = 1) -> bytes:
    """A workbook whose sheets all lead to one part."""
    entries = "".join(f'<sheet name="s{n}" sheetId="{n}" r:id="r1"/>' for n in range(1, n_sheets + 1))
    links = f'<Relationship Id="r1" Type="{_KIND}/worksheet" Target="sheet1.xml"/>'
    links += f'<Relationship Id="r2" Type="{_KIND}/sharedStrings" Target="strings.xml"/>' if strings else ""
    parts = {
        "xl/workbook.xml": f"<workbook {_S} {_R}><sheets>{entries}</sheets></workbook>",
        "xl/_rels/workbook.xml.rels": f"<Relationships {_LINKS}>{links}</Relationships>",
        "xl/sheet1.xml": f"<worksheet {_S}>{sheet}</worksheet>",
    }
    if strings:
        parts["xl/strings.xml"] = f"<sst {_S}>{strings}</sst>"
    return office(parts, "xl/workbook.xml")


def _row(number: int, cells: str) -> str:
    return f'<row r="{number}">{cells}</row>'


def _cell(place: str, text: str) -> str:
    return f'<c r="{place}" t="inlineStr"><is><t>{text}</t></is></c>'


def far_cells() -> bytes:
    last = _row(1_048_576, _cell("A1048576", "the last row") + _cell("XFD1048576", "the last cell"))
    return workbook(f'<dimension ref="A1:XFD1048576"/><sheetData>{_row(1, _cell("A1", "the first"))}{last}</sheetData>')


def merged_over_everything() -> bytes:
    areas = '<mergeCell ref="A1:XFD1048576"/>' * 10_000
    return workbook(
        f"<sheetData>{_row(1, _cell('A1', 'merged'))}{_row(2, _cell('B2', 'x'))}</sheetData>"
        f"<mergeCells>{areas}</mergeCells>"
    )


def one_string_many_times() -> bytes:
    """A string of 200 kB in 100,000 cells: 20 GB of text."""
    rows = "".join(_row(n, f'<c r="A{n}" t="s"><v>0</v></c>') for n in range(1, 100_001))
    return workbook(f"<sheetData>{rows}</sheetData>", strings=f"<si><t>{'long ' * 40_000}</t></si>")


def one_sheet_many_times() -> bytes:
    return workbook(f"<sheetData>{_row(1, _cell('A1', 'said once ' * 100))}</sheetData>", n_sheets=2_000)


def word(body: str, before: str = "") -> bytes:
    return office(
        {"word/document.xml": f"{before}<w:document {_W}><w:body>{body}</w:body></w:document>"}, "word/document.xml"
    )


def _said(text: str) -> str:
    return f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"


def entities_in_word() -> bytes:
    """Entities that grow to gigabytes, declared behind a comment of 5,000 characters, in an attribute."""
    return word(f'<w:p w:x="&l9;"><w:r><w:t>&l9;</w:t></w:r></w:p>{_said("words")}', f"<!--{'-x' * 2_500}-->{_DOCTYPE}")


def secrets_in_word(secret: Path) -> bytes:
    """An entity that stands for another file of this machine."""
    return word(_said("&e; words"), f'<!DOCTYPE x [<!ENTITY e SYSTEM "file://{secret}">]>')


def nested_in_word() -> bytes:
    n = 20_000
    return word("<w:tbl><w:tr><w:tc>" * n + _said("deep") + "</w:tc></w:tr></w:tbl>" * n)


def book(chapters: str, spine: str, before: str = "", pages: dict[str, str] | None = None) -> bytes:
    container = '<container><rootfiles><rootfile full-path="a.opf"/></rootfiles></container>'
    package = f"{before}<package><manifest>{chapters}</manifest><spine>{spine}</spine></package>"
    return archive({"META-INF/container.xml": container, "a.opf": package, **(pages or {})})


def one_chapter_many_times() -> bytes:
    """2,000 ways to write the name of one chapter, of 60 kB."""
    name = "chapterchapter"
    names = ["".join(pair) for pair in itertools.islice(itertools.product(*((ch, ch.upper()) for ch in name)), 2_000)]
    items = "".join(f'<item id="i{n}" href="{each}.html" media-type="text/html"/>' for n, each in enumerate(names))
    spine = "".join(f'<itemref idref="i{n}"/>' for n in range(len(names)))
    page = f"<html><body>{'<p>A chapter that is told once.</p>' * 30}{'<!-- -->' * 7_500}</body></html>"
    return book(items, spine, pages={f"{name}.html": page})


def entities_in_a_book() -> bytes:
    item = '<item id="i" href="c.html" media-type="text/html"/>'
    page = f"{_DOCTYPE}<html><body><p title='&l9;'>words &l9;</p></body></html>"
    return book(item, "<itemref idref='i'/>", _DOCTYPE, {"c.html": page})


def pdf(objects: list[bytes], root: int = 1) -> bytes:
    """A PDF of these objects, numbered from 1."""
    out = bytearray(b"%PDF-1.7\n")
    places = []
    for number, content in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    out += b"trailer\n<</Size %d/Root %d 0 R>>\nstartxref\n%d\n%%%%EOF" % (len(objects) + 1, root, table)
    return bytes(out)


_FONT = b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"


def _page(contents: bytes = b"/Contents 4 0 R", more: bytes = b"") -> bytes:
    return (
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 600 800]"
        + contents
        + b"/Resources<</Font<</F 5 0 R>>"
        + more
        + b">>>>"
    )


def _stream(data: bytes, more: bytes = b"") -> bytes:
    return b"<</Length %d%s>>stream\n%s\nendstream" % (len(data), more, data)


_CATALOG = b"<</Type/Catalog/Pages 2 0 R>>"
_ONE_PAGE = b"<</Type/Pages/Kids[3 0 R]/Count 1>>"
_HELLO = b"BT /F 12 Tf 50 700 Td (hello from a page) Tj ET"


def pages_in_a_circle() -> bytes:
    tree = b"<</Type/Pages/Kids[2 0 R 3 0 R 2 0 R]/Count 2000000000>>"
    return pdf([_CATALOG, tree, _page(), _stream(_HELLO), _FONT])


def one_page_many_times() -> bytes:
    tree = b"<</Type/Pages/Kids[" + b"3 0 R " * 2_000 + b"]/Count 2000>>"
    return pdf([_CATALOG, tree, _page(), _stream(_HELLO), _FONT])


def stream_that_grows() -> bytes:
    """A page whose contents unpack to 512 MiB of zeros."""
    return pdf([_CATALOG, _ONE_PAGE, _page(), _stream(zeros_packed(2**29), b"/Filter/FlateDecode"), _FONT])


def page_of_letters() -> bytes:
    """A page with fifty million letters, packed into 100 kB."""
    packer = zlib.compressobj(1)
    line = b"BT /F 1 Tf 1 1 Td (aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa) Tj ET\n" * 1_000
    data = b"".join([*(packer.compress(line) for _ in range(1_000)), packer.flush()])
    return pdf([_CATALOG, _ONE_PAGE, _page(), _stream(data, b"/Filter/FlateDecode"), _FONT])


def huge_image() -> bytes:
    """An image that says it has 100,000 × 100,000 pixels, on a page without text."""
    image = _stream(
        zeros_packed(2**20),
        b"/Type/XObject/Subtype/Image/Width 100000/Height 100000/BitsPerComponent 8/ColorSpace/DeviceRGB"
        b"/Filter/FlateDecode",
    )
    drawn = _stream(b"600 0 0 800 0 0 cm /I Do")
    return pdf([_CATALOG, _ONE_PAGE, _page(more=b"/XObject<</I 6 0 R>>"), drawn, _FONT, image])


def form_that_draws_itself() -> bytes:
    """Forms that draw each other, thirty deep and ten times each: 10³⁰ drawings."""
    depth = 30
    forms = [
        _stream(
            b"/X Do " * 10 if n + 1 < depth else _HELLO,
            b"/Type/XObject/Subtype/Form/BBox[0 0 600 800]/Resources<</Font<</F 5 0 R>>/XObject<</X %d 0 R>>>>"
            % (7 + n),
        )
        for n in range(depth)
    ]
    return pdf([_CATALOG, _ONE_PAGE, _page(more=b"/XObject<</X 6 0 R>>"), _stream(b"/X Do"), _FONT, *forms])


def hostile_files(secret: Path) -> dict[str, Callable[[], bytes]]:
    """Name -> what makes the file's bytes. `secret` is a file that none of them may read."""
    deep = 1_000_000
    return {
        "zip-bomb.docx": zip_bomb,
        "liar.docx": liar,
        "zip-in-zip.docx": lambda: archive({"word/inner.zip": archive({"inner": bytes(2**20)})}),
        "gzip-bomb.txt.gz": gzip_bomb,
        "far-cells.xlsx": far_cells,
        "merged.xlsx": merged_over_everything,
        "one-string.xlsx": one_string_many_times,
        "one-sheet.xlsx": one_sheet_many_times,
        "entities.docx": entities_in_word,
        "secrets.docx": lambda: secrets_in_word(secret),
        "nested.docx": nested_in_word,
        "blanks.docx": lambda: docx_of("word <" + " " * deep + "word"),
        "one-chapter.epub": one_chapter_many_times,
        "entities.epub": entities_in_a_book,
        "circle.pdf": pages_in_a_circle,
        "one-page.pdf": one_page_many_times,
        "growing.pdf": stream_that_grows,
        "letters.pdf": page_of_letters,
        "image.pdf": huge_image,
        "forms.pdf": form_that_draws_itself,
        "cut.pdf": lambda: one_page_many_times()[:-5_000],
        "noise.pdf": lambda: b"%PDF-1.7\n" + bytes(range(256)) * 4_000,
        "noise.epub": lambda: b"PK\x03\x04" + bytes(range(256)) * 4_000,
        "nested.html": lambda: b"<div>" * deep + b"deep",
        "blanks.html": lambda: b"<p>words <" + b" " * 60_000 + b"</p>",
        "span.html": lambda: b"<table>" + b"<tr><td rowspan=65534 colspan=1000>a<td>b" * 3_000 + b"</table>",
        "comment.html": lambda: b"words " + b"<!--" * 250_000,
        "entities.html": lambda: f"{_DOCTYPE}<p>&l9; words".encode(),
        "nested.json": lambda: b"[" * deep,
        "nested-objects.json": lambda: b'{"a":' * 200_000 + b"1" + b"}" * 200_000,
        "long-key.json": lambda: json.dumps({"k" * 500_000: [{"a": n} for n in range(20_000)]}).encode(),
        "open-quote.csv": lambda: b'a,b\n"' + b"1,2\n" * 250_000,
        "columns.csv": lambda: b",".join(b"c%d" % n for n in range(200_000)) + b"\n" + b"1," * 200_000,
        "blanks.txt": lambda: b"word" + b" " * deep + b"\n" * deep + b"word",
        "quotations.md": lambda: b"> " * 100_000 + b"deep",
        "lists.md": lambda: b"- " * 50_000 + b"deep",
        "brackets.md": lambda: b"words " + b"[" * 200_000,
        "nulls.txt": lambda: b"words\n" + bytes(200_000),
    }


def more_of_a_folder(folder: Path) -> list[str]:
    """What no bytes of a file can be: links, pipes, devices and names. Returns the names of what was made."""
    made = []
    os.mkfifo(folder / "pipe.txt")
    (folder / "circle").symlink_to(folder)
    (folder / "zero.txt").symlink_to("/dev/zero")
    with (folder / "sparse.txt").open("wb") as sparse:
        sparse.truncate(200 * 2**20)
    made += ["pipe.txt", "circle", "zero.txt", "sparse.txt"]
    for name in (b"not-utf8-\xff.txt", b"terminal-\x1b]0;owned\x07.txt"):
        Path(os.fsdecode(bytes(folder) + b"/" + name)).write_text("The light of Tern Island was lit in 1871.")
        made.append(os.fsdecode(name))
    return made
