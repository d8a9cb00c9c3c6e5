"""EPUB: chapters in the order of the spine, each once; those that are encrypted, damaged or missing are named."""

import io
import os
import zipfile

import pytest

from rag.documents.formats.html.epub import parse_epub
from rag.documents.parse import parse_file
from rag.errors import UnreadableFile

CONTAINER = '<container><rootfiles><rootfile full-path="{}"/></rootfiles></container>'
OPF = (
    '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/"><metadata>'
    "<dc:title>Tern Island</dc:title></metadata><manifest>{items}</manifest><spine>{spine}</spine>{more}</package>"
)
ENCRYPTION = (
    '<encryption xmlns="urn:oasis:names:tc:opendocument:xmlns:container" xmlns:enc="http://www.w3.org/2001/04/xmlenc#">'
    "{}</encryption>"
)


def chapter(text, heading="Heading"):
    head = f"<h1>{heading}</h1>" if heading else ""
    return f'<html xmlns="http://www.w3.org/1999/xhtml"><head><title/></head><body>{head}<p>{text}</p></body></html>'


def encrypted(*names):
    data = '<enc:EncryptedData><enc:CipherData><enc:CipherReference URI="{}"/></enc:CipherData></enc:EncryptedData>'
    return ENCRYPTION.format("".join(data.format(name) for name in names))


def epub(files, items, spine=None, more="", opf="OPS/book.opf"):
    """A book of `files` (name in the archive -> content); `items` are (id, href, other attributes)."""
    manifest = "".join(f'<item id="{id}" href="{href}" {other}/>' for id, href, other in items)
    spine = [id for id, _, _ in items] if spine is None else spine
    references = "".join(f'<itemref idref="{id}"/>' for id in spine)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as book:
        book.writestr("mimetype", "application/epub+zip")
        book.writestr("META-INF/container.xml", CONTAINER.format(opf))
        book.writestr(opf, OPF.format(items=manifest, spine=references, more=more))
        for name, content in files.items():
            book.writestr(name, content)
    return buffer.getvalue()


def two_chapters(**more):
    files = {"OPS/a.xhtml": chapter("The ferry sails."), "OPS/b.xhtml": chapter("Dogs are free."), **more}
    return epub(files, [("a", "a.xhtml", ""), ("b", "b.xhtml", "")])


def texts(data):
    document = parse_epub(data)
    return [document.text[block.start : block.end] for block in document.blocks if block.kind == "text"]


def test_an_encrypted_book_is_refused_as_such(tmp_path):
    path = tmp_path / "a.epub"
    path.write_bytes(two_chapters(**{"META-INF/encryption.xml": encrypted("OPS/a.xhtml", "OPS/b.xhtml")}))
    with pytest.raises(UnreadableFile, match="encrypted: its chapters are protected by DRM; ingest a copy without it"):
        parse_file(path)


def test_some_encrypted_chapters_are_named_and_the_others_read():
    data = two_chapters(**{"META-INF/encryption.xml": encrypted("OPS/b%2Exhtml", "OPS/font.otf")})
    assert texts(data) == ["The ferry sails."]
    assert parse_epub(data).notes == ("1 chapter is encrypted (OPS/b.xhtml)",)


def test_encrypted_fonts_change_nothing():
    data = two_chapters(**{"META-INF/encryption.xml": encrypted("OPS/font.otf"), "OPS/font.otf": b"\0\1\2"})
    assert texts(data) == ["The ferry sails.", "Dogs are free."]
    assert parse_epub(data).notes == ()


def test_chapters_that_are_no_text_are_refused_without_a_list_of_what_is_encrypted():
    with pytest.raises(UnreadableFile, match="damaged or encrypted"):
        parse_epub(epub({"OPS/a.xhtml": os.urandom(4000)}, [("a", "a.xhtml", "")]))
    data = two_chapters(**{"OPS/a.xhtml": bytes(range(256)) * 8})
    assert (texts(data), parse_epub(data).notes) == (["Dogs are free."], ("1 chapter is damaged (OPS/a.xhtml)",))


def test_missing_chapters_are_named():
    data = epub({"OPS/a.xhtml": chapter("Daily.")}, [(id, f"{id}.xhtml", "") for id in "abcdef"])
    assert parse_epub(data).notes == ("5 chapters are not in the file (OPS/b.xhtml, OPS/c.xhtml, OPS/d.xhtml, …)",)
    with pytest.raises(UnreadableFile, match="none of its 1 chapters is in the file"):
        parse_epub(epub({}, [("a", "a.xhtml", "")]))


@pytest.mark.parametrize(
    ("href", "name"),
    [
        ("ch%201.xhtml", "OPS/ch 1.xhtml"),
        ("ch%201.xhtml", "OPS/ch%201.xhtml"),
        ("Fa%CC%88hre.xhtml", "OPS/F\u00e4hre.xhtml"),
        ("../Text/a.xhtml#start", "Text/a.xhtml"),
        ("A.XHTML", "OPS/a.xhtml"),
        ("./x/../a.xhtml", "OPS/a.xhtml"),
    ],
)
def test_a_chapter_is_found_however_its_name_is_written(href, name):
    assert texts(epub({name: chapter("Found.")}, [("a", href, "")])) == ["Found."]


def test_each_chapter_is_read_once_and_the_spine_decides_the_order():
    files = {f"OPS/{id}.xhtml": chapter(f"Chapter {id}.") for id in "abc"}
    items = [(id, f"{id}.xhtml", "") for id in "abc"]
    assert texts(epub(files, items, ["c", "a", "c", "b"])) == ["Chapter c.", "Chapter a.", "Chapter b."]
    assert texts(epub(files, items, ["c"])) == ["Chapter c.", "Chapter a.", "Chapter b."]  # forgotten ones come last


def test_a_page_stands_in_for_what_is_no_page():
    files = {"OPS/a.xhtml": chapter("As a page.")}
    items = [("p", "a.svg", 'media-type="image/svg+xml" fallback="a"'), ("a", "a.xhtml", "")]
    assert texts(epub(files, items, ["p"])) == ["As a page."]


def test_the_table_of_contents_is_not_read_beside_its_chapters():
    files = {f"OPS/{id}.xhtml": chapter(f"Chapter {id}.", f"Title {id} of the book of the island") for id in "abcdefgh"}
    items = [(id, f"{id}.xhtml", "") for id in "abcdefgh"]
    links = "".join(f'<li><a href="{id}.xhtml">Title {id} of the book of the island</a></li>' for id in "abcdefgh")
    nav = f"<html><body><nav><h1>Contents</h1><ol>{links}</ol></nav></body></html>"
    old = f"<html><body><h1>Contents</h1><ul>{links}</ul></body></html>"
    intro = f"<html><body><p>It has three parts, one for each pier.</p><ul>{links}</ul></body></html>"
    book = epub({**files, "OPS/n.xhtml": nav}, [("n", "n.xhtml", 'properties="nav"'), *items])
    assert parse_epub(book).text.count("Title a") == 1
    assert "Contents" not in parse_epub(book).text
    assert parse_epub(epub({**files, "OPS/t.html": old}, [("t", "t.html", ""), *items])).text.count("Title a") == 1
    with_text = parse_epub(epub({**files, "OPS/t.html": intro}, [("t", "t.html", ""), *items])).text
    assert "three parts, one for each pier" in with_text
    assert with_text.count("Title a") == 1


def test_a_chapter_without_a_heading_has_the_name_that_the_contents_give_it():
    ncx = (
        '<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap><navPoint><navLabel><text>Fares</text></navLabel>'
        '<content src="b.xhtml#x"/></navPoint></navMap></ncx>'
    )
    files = {"OPS/a.xhtml": chapter("Daily.", "Ferries"), "OPS/b.xhtml": chapter("Four.", ""), "OPS/toc.ncx": ncx}
    items = [("a", "a.xhtml", ""), ("b", "b.xhtml", ""), ("ncx", "toc.ncx", 'media-type="application/x-dtbncx+xml"')]
    assert parse_epub(epub(files, items, ["a", "b"])).text == "Ferries\n\nDaily.\n\nFares\n\nFour."


def test_the_names_that_the_contents_give_stand_over_their_places_in_one_file():
    points = "".join(
        f'<navPoint><navLabel><text>{name}</text></navLabel><content src="a.xhtml#{place}"/></navPoint>'
        for place, name in (("c1", "Of Tides"), ("c2", "Of Tolls"), ("c3", "Of Dogs"), ("gone", "Tern"))
    )
    ncx = f'<ncx xmlns="http://www.daisy.org/z3986/2005/ncx/"><navMap>{points}</navMap></ncx>'
    body = '<div id="c1"><p>Daily.</p></div><p><a id="c2"/>Four.</p><p id="c3">OF DOGS</p><p>Free.</p>'
    items = [("a", "a.xhtml", ""), ("ncx", "toc.ncx", 'media-type="application/x-dtbncx+xml"')]
    page = f"<html><body>{body}</body></html>"
    document = parse_epub(epub({"OPS/a.xhtml": page, "OPS/toc.ncx": ncx}, items, ["a"]))
    assert document.text.split("\n\n") == ["Tern", "Of Tides", "Daily.", "Of Tolls", "Four.", "OF DOGS", "Free."]
    assert [block.level for block in document.blocks] == [1, 1, 0, 1, 0, 0, 0]


def test_footers_and_asides_of_a_chapter_are_text():
    page = "<html><body><main><p>One.</p></main><aside>Note.</aside><footer>Source.</footer></body></html>"
    assert texts(epub({"OPS/a.xhtml": page}, [("a", "a.xhtml", "")])) == ["One.", "Note.", "Source."]


def test_a_book_without_its_package_is_read_by_the_names_of_its_pages():
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as book:
        book.writestr("META-INF/container.xml", CONTAINER.format("gone.opf"))
        book.writestr("b.html", chapter("Second."))
        book.writestr("a.html", chapter("First."))
    assert texts(buffer.getvalue()) == ["First.", "Second."]


def test_a_package_without_a_namespace_is_read():
    data = two_chapters()
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            new.writestr(name, old.read(name).replace(b' xmlns="http://www.idpf.org/2007/opf"', b""))
    assert parse_epub(buffer.getvalue()).title == "Tern Island"
    assert texts(buffer.getvalue()) == ["The ferry sails.", "Dogs are free."]
