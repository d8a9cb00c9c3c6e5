"""What was filled into a PDF's form, put where it shows on the page; also text typed over the page."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rag.documents.formats.pdf.glyphs import Glyphs
from rag.documents.formats.pdf.view import Box, View

_HIDDEN = 2 | 32  # flags of an annotation: hidden, not to be viewed
_PASSWORD = 1 << 13  # flag of a text field
_NEAR = 150.0  # points between a field and the words of its label
_MOST_LOOKS = 3_000_000  # at characters, for the labels of all fields of a page
_PLAIN_STATES = frozenset(["yes", "on", "off", "true", "1", "checked", "x", "ja", "oui"])


@dataclass(frozen=True, slots=True)
class Field:
    """A filled field: `text` as it is read; `is_mark` for a box to tick; `name` where no label is near."""

    text: str
    box: Box
    name: str = ""
    is_mark: bool = False


@dataclass(slots=True)
class Annotations:
    """What stands beside the text of a document's pages, and is not read."""

    n_comments: int = 0
    n_stamps: int = 0
    n_passwords: int = 0


def open_form(pdf):
    """The form environment of a document of pypdfium2, None without a sound form; ask before pages are loaded."""
    import pypdfium2.raw as pdfium

    if pdf.get_formtype() == pdfium.FORMTYPE_NONE:
        return None
    with contextlib.suppress(Exception):  # a damaged form is no reason to lose the text
        pdf.init_forms()
    return pdf.formenv


def read_fields(form, page, view: View, beside: Annotations) -> list[Field]:
    """The filled fields of a page, and texts typed over it, in the order of the file.

    `form` is the form environment of pypdfium2, None for a document without a form. Pages must be loaded after it.
    """
    import pypdfium2.raw as pdfium

    fields: list[Field] = []
    for n in range(pdfium.FPDFPage_GetAnnotCount(page.raw)):
        annotation = pdfium.FPDFPage_GetAnnot(page.raw, n)
        if not annotation:
            continue
        try:
            kind = pdfium.FPDFAnnot_GetSubtype(annotation)
            if kind == pdfium.FPDF_ANNOT_LINK or pdfium.FPDFAnnot_GetFlags(annotation) & _HIDDEN:
                continue
            rectangle = pdfium.FS_RECTF()
            pdfium.FPDFAnnot_GetRect(annotation, rectangle)
            box = view.box(rectangle.left, rectangle.bottom, rectangle.right, rectangle.top)
            if kind == pdfium.FPDF_ANNOT_TEXT:
                beside.n_comments += bool(_contents(annotation))
            elif kind == pdfium.FPDF_ANNOT_STAMP:
                beside.n_stamps += 1
            elif kind == pdfium.FPDF_ANNOT_FREETEXT:
                fields.append(Field(_contents(annotation), box))
            elif kind == pdfium.FPDF_ANNOT_WIDGET and form is not None:
                fields += _widget(form.raw, annotation, box, beside)
        finally:
            pdfium.FPDFPage_CloseAnnot(annotation)
    return [field for field in fields if field.text]


def _widget(form, annotation, box: Box, beside: Annotations) -> Iterator[Field]:
    """The field of a form that a widget shows; none for buttons, signatures, and fields without a value."""
    import pypdfium2.raw as pdfium

    kind = pdfium.FPDFAnnot_GetFormFieldType(form, annotation)
    name = _asked(pdfium.FPDFAnnot_GetFormFieldAlternateName, form, annotation) or _asked(
        pdfium.FPDFAnnot_GetFormFieldName, form, annotation
    )
    if kind == pdfium.FPDF_FORMFIELD_TEXTFIELD:
        if pdfium.FPDFAnnot_GetFormFieldFlags(form, annotation) & _PASSWORD:
            beside.n_passwords += 1
            return
        yield Field(_asked(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation), box, name)
    elif kind in (pdfium.FPDF_FORMFIELD_COMBOBOX, pdfium.FPDF_FORMFIELD_LISTBOX):
        yield Field(_chosen(form, annotation), box, name)
    elif kind in (pdfium.FPDF_FORMFIELD_CHECKBOX, pdfium.FPDF_FORMFIELD_RADIOBUTTON):
        checked = bool(pdfium.FPDFAnnot_IsChecked(form, annotation))
        yield Field("[x]" if checked else "[ ]", box, _mark_name(form, annotation, name, kind), is_mark=True)


def _mark_name(form, annotation, name: str, kind: int) -> str:
    """The name of a box to tick; of a radio button, what it stands for."""
    import pypdfium2.raw as pdfium

    if kind == pdfium.FPDF_FORMFIELD_RADIOBUTTON:
        value = _asked(pdfium.FPDFAnnot_GetFormFieldExportValue, form, annotation)
        if value and value.casefold() not in _PLAIN_STATES and not value.isdecimal():
            return f"{name}: {value}" if name else value
    return name


def _chosen(form, annotation) -> str:
    """What is chosen of a list, as the list shows it; else the field's value, which need not be in the list."""
    import pypdfium2.raw as pdfium

    labels = []
    for n in range(min(pdfium.FPDFAnnot_GetOptionCount(form, annotation), 10_000)):
        if pdfium.FPDFAnnot_IsOptionSelected(form, annotation, n):
            labels.append(_asked(functools.partial(_option, n), form, annotation))
    return ", ".join(filter(None, labels)) or _asked(pdfium.FPDFAnnot_GetFormFieldValue, form, annotation)


def _option(n: int, form, annotation, buffer, n_bytes: int) -> int:
    import pypdfium2.raw as pdfium

    return pdfium.FPDFAnnot_GetOptionLabel(form, annotation, n, buffer, n_bytes)


def _asked(ask, form, annotation) -> str:
    """A text of a field that pdfium writes into a buffer, its spaces made single."""
    import pypdfium2.raw as pdfium

    n_bytes = ask(form, annotation, None, 0)
    if n_bytes <= 2:
        return ""
    buffer = ctypes.create_string_buffer(n_bytes)
    ask(form, annotation, ctypes.cast(buffer, ctypes.POINTER(pdfium.FPDF_WCHAR)), n_bytes)
    return _single_spaced(buffer.raw[: n_bytes - 2].decode("utf-16-le", "replace"))


def _contents(annotation) -> str:
    """The text of an annotation, its spaces made single."""
    import pypdfium2.raw as pdfium

    n_bytes = pdfium.FPDFAnnot_GetStringValue(annotation, b"Contents", None, 0)
    if n_bytes <= 2:
        return ""
    buffer = ctypes.create_string_buffer(n_bytes)
    place = ctypes.cast(buffer, ctypes.POINTER(pdfium.FPDF_WCHAR))
    pdfium.FPDFAnnot_GetStringValue(annotation, b"Contents", place, n_bytes)
    return _single_spaced(buffer.raw[: n_bytes - 2].decode("utf-16-le", "replace"))


def _single_spaced(text: str) -> str:
    return " ".join(text.replace("\x00", "").split())


def fill(glyphs: Glyphs, fields: list[Field], ruled: Sequence[Box] = ()) -> None:
    """Put each field's text into a page's characters: behind the words left of it, or beside or above it.

    Where there are none, its name stands before it, unless it stands in one of the boxes `ruled`: tables name it.
    """
    boxes = [(i, box) for i, ch in enumerate(glyphs.text) if ch.strip() and (box := glyphs.box(i)) is not None]
    placed = []
    is_too_much = len(fields) * len(boxes) > _MOST_LOOKS
    for field in sorted(fields, key=lambda field: (round(field.box[1]), field.box[0])):
        x, y = (field.box[0] + field.box[2]) / 2, (field.box[1] + field.box[3]) / 2
        if any(left <= x <= right and top <= y <= bottom for left, top, right, bottom in ruled):
            field = dataclasses.replace(field, name="")
        if is_too_much:
            placed.append((*_at_end(glyphs, field), field.box))
        elif field.is_mark or not _is_shown(glyphs, boxes, field):
            placed.append((*_place(glyphs, boxes, field), field.box))
    placed.sort(key=lambda each: each[0])
    for place, text, box in placed[::-1]:  # those of one place keep their order
        glyphs.insert(place, text, box)


def _is_shown(glyphs: Glyphs, boxes: list[tuple[int, Box]], field: Field) -> bool:
    """Whether the page itself shows a field's text in its place, as where a form was printed to a new file."""
    left, top, right, bottom = field.box
    inside = "".join(
        glyphs.text[i]
        for i, box in boxes
        if left - 2 <= (box[0] + box[2]) / 2 <= right + 2 and top - 2 <= (box[1] + box[3]) / 2 <= bottom + 2
    )
    return "".join(field.text.split()) in inside


def _place(glyphs: Glyphs, boxes: list[tuple[int, Box]], field: Field) -> tuple[int, str]:
    """Where a field's text goes, and the text with the spaces or the line break around it."""
    left, top, right, bottom = field.box
    middle = (top + bottom) / 2
    row = [(i, box) for i, box in boxes if box[1] <= middle <= box[3] or top <= (box[1] + box[3]) / 2 <= bottom]
    before = max(((box[2], i) for i, box in row if box[2] <= left + 3), default=None)
    behind = min(((box[0], i) for i, box in row if box[0] >= right - 3), default=None)
    to_left = left - before[0] if before else math.inf
    if field.is_mark and behind and behind[0] - right <= min(2 * to_left, _NEAR):
        return behind[1], f"{field.text} "
    if before and to_left <= _NEAR:
        return before[1] + 1, f" {field.text}"
    if not field.is_mark and (end := _line_above(glyphs, boxes, field.box)):
        return end, f" {field.text}"
    if before:
        return before[1] + 1, f" {field.text}"
    if behind:
        return behind[1], f"{field.text} "
    return _at_end(glyphs, field)


def _at_end(glyphs: Glyphs, field: Field) -> tuple[int, str]:
    name = f"{field.name}: " if field.name else ""
    return len(glyphs.text), f"\n{name}{field.text}"


def _line_above(glyphs: Glyphs, boxes: list[tuple[int, Box]], box: Box) -> int | None:
    """The end of the words close above a box, None where there are none."""
    above = [
        (known[3], i)
        for i, known in boxes
        if -3 <= box[1] - known[3] <= 1.5 * (known[3] - known[1]) and known[2] > box[0] and known[0] < box[2]
    ]
    if not above:
        return None
    lowest = max(above)[0]
    last = max(i for bottom, i in above if bottom > lowest - 3)
    behind = glyphs.box(last)
    end_of_line = next((end for start, end in glyphs.spans() if start <= last < end), last + 1)
    for word in glyphs.words(last + 1, end_of_line):  # the label may be longer than its field
        if behind is None or word.box[0] - behind[2] > behind[3] - behind[1] or word.box[0] < behind[0]:
            break
        last, behind = word.end - 1, word.box
    return last + 1
