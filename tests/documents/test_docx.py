"""What Word shows of a file is read, once and in its place."""

import docx as python_docx
import pytest

from rag.documents.formats.office.docx import parse_docx
from rag.documents.formats.office.docx_lists import counted
from rag.documents.parse import parse_file
from rag.errors import UnreadableFile
from tests.fakes.office_files import NAMES, links, p, package, r, table, tc, word


def lines(data):
    """The text of every block."""
    document = parse_docx(data)
    return [document.text[block.start : block.end] for block in document.blocks]


def blocks(data):
    document = parse_docx(data)
    return [(block.kind, document.text[block.start : block.end], block.level) for block in document.blocks]


def box(inside):
    """A text box as Word writes it: a shape, and a copy of its text for old programs."""
    return (
        f'<w:r><mc:AlternateContent><mc:Choice Requires="wps"><w:drawing><wps:txbx><w:txbxContent>{inside}'
        "</w:txbxContent></wps:txbx></w:drawing></mc:Choice><mc:Fallback><w:pict><v:shape><v:textbox><w:txbxContent>"
        f"{inside}</w:txbxContent></v:textbox></v:shape></w:pict></mc:Fallback></mc:AlternateContent></w:r>"
    )


def control(inside):
    return f"<w:sdt><w:sdtPr><w:alias/></w:sdtPr><w:sdtContent>{inside}</w:sdtContent></w:sdt>"


def test_a_text_box_is_read_once_below_the_paragraph_that_holds_it():
    assert lines(word(p("Before.") + p("Anchor", box(p("Boxed.")), " goes on.") + p("After."))) == [
        "Before.",
        "Anchor goes on.",
        "Boxed.",
        "After.",
    ]


def test_a_text_box_in_a_text_box_and_one_with_a_table():
    assert lines(word(p("Anchor.", box(p("Outer.", box(p("Inner.") + table(["a", "b"], ["1", "2"]))))))) == [
        "Anchor.",
        "Outer.",
        "Inner.",
        "a | b\n1 | 2",
    ]


def test_of_two_forms_the_one_that_holds_text_is_read():
    old_alone = (
        "<w:r><w:pict><v:textbox><w:txbxContent>" + p("Old box.") + "</w:txbxContent></v:textbox></w:pict></w:r>"
    )
    unknown = (
        '<w:r><mc:AlternateContent xmlns:zz="urn:unknown"><mc:Choice Requires="zz"><w:t>New.</w:t></mc:Choice>'
        "<mc:Fallback><w:t>For all.</w:t></mc:Fallback></mc:AlternateContent></w:r>"
    )
    empty = unknown.replace('Requires="zz"', 'Requires="wps"').replace("<w:t>New.</w:t>", "<w:drawing/>")
    assert lines(word(p("One.", old_alone) + p(unknown) + p(empty))) == ["One.", "Old box.", "For all.", "For all."]
    assert lines(word(p(unknown.replace("<w:t>For all.</w:t>", "<w:pict/>")))) == ["New."]


def test_letters_of_word_art_are_text():
    art = '<w:r><w:pict><v:shape><v:textpath string="DRAFT COPY"/></v:shape></w:pict></w:r>'
    assert lines(word(p("Text.", art))) == ["Text.", "DRAFT COPY"]


@pytest.mark.parametrize("depth", [1, 3])
def test_content_controls_around_words_paragraphs_cells_and_rows(depth):
    def wrapped(inside):
        for _ in range(depth):
            inside = control(inside)
        return inside

    body = wrapped(p("Whole paragraph.")) + p("In ", wrapped(r("the")), " line.")
    body += table(["who", "what"], ["Ana", wrapped(tc("pilot"))]).replace(
        "</w:tbl>", wrapped(f"<w:tr>{tc('Bo')}{tc('cook')}</w:tr>") + "</w:tbl>"
    )
    assert lines(word(body)) == ["Whole paragraph.", "In the line.", "who | what\nAna | pilot\nBo | cook"]


def note(kind, name, inside, attributes=""):
    return f'<w:{kind} {attributes} w:id="{name}">{inside}</w:{kind}>'


def test_notes_stand_once_below_the_paragraph_that_refers_to_them():
    refer = '<w:r><w:footnoteReference w:id="{}"/></w:r>'.format
    end = '<w:r><w:endnoteReference w:id="3"/></w:r>'
    feet = note("footnote", "0", p("___"), 'w:type="separator"') + note(
        "footnote", "2", p("<w:r><w:footnoteRef/></w:r>", "By law.")
    )
    feet += note("footnote", "3", p("Since May.") + p("And June.")) + note("footnote", "9", p("Never used."))
    body = p("First", refer(2), " claim.") + p("Second", refer(2), refer(3), end, ".") + p("Third.")
    assert lines(word(body, footnotes=feet, endnotes=note("endnote", "3", p("At the end.")))) == [
        "First claim.",
        "By law.",
        "Second.",
        "Since May.",
        "And June.",
        "At the end.",
        "Third.",
    ]


def test_notes_of_a_table_stand_below_it_and_those_of_deleted_text_nowhere():
    refer = '<w:r><w:footnoteReference w:id="{}"/></w:r>'.format
    feet = note("footnote", "1", p("Of a cell.")) + note("footnote", "2", p("Gone."))
    body = table(["who", "fare"], ["adults", tc(p("4", refer(1)))]) + p("Last.", f"<w:del>{refer(2)}</w:del>")
    assert lines(word(body, footnotes=feet)) == ["who | fare\nadults | 4", "Of a cell.", "Last."]


def test_a_note_that_refers_to_notes_and_one_that_is_missing():
    refer = '<w:r><w:footnoteReference w:id="{}"/></w:r>'.format
    feet = "".join(note("footnote", str(n), p(f"Note {n}.", refer(n + 1))) for n in range(3000))
    document = parse_docx(word(p("Text.", refer(0)), footnotes=feet))
    assert document.text.count("Note ") == 3000
    assert document.notes == ("the footnote 3000 is missing",)


def section(references="", **switches):
    return f"<w:sectPr>{references}{''.join(f'<w:{name}/>' for name in switches)}</w:sectPr>"


def margin(kind, part, which="default"):
    return f'<w:{kind}Reference w:type="{which}" r:id="r_{part}"/>'


def test_page_headers_and_footers_stand_once_around_their_section():
    first = section(margin("header", "header1") + margin("footer", "footer1"))
    second = section(margin("header", "header2"))
    page = '<w:r><w:fldChar w:fldCharType="begin"/></w:r><w:r><w:instrText> PAGE </w:instrText></w:r>'
    page += '<w:r><w:fldChar w:fldCharType="separate"/></w:r>' + r("7") + '<w:r><w:fldChar w:fldCharType="end"/></w:r>'
    body = p("One.", properties=first) + p("Two.") + p("Harbour rules") + second
    data = word(
        body,
        header1=p("Port Authority") + p("Harbour rules"),
        footer1=p("Page ", page, " of 9") + p("Box 12, Tern Island"),
        header2=p("Port Authority") + p("Annex"),
    )
    assert lines(data) == ["Port Authority", "One.", "Box 12, Tern Island", "Annex", "Two.", "Harbour rules"]


def test_headers_of_first_and_even_pages_are_read_where_word_shows_them():
    references = (
        margin("header", "header1") + margin("header", "header2", "first") + margin("header", "header3", "even")
    )
    parts = {"header1": p("All."), "header2": p("First."), "header3": p("Even.")}
    assert lines(word(p("Text.") + section(references), **parts)) == ["All.", "Text."]
    assert lines(word(p("Text.") + section(references, titlePg=1), **parts)) == ["All.", "First.", "Text."]
    even = "<w:evenAndOddHeaders/>"
    assert lines(word(p("Text.") + section(references), settings=even, **parts)) == ["All.", "Even.", "Text."]


def test_headers_that_python_docx_writes(tmp_path):
    document = python_docx.Document()
    document.sections[0].header.paragraphs[0].text = "Confidential 2024"
    document.sections[0].footer.paragraphs[0].text = "Seite 1 von 3"
    document.add_paragraph("Text.")
    document.save(tmp_path / "a.docx")
    assert parse_file(tmp_path / "a.docx").text == "Confidential 2024\n\nText."


def test_hyphens_symbols_and_breaks():
    inside = (
        "<w:r><w:t>ERR</w:t><w:noBreakHyphen/><w:t>404</w:t><w:tab/><w:t>co</w:t><w:softHyphen/><w:t>op\u00ad</w:t>"
    )
    inside += '<w:br/><w:sym w:font="Symbol" w:char="F06D"/><w:t>m </w:t><w:sym w:font="Wingdings" w:char="F0FE"/>'
    inside += '<w:sym w:font="Arial" w:char="00A7"/><w:sym w:font="Webdings" w:char="F099"/></w:r>'
    document = parse_docx(word(p(inside, r("\uf044t", '<w:rFonts w:ascii="Symbol"/>'))))
    assert document.text == "ERR-404\tcoop\nμm [x]§Δt"
    assert document.notes == ("1 symbols of special fonts have no letter and were left out",)


def test_boxes_to_tick_are_written_in_one_way_everywhere():
    ticked = control(r("☒")) + control(r("☑"))
    body = p(ticked, "Agreed ☐ refused") + table(["☐ open", "☑"], ["a", "b"]) + p("✓ stays")
    assert lines(word(body)) == ["[x][x] Agreed [ ] refused", "[ ] open | [x]\na | b", "✓ stays"]


def test_equations_keep_their_letters_in_order():
    def t(letters):
        return f"<m:r><m:t>{letters}</m:t></m:r>"

    def of(name, **parts):
        inside = "".join(f"<m:{part}>{value}</m:{part}>" for part, value in parts.items())
        return f"<m:{name}>{inside}</m:{name}>"

    power = t("E=m") + of("sSup", e=t("c"), sup=t("2"))
    fraction = of("f", num=t("a+b"), den=t("2"))
    total = (
        '<m:nary><m:naryPr><m:chr m:val="∑"/></m:naryPr><m:sub>' + t("i=1") + "</m:sub><m:sup>" + t("n") + "</m:sup>"
    )
    total += "<m:e>" + of("sSub", e=t("x"), sub=t("i")) + "</m:e></m:nary>"
    root = of("rad", deg="", e=t("x+1")) + '<m:d><m:dPr><m:begChr m:val="["/></m:dPr><m:e>' + t("y") + "</m:e></m:d>"
    body = p("So ", f"<m:oMath>{power}</m:oMath>", " holds.")
    body += p(f"<m:oMathPara><m:oMath>{fraction}</m:oMath><m:oMath>{total}</m:oMath></m:oMathPara>")
    body += p(f"<m:oMath>{root}</m:oMath>") + p(f"<w:ins><m:oMath>{t('z')}</m:oMath></w:ins>")
    assert lines(word(body)) == ["So E=mc^2 holds.", "(a+b)/2\n∑_(i=1)^n x_i", "√(x+1)[y)", "z"]


def test_text_as_it_reads_now():
    body = p(
        "Fee is ",
        "<w:del>" + r("3") + "<w:r><w:delText>3</w:delText></w:r></w:del>",
        "<w:ins>" + r("4") + "</w:ins>",
        ".",
    )
    body += p("<w:moveFrom>" + r("Moved.") + "</w:moveFrom>") + p("<w:moveTo>" + r("Moved.") + "</w:moveTo>")
    body += table(["a", "b"], ["1", "2"]).replace("<w:tr>", "<w:tr><w:trPr><w:del/></w:trPr>", 1)
    assert lines(word(body)) == ["Fee is 4.", "Moved.", "1 | 2"]


def test_a_paragraph_whose_end_was_deleted_goes_on_in_the_next():
    assert lines(word(p("One ", properties="<w:rPr><w:del/></w:rPr>") + p("two.") + p("Three."))) == [
        "One two.",
        "Three.",
    ]
    assert lines(word(p("Last.", properties="<w:rPr><w:del/></w:rPr>"))) == ["Last."]


def test_hidden_text_is_left_out_and_counted():
    styles = '<w:style w:type="character" w:styleId="Secret"><w:rPr><w:vanish/></w:rPr></w:style>'
    styles += '<w:style w:type="paragraph" w:styleId="Note"><w:basedOn w:val="Base"/></w:style>'
    styles += '<w:style w:type="paragraph" w:styleId="Base"><w:rPr><w:vanish/></w:rPr></w:style>'
    body = p(
        "Seen", r(" hidden", "<w:vanish/>"), r(" shown", '<w:vanish w:val="0"/>'), r(" x", '<w:rStyle w:val="Secret"/>')
    )
    body += p("All of it.", properties='<w:pStyle w:val="Note"/>') + p(r("Link", "<w:webHidden/>"))
    document = parse_docx(word(body, styles=styles))
    assert document.text == "Seen shown\n\nLink"
    assert document.notes == ("3 pieces of hidden text were left out, as Word does not show them",)


def mark(kind, data=""):
    return f'<w:r><w:fldChar w:fldCharType="{kind}">{data}</w:fldChar></w:r>'


def code(text):
    return f"<w:r><w:instrText>{text}</w:instrText></w:r>"


def test_fields_show_their_result():
    inner = mark("begin") + code("PAGE") + mark("separate") + r("nested") + mark("end")
    whole = mark("begin") + code("IF ") + inner + code(" 1") + mark("separate") + r("result") + mark("end")
    simple = '<w:fldSimple w:instr=" AUTHOR ">' + r("Ana") + "</w:fldSimple>"
    tick = mark("begin", "<w:ffData><w:checkBox><w:default w:val='0'/><w:checked/></w:checkBox></w:ffData>")
    choice = "<w:result w:val='1'/><w:listEntry w:val='red'/><w:listEntry w:val='blue'/>"
    choice = f"<w:ffData><w:ddList>{choice}</w:ddList></w:ffData>"
    choice = mark("begin", choice) + code("FORMDROPDOWN") + mark("end")
    body = p("A ", whole, ".") + p(simple) + p(tick, code("FORMCHECKBOX"), mark("end"), " agreed, ", choice)
    body += p("<w:hyperlink w:anchor='x'>" + r("Link") + "</w:hyperlink>", "<w:smartTag>" + r(" tag") + "</w:smartTag>")
    assert lines(word(body)) == ["A result.", "Ana", "[x] agreed, blue", "Link tag"]


def test_a_field_that_never_ends_swallows_nothing():
    assert lines(word(p(mark("begin"), code("TOC"), "One.") + p("Two.", mark("end"), mark("end")) + p("Three."))) == [
        "One.",
        "Two.",
        "Three.",
    ]
    assert lines(word(p(mark("begin"), code("TOC"), "One.") + p("Two."))) == ["One.", "Two."]


def level(depth, form, text, extra=""):
    inside = f'<w:start w:val="1"/><w:numFmt w:val="{form}"/><w:lvlText w:val="{text}"/>{extra}'
    return f'<w:lvl w:ilvl="{depth}">{inside}</w:lvl>'


def item(text, name="1", depth=0):
    return p(text, properties=f'<w:numPr><w:ilvl w:val="{depth}"/><w:numId w:val="{name}"/></w:numPr>')


def numbering(levels, *numbers):
    numbers = numbers or ('<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>',)
    return f'<w:abstractNum w:abstractNumId="0">{levels}</w:abstractNum>{"".join(numbers)}'


def test_lists_have_the_numbers_that_word_shows():
    levels = level(0, "decimal", "%1.") + level(1, "lowerLetter", "%2)") + level(2, "upperRoman", "%1.%2.%3")
    body = item("Open") + item("Monday", depth=1) + item("Tuesday", depth=1) + item("Late", depth=2) + p("Between")
    body += item("Closed") + item("Sunday", depth=1)
    assert lines(word(body, numbering=numbering(levels))) == [
        "1. Open",
        "a) Monday",
        "b) Tuesday",
        "1.b.I Late",
        "Between",
        "2. Closed",
        "a) Sunday",
    ]


def test_a_list_begins_again_where_the_file_says_so():
    again = '<w:num w:numId="2"><w:abstractNumId w:val="0"/><w:lvlOverride w:ilvl="0"><w:startOverride w:val="5"/>'
    again += "</w:lvlOverride></w:num>"
    on = '<w:num w:numId="3"><w:abstractNumId w:val="0"/></w:num>'
    first = '<w:num w:numId="1"><w:abstractNumId w:val="0"/></w:num>'
    body = item("a") + item("b") + item("c", "2") + item("d", "2") + item("e", "3") + item("f", "0")
    assert lines(word(body, numbering=numbering(level(0, "decimal", "(%1)"), first, again, on))) == [
        "(1) a",
        "(2) b",
        "(5) c",
        "(6) d",
        "(7) e",
        "f",
    ]


def test_headings_are_numbered_by_their_style_and_bullets_have_no_number():
    styles = "".join(
        f'<w:style w:type="paragraph" w:styleId="H{n}"><w:name w:val="heading {n}"/><w:pPr><w:numPr>'
        f'<w:numId w:val="1"/></w:numPr><w:outlineLvl w:val="{n - 1}"/></w:pPr></w:style>'
        for n in (1, 2)
    )
    levels = level(0, "decimal", "%1", '<w:pStyle w:val="H1"/>') + level(
        1, "decimal", "%1.%2", '<w:pStyle w:val="H2"/>'
    )
    levels += level(2, "bullet", "\uf0b7")
    body = p("Ferries", properties='<w:pStyle w:val="H1"/>') + p("Fares", properties='<w:pStyle w:val="H2"/>')
    body += item("Dogs are free.", depth=2) + p("Tides", properties='<w:pStyle w:val="H1"/>')
    assert blocks(word(body, styles=styles, numbering=numbering(levels))) == [
        ("heading", "1 Ferries", 1),
        ("heading", "1.1 Fares", 2),
        ("text", "Dogs are free.", 0),
        ("heading", "2 Tides", 1),
    ]


@pytest.mark.parametrize(
    ("n", "form", "written"),
    [
        (4, "lowerRoman", "iv"),
        (1999, "upperRoman", "MCMXCIX"),
        (28, "lowerLetter", "bb"),
        (3, "decimalZero", "03"),
        (12, "ordinal", "12th"),
        (22, "ordinal", "22nd"),
        (5, "hebrew1", "5"),
    ],
)
def test_forms_of_numbers(n, form, written):
    assert counted(n, form) == written


def test_headings_by_style_outline_and_what_a_style_builds_on():
    styles = '<w:style w:type="paragraph" w:styleId="berschrift2"><w:name w:val="heading 2"/></w:style>'
    styles += (
        '<w:style w:type="paragraph" w:styleId="Own"><w:name w:val="My own"/><w:basedOn w:val="berschrift2"/></w:style>'
    )
    styles += '<w:style w:type="paragraph" w:styleId="TOCHeading"><w:name w:val="TOC Heading"/><w:basedOn w:val="Own"/>'
    styles += '<w:pPr><w:outlineLvl w:val="9"/></w:pPr></w:style>'
    styles += '<w:style w:type="paragraph" w:styleId="A"><w:basedOn w:val="B"/></w:style>'
    styles += '<w:style w:type="paragraph" w:styleId="B"><w:basedOn w:val="A"/></w:style>'
    names = ["berschrift2", "Own", "TOCHeading", "A", "Heading3"]
    body = "".join(p(name, properties=f'<w:pStyle w:val="{name}"/>') for name in names)
    body += p("By outline", properties='<w:outlineLvl w:val="3"/>')
    assert [(kind, depth) for kind, _, depth in blocks(word(body, styles=styles))] == [
        ("heading", 2),
        ("heading", 2),
        ("text", 0),
        ("text", 0),
        ("heading", 3),
        ("heading", 4),
    ]


def test_cells_merged_downwards_fill_their_rows_and_those_merged_across_stand_once():
    begin, on, wide = '<w:vMerge w:val="restart"/>', "<w:vMerge/>", '<w:gridSpan w:val="2"/>'
    body = table(
        ["port", "day", "time"],
        [tc("Hull", begin), "Mon", "7"],
        [tc("<w:p/>", on), "Tue", "8"],
        [tc("All ports closed", '<w:gridSpan w:val="3"/>')],
        [tc("Goole", wide), "9"],
    )
    assert lines(word(body)) == ["port | day | time\nHull | Mon | 7\nHull | Tue | 8\nAll ports closed\nGoole |  | 9"]


def test_a_merge_that_goes_on_from_nothing_or_has_words_of_its_own_loses_none():
    on = "<w:vMerge/>"
    assert lines(word(table([tc("a", on), "b"], [tc("c", on), "d"]))) == ["a | b\nc | d"]
    assert lines(word(table(["a", "b"], [tc("<w:p/>", on), "d"]))) == ["a | b\n | d"]


def test_rows_that_begin_later_keep_their_columns_and_marked_rows_are_the_header():
    body = table(["a", "b", "c"], ["d", "e", "f"], ["g", "h"], ["1", "2", "3"])
    body = body.replace("<w:tr>", "<w:tr><w:trPr><w:tblHeader/></w:trPr>", 2)
    at = body.index('<w:tr><w:tc><w:tcPr></w:tcPr><w:p><w:pPr></w:pPr><w:r><w:rPr></w:rPr><w:t xml:space="preserve">g')
    body = body[:at] + body[at:].replace("<w:tr>", '<w:tr><w:trPr><w:gridBefore w:val="1"/></w:trPr>', 1)
    document = parse_docx(word(body))
    assert document.text == "a | b | c\nd | e | f\n | g | h\n1 | 2 | 3"
    assert document.blocks[0].header == 2


def test_a_title_row_stands_above_its_table():
    document = parse_docx(word(table([tc("Fares 2024", '<w:gridSpan w:val="2"/>')], ["who", "fare"], ["adults", "4"])))
    assert document.text == "Fares 2024\n\nwho | fare\nadults | 4"
    assert document.blocks[1].header == 1


def test_nested_tables_are_read_once_and_layout_becomes_paragraphs():
    inner = table(["a", "b"], ["1", "2"])
    assert lines(word(table(["x", "y"], ["left", tc(inner + p("below"))]))) == ["x | y\nleft | a, b; 1, 2 below"]
    assert lines(word(table([tc(p("Frame.") + inner)]))) == ["Frame.", "a | b\n1 | 2"]
    two_columns = table([tc(p("One.") + p("Two.") + p("Three.") + p("Four.")), tc("Right.")])
    assert lines(word(two_columns)) == ["One.", "Two.", "Three.", "Four.", "Right."]


def test_very_deep_files_are_read():
    body = p("Core.")
    for _ in range(150):
        body = table([tc(body + "<w:p/>")])
    assert lines(word(body)) == ["Core."]
    inside = r("Word.")
    for _ in range(600):
        inside = f"<w:ins>{inside}</w:ins>"
    assert lines(word(p(inside))) == ["Word."]


@pytest.mark.parametrize("main", ["word/document2.xml", "content/Main.XML", "document.xml"])
def test_the_main_part_is_found_by_its_link(tmp_path, main):
    data = package(
        main, {main: f"<w:document {NAMES}><w:body>{p('Found.')}</w:body></w:document>"}, "x/wordprocessingml.main+xml"
    )
    (tmp_path / "a.docx").write_bytes(data)
    assert parse_file(tmp_path / "a.docx").text == "Found."


def test_strict_files_and_other_endings(tmp_path):
    strict = "http://purl.oclc.org/ooxml"
    names = NAMES.replace("http://schemas.openxmlformats.org/wordprocessingml/2006/", f"{strict}/wordprocessingml/")
    names = names.replace("http://schemas.openxmlformats.org/officeDocument/2006/", f"{strict}/officeDocument/")
    base = f"{strict}/officeDocument/relationships"
    refer = '<w:r><w:footnoteReference w:id="1"/></w:r>'
    parts = {
        "word/document.xml": f"<w:document {names}><w:body>{p('Strict fee.', refer)}</w:body></w:document>",
        "word/feet.xml": f"<w:footnotes {names}>{note('footnote', '1', p('In crowns.'))}</w:footnotes>",
        "word/_rels/document.xml.rels": links([("a", "footnotes", "feet.xml")], base),
    }
    kind = "application/vnd.ms-word.document.macroEnabled.main+xml"
    (tmp_path / "a.docm").write_bytes(package("word/document.xml", parts, kind, base))
    assert parse_file(tmp_path / "a.docm").text == "Strict fee.\n\nIn crowns."


def test_files_that_only_look_like_word_are_named(tmp_path):
    for media_type, reason in [
        ("application/vnd.ms-excel.sheet.binary.macroEnabled.main", r"save it as \.xlsx"),
        ("application/vnd.ms-visio.drawing.main+xml", "save it as PDF"),
    ]:
        (tmp_path / "a.docx").write_bytes(package("xl/main.bin", {"xl/main.bin": "x"}, media_type))
        with pytest.raises(UnreadableFile, match=reason):
            parse_file(tmp_path / "a.docx")
    odt = package("content.xml", {"mimetype": "application/vnd.oasis.opendocument.text", "content.xml": "<x/>"}, "x")
    (tmp_path / "a.docx").write_bytes(odt)
    with pytest.raises(UnreadableFile, match="an OpenDocument file; save it as"):
        parse_file(tmp_path / "a.docx")


def test_damaged_parts_beside_the_text_cost_themselves_alone():
    document = parse_docx(word(p("Text."), styles="<w:styles xmlns:w='u'><broken", footnotes=""))
    assert document.text == "Text."
    assert document.notes == ("the part word/styles.xml is damaged and was not read",)


def test_charts_and_diagrams_are_text():
    chart = "<c:title><c:tx><c:rich><a:p><a:r><a:t>Catch</a:t></a:r></a:p></c:rich></c:tx></c:title>"
    chart = f"<c:chartSpace {NAMES}><c:chart>{chart}</c:chart></c:chartSpace>"
    diagram = (
        f'<dgm:dataModel {NAMES}><dgm:ptLst><dgm:pt type="doc"/><dgm:pt><dgm:t><a:p><a:r><a:t>Plan</a:t></a:r></a:p>'
    )
    diagram += "</dgm:t></dgm:pt></dgm:ptLst></dgm:dataModel>"
    body = p("See.", '<w:r><w:drawing><c:chart r:id="r_chart"/><dgm:relIds r:dm="r_diagramData"/></w:drawing></w:r>')
    assert lines(word(body, chart=chart, diagramData=diagram)) == ["See.", "Catch", "Plan"]


def test_inserted_pages_are_read_and_other_inserted_files_named():
    body = p("One.") + '<w:altChunk r:id="a"/>' + p("Two.") + '<w:altChunk r:id="b"/>'
    parts = {
        "word/document.xml": f"<w:document {NAMES}><w:body>{body}</w:body></w:document>",
        "word/page.htm": "<html><body><h2>Tides</h2><p>High at noon.</p></body></html>",
        "word/old.rtf": "{}",
        "word/_rels/document.xml.rels": links([("a", "aFChunk", "page.htm"), ("b", "aFChunk", "old.rtf")]),
    }
    data = package("word/document.xml", parts)
    assert blocks(data) == [
        ("text", "One.", 0),
        ("heading", "Tides", 2),
        ("text", "High at noon.", 0),
        ("text", "Two.", 0),
    ]
    assert parse_docx(data).notes == ("the file inserted as word/old.rtf is not read; save the document again in Word",)


def test_words_above_others_and_text_outside_of_paragraphs():
    ruby = "<w:r><w:ruby><w:rt>" + r("とう") + "</w:rt><w:rubyBase>" + r("東") + "</w:rubyBase></w:ruby></w:r>"
    assert lines(word(p(ruby, "京") + r("Loose.") + p("Next."))) == ["東(とう)京", "Loose.", "Next."]


def test_a_line_end_inside_text_is_a_space():
    assert lines(word("<w:p><w:r><w:t>One\n  two</w:t></w:r></w:p>")) == ["One   two"]


def test_a_document_type_declaration_is_refused():
    parts = {"word/document.xml": '<!DOCTYPE w [<!ENTITY a "b">]><w/>'}
    with pytest.raises(UnreadableFile, match="document type declaration"):
        parse_docx(package("word/document.xml", parts))
