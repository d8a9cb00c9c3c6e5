"""A text's words as BM25 counts them: normalised, split by script, without stop words, stemmed by language.

English text gives the words that `bm25s.tokenize` gives. Passages and questions go through the same analyzer; the
manifest of an index says which.
"""

from __future__ import annotations

import functools
import itertools
import re
import sys
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from rag.languages import ENGLISH, FUNCTION_WORDS, NO_LANGUAGE, SCRIPT_OF
from rag.scripts import BURMESE, HAN, HANGUL, HIRAGANA, KATAKANA, KHMER, LAO, SCRIPTS, THAI, UNUSUAL, normalized

VERSION = 2
"""The analyzer of new indexes. 1 is that of indexes from before: English alone, no text without spaces."""

_WORD = re.compile(r"\b\w\w+\b")
_UNSPACED = HAN + HIRAGANA + KATAKANA + HANGUL + THAI + LAO + KHMER + BURMESE
_TERM = re.compile(rf"(?:(?<![\w#+])|(?<=[{_UNSPACED}]))(?:[a-z](?:#|\+\+)|\.net(?:(?!\w)|(?=[{_UNSPACED}])))(?![#+])")
"""Terms that have no two letters beside each other, or mean less without their sign; they are counted as well."""

_MAY_BE_UNSPACED = re.compile("[\u0590-\u1dff\u2de0-\u2dff\u2e80-\uffff\U00010000-\U0003ffff]")

# Marks that say how a word is read, not which it is: Latin accents that compose with nothing, vowel points of Hebrew
# and Arabic, the stroke that stretches Arabic words, and the dot below letters of Hindi, which many leave out.
_POINTS = re.compile(
    "[\u0300-\u036f\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u0640\u064b-\u0652\u0670\u093c]"
)
# Runs of text without spaces. Katakana writes words of its own, so that a run of it ends where another begins; the mark
# of a long vowel belongs to both. Korean has spaces, but endings grow onto its words.
_RUN = f"[{HAN}{HIRAGANA}\u30fc]+|[{KATAKANA}]+|[{HANGUL}]+|[{THAI}]+|[{LAO}]+|[{KHMER}]+|[{BURMESE}]+"
# The vowel am of Thai and Lao in two, the Thai vowel ae as e twice, and the moon that Hindi often writes as a dot.
_SPELLINGS = {"\u0e4d\u0e32": "\u0e33", "\u0ecd\u0eb2": "\u0eb3", "\u0e40\u0e40": "\u0e41", "\u0901": "\u0902"}
# Two ways to place the tone of a Vietnamese syllable.
_TONES = dict(
    re.findall(
        r"\b(\w+) (\w+)", "oà òa oá óa oả ỏa oã õa oạ ọa oè òe oé óe oẻ ỏe oẽ õe oẹ ọe uỳ ùy uý úy uỷ ủy uỹ ũy uỵ ụy"
    )
)
_TONED = re.compile(rf"(?<!q)(?:{'|'.join(_TONES)})(?!\w)")
_POLYTONIC = re.compile("[\u1f00-\u1fff]")
_RIGHT_TO_LEFT = SCRIPTS["hebrew"] + SCRIPTS["arabic"]
_BESIDE_LATIN = re.compile(f"(?<=[a-z0-9])(?=[{_RIGHT_TO_LEFT}])|(?<=[{_RIGHT_TO_LEFT}])(?=[a-z])")
_TELLS_ALONE = re.compile(f"[{HAN}{HANGUL}]")
_FOLDED = frozenset({"french", "spanish", "portuguese", "italian", "catalan", "romanian"})
_STEMMER_OF_SCRIPT = {
    "latin": "english",
    "cyrillic": "russian",
    "greek": "greek",
    "arabic": "arabic",
    "devanagari": "hindi",
    "armenian": "armenian",
    "tamil": "tamil",
}
_LISTED = frozenset({"chinese", "danish", "dutch", "french", "german", "italian", "norwegian", "portuguese", "russian"})
_LISTED |= {"spanish", "swedish", "turkish"}


@dataclass(frozen=True, slots=True)
class Analyzer:
    """The words of a corpus's language (`rag.languages`); `version` 1 is the analyzer of older indexes."""

    language: str = ENGLISH
    version: int = VERSION

    def words(self, text: str) -> list[str]:
        """The words of one text, those with signs last."""
        ids, vocabulary = self.tokenized([text])
        names = {number: word for word, number in vocabulary.items()}
        return [names[number] for number in ids[0]]

    def tokenized(self, texts: Sequence[str]) -> Any:
        """What bm25s indexes and searches for: the words of each text by number, and the number of each word."""
        import bm25s

        if self.version < VERSION:
            import Stemmer

            stemmer = Stemmer.Stemmer(self.language)
            return bm25s.tokenize(list(texts), stopwords="en", stemmer=stemmer, show_progress=False)
        dropped = stop_words(self.language)
        stem_of = _stemmer(self.language)
        numbers: dict[str, int] = {}  # stem -> its number
        known: dict[str, int] = {}  # word -> the number of its stem, -1 for a stop word
        ids = []
        for text in texts:
            words = split(text, self.language)
            for word in words:
                if word not in known:
                    known[word] = -1 if word in dropped else numbers.setdefault(stem_of(word), len(numbers))
            ids.append([number for number in map(known.__getitem__, words) if number >= 0])
        return bm25s.tokenization.Tokenized(ids, numbers)


def split(text: str, language: str = ENGLISH) -> list[str]:
    """The words of a text before stop words and stems: words of letters and digits, pairs of unspaced characters.

    Single Chinese and Korean characters are words as well: many are, and ranking was no worse for them.
    """
    text = _lowered(normalized(text), language)
    by_script = False
    if UNUSUAL.search(text):
        text = _POINTS.sub("", text)
        by_script = _MAY_BE_UNSPACED.search(text) is not None and _patterns().needs.search(text) is not None
        text = _one_spelling(text, language)
    words = list(_by_script(text)) if by_script else _WORD.findall(text)
    if "#" in text or "++" in text or ".net" in text:
        words += _TERM.findall(text)
    return words


def _lowered(text: str, language: str) -> str:
    if language == "turkish":
        text = text.replace("I", "ı").replace("İ", "i")
    if language == ENGLISH:
        return text.lower()
    text = text.casefold()
    if language == "vietnamese":
        return _TONED.sub(lambda match: _TONES[match[0]], text)
    return text.replace("œ", "oe").replace("æ", "ae") if language in _FOLDED else text


def _one_spelling(text: str, language: str) -> str:
    """The text with one letter for each that keyboards write as two, or as that of a neighbouring language."""
    for written, usual in _SPELLINGS.items():
        text = text.replace(written, usual)
    text = _POLYTONIC.sub(lambda match: without_accents(match[0]), text)
    text = _BESIDE_LATIN.sub(" ", text)
    for arabic, persian in (("\u064a", "\u06cc"), ("\u0643", "\u06a9")):  # yeh and kaf
        is_persian = language in ("persian", "urdu")
        text = text.replace(arabic, persian) if is_persian else text.replace(persian, arabic)
    return text


@functools.cache
def stop_words(language: str) -> frozenset[str]:
    """Words too frequent to say anything: of English those of bm25s, as ever; of others its lists, else our own."""
    from bm25s import stopwords

    if language == ENGLISH:
        return frozenset(stopwords.STOPWORDS_EN)
    own = FUNCTION_WORDS.get(language, frozenset())
    if language in _LISTED:
        own |= frozenset(getattr(stopwords, f"STOPWORDS_{language.upper()}"))
    # In a corpus of another script, the words in Latin letters are mostly English.
    if SCRIPT_OF.get(language, "latin") != "latin":
        own |= frozenset(stopwords.STOPWORDS_EN)
    return own


def _stemmer(language: str) -> Callable[[str], str]:
    """A word's stem: by the corpus's language where it is of that script, by its own script's otherwise."""
    import Stemmer

    if language == NO_LANGUAGE:
        return lambda word: word
    names = dict(_STEMMER_OF_SCRIPT)
    script = SCRIPT_OF[language]
    if language in Stemmer.algorithms():
        names[script] = language
    elif script in names:
        del names[script]
    if language == "serbian":  # written in both
        names["latin"] = language
    stemmers = {name: Stemmer.Stemmer(algorithm).stemWord for name, algorithm in names.items()}
    of_latin = stemmers.pop("latin", str)
    others = [(re.compile(f"[{SCRIPTS[name]}]"), stemmer) for name, stemmer in stemmers.items()]
    folds = language in _FOLDED

    def stem(word: str) -> str:
        if word.isascii():
            return of_latin(word)
        stemmed = next((stemmer for letter, stemmer in others if letter.match(word)), of_latin)(word)
        return without_accents(stemmed) if folds else stemmed

    return stem


def without_accents(word: str) -> str:
    """The word without marks above and below its letters."""
    if word.isascii():
        return word
    return "".join(ch for ch in unicodedata.normalize("NFD", word) if not unicodedata.combining(ch))


@dataclass(frozen=True, slots=True)
class _Patterns:
    """`needs`: a text with such a character is split by script. `pieces`: its runs and words. `unit`: one character.

    A character is a letter with the marks that stand on it.
    """

    needs: re.Pattern
    pieces: re.Pattern
    unit: re.Pattern


@functools.cache
def _patterns() -> _Patterns:
    marks = _class_of(lambda ch: unicodedata.category(ch) in ("Mn", "Mc"))
    digits = _class_of(lambda ch: unicodedata.category(ch) == "Nd")
    return _Patterns(
        needs=re.compile(f"[{_UNSPACED}{marks}{digits}]"),
        pieces=re.compile(rf"(?P<run>{_RUN})|(?:[^\W{_UNSPACED}]|[{marks}])+"),
        unit=re.compile(rf"[^{marks}][{marks}]*|[{marks}]+"),
    )


def _class_of(belongs: Callable[[str], bool]) -> str:
    """The inside of a character class of all characters beyond Latin that belong to it."""
    found = [code for code in range(0x370, 0x1E95B) if belongs(chr(code))]
    ranges = []
    start = previous = found[0]
    for code in [*found[1:], sys.maxunicode + 1]:
        if code != previous + 1:
            ranges.append(f"{chr(start)}-{chr(previous)}")
            start = code
        previous = code
    return "".join(ranges)


def _by_script(text: str) -> Iterator[str]:
    """The words of a text that is, or may be, written without spaces in places.

    One letter or digit is a word where it touches such a place, as in "B型".
    """
    patterns = _patterns()
    end = -1  # of the piece before
    single = ""  # that piece, where it was one letter and touched nothing yet
    for match in patterns.pieces.finditer(text):
        touches = match.start() == end
        end = match.end()
        if match["run"]:
            if single and touches:
                yield single
            single = ""
            yield from _pairs(patterns.unit.findall(match[0]))
            continue
        word = match[0] if match[0].isascii() else "".join(map(_as_ascii_digit, match[0]))
        single = ""
        if len(word) > 1 or touches:
            yield word
        else:
            single = word


def _as_ascii_digit(ch: str) -> str:
    return str(unicodedata.digit(ch)) if ch.isdecimal() else ch


def _pairs(characters: Sequence[str]) -> Iterator[str]:
    """Each character with the next; by themselves those that are words, and a run of one that is no particle."""
    if len(characters) == 1:
        if characters[0] not in _PARTICLES:
            yield characters[0]
        return
    for first, second in itertools.pairwise(characters):
        yield first + second
    yield from (ch for ch in characters if _TELLS_ALONE.match(ch))


_PARTICLES = frozenset("はがをにでとものへやかねよ")
