"""Words that a hyphen divides at a line's end: put together, or left with the hyphen that belongs to them.

"infor-/mation" is one word, "well-/known" keeps its hyphen. First the document's own words decide: what it writes
elsewhere. Then the two parts do: a word and a word make a compound. Then short lists of English and German do. Else
the parts are joined.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections import Counter
from collections.abc import Iterable

from rag.documents.formats.pdf.glyphs import HYPHEN, SOFT_HYPHEN

_DIVIDED = re.compile(rf"{HYPHEN}(?=(\w*)(-?))")
_LEFT = re.compile(r"(?<![\w'’-])[\w'’-]*+\Z")
_MAX_PART = 80  # characters of a word that are looked at
_WORD = re.compile(r"[^\W\d_]+(?:[-‐‑'’][^\W\d_]+)*")
_PIECES = re.compile(rf"(?<![\w'’-])[\w'’-]*(?:{HYPHEN}\s?[\w'’-]*)+")


def _listed(words: str) -> frozenset[str]:
    return frozenset(words.split())


# "Ein- und Ausgang": the first hyphen stands for a word.
_AND = _listed("and or und oder sowie bzw bis")
# Parts that make one word with the part behind them, and with the part before them.
_JOINED_FIRST = _listed(
    """
    über unter durch nach wider wieder zurück gegen zusammen hinter vorbei nieder weiter voraus fest hervor
    heraus hinaus entgegen dagegen wenn eben außer inner over under with fore after inter super some every
    what when where there here more never other through trans hyper contra counter micro macro multi
    """
)
_JOINED_SECOND = _listed(
    """
    work works ware time line lines page paper mark book load stream shop flow word words note ground base
    place board side sides ways body thing things where ever self selves port form forms stand over down room
    field land house light town ship less wise ward wards most able ness ment ings ages card cards hood like
    some fully
    """
)
# Parts that keep their hyphen: the first before one of the second, a suffix behind any word.
_KEPT_FIRST = _listed(
    """
    high low long short full half real part open large small wide right left top bottom cross third first
    second next one two three four five six seven eight nine twenty thirty forty fifty sixty seventy eighty
    ninety multi single double non all mid post pre
    """
)
_KEPT_SECOND = _listed(
    """
    term time level scale quality end range speed performance resolution dimensional hand class order party
    person source size sized lived lasting standing running distance frequency energy power risk density
    pressure temperature volume cost income world life depth art being year day month hour week step sided
    bit factor phase point way known called minded ended
    """
)
_KEPT_SUFFIX = _listed(
    """
    based effective intensive sensitive resistant consuming
    oriented specific driven aware related dependent defined known called style sized free friendly
    efficient
    """
)
_SMALL = _listed(
    "the of to in and by for up a on at an with upon over under de la le les du del sur sous en et y am im zu zur der"
)
# "follow-up" and "anti-inflammatory" keep their hyphen: no word is divided before two such letters.
_KEPT_END = _listed("up by off")
_KEPT_BEFORE_VOWEL = _listed("anti semi re pre")
_DIGITS = _listed(
    "one two three four five six seven eight nine first second third fourth fifth sixth seventh eighth ninth"
)
_ENDINGS = ("", "s", "es", "n", "en", "e", "er", "ed", "ing", "d")


class Hyphens:
    """Decides about every hyphen at a line's end of a document, by its words."""

    def __init__(self, texts: Iterable[str]):
        self._texts = texts

    @functools.cached_property
    def _written(self) -> Counter[str]:
        """How often the document writes each word, and each part of a word with hyphens; divided words left out."""
        written: Counter[str] = Counter()
        for text in self._texts:
            written.update(_WORD.findall(_PIECES.sub(" ", text) if HYPHEN in text else text))
        for word, times in list(written.items()):
            if "-" in word:
                pieces = word.split("-")
                for part in {*pieces, *(f"{a}-{b}" for a, b in itertools.pairwise(pieces[:8]) if len(pieces) > 2)}:
                    written[part] += times
        return written

    @functools.cached_property
    def _folded(self) -> Counter[str]:
        """The same, capitals and small letters alike."""
        folded: Counter[str] = Counter()
        for word, times in self._written.items():
            folded[word.casefold()] += times
        return folded

    def mend(self, text: str) -> str:
        """A text whose marked hyphens are decided: each dropped, or kept as "-"."""
        text = text.replace(f"{SOFT_HYPHEN}\n", "").replace(f"{SOFT_HYPHEN} ", "").replace(SOFT_HYPHEN, "")
        if HYPHEN not in text:
            return text
        parts: list[str] = []
        written = ""  # the end of what is decided
        place = 0
        for match in _DIVIDED.finditer(text):
            written = (written + text[place : match.start()])[-_MAX_PART:]
            left = _LEFT.search(written)
            between = self._between(left[0] if left else "", match[1], bool(match[2]))
            parts += [text[place : match.start()], between]
            written += between
            place = match.end()
        return "".join([*parts, text[place:]])

    def _between(self, left: str, right: str, goes_on: bool) -> str:
        """What stands between the two parts of a divided word: nothing, a hyphen, or a hyphen and a space.

        `goes_on` where a hyphen stands behind the second part, too.
        """
        last = left.rsplit("-", 1)[-1]
        if not last or not right or not right[0].isalpha() or last[-1].isdigit():
            return "-"
        joined, hyphenated = self._times(left + right), self._times(f"{left}-{right}")
        if joined or hyphenated:
            return "" if joined > hyphenated else "-"
        if goes_on and right in _SMALL:
            return "-"  # "up-/to-date"
        if right in _AND and (right != "or" or self._is_word(last)):
            return "- "  # "Ein- und Ausgang"
        if right[0].isupper():
            return "" if (last + right).isupper() and not (self._is_word(last) and self._is_word(right)) else "-"
        return "-" if self._is_compound(left, last, right) else ""

    def _is_compound(self, left: str, last: str, right: str) -> bool:
        """Whether two parts that the document nowhere writes as one word keep their hyphen."""
        first = last.casefold()
        if first != left.casefold():  # "state-of-the-" and "art"
            return first in _SMALL or (self._is_word(last) and self._is_word(right))
        if first in ("well", "ill") and right.endswith(("ed", "en", "own", "being", "suited", "ing")):
            return len(right) > 3
        if len(left) == 1 or first in ("vice", "quasi"):  # "X-rays": no word is divided behind one letter
            return True
        if first == "self":
            return not right.startswith(("ish", "less", "hood"))
        if (first, right) == ("so", "called") or (first in _KEPT_FIRST and right in _KEPT_SECOND):
            return True
        if first.endswith("ty") and first in _KEPT_FIRST:
            return right in _DIGITS
        if right in _KEPT_END or (first in _KEPT_BEFORE_VOWEL and right[0] == first[-1]):
            return len(first) > 1
        if first in _JOINED_FIRST or right in _JOINED_SECOND:
            return False
        if right in _KEPT_SUFFIX and len(first) > 2:
            return True
        return len(last) > 3 and len(right) > 3 and self._is_word(last) and self._is_word(right)

    def _is_word(self, part: str) -> bool:
        return part in self._written or (part[:1].isupper() and part.casefold() in self._folded)

    def _times(self, word: str) -> int:
        """How often the document writes a word, in another form of it too."""
        word = word.casefold()
        if times := self._folded[word]:
            return times
        stems = [word, *(word.removesuffix(end) for end in _ENDINGS[1:] if word.endswith(end) and len(word) > 5)]
        return sum(self._folded[stem + end] for stem in stems for end in _ENDINGS)
