"""Refusals: answers which say that the passages hold no answer, in the word CANNOTANSWER or in a model's own words.

An answer is read clause by clause. It is a refusal if one clause refuses and no clause says anything else: excuses and
sentences about the passages count as nothing. What was copied from a passage is text, as everywhere in the parser.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.generate.citations import CITATION
from rag.generate.copies import is_copied, normalized_words
from rag.scripts import spaced_out
from rag.types import CANNOTANSWER, Passage

REFUSAL = re.compile(r"\A[\s\W]*cannot[\s_]?answer\b", re.I)
# "…, so the answer is CANNOTANSWER": the refusal is what the sentence comes to.
LINKED_REFUSAL = re.compile(r"(?:\b(?:is|be|so|therefore|thus|hence|say|reply|respond|with|answer)|[:→>])\Z", re.I)
# How many words of an opening, and of a clause, must stand in a passage to count as copied from it.
WORDS_OF_A_COPY = 4
WORDS_OF_A_COPIED_CLAUSE = 7
CHARACTERS_OF_A_LINK = 100
MAX_CLAUSE_CHARACTERS = 300
MAX_EXCUSES = 4

_CLAUSE_END = re.compile(
    r"(?<=[.!?])[\"')\]]*\s+|\n+|;\s+|\s[–—-]{1,2}\s|,\s+(?=(?:and |as )?(?:they|it) (?:only|merely|just)\b)", re.I
)
_NUMBERED = re.compile(
    rf"\b(in|by|from|of|within|passages?){CITATION.pattern}(?:(?:\s*,|\s+and|\s+or|\s+nor)*{CITATION.pattern})*", re.I
)

# What a model may call the passages: by the prompt's own words, or by words that a document can use, too.
_ALL = r"(?:(?:the|these|those|this|that|any|any of the|all of the|either of the|your|my) )?"
_NUMBER = r"(?: \d{1,2}(?:(?:,| and| or|, and) \d{1,2})*)?"
_GIVEN = r"(?:given|provided|supplied|above|available|retrieved|quoted|cited)"
_SHOWN = rf"(?:passages?|contexts?|excerpts?|snippets?|extracts?){_NUMBER}"
_WRITTEN = rf"(?:texts?|documents?|documentation|sources?|information|articles?|paragraphs?|materials?|data){_NUMBER}"
_HERE = r"(?: (?:provided|given|above|supplied|itself|themselves|here|you provided|that you provided))"
PASSAGES = (
    rf"(?:{_ALL}(?:{_GIVEN} |two |three |source |text )*{_SHOWN}{_HERE}?"
    rf"|{_ALL}(?:{_GIVEN} )+(?:text )?{_WRITTEN}{_HERE}?|{_ALL}{_WRITTEN}{_HERE})"
)
SOURCE = rf"(?:{PASSAGES}|{_ALL}{_WRITTEN})"

_NOT = r"(?:(?:do|does|did) not|don't|doesn't|didn't)"
_CAN_NOT = r"(?:cannot|can not|can't|could not|couldn't)"
_IS_NOT = r"(?:(?:is|are|was|were) (?:not|never|nowhere)|isn't|aren't|wasn't|weren't|(?:has|have) not been)"
_HOW = r"(?:(?:explicitly|directly|specifically|clearly|actually|really|even|ever|seem to|appear to|to be) )*"
_INFERRED = r"(?:determined|inferred|derived|concluded|answered)"
_SAID = r"(?:mentioned|stated|specified|answered)"
_FOUND = (
    r"(?:mentioned|stated|specified|answered|given|provided|contained|found|included|described|discussed|indicated"
    r"|addressed|listed|covered|explained|disclosed|named|available|present|clear|said|shown|revealed|known|answerable)"
)
_SAY = r"(?:mention|say|state|specify|tell|explain|describe|indicate|discuss|address|answer|reveal|disclose|clarify)"
_FIND = r"(?:answer|find|determine|tell|say|see|provide|locate|give|confirm|identify|infer|know|help)"
_HOLD = r"(?:contain|include|have|hold|give|provide|offer|list|name|cover|identify|supply)"
_ANSWER = (
    r"(?:(?:the|an?|any|this|that|enough|sufficient|specific|relevant|further|such|direct|clear|explicit|other|more) )*"
    r"(?:answers?|information|details?|mention|indication|reference)"
)
_REST = r"(?:[ ,].*)?"
_ABOUT = (
    r"(?:,? (?:about|on|of|for|from|regarding|concerning|in|to|as|available|given|provided|found|that|which|what|when"
    r"|where|who|whom|whose|why|how|if|whether|because|since|based|the|this|it|exactly|here)\b.*)?"
)
_WHAT = r"(?:the|this|that|your) (?:\w+ )?(?:answer|question|information)"
# A subject of a few words without a verb of its own: "Paris is the capital, the date is not mentioned" is an answer.
_SUBJECT = r"(?!(?:.* )?(?:is|are|was|were|has|have|had|and|which|who) .*(?: is| are| was| were|n't) )[^,:]{1,120}?"
_REFUSES = re.compile(
    "|".join(
        f"(?:{pattern})"
        for pattern in (
            rf"cannotanswer|i cannotanswer{_REST}",
            rf"(?:i )?(?:(?:really|simply|honestly|just) )*(?:do not|don't) know{_ABOUT}",
            rf"(?:i have )?no idea{_ABOUT}",
            rf"(?:i am )?(?:not (?:sure|certain)|unsure|uncertain){_ABOUT}",
            rf"(?:i {_CAN_NOT}|(?:i am |i was )?(?:unable|not able) to) {_HOW}{_FIND}{_REST}",
            rf"i (?:do not|don't) (?:think|believe) {SOURCE} (?:{_SAY}|{_HOLD})s?{_REST}",
            rf"i (?:do not|don't|did not|didn't) (?:have|see|find) (?:that|this|{_ANSWER}){_ABOUT}",
            rf"i have no {_ANSWER}{_ABOUT}",
            rf"not {_HOW}{_SAID}(?: anywhere)?(?: (?:in|by|within) {SOURCE})?",
            rf"not {_HOW}{_FOUND}(?: anywhere)? (?:in|by|from|within) {SOURCE}",
            rf"(?:it|this|that) {_IS_NOT} {_HOW}{_SAID}(?: anywhere)?(?: (?:in|by|within) {SOURCE})?",
            rf"{_WHAT} {_IS_NOT} {_HOW}{_FOUND}{_REST}",
            rf"{_WHAT} is (?:unknown|unclear|missing|unavailable){_REST}",
            rf"(?:{_WHAT} {_IS_NOT}|not) (?:anywhere )?in {SOURCE}",
            rf"{_SUBJECT} {_IS_NOT} {_HOW}(?:mentioned|stated)(?: anywhere)?",
            rf"{_SUBJECT} {_IS_NOT} {_HOW}{_SAID}(?: anywhere)? (?:in|by|within) {SOURCE}",
            rf"{_SUBJECT} {_IS_NOT} {_HOW}{_FOUND}(?: anywhere)? (?:in|by|from|within) {PASSAGES}",
            rf"(?:(?:it|this|that|{_WHAT}) )?{_CAN_NOT} be {_HOW}{_INFERRED}{_REST}",
            rf"{_WHAT} {_CAN_NOT} be {_HOW}{_FOUND}{_REST}",
            rf"{_SUBJECT} {_CAN_NOT} be {_HOW}(?:{_INFERRED}|{_FOUND}) (?:in|from|by) {SOURCE}",
            rf"{_WHAT} {_NOT} (?:appear|seem to be|stand|occur) {_REST}",
            rf"it is (?:not possible|impossible|unclear|not clear) (?:to {_FIND}|from)\b{_REST}",
            rf"{SOURCE} {_NOT} {_HOW}{_SAY}{_REST}",
            rf"(?:they|it) {_NOT} {_HOW}(?:mention|say|state|specify|tell){_REST}",
            rf"{PASSAGES} {_NOT} {_HOW}{_HOLD}{_REST}",
            rf"{SOURCE} {_NOT} {_HOW}{_HOLD} {_ANSWER}{_ABOUT}",
            rf"{SOURCE} (?:{_SAY}|{_HOLD}|make)s? (?:nothing|no {_ANSWER}){_ABOUT}",
            rf"{SOURCE} {_CAN_NOT} {_HOW}answer{_REST}",
            rf"{SOURCE} (?:is|are) (?:silent|not clear|unclear|not sufficient|insufficient|not enough){_ABOUT}",
            rf"(?:none|neither) of {SOURCE} (?:{_SAY}|{_HOLD})s?{_REST}",
            rf"(?:none|neither) of them (?:{_SAY}|{_HOLD})s?{_REST}",
            rf"nothing in {SOURCE} {_SAY}s?{_REST}",
            rf"no (?:{_SHOWN}|{_WRITTEN}) (?:{_SAY}|{_HOLD})s?{_REST}",
            rf"(?:there (?:is|are|was|were) )?(?:no|not|not enough|insufficient) {_ANSWER}{_ABOUT}",
            rf"no {_ANSWER} (?:is|are|was|were) {_HOW}{_FOUND}{_REST}",
        )
    ),
    re.I,
)
# What keeps a clause from being a refusal: it may go on with an answer.
_CONTRAST = re.compile(
    r"\b(?:but|however|though|although|except|apart from|other than|besides|only|yet|nevertheless|nonetheless|while"
    r"|whereas|rather)\b",
    re.I,
)
_EXCUSE = re.compile(
    r"\A\W*+(?:(?:i am )?(?:very |so |really )?sorry|i am afraid|(?:my )?apologies"
    rf"|i apologi[sz]e(?: for[^,.:;]{{0,60}})?|unfortunately|regrettably|sadly|hm+|therefore|thus|so|hence|well"
    rf"|(?:based on|according to|given|from|in) {SOURCE}"
    r"|as an ai(?: (?:language )?model| assistant)?|(?:the|my) (?:\w+ )?answer (?:to (?:the|this|that|your) question )?"
    r"(?:is(?! not\b| never\b| unknown\b| unclear\b)|would be)|answer(?=\s*:))\b[\s,:;.!–—-]*(?:(?:but|and) )?",
    re.I,
)
_EXPLAINS = re.compile(
    rf"(?:(?:and |as )?(?:they|it|{SOURCE}) (?:only|merely|just|simply|instead)\b"
    rf"|{PASSAGES} (?:is|are|mention|discuss|describe|talk|focus|deal|refer|speak|say|state)s?(?:es)?\b"
    r"|please (?:provide|give|clarify|rephrase|check|consult|refer|contact|let|specify|share|ask)\b"
    r"|if you\b|let me know\b"
    r"|(?:more|further|additional) (?:information|context|details?) (?:is|are|would be)\b).*",
    re.I,
)
# How refusals begin; with one of other words a stream cannot wait.
_OPENS = re.compile(
    rf"\A\W*+(?:(?:i|it|this|they|there|not?|none|neither|nothing|sorry|my|unfortunately|regrettably|sadly|don't"
    rf"|insufficient|apologies|cannot\w*)\b|(?:as|based|according|given|from|in|so|thus|therefore)\b"
    rf"|(?:the )?(?:\w+ )?answer\b|{_ALL}(?:{_GIVEN} )*(?:{_SHOWN}|{_WRITTEN})\b|the(?: \w*)?\Z)",
    re.I,
)


def is_refusal(text: str, passages: Sequence[Passage]) -> bool:
    """Whether an answer says that the passages do not hold the answer, and nothing else."""
    if _begins_as_refusal(text, passages):
        return True
    start = refusal_at_end(text)
    if start < len(text) and LINKED_REFUSAL.search(text[max(start - CHARACTERS_OF_A_LINK, 0) : start].rstrip(" ,\"'(")):
        return True
    refuses = False
    for clause in _clauses(text):
        kind = _kind(clause, passages)
        if kind == "says":
            return False
        refuses = refuses or kind == "refuses"
    return refuses


def refusal_at_end(text: str) -> int:
    """Where the refusal begins that a text ends with, and what sets it off; the text's length where there is none."""
    end = _before(text, len(text), ".)\"'")
    start = len(text)
    while text.endswith(CANNOTANSWER, 0, end):
        word = end - len(CANNOTANSWER)
        if (word and _is_of_a_word(text[word - 1])) or (end < len(text) and _is_of_a_word(text[end])):
            break
        start = _before(text, word, "(\"'")
        end = _before(text, word, ".,()\"'")
    return start


def _before(text: str, end: int, signs: str) -> int:
    """Where the blanks and these signs begin that stand before a place."""
    while end and (text[end - 1] in signs or text[end - 1].isspace()):
        end -= 1
    return end


def _is_of_a_word(ch: str) -> bool:
    return ch.isalnum() or ch == "_"


def may_refuse(beginning: str) -> bool:
    """Whether an answer of which this is the beginning may still turn out to be a refusal."""
    *whole, growing = _clauses(beginning) or [""]
    if any(_kind(clause, ()) == "says" for clause in whole):
        return False
    return bool(whole) or " " not in spaced_out(growing).strip() or _OPENS.match(growing) is not None


def _begins_as_refusal(text: str, passages: Sequence[Passage]) -> bool:
    """Whether an answer begins as a refusal. "cannot answer the telephone" may be copied from a passage."""
    text = _without_excuses(text)
    if REFUSAL.match(text) is None:
        return False
    opening = normalized_words(text)[:WORDS_OF_A_COPY]
    return opening[:1] != ["cannot"] or len(opening) <= 2 or not is_copied(opening, passages)


def _clauses(text: str) -> list[str]:
    text = _NUMBERED.sub(lambda m: m[1] if m[1].lower().startswith("passage") else f"{m[1]} the passages", text)
    text = CITATION.sub("", text.replace("’", "'"))
    return [clause for clause in _CLAUSE_END.split(text) if any(ch.isalnum() for ch in clause)]


def _kind(clause: str, passages: Sequence[Passage]) -> str:
    """`refuses`, `explains` (excuses and words about the passages), or `says` for all else."""
    if len(clause) > MAX_CLAUSE_CHARACTERS or clause.rstrip().endswith("?"):
        return "says"
    core = " ".join(_without_excuses(clause).split()).strip(" .!,:\"'()*“”")
    if core and _CONTRAST.search(core) is None and _REFUSES.fullmatch(core):
        is_the_word = core.upper() == "CANNOTANSWER"
        copied = not is_the_word and is_copied(normalized_words(clause)[:WORDS_OF_A_COPIED_CLAUSE], passages)
        return "says" if copied else "refuses"
    return "explains" if not core or _EXPLAINS.fullmatch(core) else "says"


def _without_excuses(text: str) -> str:
    """The text without what refusals begin with, such as "Sorry, but" or "The answer is"."""
    text = re.sub(r"\bI'm\b", "I am", text.strip().replace("’", "'"), flags=re.I)
    text = re.sub(r"\b(it|that)'s\b", r"\1 is", text, flags=re.I)
    for _ in range(MAX_EXCUSES):
        text = _EXCUSE.sub("", text)
    return text
