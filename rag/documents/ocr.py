"""Text of scanned pages, by Tesseract where it is installed (https://github.com/tesseract-ocr/tesseract)."""

from __future__ import annotations

import functools
import io
import shutil
import subprocess

DOTS_PER_INCH = 300
LONGEST_SIDE_PIXELS = 5_000
MAX_PAGES = 1_000
_POINTS_AN_INCH = 72
_LEAST_CONTRAST = 16  # of 255 shades of grey; a page with less is blank


@functools.cache
def why_not(languages: str) -> str:
    """What keeps scanned pages from being recognised in these languages (`eng+deu`); "" where nothing does."""
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


def usable(languages: str) -> str:
    """The languages in which scanned pages can be recognised: these, or "" for none."""
    return "" if why_not(languages) else languages


def recognise_page(page, languages: str, seconds: float) -> tuple[str, str]:
    """(text, problem) of a page of pypdfium2.

    The text has blank lines between paragraphs; the problem is what kept it from being recognised, "" for none. A blank
    page has neither, and is not given to Tesseract.
    """
    dots = min(DOTS_PER_INCH, _POINTS_AN_INCH * LONGEST_SIDE_PIXELS / max(*page.get_size(), 1))
    try:
        picture = page.render(scale=dots / _POINTS_AN_INCH, grayscale=True).to_pil()
        darkest, lightest = picture.getextrema()
        if lightest - darkest < _LEAST_CONTRAST:
            return "", ""
        stream = io.BytesIO()
        picture.save(stream, "PNG", compress_level=1)
        command = ["tesseract", "stdin", "stdout", "-l", languages, "--dpi", str(max(round(dots), 70))]
        done = subprocess.run(command, input=stream.getvalue(), capture_output=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        return "", f"took longer than {seconds:g} s"
    except Exception as error:  # a page that cannot be drawn is no reason to lose the others
        return "", f"{type(error).__name__}: {str(error)[:120]}"
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        return "", f"Tesseract ended with {done.returncode} ({said[-1][:120] if said else 'and said nothing'})"
    return done.stdout.decode("utf-8", "replace"), ""
