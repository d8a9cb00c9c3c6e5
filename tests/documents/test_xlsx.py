"""Sheets are read as a spreadsheet shows them: every cell, once, in its table."""

import datetime
import io

import pytest
from openpyxl import Workbook
from openpyxl.comments import Comment

from rag.documents.formats.office.numbers import shown_number, shown_text
from rag.documents.formats.office.xlsx import parse_xlsx
from tests.fakes.office_files import NAMES, R, S, cells, package, sheet, workbook


def blocks(data):
    document = parse_xlsx(data)
    return [
        (block.kind, document.text[block.start : block.end]) for block in document.blocks if block.kind != "heading"
    ]


def one(rows, after="", **options):
    """The blocks of a workbook of one sheet."""
    return blocks(workbook({"Fares": sheet(rows, after)}, **options))


def saved(book):
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()


@pytest.mark.parametrize("size", ["A1", "A1:A1", "", "Z9:A1", "A1:XFD1048576"])
def test_the_stated_size_of_a_sheet_is_not_believed(size):
    xml = sheet(cells(["name", "depth"], ["a", 1], ["b", 2]), before=f'<dimension ref="{size}"/>')
    assert blocks(workbook({"One": xml})) == [("table", "name | depth\na | 1\nb | 2")]


@pytest.mark.parametrize(
    ("value", "code", "shown"),
    [
        ("0.25", "0%", "25%"),
        ("0.125", "0.0%", "12.5%"),
        ("7", "00000", "00007"),
        ("0.30000000000000004", "General", "0.3"),
        ("1.1000000000000001", "General", "1.1"),
        ("2.675", "0.00", "2.68"),
        ("1234567.5", "#,##0.00", "1,234,567.50"),
        ("-1234.5", "#,##0.00;[Red](#,##0.00)", "(1,234.50)"),
        ("1234.5", '_-* #,##0.00\\ "€"_-;\\-* #,##0.00\\ "€"_-;_-* "-"??\\ "€"_-;_-@_-', "1,234.50 €"),
        ("12.5", "[$£-809]#,##0.00", "£12.50"),
        ("12.5", '"$"#,##0.00_);("$"#,##0.00)', "$12.50"),
        ("5551234567", "(000) 000-0000", "(555) 123-4567"),
        ("1250000", '0.0,,"M"', "1.3M"),
        ("12345", "0.00E+00", "1.23E+04"),
        ("12.75", "# ?/?", "12 3/4"),
        ("5", '0" kg"', "5 kg"),
        ("1500", '[<1000]0;[>=1000]0.0,"K"', "1.5K"),
        ("0", "0;-0;none", "none"),
        ("-0.001", "0.0", "0.0"),
        ("5", ";;;", "5"),
        ("1E-5", "General", "0.00001"),
        ("123456789012345", "General", "123456789012345"),
        ("1234567890123456", "General", "1234567890123456"),
        ("4111111111111111", "0", "4111111111111111"),
        ("4111111111111111", "#,##0", "4,111,111,111,111,111"),
        ("45352", "dd.mm.yyyy", "2024-03-01"),
        ("45352", "yyyy-mm-dd h:mm:ss", "2024-03-01"),
        ("45352.604166666664", "m/d/yy h:mm", "2024-03-01 14:30"),
        ("45352", "d mmmm yyyy", "1 March 2024"),
        ("45352", "mmm-yy", "Mar-24"),
        ("45352", "[$-409]dddd, mmmm dd, yyyy", "Friday, March 01, 2024"),
        ("45352", "yyyy", "2024"),
        ("45352", 'yyyy"年"m"月"d"日"', "2024年3月1日"),
        ("0.604166666666667", "h:mm AM/PM", "2:30 PM"),
        ("0", "h:mm", "0:00"),
        ("1.1041666666666667", "[h]:mm", "26:30"),
        ("0.0104166666667", "mm:ss", "15:00"),
        ("0.0001", "mm:ss.0", "00:08.6"),
        ("9999999", "yyyy-mm-dd", "9999999"),
        ("12", "@", "12"),
        ("n/a", "0.00", "n/a"),
        ("1e400", "0", "1e400"),
        ("44", 'General" pcs"', "44 pcs"),
    ],
)
def test_numbers_stand_as_their_format_shows_them(value, code, shown):
    assert shown_number(value, code) == shown


def test_dates_count_from_1904_where_the_workbook_says_so():
    assert shown_number("43890", "yyyy-mm-dd", date1904=True) == "2024-03-01"
    row = cells(["day", "n"], ['<c r="@" s="1"><v>43890</v></c>', 1])
    assert one(row, formats=["yyyy-mm-dd"], properties='<workbookPr date1904="1"/>')[0][1] == "day | n\n2024-03-01 | 1"


def test_a_format_writes_words_around_text():
    assert shown_text("7b", '"Room "@') == "Room 7b"
    assert shown_text("7b", "0.00") == "7b"


def test_what_openpyxl_writes():
    book = Workbook()
    book.active.append(["when", "share", "code", "sum", "ok", "length"])
    day = datetime.datetime(2024, 3, 1)
    book.active.append([day, 0.25, 7, 0.1 + 0.2, True, datetime.timedelta(hours=26, minutes=30)])
    book.active["B2"].number_format, book.active["C2"].number_format = "0%", "00000"
    (block,) = blocks(saved(book))
    assert block[1].splitlines()[1] == "2024-03-01 | 25% | 00007 | 0.3 | TRUE | 26:30:00"


def test_every_kind_of_cell():
    strings = "<si><t>plain</t></si><si><r><t>two </t></r><r><rPr/><t>runs_x000D_</t></r><rPh><t>aloud</t></rPh></si>"
    row = ['<c r="@" t="s"><v>0</v></c>', '<c r="@" t="s"><v>1</v></c>', '<c r="@" t="b"><v>0</v></c>']
    row += ['<c r="@" t="e"><v>#DIV/0!</v></c>', '<c r="@" t="d"><v>2024-03-01T00:00:00</v></c>']
    row += ['<c r="@" t="inlineStr"><is><r><t>in</t></r><r><t>line</t></r></is></c>', '<c r="@" t="s"><v>99</v></c>']
    header = ["a", "b", "c", "d", "e", "f"]
    assert one(cells(header, row), strings=strings) == [
        ("table", "a | b | c | d | e | f\nplain | two runs | FALSE | #DIV/0! | 2024-03-01 | inline")
    ]


def test_cells_and_rows_without_a_name_follow_each_other():
    rows = '<row><c t="inlineStr"><is><t>a</t></is></c><c/><c t="inlineStr"><is><t>b</t></is></c></row>'
    rows += "<row><c><v>1</v></c><c/><c><v>2</v></c></row>"
    assert one(rows) == [("table", "a | b\n1 | 2")]


def test_formulas_without_a_value_stand_as_formulas_with_a_note():
    rows = cells(
        ["item", "gross"],
        ["rope", '<c r="@"><f>B9*1.2</f><v/></c>'],
        ["tar", '<c r="@"><f t="shared" ref="B3:B4" si="0">A3*2</f></c>'],
        ["oil", '<c r="@"><f t="shared" si="0"/></c>'],
        ["known", '<c r="@"><f>1+1</f><v>2</v></c>'],
        ["empty", '<c r="@" t="str"><f>""</f><v></v></c>'],
        ["link", '<c r="@"><f>HYPERLINK("http://x.y","Tide table")</f></c>'],
    )
    document = parse_xlsx(workbook({"Fares": sheet(rows)}))
    assert document.text.split("\n\n")[1].splitlines()[1:] == [
        "rope | =B9*1.2",
        "tar | =A3*2",
        "oil | =A4*2",
        "known | 2",
        "empty",
        "link | Tide table",
    ]
    assert document.notes == ("formulas without a computed value: 4; open and save the file in a spreadsheet program",)


def test_a_zero_that_awaits_its_computation_is_no_value():
    rows = cells(["item", "sum"], ["rope", '<c r="@"><f>SUM(A1:A9)</f><v>0</v></c>'])
    assert one(rows, properties='<calcPr fullCalcOnLoad="1"/>') == [("table", "item | sum\nrope | =SUM(A1:A9)")]
    assert one(rows) == [("table", "item | sum\nrope | 0")]


def test_titles_above_the_header_do_not_become_it():
    rows = cells(
        ["Report 2024"], ["by", "Ana"], ["name", "depth", "port", "day"], ["a", 1, "Hull", 2], ["b", 2, "Goole", 3]
    )
    document = parse_xlsx(workbook({"One": sheet(rows)}))
    assert document.text.split("\n\n")[1:] == [
        "Report 2024\nby Ana",
        "name | depth | port | day\na | 1 | Hull | 2\nb | 2 | Goole | 3",
    ]
    assert document.blocks[-1].header == 1


def test_tables_apart_are_tables_and_a_gap_in_one_is_none():
    rows = cells(
        ["name", "depth"],
        ["a", 1],
        [],
        ["b", 2],
        ["total", 3],
        [],
        ["Second table"],
        [],
        ["port", "fare"],
        ["Hull", 4],
        ["Ely", 5],
    )
    assert one(rows) == [
        ("table", "name | depth\na | 1\nb | 2\ntotal | 3"),
        ("text", "Second table"),
        ("table", "port | fare\nHull | 4\nEly | 5"),
    ]


def test_tables_beside_each_other_are_tables_and_an_empty_column_in_one_is_none():
    rows = cells(
        ["name", "depth", None, None],
        ["a", 1, None, "port", "fare"],
        ["b", 2, None, "Hull", 4],
        *([f"c{n}", n] for n in range(5)),
    )
    assert [text.splitlines()[0] for _, text in one(rows)] == ["name | depth", "port | fare"]
    assert one(cells(["name", None, "depth", "day"], ["a", None, 1, 2])) == [("table", "name | depth | day\na | 1 | 2")]


@pytest.mark.parametrize(("first", "n_header"), [([0.5, 1.5], 0), ([2023, 2024], 1), (["a", 1], 1)])
def test_a_row_of_numbers_is_no_header(first, n_header):
    assert parse_xlsx(workbook({"One": sheet(cells(first, [3, 4], [5, 6]))})).blocks[-1].header == n_header


def test_a_header_that_the_file_names_is_the_header():
    rows = cells(["x", "y", "z"], ["notes", "more", "words"], ["name", "depth", "day"], ["a", 1, 2])
    document = parse_xlsx(workbook({"One": sheet(rows, '<autoFilter ref="A3:C4"/>')}))
    assert document.text.split("\n\n")[1:] == ["x y z\nnotes more words", "name | depth | day\na | 1 | 2"]
    declared = {"xl__tables__table1.xml": f'<table xmlns="{S}" ref="A3:C4"/>'}
    related = [("t", "table", "../tables/table1.xml")]
    assert parse_xlsx(workbook({"One": sheet(rows)}, related=related, **declared)).text == document.text


def test_merged_cells_stand_once_across_and_in_each_row_downwards():
    rows = cells(
        ["Fares"], ["port", "2023", None, "2024"], [None, "in", "out", "in"], ["Hull", 1, 2, 3], [None, 4, 5, 6]
    )
    merged = "".join(f'<mergeCell ref="{area}"/>' for area in ("A1:D1", "A2:A3", "B2:C2", "A4:A5"))
    merged = f"<mergeCells>{merged}</mergeCells>"
    document = parse_xlsx(workbook({"One": sheet(rows, merged)}))
    assert document.text.split("\n\n")[1:] == [
        "Fares",
        "port | 2023 |  | 2024\nport | in | out | in\nHull | 1 | 2 | 3\nHull | 4 | 5 | 6",
    ]
    assert document.blocks[-1].header == 2


def test_empty_columns_and_rows_cost_nothing():
    wide = '<row r="1">' + "".join(f'<c r="{a}{b}1" s="0"/>' for a in "ABC" for b in "ABCDEFGHIJKLMNOPQRSTUVWXYZ")
    wide += '<c r="XFD1" t="inlineStr"><is><t>far</t></is></c></row>'
    long = "".join(f'<row r="{n}"><c r="A{n}" s="0"/></row>' for n in range(2, 30_000))
    last = '<row r="1048576"><c r="A1048576"><v>1</v></c></row>'
    everything = '<mergeCells><mergeCell ref="A1:A1048576"/></mergeCells>'
    assert one(wide + long + last, everything) == [("text", "far"), ("text", "1")]


def test_a_sheet_of_few_cells_far_apart_is_read_without_its_empty_ones():
    rows = "".join(
        f'<row r="{n}"><c r="A{n}"><v>{n}</v></c>'
        f'<c r="{chr(65 + n % 26)}{chr(65 + n // 26 % 26)}{n}"><v>{n}</v></c></row>'
        for n in range(1, 3000)
    )
    ((kind, text),) = one(rows)
    assert kind == "table"
    assert text.splitlines() == [f"{n} | {n}" for n in range(1, 3000)]


def test_hidden_sheets_are_read_and_named():
    book = Workbook()
    book.active.append(["open"])
    hidden = book.create_sheet("Wages")
    hidden.append(["name", "wage"])
    hidden.append(["Ana", 7])
    hidden.sheet_state = "veryHidden"
    document = parse_xlsx(saved(book))
    assert "Ana | 7" in document.text
    assert document.notes == ("hidden sheets are read too: Wages",)


def test_hidden_rows_and_columns_that_hold_something_are_read_and_noted():
    book = Workbook()
    for row in (["name", "wage"], ["Ana", 7], ["Bo", 8]):
        book.active.append(row)
    book.active.column_dimensions["Z"].hidden = True
    assert parse_xlsx(saved(book)).notes == ()
    book.active.row_dimensions[3].hidden = True
    document = parse_xlsx(saved(book))
    assert "name | wage\nAna | 7\nBo | 8" in document.text
    assert document.notes == ("hidden rows and columns are read too, in: Sheet",)
    book.active.row_dimensions[3].hidden = False
    book.active.column_dimensions["B"].hidden = True
    assert parse_xlsx(saved(book)).notes == document.notes


def test_a_cell_alone_in_its_row_stays_in_its_column():
    rows = cells(["port", "depth"], ["Hull", 9], [None, 12], ["East:"], ["Cork", 7])
    assert one(rows) == [("table", "port | depth\nHull | 9\n | 12\nEast:\nCork | 7")]


def test_comments_stand_below_the_table_after_the_name_of_their_cell():
    book = Workbook()
    book.active.append(["name", "depth"])
    book.active.append(["a", 1])
    book.active["B2"].comment = Comment("Measured at low tide.", "Ana")
    assert blocks(saved(book))[1] == ("text", "B2: Measured at low tide.")


def test_a_thread_of_comments_is_read_once():
    threads = '<ThreadedComments xmlns="http://schemas.microsoft.com/office/spreadsheetml/2018/threadedcomments">'
    threads += '<threadedComment ref="A1"><text>Why?</text></threadedComment><threadedComment ref="A1"><text>So.</text>'
    threads += "</threadedComment></ThreadedComments>"
    old = f'<comments xmlns="{S}"><commentList>'
    old += '<comment ref="A1"><text><t>[Threaded comment] Why? So.</t></text></comment>'
    old += '<comment ref="B1"><text><r><t>Old </t></r><r><t>one.</t></r></text></comment></commentList></comments>'
    parts = {"xl__t.xml": threads, "xl__c.xml": old}
    related = [("c", "comments", "../c.xml"), ("t", "threadedComment", "../t.xml")]
    assert one(cells(["a", "b"], [1, 2]), related=related, **parts)[1:] == [
        ("text", "A1: Why?"),
        ("text", "A1: So."),
        ("text", "B1: Old one."),
    ]


def test_text_boxes_and_titles_of_charts_on_a_sheet():
    drawing = f"<xdr:wsDr {NAMES}><xdr:sp><xdr:txBody><a:p><a:r><a:t>Boxed.</a:t></a:r></a:p></xdr:txBody></xdr:sp>"
    drawing += '<c:chart r:id="c"/></xdr:wsDr>'
    chart = (
        f"<c:chartSpace {NAMES}><c:chart><c:title><c:tx><c:rich><a:p><a:r><a:t>Catch</a:t></a:r></a:p></c:rich></c:tx>"
    )
    chart += "</c:title><c:ser><c:tx><c:v>In cells</c:v></c:tx></c:ser></c:chart></c:chartSpace>"
    link = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="c" '
    link += f'Type="{R}/chart" Target="/xl/chart.xml"/></Relationships>'
    parts = {"xl__drawing.xml": drawing, "xl__chart.xml": chart, "xl___rels__drawing.xml.rels": link}
    slicer = '<mc:AlternateContent><mc:Choice Requires="a14"><xdr:graphicFrame/></mc:Choice><mc:Fallback>'
    slicer += "<xdr:sp><xdr:txBody><a:p><a:r><a:t>Not supported.</a:t></a:r></a:p></xdr:txBody></xdr:sp>"
    slicer += "</mc:Fallback></mc:AlternateContent>"
    parts["xl__drawing.xml"] = drawing.replace("</xdr:wsDr>", slicer + "</xdr:wsDr>")
    assert one(cells(["a", "b"], [1, 2]), related=[("d", "drawing", "../drawing.xml")], **parts)[1:] == [
        ("text", "Boxed."),
        ("text", "Catch"),
    ]


def test_a_damaged_sheet_is_read_up_to_the_damage():
    whole = sheet(cells(["a", "b"], [1, 2]))
    document = parse_xlsx(
        workbook({"One": whole[: whole.index("</sheetData>")], "Two": sheet(cells(["c", "d"], [3, 4]))})
    )
    assert document.text == "One\n\na | b\n1 | 2\n\nTwo\n\nc | d\n3 | 4"
    assert document.notes == ("the sheet One is damaged; only what stands before the damage is read",)


def test_strict_workbooks():
    strict = "http://purl.oclc.org/ooxml"
    rows = (
        f'<worksheet xmlns="{strict}/spreadsheetml/main"><sheetData>{cells(["a", "b"], [1, 2])}</sheetData></worksheet>'
    )
    book = f'<workbook xmlns="{strict}/spreadsheetml/main" xmlns:r="{strict}/officeDocument/relationships"><sheets>'
    book += '<sheet name="One" r:id="s"/></sheets></workbook>'
    base = f"{strict}/officeDocument/relationships"
    link = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships"><Relationship Id="s" '
    link += f'Type="{base}/worksheet" Target="one.xml"/></Relationships>'
    parts = {"xl/book.xml": book, "xl/one.xml": rows, "xl/_rels/book.xml.rels": link}
    assert blocks(package("xl/book.xml", parts, base=base)) == [("table", "a | b\n1 | 2")]
