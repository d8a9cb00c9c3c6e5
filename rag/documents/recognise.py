"""Text of scanned pages, by Tesseract where it is installed (https://github.com/tesseract-ocr/tesseract)."""

from __future__ import annotations

import functools
import io
import shutil
import subprocess

DOTS_PER_INCH = 300
LONGEST_SIDE_PIXELS = 5_000
SECONDS_A_PAGE = 100.0
_POINTS_AN_INCH = 72


@functools.cache
def why_not(languages: str) -> str:
    """What keeps scanned pages from being read in these languages (`eng+deu`), or nothing."""
    program = shutil.which("tesseract")
    if not languages:
        return "documents.ocr_languages is empty"
    if program is None:
        return "install Tesseract, for example by: apt install tesseract-ocr"
    try:
        listed = subprocess.run(
            [program, "--list-langs"], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL, timeout=30
        )
    except (OSError, subprocess.SubprocessError) as error:
        return f"Tesseract does not run ({error})"
    missing = sorted(set(languages.split("+")) - set(listed.stdout.split()))
    return f"Tesseract lacks {', '.join(missing)} of documents.ocr_languages" if missing else ""


def recognise_page(page, languages: str) -> str:
    """The text on a page of pypdfium2's, paragraphs split by blank lines; none where Tesseract finds or makes none."""
    dots = min(DOTS_PER_INCH, _POINTS_AN_INCH * LONGEST_SIDE_PIXELS / max(*page.get_size(), 1))
    picture = io.BytesIO()
    page.render(scale=dots / _POINTS_AN_INCH, grayscale=True).to_pil().save(picture, "PNG", compress_level=1)
    command = ["tesseract", "stdin", "stdout", "-l", languages, "--dpi", str(round(dots))]
    try:
        done = subprocess.run(
            command, input=picture.getvalue(), capture_output=True, check=True, timeout=SECONDS_A_PAGE
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace")
