"""Titles from a file's properties: many programs write something there that is no title."""

from __future__ import annotations

import re

_MADE_BY_PRINTING = re.compile(r"microsoft\s+\w+\s*[-–—]\s.*", re.I | re.S)
_MADE_OF_BYTES = re.compile(r"<[0-9a-f\s]{8,}>?|crystal reports? (?:activex designer )?- .*", re.I)
_ADDRESS = re.compile(
    r"(?:about:|blob:|data:|[a-z][a-z0-9+.-]{1,15}://)\S*|(?:doi|pii):\s*\S+|www\.\S+|localhost\S*", re.I
)
_PATH = re.compile(r"(?:[a-z]:[\\/]|\\\\)\S.*|(?:~?/|\.{1,2}/)\S+", re.I | re.S)
_OFFICE_ENDING = (
    r"docx?|docm|dotx?|rtf|odt|ott|wpd|pdf|eps|dvi|xlsx?|xlsm|xls|ods|pptx?|pptm|odp"
    r"|rpt|pub|indd|qxd|qxp|pmd|p65|dwg|dgn|vsdx?"
)
_OTHER_ENDING = r"tex|ltx|ps|pages|key|csv|html?|xhtml|txt|xml|epub|mobi|tiff?|jpe?g|png|gif|bmp|ai|cdr|fm|mif|tmp"
_FILE_NAME = re.compile(rf"[^\n]{{0,150}}\S\.(?:{_OFFICE_ENDING})|\S{{1,150}}\.(?:{_OTHER_ENDING})", re.I)
_NUMBERED = re.compile(
    r"(?:slide|folie|diapositiv[aeo]|page|seite|sheet|tabelle|feuille|hoja|document|dokument|documento|book|mappe|classeur"
    r"|libro|presentation|präsentation|présentation|presentación|untitled|unbenannt|scan|img|image|doc|layout"
    r"|tex output|skm)"
    r"[\s_#-]*+[a-z]?[\d.:_-]*\d\)?",
    re.I,
)
_NO_NAMES = frozenset(
    [
        "untitled",
        "untitled document",
        "untitled-1",
        "no title",
        "notitle",
        "title",
        "titel",
        "titre",
        "título",
        "titulo",
        "unbenannt",
        "unbenanntes dokument",
        "ohne titel",
        "sans titre",
        "sin título",
        "sem título",
        "senza titolo",
        "document title",
        "new document",
        "neues dokument",
        "blank",
        "blank page",
        "unknown",
        "none",
        "null",
        "undefined",
        "nan",
        "(anonymous)",
        "anonymous",
        "(unspecified)",
        "unspecified",
        "test",
        "index",
        "home",
        "default",
        "powerpoint presentation",
        "powerpoint-präsentation",
        "présentation powerpoint",
        "presentación de powerpoint",
        "apresentação do powerpoint",
        "presentazione standard di powerpoint",
        "word document",
        "microsoft word document",
        "microsoft word",
        "microsoft powerpoint",
        "microsoft excel",
        "print",
        "print preview",
        "jobname",
        "latex document",
        "printing",
        "layout 1",
        "full page photo",
        "pdf",
        "xhtml document",
        "scanned document",
        "scan",
        "scanned image",
        "adobe photoshop pdf",
        "enter title here",
        "your title here",
    ]
)


MAX_CHARACTERS = 1_000
"""So much of a title tells whether it is one."""


def sound_title(title: str) -> str:
    """A title from a file's properties, its spaces made single; "" where it is none.

    None are addresses (`about:blank`), what a printer driver wrote (`Microsoft Word - report.doc`), names and paths of
    files, and what a program calls a file that has no title (`Untitled`, `Slide 1`).
    """
    title = " ".join(title.split())
    bare = title.strip(" .-_:*%()")[:MAX_CHARACTERS]
    if not any(ch.isalnum() for ch in bare) or bare.casefold() in _NO_NAMES or title.casefold() in _NO_NAMES:
        return ""
    for wrong in (_MADE_OF_BYTES, _MADE_BY_PRINTING, _ADDRESS, _PATH, _FILE_NAME, _NUMBERED):
        if wrong.fullmatch(bare):
            return ""
    return title
