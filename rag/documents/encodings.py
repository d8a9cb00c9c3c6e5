"""Which encoding a text without a declaration has: the one whose letters and words fit a language best.

Each encoding is tried with each language that it is used for. A pair's score is the logarithm of the probability of
the decoded sample under a plain model: letters by their frequency, the commonest words, and what seldom stands side by
side (a symbol inside a word, a capital behind a small letter, two scripts in a word).
"""

from __future__ import annotations

import functools
import itertools
import math
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

from rag.documents.encoding_tables import CODE_PAGES, COMMON_CHARACTERS, FREQUENT_LETTERS, WORDS

SAMPLE_BYTES = 12_000

_ASCII = math.log(0.03)  # any letter, digit or sign of ASCII: the same for all, so that only their number counts
_UNREADABLE = math.log(1e-8)
_TYPOGRAPHIC = "“”„‘’‚–—…«»‹›¡¿°§€©®·•№ªº\xa0"
_BESIDE_LETTERS = "²³’‘“”–—…«»·•ªº°®\xa0"
_WORD_BONUS = 2.0
_ALONE = 3.0
_CAPITAL = 0.2
_MAX_FOREIGN = 8.0
_INSIDE = re.compile(r"(?<=[^\W\d_])[“”„‚•†‡](?=[^\W\d_])")
_FRAMES = "─│┌┐└┘├┤┬┴┼═║╔╗╚╝╠╣╦╩╬█▓▒░"
_WORD = re.compile(r"[^\W\d_]+")
_NOT_ASCII = re.compile(rb"[\x80-\xff]")


@dataclass(frozen=True, slots=True)
class Guess:
    """An encoding, the language that fitted, and the logarithm of the sample's probability."""

    encoding: str
    language: str
    score: float
    letters: int  # characters of the sample beyond ASCII


def guess(data: bytes) -> Guess:
    """The encoding that fits bytes beyond ASCII best. On a tie the commoner encoding wins, cp1252 first."""
    part = sample(data)
    return max((best_of(part, encoding) for encoding in CODE_PAGES), key=lambda found: found.score)


def sample(data: bytes) -> bytes:
    """Lines with bytes beyond ASCII, `SAMPLE_BYTES` of them at most; the first of a line where it is longer."""
    lines: list[bytes] = []
    size = 0
    start = 0
    while size < SAMPLE_BYTES and (found := _NOT_ASCII.search(data, start)):
        begin = max(start, data.rfind(b"\n", 0, found.start()) + 1, found.start() - 2000)
        end = data.find(b"\n", found.start(), begin + SAMPLE_BYTES - size)
        end = min(begin + SAMPLE_BYTES - size, len(data)) if end < 0 else end + 1
        lines.append(data[begin:end])
        size += end - begin
        start = max(end, found.end())
    return b"".join(lines)


def best_of(part: bytes, encoding: str) -> Guess:
    """The best language for a sample, read in an encoding. Of those that do not name one, any is tried."""
    prior, languages = CODE_PAGES.get(encoding, (-4.0, (*FREQUENT_LETTERS, *COMMON_CHARACTERS)))
    text = part.decode(encoding, "replace")
    calm = _WORD.sub(_calmed, text)
    characters = Counter(ch for ch in calm if ch > "\x7f")
    n_ascii = len(text) - sum(characters.values())
    shared = (
        prior + n_ascii * _ASCII + _neighbours(text) - _CAPITAL * sum(a != b for a, b in zip(text, calm, strict=True))
    )
    words = Counter(word.lower() for word in _WORD.findall(text))
    foreign = -min(_MAX_FOREIGN, 0.25 * sum(len(word) * n for word, n in words.items() if word.isascii()))
    scores = {
        language: _letters(characters, language) + _words(words, language) + (foreign if _is_apart(language) else 0.0)
        for language in languages
    }
    language = max(scores, key=scores.__getitem__)
    return Guess(encoding, language, shared + scores[language], sum(characters.values()))


def _calmed(word: re.Match[str]) -> str:
    """A word in capitals in small letters, where each has one, so that it counts by its letters' frequency."""
    small = word[0].lower()
    return small if len(word[0]) > 1 and word[0].isupper() and len(small) == len(word[0]) else word[0]


def _is_apart(language: str) -> bool:
    """Whether a language is written without ASCII letters, which then are foreign words."""
    return language in COMMON_CHARACTERS or FREQUENT_LETTERS[language][0] > 0.5


def _words(words: Counter[str], language: str) -> float:
    """The commonest words speak for a language; a single letter that is no word of it speaks against it."""
    known = WORDS.get(language, frozenset())
    is_apart = _is_apart(language)
    score = _WORD_BONUS * sum(n for word, n in words.items() if word in known and not (is_apart and len(word) == 1))
    if language in COMMON_CHARACTERS or language == "signs":
        return score
    return score - _ALONE * sum(
        n for word, n in words.items() if len(word) == 1 and word > "\x7f" and word not in known
    )


def _letters(characters: Counter[str], language: str) -> float:
    table = _table(language)
    return sum(n * (table[ch] if ch in table else _other(ch, language)) for ch, n in characters.items())


@functools.cache
def _table(language: str) -> dict[str, float]:
    """The logarithms of the probabilities of a language's own characters, in both cases."""
    if language in COMMON_CHARACTERS:
        return _table_of_characters(language)
    share, letters = FREQUENT_LETTERS[language]
    weights = {letter: 1.0 / (rank + 2) for rank, letter in enumerate(letters)}
    total = sum(weights.values())
    table = {letter: math.log(0.9 * share * weight / total) for letter, weight in weights.items()}
    upper = {ch.upper(): value - 2.0 for ch, value in table.items() if len(ch.upper()) == 1 and ch.upper() not in table}
    return {**upper, **table}


def _table_of_characters(language: str) -> dict[str, float]:
    table: dict[str, float] = {}
    for share, characters in COMMON_CHARACTERS[language]:
        for character in characters:
            table.setdefault(character, math.log(share / len(characters)))
    return table


@functools.cache
def _other(ch: str, language: str) -> float:
    """The logarithm of the probability of a character that is none of a language's own."""
    if ch in _TYPOGRAPHIC:
        return math.log(0.0015)
    if ch in _FRAMES:  # as DOS drew them
        return math.log(0.012)
    category = unicodedata.category(ch)
    if ch == "�" or category in ("Cc", "Cn", "Co", "Cs"):
        return _UNREADABLE
    if language in COMMON_CHARACTERS:
        return _rare_character(ch, language)
    if category[0] == "L":
        return math.log(1e-4 if ch < "\u0180" and ch not in "ªº" else 1e-6)
    return math.log(1e-4 if ch < "\u00c0" else 2e-5)


def _rare_character(ch: str, language: str) -> float:
    """Legacy sets hold the common characters in a first part and the rare ones in a second: 3,755 and 3,008 of GB."""
    home, first, last = {
        "zh": ("gb2312", 0xB0, 0xD7),
        "zh-hant": ("big5", 0xA4, 0xC6),
        "ja": ("euc_jp", 0xB0, 0xCF),
        "ko": ("euc_kr", 0xB0, 0xC8),
    }[language]
    if "\u3000" <= ch <= "\u3002" or "\uff01" <= ch <= "\uff5e" or ch in "「」『』《》、。":
        return math.log(0.002)
    if ch < "\u3400" or "\uff61" <= ch <= "\uff9f":  # symbols, foreign letters, half-width katakana
        return math.log(2e-6)
    try:
        lead = ch.encode(home)[0]
    except UnicodeEncodeError:
        return math.log(2e-8)
    return math.log(6e-5) if first <= lead <= last else math.log(1.5e-6)


def _neighbours(text: str) -> float:
    """What pairs of characters, one beyond ASCII at least, take from a reading's probability."""
    pairs = Counter((a, b) for a, b in itertools.pairwise(text) if a > "\x7f" or b > "\x7f")
    return sum(n * _pair(a, b) for (a, b), n in pairs.items()) - 3.0 * len(_INSIDE.findall(text))


@functools.lru_cache(maxsize=100_000)
def _pair(a: str, b: str) -> float:
    kinds = unicodedata.category(a), unicodedata.category(b)
    if kinds[0][0] == "L" and kinds[1][0] == "L":
        if a == "ς":  # only ever the last letter of a word
            return -6.0
        if _script(a) != _script(b):
            return -4.0
        if kinds == ("Ll", "Lu"):
            return -3.0
        return -0.7 if a > "\x7f" and b > "\x7f" and _script(a) == "latin" else 0.0
    letter, other = (a, b) if kinds[0][0] == "L" else (b, a)
    if letter.isalpha() and "\x7f" < other < "\u2e80" and other not in _BESIDE_LETTERS:
        return -2.0
    if letter < "\x7f" and letter.isalpha() and other >= "\u3000":
        return -1.5
    if "\x7f" < letter < "\u2e80" and letter.isalpha() and other.isdigit():
        return -1.5
    return 0.0


@functools.lru_cache(maxsize=20_000)
def _script(ch: str) -> str:
    if ch < "\u0250":
        return "latin"
    for end, name in (("\u0400", "greek"), ("\u0530", "cyrillic"), ("\u0600", "hebrew"), ("\u0780", "arabic")):
        if ch < end:
            return name
    return "thai" if ch < "\u2e80" else "east"
