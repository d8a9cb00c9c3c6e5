"""PDFs written by hand for a test: text and lines at their places, fields of a form."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class PdfPage:
    """A page of A4; places are in points from its lower left corner. `rotate` turns it, clockwise, in degrees."""

    rotate: int = 0
    content: list[str] = field(default_factory=list)
    annotations: list[str] = field(default_factory=list)

    def text(self, x, y, text, *, size=10, font="F1"):
        self.content.append(f"BT /{font} {size} Tf {x} {y} Td ({_escaped(text)}) Tj ET")
        return self

    def lines(self, x, y, lines, *, step=14, **how):
        for n, line in enumerate(lines):
            self.text(x, y - n * step, line, **how)
        return self

    def columns(self, xs, y, rows, *, step=16, by_column=False, **how):
        """Rows of cells, each at its column; written row by row, or column by column."""
        cells = [(xs[c], y - r * step, cell) for r, row in enumerate(rows) for c, cell in enumerate(row)]
        for x, at, cell in sorted(cells, key=lambda each: xs.index(each[0])) if by_column else cells:
            if cell:
                self.text(x, at, cell, **how)
        return self

    def rule(self, x0, y0, x1, y1):
        self.content.append(f"0.5 w {x0} {y0} m {x1} {y1} l S")
        return self

    def grid(self, xs, ys):
        for x in xs:
            self.rule(x, ys[0], x, ys[-1])
        for y in ys:
            self.rule(xs[0], y, xs[-1], y)
        return self

    def annotation(self, entries, x0, y0, x1, y1):
        self.annotations.append(f"<< /Type /Annot /Rect [{x0} {y0} {x1} {y1}] {entries} >>")
        return self

    def field(self, entries, x0, y0, x1, y1):
        return self.annotation(f"/Subtype /Widget /F 4 {entries}", x0, y0, x1, y1)


def _escaped(text):
    return text.replace("\\", "\\\\").replace("(", "\\(").replace(")", "\\)")


def pdf_bytes(pages: Sequence[PdfPage], title: str = "", labels: str = "") -> bytes:
    """A PDF of the pages. `labels` is the array of a /PageLabels number tree."""
    objects: list[bytes] = [b""] * 6  # catalog, pages, three fonts, information
    kids = []
    fields = []
    for page in pages:
        numbers = []
        for annotation in page.annotations:
            objects.append(annotation.encode("cp1252"))
            numbers.append(f"{len(objects)} 0 R")
            if "/Widget" in annotation:
                fields.append(numbers[-1])
        stream = "\n".join(page.content).encode("cp1252")
        objects.append(b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream))
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Rotate {page.rotate} /Contents {len(objects)} 0 R "
            f"/Resources << /Font << /F1 3 0 R /F2 4 0 R /F3 5 0 R >> >> /Annots [{' '.join(numbers)}] >>".encode()
        )
        kids.append(f"{len(objects)} 0 R")
    form = f"/AcroForm << /Fields [{' '.join(fields)}] /DA (/F1 10 Tf) >>" if fields else ""
    page_labels = f"/PageLabels << /Nums [{labels}] >>" if labels else ""
    objects[0] = f"<< /Type /Catalog /Pages 2 0 R {form} {page_labels} >>".encode()
    objects[1] = f"<< /Type /Pages /Kids [{' '.join(kids)}] /Count {len(kids)} >>".encode()
    for n, name in enumerate(("Helvetica", "Helvetica-Bold", "Courier"), 2):
        objects[n] = f"<< /Type /Font /Subtype /Type1 /BaseFont /{name} /Encoding /WinAnsiEncoding >>".encode()
    objects[5] = b"<< /Title (" + _escaped(title).encode("cp1252") + b") >>"
    out, places = b"%PDF-1.6\n", []
    for number, entry in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, entry)
    rows = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    trailer = b"trailer\n<< /Size %d /Root 1 0 R /Info 6 0 R >>\nstartxref\n%d\n%%%%EOF" % (size, len(out))
    return out + b"xref\n0 %d\n0000000000 65535 f \n%s" % (size, rows) + trailer
