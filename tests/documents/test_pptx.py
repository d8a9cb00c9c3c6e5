"""Slides are pages: shapes, tables, charts, diagrams and notes, each once."""

import io
import zipfile

import pytest
from pptx import Presentation
from pptx.chart.data import CategoryChartData, XyChartData
from pptx.enum.chart import XL_CHART_TYPE
from pptx.util import Inches

from rag.documents.formats.office.pptx import parse_pptx
from tests.fakes.office_files import NAMES, deck, shape


def blocks(data):
    document = parse_pptx(data)
    return [(document.text[block.start : block.end], block.page) for block in document.blocks]


def texts(data):
    return [text for text, _ in blocks(data)]


def saved(presentation):
    file = io.BytesIO()
    presentation.save(file)
    return file.getvalue()


def chart_of(kind, data, title=""):
    presentation = Presentation()
    slide = presentation.slides.add_slide(presentation.slide_layouts[6])
    chart = slide.shapes.add_chart(kind, Inches(1), Inches(1), Inches(5), Inches(4), data).chart
    if title:
        chart.has_title = True
        chart.chart_title.text_frame.text = title
    return saved(presentation)


def test_a_shape_with_the_number_of_the_title_is_read_too():
    data = deck(shape("Below first.", number=2) + shape("Fleet", kind="title", number=2) + shape("Twin.", number=2))
    assert blocks(data) == [("Fleet", 1), ("Below first.", 1), ("Twin.", 1)]
    assert parse_pptx(data).blocks[0].kind == "heading"


def test_a_second_title_is_text():
    assert texts(deck(shape("One", kind="title") + shape("Two", kind="ctrTitle"))) == ["One", "Two"]


def test_names_and_values_of_a_chart_are_a_table():
    data = CategoryChartData(number_format="0%")
    data.categories = ["Tugs", "Barges"]
    data.add_series("2023", (0.25, 0.5))
    data.add_series("2024", (0.3, None))
    assert texts(chart_of(XL_CHART_TYPE.COLUMN_CLUSTERED, data, "Fleet share")) == [
        "Fleet share",
        "| 2023 | 2024\nTugs | 25% | 30%\nBarges | 50% |",
    ]


def test_categories_in_groups_and_points_of_a_cloud():
    data = CategoryChartData()
    for group in ("North", "South"):
        top = data.add_category(group)
        for name in ("Hull", "Ely"):
            top.add_sub_category(name)
    data.add_series("Fare", (1, 2, 3, 4))
    (table,) = texts(chart_of(XL_CHART_TYPE.COLUMN_CLUSTERED, data))
    assert table.splitlines()[1:] == ["North › Hull | 1", "North › Ely | 2", "South › Hull | 3", "South › Ely | 4"]
    cloud = XyChartData()
    series = cloud.add_series("Depth")
    series.add_data_point(0.1 + 0.2, 7)
    assert texts(chart_of(XL_CHART_TYPE.XY_SCATTER, cloud)) == ["| Depth\n0.3 | 7"]


def test_charts_of_2016():
    new = f'<cx:chartSpace {NAMES}><cx:chartData><cx:data id="0"><cx:strDim type="cat"><cx:lvl>'
    new += '<cx:pt idx="0">Rent</cx:pt></cx:lvl></cx:strDim><cx:numDim type="val"><cx:lvl formatCode="0.0">'
    new += '<cx:pt idx="0">7</cx:pt></cx:lvl></cx:numDim></cx:data></cx:chartData><cx:chart>'
    new += "<cx:title><cx:tx><cx:txData><cx:v>Costs</cx:v></cx:txData></cx:tx></cx:title>"
    new += (
        '<cx:series><cx:tx><cx:txData><cx:v>May</cx:v></cx:txData></cx:tx><cx:dataId val="0"/></cx:series></cx:chart>'
    )
    frame = '<mc:AlternateContent xmlns:cx1="http://schemas.microsoft.com/office/drawing/2015/9/8/chartex">'
    frame += '<mc:Choice Requires="cx1"><p:graphicFrame><cx:chart r:id="c"/></p:graphicFrame></mc:Choice><mc:Fallback>'
    frame += shape("This chart is not available.") + "</mc:Fallback></mc:AlternateContent>"
    data = deck(frame, slide1=[("c", "chartEx", "/ppt/new.xml")], ppt__new_xml=new + "</cx:chartSpace>")
    assert texts(data) == ["Costs", "| May\nRent | 7.0"]


def test_a_diagram_is_read_from_its_model():
    def point(text, kind="node"):
        return f'<dgm:pt type="{kind}"><dgm:t><a:p><a:r><a:t>{text}</a:t></a:r></a:p></dgm:t></dgm:pt>'

    model = point("", "doc") + point("Plan") + point("arrow", "parTrans") + point("Sail") + point("copy", "pres")
    model = f"<dgm:dataModel {NAMES}><dgm:ptLst>{model}</dgm:ptLst></dgm:dataModel>"
    frame = '<p:graphicFrame><dgm:relIds r:dm="d" r:lo="x"/></p:graphicFrame>'
    data = deck(frame, slide1=[("d", "diagramData", "/ppt/model.xml")], ppt__model_xml=model)
    assert texts(data) == ["Plan\nSail"]


def test_groups_tables_and_cells_merged_downwards():
    def cell(text, attributes=""):
        return f"<a:tc {attributes}><a:txBody><a:p><a:r><a:t>{text}</a:t></a:r></a:p></a:txBody></a:tc>"

    rows = [cell("port") + cell("day"), cell("Hull", 'rowSpan="2"') + cell("Mon"), cell("", 'vMerge="1"') + cell("Tue")]
    table = f"<p:graphicFrame><a:tbl>{''.join(f'<a:tr>{row}</a:tr>' for row in rows)}</a:tbl></p:graphicFrame>"
    inside = shape("Deep.")
    for _ in range(100):
        inside = f"<p:grpSp>{inside}</p:grpSp>"
    assert texts(deck(inside + table)) == ["Deep.", "port | day\nHull | Mon\nHull | Tue"]


def test_breaks_fields_and_equations_in_text():
    def t(letters):
        return f"<a:r><a:t>{letters}</a:t></a:r>"

    math = (
        "<m:oMath><m:sSup><m:e><m:r><m:t>x</m:t></m:r></m:e><m:sup><m:r><m:t>2</m:t></m:r></m:sup></m:sSup></m:oMath>"
    )
    both = f'<mc:AlternateContent><mc:Choice Requires="a14">{shape(f"<a:p><a14:m>{math}</a14:m></a:p>")}</mc:Choice>'
    both += f"<mc:Fallback>{shape('x2 as a picture')}</mc:Fallback></mc:AlternateContent>"
    line = f"<a:p>{t('One')}<a:br/>{t('two_x000B_three')}<a:fld type='slidenum'><a:t>7</a:t></a:fld></a:p>"
    assert texts(deck(shape(line) + both)) == ["One\ntwo\nthree", "x^2"]


def test_characters_of_special_fonts_are_the_letters_that_they_show():
    arrow = '<a:p><a:r><a:t>Hull </a:t></a:r><a:r><a:rPr><a:sym typeface="Wingdings"/></a:rPr><a:t>\uf0e0</a:t></a:r>'
    arrow += "<a:r><a:t> Cork</a:t></a:r></a:p>"
    assert texts(deck(shape(arrow) + shape("\uf0fe checked ☐open"))) == ["Hull → Cork", "[x] checked [ ] open"]


def test_footers_stand_once_and_numbers_of_slides_nowhere():
    def slide(n):
        return shape(f"Slide {n}.") + shape("Port Authority", kind="ftr") + shape(str(n), kind="sldNum")

    assert texts(deck(slide(1), slide(2))) == ["Slide 1.", "Port Authority", "Slide 2."]


def test_hidden_slides_are_read_and_named():
    document = parse_pptx(deck(shape("Seen."), shape("Hidden."), slide_attributes=("", 'show="0"')))
    assert document.text == "Seen.\n\nHidden."
    assert document.notes == ("hidden slides are read too: 2",)


def test_notes_of_the_speaker_without_the_picture_and_number_of_the_slide():
    notes = shape("", kind="sldImg") + shape("Say this.", kind="body") + shape("3", kind="sldNum") + shape("Beside.")
    notes = f"<p:notes {NAMES}><p:cSld><p:spTree>{notes}</p:spTree></p:cSld></p:notes>"
    data = deck(shape("Text."), slide1=[("n", "notesSlide", "/ppt/notes.xml")], ppt__notes_xml=notes)
    assert blocks(data) == [("Text.", 1), ("Say this.", 1), ("Beside.", 1)]


def test_a_missing_slide_is_named_and_the_others_keep_their_numbers():
    data = deck(shape("One."), shape("Two."))
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as old, zipfile.ZipFile(buffer, "w") as new:
        for name in old.namelist():
            if name != "ppt/slides/slide1.xml":
                new.writestr(name, old.read(name))
    document = parse_pptx(buffer.getvalue())
    assert [(document.text, block.page) for block in document.blocks] == [("Two.", 2)]
    assert document.notes == ("the part ppt/slides/slide1.xml is missing",)


@pytest.mark.parametrize("target", ["chart.xml", "/ppt/chart.xml"])
def test_a_chart_that_is_missing_costs_itself_alone(target):
    data = deck(
        shape("Text.") + '<p:graphicFrame><c:chart r:id="c"/></p:graphicFrame>', slide1=[("c", "chart", target)]
    )
    assert parse_pptx(data).text == "Text."
    assert len(parse_pptx(data).notes) == 1
