"""Office files written part by part, as no library would write them."""

import io
import zipfile

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"
R = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
NAMES = (
    f'xmlns:w="{W}" xmlns:r="{R}" xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math" '
    'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006" xmlns:v="urn:schemas-microsoft-com:vml" '
    'xmlns:wps="http://schemas.microsoft.com/office/word/2010/wordprocessingShape" '
    'xmlns:w14="http://schemas.microsoft.com/office/word/2010/wordml" '
    'xmlns:a="http://schemas.openxmlformats.org/drawingml/2006/main" '
    'xmlns:c="http://schemas.openxmlformats.org/drawingml/2006/chart" '
    'xmlns:cx="http://schemas.microsoft.com/office/drawing/2014/chartex" '
    'xmlns:dgm="http://schemas.openxmlformats.org/drawingml/2006/diagram" '
    'xmlns:p="http://schemas.openxmlformats.org/presentationml/2006/main" '
    'xmlns:xdr="http://schemas.openxmlformats.org/drawingml/2006/spreadsheetDrawing" '
    'xmlns:a14="http://schemas.microsoft.com/office/drawing/2010/main"'
)
S = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
MEDIA = "application/vnd.openxmlformats-officedocument."
TYPES = {
    "word": f"{MEDIA}wordprocessingml.document.main+xml",
    "ppt": f"{MEDIA}presentationml.presentation.main+xml",
    "xl": f"{MEDIA}spreadsheetml.sheet.main+xml",
}


def links(entries, base=R):
    """A part of relationships from (identifier, kind, target) each."""
    inside = "".join(f'<Relationship Id="{i}" Type="{base}/{kind}" Target="{target}"/>' for i, kind, target in entries)
    return (
        f'<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{inside}</Relationships>'
    )


def package(main, parts, media_type=None, base=R):
    """A ZIP archive of parts (name -> text or bytes) with the types and the link that every Office file has."""
    family = media_type or TYPES[main.split("/")[0]]
    types = (
        '<Types xmlns="http://schemas.openxmlformats.org/package/2006/content-types">'
        '<Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>'
        '<Default Extension="xml" ContentType="application/xml"/><Default Extension="htm" ContentType="text/html"/>'
        f'<Override PartName="/{main}" ContentType="{family}"/></Types>'
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("[Content_Types].xml", types)
        archive.writestr("_rels/.rels", links([("rId1", "officeDocument", main)], base))
        for name, data in parts.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def word(body, main="word/document.xml", **parts):
    """A Word file: the XML of its body, and that of other parts by their kind (`footnotes=…`, `header1=…`)."""
    kinds = {name: name.rstrip("0123456789") for name in parts}
    files = {main: f"<w:document {NAMES}><w:body>{body}</w:body></w:document>"}
    for name, inside in parts.items():
        root = {"header": "hdr", "footer": "ftr"}.get(kinds[name], kinds[name])
        files[f"word/{name}.xml"] = (
            inside if inside[:1] == "<" and "xmlns" in inside[:200] else (f"<w:{root} {NAMES}>{inside}</w:{root}>")
        )
    folder, name = main.rsplit("/", 1)
    files[f"{folder}/_rels/{name}.rels"] = links([(f"r_{each}", kinds[each], f"/word/{each}.xml") for each in parts])
    return package(main, files)


def p(*runs, properties=""):
    """A paragraph of Word: texts become runs, XML stays as it is."""
    inside = "".join(each if each.startswith("<") else r(each) for each in runs)
    return f"<w:p><w:pPr>{properties}</w:pPr>{inside}</w:p>"


def r(text, properties=""):
    """A run of Word."""
    return f'<w:r><w:rPr>{properties}</w:rPr><w:t xml:space="preserve">{text}</w:t></w:r>'


def table(*rows):
    """A table of Word: texts become cells, XML stays as it is."""
    lines = "".join(
        f"<w:tr>{''.join(each if each.startswith('<') else tc(each) for each in row)}</w:tr>" for row in rows
    )
    return f"<w:tbl><w:tblPr/>{lines}</w:tbl>"


def tc(text, properties=""):
    """A cell of Word."""
    inside = text if text.startswith("<") else p(text)
    return f"<w:tc><w:tcPr>{properties}</w:tcPr>{inside}</w:tc>"


def sheet(rows, after="", before=""):
    """The XML of a worksheet around that of its rows."""
    return f'<worksheet xmlns="{S}" xmlns:r="{R}">{before}<sheetData>{rows}</sheetData>{after}</worksheet>'


def workbook(sheets, formats=(), strings="", properties="", related=(), **parts):
    """A workbook: the XML of its sheets by name, number formats (style 1 is the first), and other parts by path.

    `related` links the first sheet to other parts: (identifier, kind, target).
    """
    entries = "".join(f'<sheet name="{name}" sheetId="{n}" r:id="s{n}"/>' for n, name in enumerate(sheets, 1))
    codes = "".join(f'<numFmt numFmtId="{200 + n}" formatCode="{code}"/>' for n, code in enumerate(formats))
    styles = "".join(f'<xf numFmtId="{200 + n}"/>' for n, _ in enumerate(formats))
    files = {
        "xl/workbook.xml": f'<workbook xmlns="{S}" xmlns:r="{R}">{properties}<sheets>{entries}</sheets></workbook>',
        "xl/styles.xml": f'<styleSheet xmlns="{S}"><numFmts>{codes}</numFmts><cellXfs><xf numFmtId="0"/>{styles}'
        "</cellXfs></styleSheet>",
        "xl/sharedStrings.xml": f'<sst xmlns="{S}">{strings}</sst>',
        **{f"xl/worksheets/sheet{n}.xml": xml for n, xml in enumerate(sheets.values(), 1)},
        **{name.replace("__", "/"): xml for name, xml in parts.items()},
        "xl/worksheets/_rels/sheet1.xml.rels": links(related),
    }
    inside = [(f"s{n}", "worksheet", f"worksheets/sheet{n}.xml") for n in range(1, len(sheets) + 1)]
    files["xl/_rels/workbook.xml.rels"] = links(
        [*inside, ("styles", "styles", "styles.xml"), ("strings", "sharedStrings", "sharedStrings.xml")]
    )
    return package("xl/workbook.xml", files)


def cells(*rows):
    """The XML of rows: texts become inline strings, numbers stay numbers, XML stays as it is, None is no cell."""
    lines = []
    for at, row in enumerate(rows, 1):
        inside = ""
        for column, value in zip("ABCDEFGHIJKLMNOPQRSTUVWXYZ", row, strict=False):
            place = f"{column}{at}"
            if isinstance(value, str) and value.startswith("<"):
                inside += value.replace("@", place)
            elif isinstance(value, str):
                inside += f'<c r="{place}" t="inlineStr"><is><t>{value}</t></is></c>'
            elif value is not None:
                inside += f'<c r="{place}"><v>{value}</v></c>'
        lines.append(f'<row r="{at}">{inside}</row>' if inside else "")
    return "".join(lines)


def deck(*slides, slide_attributes=("",), **parts):
    """A presentation: the XML of each slide's shapes; other parts by path. Links of slide n are `slideN=[…]`."""
    main = "ppt/presentation.xml"
    entries = "".join(f'<p:sldId id="{255 + n}" r:id="s{n}"/>' for n in range(1, len(slides) + 1))
    files = {main: f"<p:presentation {NAMES}><p:sldIdLst>{entries}</p:sldIdLst></p:presentation>"}
    files["ppt/_rels/presentation.xml.rels"] = links([(f"s{n}", "slide", f"slides/slide{n}.xml") for n in range(1, 10)])
    for n, shapes in enumerate(slides, 1):
        attributes = slide_attributes[n - 1] if n <= len(slide_attributes) else ""
        tree = f"<p:cSld><p:spTree>{shapes}</p:spTree></p:cSld>"
        files[f"ppt/slides/slide{n}.xml"] = f"<p:sld {NAMES} {attributes}>{tree}</p:sld>"
        files[f"ppt/slides/_rels/slide{n}.xml.rels"] = links(parts.pop(f"slide{n}", []))
    files |= {name.replace("__", "/").replace("_xml", ".xml"): xml for name, xml in parts.items()}
    return package(main, files)


def shape(*paragraphs, kind="", number=2):
    """A shape of a slide with its paragraphs; `kind` is that of a placeholder."""
    place = f'<p:ph type="{kind}"/>' if kind else ""
    inside = "".join(
        each if each.startswith("<") else f"<a:p><a:r><a:t>{each}</a:t></a:r></a:p>" for each in paragraphs
    )
    name = f'<p:nvSpPr><p:cNvPr id="{number}" name="x"/><p:cNvSpPr/><p:nvPr>{place}</p:nvPr></p:nvSpPr><p:spPr/>'
    return f"<p:sp>{name}<p:txBody><a:bodyPr/>{inside}</p:txBody></p:sp>"
