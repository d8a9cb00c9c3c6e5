"""Office files (ECMA-376) as packages: a ZIP archive of XML parts that relationships link.

Parts are found by their relationships, never by their names. Strict files (ISO 29500) are read as the usual ones: their
names of namespaces are replaced.
"""

from __future__ import annotations

import io
import posixpath
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import unquote

from rag.documents.decode import clean
from rag.documents.document import TextBuilder
from rag.errors import UnreadableFile

MAX_NAMED = 10

_SCHEMAS = "http://schemas.openxmlformats.org"
_PREFIXES = {
    f"{_SCHEMAS}/wordprocessingml/2006/main": "w",
    f"{_SCHEMAS}/spreadsheetml/2006/main": "s",
    f"{_SCHEMAS}/presentationml/2006/main": "p",
    f"{_SCHEMAS}/drawingml/2006/main": "a",
    f"{_SCHEMAS}/drawingml/2006/chart": "c",
    f"{_SCHEMAS}/drawingml/2006/diagram": "dgm",
    f"{_SCHEMAS}/drawingml/2006/spreadsheetDrawing": "xdr",
    f"{_SCHEMAS}/officeDocument/2006/math": "m",
    f"{_SCHEMAS}/officeDocument/2006/relationships": "r",
    f"{_SCHEMAS}/markup-compatibility/2006": "mc",
    "http://schemas.microsoft.com/office/word/2010/wordml": "w14",
    "http://schemas.microsoft.com/office/drawing/2014/chartex": "cx",
    "urn:schemas-microsoft-com:vml": "v",
}
_URIS = {prefix: uri for uri, prefix in _PREFIXES.items()}
_STRICT = re.compile(rb"([\"'])http://purl\.oclc\.org/ooxml/(\w+)/")
_UTF16 = (b"\xff\xfe", b"\xfe\xff")
_TEXT_TAGS = ("w:t", "m:t", "a:t", "w:sym", "w:noBreakHyphen")
_FAMILIES = {"wordprocessingml": "docx", "ms-word": "docx", "presentationml": "pptx", "ms-powerpoint": "pptx"}
_FAMILIES |= {"spreadsheetml": "xlsx", "ms-excel": "xlsx"}
_ROOTS = {"document": "docx", "presentation": "pptx", "workbook": "xlsx"}


@lru_cache(maxsize=4096)
def short(tag: object) -> str:
    """An element's or attribute's name with its usual prefix (`w:p`); the bare name where its namespace is unknown."""
    if not isinstance(tag, str):  # a comment or a processing instruction
        return ""
    if not tag.startswith("{"):
        return tag
    uri, _, name = tag[1:].partition("}")
    prefix = _PREFIXES.get(uri)
    return f"{prefix}:{name}" if prefix else name


@lru_cache(maxsize=1024)
def long(name: str) -> str:
    """The full name of `w:p`: the inverse of `short`."""
    prefix, _, local = name.partition(":")
    return f"{{{_URIS[prefix]}}}{local}"


def child(element: Any, *names: str) -> Any:
    """The first child of a child … with these names, or None."""
    for name in names:
        if element is None:
            return None
        element = element.find(long(name))
    return element


def is_on(element: Any, attribute: str = "w:val") -> bool:
    """Whether a switch such as <w:vanish/> is there and not turned off."""
    return element is not None and element.get(long(attribute), "1") not in ("0", "false", "off")


def number(value: str | None, default: int = 0) -> int:
    """The whole number that an attribute holds, or the default."""
    return int(value) if value is not None and re.fullmatch(r"-?\d{1,9}", value) else default


@dataclass(frozen=True, slots=True)
class Relation:
    """A link from one part to another: `kind` is the last word of its type, `part` the other's name in the package."""

    kind: str
    part: str
    external: bool


class Package:
    """An Office file. Names of parts do not distinguish case, as the standard has it."""

    def __init__(self, data: bytes):
        self._archive = zipfile.ZipFile(io.BytesIO(data))
        self._names = {name.replace("\\", "/").lstrip("/").lower(): name for name in self._archive.namelist()}
        self._relations: dict[str, dict[str, Relation]] = {}
        self._taken: set[str] = set()
        self.notes: list[str] = []

    def __contains__(self, part: str) -> bool:
        return part.lower() in self._names

    def take(self, part: str) -> bool:
        """Whether a part is there to be read: each is read once, however often others lead to it."""
        is_new = part.lower() not in self._taken
        self._taken.add(part.lower())
        return is_new and part in self

    def raw(self, part: str) -> bytes:
        """A part's bytes as they are. Raises KeyError, or BadZipFile for a damaged one."""
        return self._archive.read(self._names[part.lower()])

    def bytes(self, part: str) -> bytes:
        """A part's bytes as UTF-8 XML in the usual namespaces. Raises KeyError, or BadZipFile for a damaged one."""
        data = self.raw(part)
        if data.startswith(_UTF16):
            text = data.decode("utf-16")
            data = re.sub(r"^(\s*+<\?xml[^>]*?)(?<!\s)\s++encoding=[\"'][^\"']*[\"']", r"\1", text).encode()
        if b"<!DOCTYPE" in data:
            raise UnreadableFile("has a document type declaration, which no Office file has")
        if b"http://purl.oclc.org/ooxml/" not in data:
            return data
        return _STRICT.sub(rb"\1http://schemas.openxmlformats.org/\2/2006/", data)

    def xml(self, part: str) -> Any:
        """The root element of a part. Raises KeyError where it is missing, XMLSyntaxError where it is damaged."""
        from lxml import etree

        options = {"resolve_entities": False, "no_network": True, "huge_tree": True, "remove_comments": True}
        return etree.fromstring(self.bytes(part), etree.XMLParser(remove_pis=True, **options))

    def optional(self, part: str) -> Any:
        """The root element of a part, or None; one that is missing or damaged is named in the notes."""
        from lxml import etree

        if not part:
            return None
        try:
            return self.xml(part)
        except KeyError:
            self.note(f"the part {part} is missing")
        except (etree.XMLSyntaxError, zipfile.BadZipFile, OSError, ValueError, UnreadableFile):
            self.note(f"the part {part} is damaged and was not read")
        return None

    def relations(self, part: str) -> dict[str, Relation]:
        """The links of a part, by their identifiers; those of the package itself with the part ''."""
        if part in self._relations:
            return self._relations[part]
        folder, name = posixpath.split(part)
        links = posixpath.join(folder, "_rels", f"{name}.rels")
        root = self.optional(links) if links in self else None
        found: dict[str, Relation] = {}
        for link in root if root is not None else ():
            target = link.get("Target") or ""
            external = link.get("TargetMode") == "External"
            kind = (link.get("Type") or "").rsplit("/", 1)[-1]
            found[link.get("Id") or ""] = Relation(
                kind, target if external else self._resolve(folder, target), external
            )
        self._relations[part] = found
        return found

    def related(self, part: str, kind: str) -> str:
        """The first part of a kind that a part links to, or ''."""
        links = self.relations(part).values()
        return next((link.part for link in links if link.kind == kind and not link.external), "")

    def main(self) -> str:
        """The part that the file is about: a document, a presentation or a workbook."""
        part = self.related("", "officeDocument")
        if part in self:
            return part
        usual = ("word/document.xml", "ppt/presentation.xml", "xl/workbook.xml")
        return next((name for name in usual if name in self), part or "officeDocument")

    def content_type(self, part: str) -> str:
        """The media type of a part, in small letters."""
        if "[Content_Types].xml" not in self:
            return ""
        types = self.xml("[Content_Types].xml")
        ending = part.rsplit(".", 1)[-1].lower()
        default = ""
        for entry in types:
            if (entry.get("PartName") or "").lstrip("/").lower() == part.lower():
                return (entry.get("ContentType") or "").lower()
            if (entry.get("Extension") or "").lower() == ending:
                default = (entry.get("ContentType") or "").lower()
        return default

    def title(self) -> str:
        """The title in the file's properties."""
        part = self.related("", "core-properties")
        root = self.optional(part) if part in self else None
        title = None if root is None else root.findtext("{http://purl.org/dc/elements/1.1/}title")
        return clean(title or "").strip()

    def note(self, words: str) -> None:
        """Tell the person who ingests something, once."""
        if words not in self.notes:
            self.notes.append(words)

    def _resolve(self, folder: str, target: str) -> str:
        target = target.replace("\\", "/").split("#")[0]
        part = posixpath.normpath(posixpath.join("/" + folder, target)).lstrip("/")
        return part if part in self or unquote(part) not in self else unquote(part)


def office_kind(data: bytes) -> str | None:
    """`docx`, `pptx` or `xlsx`, by the type of the package's main part; None for another archive.

    Raises UnreadableFile for files that look alike and are not read: OpenDocument, binary workbooks, drawings.
    """
    from lxml import etree

    try:
        package = Package(data)
        if "mimetype" in package and b"opendocument" in package.bytes("mimetype")[:200]:
            raise UnreadableFile("an OpenDocument file; save it as .docx, .pptx or .xlsx")
        part = package.related("", "officeDocument") or package.related("", "document")
        if part not in package:
            return None
        media_type = package.content_type(part)
        if "binary" in media_type:
            raise UnreadableFile("a binary workbook (.xlsb); save it as .xlsx")
        if "visio" in media_type:
            raise UnreadableFile("a Visio drawing; save it as PDF")
        named = next((kind for family, kind in _FAMILIES.items() if family in media_type), None)
        return named or _ROOTS.get(etree.QName(package.xml(part)).localname)
    except (etree.XMLSyntaxError, zipfile.BadZipFile, KeyError, ValueError):
        return None


def branch(alternative: Any) -> Any:
    """The one child of <mc:AlternateContent> that is shown; None where there is none.

    That is the first choice that Office knows and that holds text or a chart; else the fallback where it holds text;
    else another choice that does; else the first.
    """
    choices = [each for each in alternative if short(each.tag) == "mc:Choice"]
    known = [each for each in choices if _is_known(each)]
    fallback = [each for each in alternative if short(each.tag) == "mc:Fallback"]
    names = [*(long(name) for name in _TEXT_TAGS), "{*}graphicFrame"]
    for each in known + fallback + choices:
        is_chart = any(prefix.startswith("cx") for prefix in (each.get("Requires") or "").split())
        if is_chart or next(each.iter(*names), None) is not None:
            return each
    return next(iter(known + fallback), None)


def shown(root: Any, names: set[str]) -> Iterator[tuple[str, Any]]:
    """The elements below one that have these names, in order, each with its name; not those within another.

    Of what stands in several forms, those of the form that is shown. Without recursion, as deep as the file goes.
    """
    from lxml import etree

    left_out: set[Any] = set()
    walker = etree.iterwalk(root, events=("start",))
    for _, element in walker:
        name = short(element.tag)
        if name == "mc:AlternateContent":
            kept = branch(element)
            left_out.update(each for each in element if each is not kept)
        elif name in ("mc:Choice", "mc:Fallback") and element in left_out:
            walker.skip_subtree()
        elif name in names:
            walker.skip_subtree()
            yield name, element


def _is_known(choice: Any) -> bool:
    prefixes = (choice.get("Requires") or "").split()
    uris = [choice.nsmap.get(prefix) or "" for prefix in prefixes]
    return all(uri.startswith((_SCHEMAS, "http://schemas.microsoft.com/")) for uri in uris)


def add_table(builder: TextBuilder, rows: list[list[str]], header: int = 1, page: int | None = None) -> None:
    """Append a table whose first `header` rows name its columns, a line for each row; empty rows are left out."""
    lines = [clean(" | ".join(" ".join(cell.split()) for cell in row)) for row in rows]
    n_header = sum(1 for line in lines[:header] if line.strip(" |"))
    lines = [line for line in lines if line.strip(" |")]
    builder.add("table", "\n".join(lines), page=page, header=n_header if len(lines) > n_header else 0)


def named(names: Sequence[str]) -> str:
    """The first ten names, and how many there are more."""
    more = len(names) - MAX_NAMED
    return ", ".join(names[:MAX_NAMED]) + (f" and {more} more" if more > 0 else "")
