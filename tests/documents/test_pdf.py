import itertools
import time

import pytest

from rag.documents.document import Document, titled
from rag.documents.formats.office.symbol_fonts import lettered
from rag.documents.formats.pdf.glyphs import plain
from rag.documents.formats.pdf.hyphens import Hyphens
from rag.documents.formats.pdf.pdf import parse_pdf
from rag.documents.formats.pdf.running import _value
from rag.documents.pages import render_page
from rag.documents.titles import sound_title
from rag.files import file_sha256
from tests.fakes.pdf_pages import PdfPage, pdf_bytes

MANY = ["The tide tables of the bay are printed each spring.", "They hold every day of the coming year."]
ROWS = [["Boat", "Seats", "Built"], ["Tern", "120", "1999"], ["Grey gull", "80", "2004"], ["Auk", "60", "2010"]]
TABLE = "Boat | Seats | Built\nTern | 120 | 1999\nGrey gull | 80 | 2004\nAuk | 60 | 2010"
XS = (72, 200, 300)


def parsed(*pages, **how):
    return parse_pdf(pdf_bytes(pages, **how))


def shown(document):
    return [(block.kind, document.text[block.start : block.end]) for block in document.blocks]


def with_edges(top, foot, n=6):
    """Pages whose top and foot are made of the page's number, from 1."""
    pages = []
    for number in range(1, n + 1):
        page = PdfPage().lines(72, 600, [f"Day {number * 7} of the tide tables.", *MANY])
        for at, line in ((800, top), (40, foot)):
            if line is not None:
                page.text(72, at, line(number))
        pages.append(page)
    return pages


# Running headers and footers


@pytest.mark.parametrize(
    ("line", "first", "gone"),
    [
        (lambda n: "Harbour rules", "Harbour rules", None),
        (lambda n: f"Page {n} of 6", "Page 1 of 6", "Page 2 of 6"),
        (lambda n: f"- {n} -", "- 1 -", "- 2 -"),
        (lambda n: f"Seite {n + 10}", "Seite 11", "Seite 12"),
        (lambda n: f"{n}/6", "1/6", "2/6"),
        (lambda n: ["i", "ii", "iii", "iv", "v", "vi"][n - 1], "i", "iii"),
        (lambda n: str(250 + n), "251", "252"),
        (lambda n: f"Harbour rules, 2024 edition | {n}", "Harbour rules, 2024 edition | 1", "edition | 2"),
        (lambda n: f"Harbour rules Page {n}", "Harbour rules Page 1", "rules Page 2"),
    ],
)
@pytest.mark.parametrize("where", ["top", "foot"])
def test_what_runs_through_a_document_is_kept_once_and_noted(line, first, gone, where):
    document = parsed(*with_edges(*((line, None) if where == "top" else (None, line))))
    paragraphs = [text for _, text in shown(document)]
    assert paragraphs.count(first) == 1
    assert gone is None or gone not in document.text
    assert document.text.count("of the tide tables") == 6
    assert any(first in note and "(6 pages)" in note for note in document.notes)


@pytest.mark.parametrize(
    "line",
    [
        lambda n: f"Employee {4100 + 7 * n}",
        lambda n: f"Employee {n}",
        lambda n: f"Article {n}",
        lambda n: f"Badge {9000 + n}",
        lambda n: f"Due {20 + n} May",
        lambda n: f"{n * 30} {12 + n / 10} {130 + n}",
        lambda n: f"{n}.5",
        lambda n: f"Total: {n}.00 of {n * 2}",
        lambda n: f"Case No. 2024-{n:04}",
        lambda n: f"Fact sheet {n}",
        lambda n: f"Form S-{n}",
        lambda n: f"Lesson - {n}",
        lambda n: f"§ {n}",
        lambda n: f"{n} %",
        lambda n: str(2000 + n),
        lambda n: ["mix", "did", "mild", "civic", "livid", "dim"][n - 1],
    ],
)
def test_lines_that_differ_by_other_numbers_are_kept(line):
    document = parsed(*with_edges(line, line))
    for number in range(1, 7):
        assert document.text.count(line(number)) == 2
    assert document.notes == ()


def test_a_number_far_right_of_the_words_is_the_page_but_a_number_of_something_else_is_not():
    pages = with_edges(None, None)
    for number, page in enumerate(pages, 1):
        page.text(72, 800, "Harbour rules").text(500, 800, str(number))
        page.text(72, 40, "Ticket").text(500, 40, str(700 + number))
    document = parsed(*pages)
    assert document.text.count("Harbour rules") == 1
    assert [f"Ticket {700 + number}" in document.text for number in range(1, 7)] == [True] * 6


def test_titles_of_left_and_right_pages_are_each_kept_once():
    document = parsed(*with_edges(lambda n: ["Right page", "Left page"][n % 2], None, n=8))
    assert (document.text.count("Right page"), document.text.count("Left page")) == (1, 1)


def test_a_number_from_the_files_own_labels_is_the_pages():
    pages = with_edges(None, None)
    for number, page in enumerate(pages, 1):
        page.text(72, 800, "Harbour rules").text(500, 800, str(number + 40))
    assert parsed(*pages).text.count("Harbour rules") == 6
    assert parsed(*pages, labels="0 << /S /D /St 41 >>").text.count("Harbour rules") == 1


def test_a_line_that_ends_the_text_of_every_page_stands_with_the_text():
    document = parsed(*with_edges(None, lambda n: f"Page {n}"))
    assert document.text.count(MANY[1]) == 6


def test_roman_numbers():
    assert [_value(text) for text in ("iv", "XIV", "mcmxc", "iiii", "vx", "12")] == [4, 14, 1990, None, None, 12]


# Hyphens at line ends


@pytest.mark.parametrize(
    ("divided", "elsewhere", "whole"),
    [
        ("infor-/mation", "", "information"),
        ("well-/known", "", "well-known"),
        ("well-/known", "a wellknown one", "wellknown"),
        ("re-/sign", "they re-sign it", "re-sign"),
        ("re-/sign", "they resign", "resign"),
        ("Prü-/fung", "", "Prüfung"),
        ("État ré-/élu", "", "État réélu"),
        ("E-/Mail", "", "E-Mail"),
        ("Covid-/19", "", "Covid-19"),
        ("Ein-/und Ausgang", "", "Ein- und Ausgang"),
        ("state-of-the-/art", "", "state-of-the-art"),
        ("up-/to-date", "", "up-to-date"),
        ("mother-/in-law", "the mother-in-law", "mother-in-law"),
        ("client-ser-/ver", "", "client-server"),
        ("self-/contained", "", "self-contained"),
        ("long-/term", "", "long-term"),
        ("high-/est", "", "highest"),
        ("über-/nehmen", "wir nehmen es über", "übernehmen"),
        ("river-/bank", "The river has a bank.", "river-bank"),
        ("twenty-/five", "", "twenty-five"),
        ("INTRO-/DUCTION", "", "INTRODUCTION"),
        ("Nord-/Süd", "", "Nord-Süd"),
        ("follow-/up", "", "follow-up"),
        ("anti-/inflammatory", "", "anti-inflammatory"),
        ("anti-/bodies", "", "antibodies"),
        ("vice-/president", "", "vice-president"),
        ("cost-/effective", "", "cost-effective"),
        ("in-/effective", "", "ineffective"),
        ("X-/rays", "", "X-rays"),
        ("Stratford-/upon-Avon", "", "Stratford-upon-Avon"),
    ],
)
def test_hyphens_at_line_ends_are_decided_by_the_words_of_the_document(divided, elsewhere, whole):
    text = divided.replace("-/", "\x02")
    assert Hyphens([text, elsewhere]).mend(f"So {text}.") == f"So {whole}."


def test_hyphens_of_a_page():
    lines = [
        "Die Prü-",
        "fung ist ein well-",
        "known fact of infor-",
        "mation about 1990-",
        "1995, see also - or",
        "not.",
    ]
    document = parsed(PdfPage().lines(72, 700, lines))
    assert document.text == "Die Prüfung ist ein well-known fact of information about 1990-1995, see also - or not."


def test_soft_hyphens_and_ligatures_are_letters_alone():
    assert plain("A soft\xadhyphen of an o\ufb03ce\x02") == "A softhyphen of an office\x02"
    assert plain("☒ yes ☐no") == "[x] yes [ ] no"
    assert Hyphens([]).mend("soft\xadware \xad") == "software "


def test_characters_of_special_fonts_are_the_letters_that_they_show():
    text = "\uf0b7 boats \uf0fe yes \uf061\uf099"
    assert (
        lettered(text, lambda i: "ABCDEF+SymbolMT" if i in (0, 14) else "Wingdings-Regular") == "• boats ☑ yes α\uf099"
    )
    assert lettered("\uf0a8 \uf062", lambda i: "") == "☐ β"
    cmap = b"1 begincodespacerange <00> <ff> endcodespacerange 1 beginbfchar <61> <F0A8> endbfchar"
    data = pdf_bytes([PdfPage().text(72, 700, "a").text(90, 700, "Refused", font="F2")])
    data = data.replace(b"/BaseFont /Helvetica /", b"/BaseFont /Wingdings /ToUnicode 99 0 R /")
    data = data.replace(
        b"xref\n0", b"99 0 obj\n<< /Length %d >>\nstream\n%s\nendstream\nendobj\nxref\n0" % (len(cmap), cmap)
    )
    assert parse_pdf(data).text == "[ ] Refused"


# Titles


@pytest.mark.parametrize(
    "title",
    [
        "about:blank", "Microsoft Word - Report.docx", "untitled", "Untitled-1", "Unbenanntes Dokument", "Slide 1",
        "(Microsoft Word - plan.docx)", "<4D6963726F736F667420576F7264>", "SKM_C25820110512", "report.rpt", "JobName",
        "PII: S0022-1694(99)00123-4", "TeX output 2003.05.12:1200", "Crystal Reports - wages", "Print Preview",
        "PowerPoint Presentation", "Document1", "report_final.pdf", "Annual report final.docx", "paper.dvi", "main.tex",
        r"C:\Users\me\My report.doc", "file:///tmp/a.html", "https://example.org/a", "/home/me/a", "(anonymous)", " - ",
    ],
)  # fmt: skip
def test_what_programs_write_for_want_of_a_title_is_none(title):
    assert sound_title(title) == ""
    assert parsed(PdfPage().lines(72, 700, MANY), title=title).title == ""
    assert titled(Document("docx", title, "", ())).title == ""


@pytest.mark.parametrize(
    "title",
    ["Tern Island", "package.json", "Introduction to ASP.NET", "Excel - Tips", "Slide rules", "Page layout", "1984",
     "Report 2024", "Getting started with index.html", "Chapter 3", "About: us", "DOI: how names stay",
     "Crystal reports", "Printing presses"],
)  # fmt: skip
def test_titles_stay(title):
    assert sound_title(f" {title}\n") == title
    assert parsed(PdfPage().lines(72, 700, MANY), title=title).title == title


# Tables


def test_ruled_tables_keep_their_columns_in_their_place():
    page = PdfPage().lines(72, 800, MANY).columns(XS, 700, ROWS).grid((66, 190, 290, 400), (640, 662, 678, 694, 716))
    page.lines(72, 600, ["The boats are old."])
    assert shown(parsed(page)) == [("text", " ".join(MANY)), ("table", TABLE), ("text", "The boats are old.")]


def test_a_cell_over_columns_is_read_once_and_one_over_rows_in_each():
    page = PdfPage().columns((72, 200, 310), 700, [["Pier", "Boats", ""], ["", "Wood", "Iron"]])
    page.columns((72, 200, 310), 660, [["North side", "5", "6"], ["of the bay", "", ""], ["South", "7", "8"]])
    for y in (718, 676, 638, 620):
        page.rule(66, y, 400, y)
    page.rule(190, 697, 400, 697)
    for x, top in ((66, 718), (190, 718), (300, 697), (400, 718)):
        page.rule(x, top, x, 620)
    ((kind, text),) = shown(parsed(page))
    assert (kind, text) == (
        "table",
        "Pier | Boats | \nPier | Wood | Iron\nNorth side of the bay | 5 | 6\nSouth | 7 | 8",
    )


@pytest.mark.parametrize("rotate", [0, 90])
def test_a_table_that_stands_across_the_page_is_read(rotate):
    page = PdfPage(rotate).columns(XS, 500, ROWS).grid((66, 190, 290, 400), (440, 462, 478, 494, 516))
    page.content = ["0 1 -1 0 595 0 cm", *page.content]
    assert shown(parsed(page)) == [("table", TABLE)]


@pytest.mark.parametrize("by_column", [False, True])
@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_tables_without_lines_are_found_by_their_columns(by_column, rotate):
    page = PdfPage(rotate).lines(72, 780, MANY).columns(XS, 700, ROWS, by_column=by_column)
    assert shown(parsed(page)) == [("text", " ".join(MANY)), ("table", TABLE)]


@pytest.mark.parametrize("step", [12, 20, 32])
def test_rows_of_three_pieces_may_stand_far_apart(step):
    assert shown(parsed(PdfPage().columns(XS, 700, ROWS, step=step))) == [("table", TABLE)]


@pytest.mark.parametrize("rotate", [0, 90, 180, 270])
def test_digits_below_one_another_are_no_longer_number(rotate):
    assert parsed(PdfPage(rotate).lines(72, 700, ["Seats", "9", "8", "12", "7"])).text == "Seats 9 8 12 7"
    rows = [["Boat", "Seats", "Crew"], ["Tern", "9", "2"], ["Auk", "8", "1"], ["Gull", "7", "3"]]
    page = PdfPage(rotate).columns(XS, 700, rows, by_column=True)
    assert shown(parsed(page)) == [("table", "Boat | Seats | Crew\nTern | 9 | 2\nAuk | 8 | 1\nGull | 7 | 3")]


def test_powers_indices_and_text_written_upwards_or_downwards_stay_whole():
    page = (
        PdfPage().text(72, 700, "H").text(80, 697, "2", size=6).text(84, 700, "O and E=mc").text(140, 705, "2", size=6)
    )
    assert parsed(page).text == "H2O and E=mc2"
    page = PdfPage().text(300, 400, "Between")
    for matrix in ("0 1 -1 0 30 300", "0 -1 1 0 560 300"):
        page.content.append(f"BT /F1 10 Tf {matrix} Tm (Beside) Tj ET")
    assert parsed(page).text == "Between Beside Beside"


def test_words_of_two_cells_without_a_space_part_and_one_that_runs_over_its_cell_does_not():
    page = PdfPage().columns((72, 103), 700, [["Salt", "Rye"], ["Wheatenmeal", ""], ["Oat", "5"]]).text(93.5, 700, "x")
    page.grid((66, 100, 140), (660, 680, 696, 714))
    assert shown(parsed(page)) == [("table", "Salt x | Rye\nWheatenmeal | \nOat | 5")]


def test_formulas_are_no_tables():
    page = PdfPage()
    for n in range(4):
        page.columns((72, 120, 170), 700 - 6 * n, [["a", "=", f"b{n}"]])
    assert {kind for kind, _ in shown(parsed(page))} == {"text"}


def test_a_damaged_page_costs_that_page_alone():
    data = pdf_bytes([PdfPage().lines(72, 700, MANY), PdfPage().lines(72, 700, ["Gone."])])
    last = data.rindex(b"/Type /Page /Parent")
    document = parse_pdf(data[:last] + b"/Type /Pogo /Parent" + data[last + 19 :])
    assert (document.text, document.notes) == (" ".join(MANY), ("1 of 2 pages are damaged and not read",))


def test_rows_between_two_rules_are_rows():
    page = PdfPage().columns(XS, 700, ROWS).grid((66, 190, 290, 400), (640, 694, 716))
    assert shown(parsed(page)) == [("table", TABLE)]


def test_a_table_over_pages_names_its_columns_on_each():
    rows = [[f"Boat {n}", str(n * 10), str(1950 + n)] for n in range(40)]
    ys = [716 - 16 * n for n in range(22)]
    pages = [
        PdfPage().columns(XS, 704, part).grid((66, 190, 290, 400), ys[: len(part) + 1])
        for part in ([ROWS[0], *rows[:20]], rows[20:])
    ]
    (_, first), (_, second) = shown(parsed(*pages))
    assert first.split("\n")[:2] == ["Boat | Seats | Built", "Boat 0 | 0 | 1950"]
    assert second.split("\n")[:2] == ["Boat | Seats | Built", "Boat 20 | 200 | 1970"]


def test_rows_of_numbers_at_the_edges_of_pages_are_all_there_and_no_header():
    rows = [[str(n), f"{12 + n / 10:.1f}", str(100 + n)] for n in range(100)]
    document = parsed(*(PdfPage().columns(XS, 780, rows[n : n + 20]) for n in range(0, 100, 20)))
    assert [block.header for block in document.blocks] == [0] * 5
    assert document.text.replace("\n\n", "\n") == "\n".join(" | ".join(row) for row in rows)


PROSE = [f"Line {n} tells of the harbour and the tide" for n in range(8)]


@pytest.mark.parametrize(
    "page",
    [
        PdfPage().lines(50, 700, PROSE).lines(310, 700, [line.replace("Line", "Row") for line in PROSE]),
        PdfPage().columns((72, 92), 700, [["•", f"point {n} of the list"] for n in range(6)]),
        PdfPage().columns((72, 92), 700, [[f"{n}.", f"point {n} of the list"] for n in range(1, 7)]),
        PdfPage().lines(72, 700, [f"Chapter {n} . . . . . . . . . . . . . . . . . . . {n * 9}" for n in range(1, 7)]),
        PdfPage().columns(
            (72, 200), 700, [["y = f(x)", "# the value"], ["z = y", "# again"], ["w", "# more"]], font="F3"
        ),
        PdfPage().lines(72, 700, MANY).grid((66, 400), (640, 720)),
        PdfPage().lines(72, 700, ["Two boxes"]).grid((300, 400, 500), (500, 600, 650)),
    ],
    ids=["two columns", "bullets", "numbers", "contents", "code", "frame", "empty boxes"],
)
def test_prose_in_columns_lists_and_frames_are_no_tables(page):
    assert {kind for kind, _ in shown(parsed(page))} == {"text"}


def test_columns_of_prose_are_read_one_after_the_other():
    page = PdfPage().lines(50, 700, PROSE).lines(310, 700, [line.replace("Line", "Row") for line in PROSE])
    text = parsed(page).text
    places = [text.index(f"Line {n} ") for n in range(8)] + [text.index(f"Row {n} ") for n in range(8)]
    assert places == sorted(places)


def test_no_letter_is_lost_or_read_twice_whatever_is_taken_for_a_table():
    pages = [
        PdfPage().lines(50, 800, PROSE).columns((310, 400, 480), 800, ROWS),
        PdfPage().columns(XS, 700, ROWS).grid((100, 150, 350), (620, 660, 690, 720)),
        PdfPage().columns((72, 110, 300, 420), 700, [["a", "", "b", "c"], ["", "d", "", "e"], ["f", "g", "h", ""]]),
    ]
    for page in pages:
        document = parsed(page)
        drawn = "".join(line.split("(", 1)[1].rsplit(")", 1)[0] for line in page.content if "(" in line)
        letters = sorted(ch for ch in document.text if ch.isalnum())
        assert letters == sorted(ch for ch in drawn if ch.isalnum())


def test_a_page_of_many_lines_and_pieces_takes_no_longer_than_its_size():
    page = PdfPage()
    for x, y in itertools.product(range(0, 590, 10), range(0, 840, 10)):
        page.text(x, y, "x", size=4).rule(x, y, x + 9, y).rule(x, y, x, y + 9)
    started = time.process_time()
    assert parsed(page).text.count("x") == 59 * 84
    assert time.process_time() - started < 60


# Forms


def form_page():
    page = PdfPage().text(72, 700, "Name of applicant:").text(72, 660, "Street").text(300, 660, "Town")
    page.field("/FT /Tx /T (n) /V (Hedwig Larsen)", 200, 690, 400, 710)
    page.field("/FT /Tx /T (s) /V (12 Elm Road)", 72, 635, 272, 655).field(
        "/FT /Tx /T (t) /V (Hull)", 300, 635, 400, 655
    )
    page.text(100, 600, "I agree").text(100, 570, "Send me news")
    page.field("/FT /Btn /T (a) /V /Yes /AS /Yes /AP << /N << /Yes 1 0 R /Off 1 0 R >> >>", 75, 595, 90, 610)
    page.field("/FT /Btn /T (b) /V /Off /AS /Off /AP << /N << /Yes 1 0 R /Off 1 0 R >> >>", 75, 565, 90, 580)
    page.text(72, 540, "Colour:").field(
        "/FT /Ch /Ff 131072 /T (c) /V (dr) /Opt [[(dr) (Dark red)] [(b) (Blue)]]", 150, 530, 250, 550
    )
    page.text(72, 500, "Empty:").field("/FT /Tx /T (e) /V ()", 150, 490, 250, 510)
    page.field("/FT /Tx /T (Remarks) /V (Comes by ferry)", 72, 300, 272, 320)
    page.field("/FT /Tx /T (hidden) /V (not shown) /F 2", 300, 300, 400, 320)
    return page.field("/FT /Tx /Ff 8192 /T (p) /V (secret99)", 72, 200, 272, 220)


def test_values_of_a_form_stand_behind_their_labels():
    document = parsed(form_page())
    lines = [text for _, text in shown(document)]
    assert lines == [
        "Name of applicant: Hedwig Larsen",
        "Street 12 Elm Road Town Hull",
        "[x] I agree",
        "[ ] Send me news",
        "Colour: Dark red",
        "Empty:",
        "Remarks: Comes by ferry",
    ]
    assert document.notes == ("passwords in the form are not read (1)",)


def test_values_behind_one_label_keep_their_order():
    page = PdfPage().text(72, 700, "Name")
    for x, name in ((150, "Ada"), (230, "King"), (310, "Lovelace")):
        page.field(f"/FT /Tx /T (n{x}) /V ({name})", x, 695, x + 70, 712)
    assert parsed(page).text == "Name Ada King Lovelace"


def test_a_value_that_the_page_shows_is_read_once():
    page = PdfPage().text(72, 700, "Name:").text(152, 695, "Hedwig Larsen")
    page.field("/FT /Tx /T (n) /V (Hedwig Larsen)", 150, 690, 400, 710)
    assert parsed(page).text == "Name: Hedwig Larsen"


def test_values_in_a_ruled_table_stand_in_their_cells():
    page = PdfPage().columns((72, 200), 700, [["Name", "Age"]]).grid((66, 190, 290), (650, 680, 716))
    page.field("/FT /Tx /T (n) /V (Hedwig)", 70, 655, 180, 675).field("/FT /Tx /T (a) /V (41)", 200, 655, 280, 675)
    assert shown(parsed(page)) == [("table", "Name | Age\nHedwig | 41")]


def test_text_typed_over_a_page_is_read_and_comments_are_noted():
    page = PdfPage().lines(72, 700, MANY).annotation("/Subtype /FreeText /Contents (Typed here)", 72, 500, 200, 520)
    page.annotation("/Subtype /Text /Contents (A remark)", 300, 500, 320, 520)
    page.annotation("/Subtype /Stamp", 300, 400, 320, 420).annotation("/Subtype /Link", 72, 690, 90, 710)
    document = parsed(page)
    assert document.text.endswith("Typed here")
    assert document.notes == ("stamps over the text are not read (1)", "comments beside the text are not read (1)")


# The page as a picture


def marks_of(tmp_path, page, text):
    (tmp_path / "a.pdf").write_bytes(pdf_bytes([page]))
    image = render_page(tmp_path / "a.pdf", file_sha256(tmp_path / "a.pdf"), 1, text)
    return [tuple(round(at, 2) for at in mark[:2]) for mark in image.marks]


def test_the_cells_of_a_table_are_marked_where_they_stand(tmp_path):
    page = PdfPage().columns(XS, 700, ROWS, by_column=True)
    marks = marks_of(tmp_path, page, "Boat | Seats | Built\nGrey gull | 80 | 2004")
    assert {mark[0] for mark in marks} == {round(x / 595, 2) for x in XS}
    assert len(marks) >= 5


def test_a_label_and_its_value_are_marked(tmp_path):
    marks = marks_of(tmp_path, form_page(), "Name of applicant: Hedwig Larsen")
    assert [mark[0] for mark in marks] == [round(72 / 595, 2), round(200 / 595, 2)]


def test_of_a_text_that_goes_on_overleaf_the_sentences_of_this_page_are_marked(tmp_path):
    page = PdfPage().lines(72, 700, MANY)
    assert len(marks_of(tmp_path, page, " ".join([*MANY, "This is on the next page."]))) == 2
    assert marks_of(tmp_path, page, "Words that are not there.") == []
