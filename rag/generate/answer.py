"""The answer parser: raw model output becomes clean text with citations, or CANNOTANSWER."""

from __future__ import annotations

import re
import string
from collections.abc import Sequence

from rag.types import CANNOTANSWER, Answer, Passage

THINK_BLOCK = re.compile(r"<think>.*?</think>", re.DOTALL)
OPEN_THINK = re.compile(r"<think>.*\Z", re.DOTALL)
CHAT_MARKER = re.compile(r"<\|[^|<>\s]{1,40}\|>")
TURN_MARKER = re.compile(r"<\|im_start\|>|<\|start_header_id\|>|<\|im_end\|>\s*(?=(?:system|user|assistant)\b)")
ASSISTANT_TURN = re.compile(r"(?:<\|im_start\|>|<\|start_header_id\|>)\s*assistant\s*(?:<\|end_header_id\|>)?", re.I)
BARE_ASSISTANT_LINE = re.compile(r"^\s*assistant\s*:?\s*$", re.I | re.M)
LABEL = re.compile(r"\A\s*(?:A|Answer)\s*:\s*", re.I)
ANSWER_LINE = re.compile(r"^\s*A:[ \t]*", re.M)
REFUSAL = re.compile(r"\A[\s\W]*cannot[\s_]?answer\b", re.I)
TRAILING_REFUSAL = re.compile(r"[\s(\"']*\bCANNOTANSWER\b(?:[\s.,()\"']*\bCANNOTANSWER\b)*[\s.)\"']*\Z")
VERDICT = re.compile(r"\s*\bAnswered by the passages:\W{0,5}(yes|no)\b(?! one).*", re.I | re.S)
ELLIPSES = re.compile(r"\A(?:\s|…|\[…\])+|(?:\s|…|\[…\])+\Z")
# How much text before a bracket, and how many words of an opening, must match a passage to count as copied from it.
CHARACTERS_OF_A_COPY = 15
WORDS_OF_A_COPY = 4
# An answer without citations cites a passage that holds at least this share of its words.
SHARE_OF_WORDS = 0.6
CITATION = re.compile(r"[ \t]*\[\s*\d{1,3}(?:\s*[,;]\s*\d{1,3})*\s*\]")


def parse_answer(raw: str, passages: Sequence[Passage], parser: str = "layered") -> Answer:
    """The clean answer in `raw`, given the passages that the prompt numbered [1]…[m].

    - `none` takes the output as it is.
    - `strip` trims whitespace; an empty answer is CANNOTANSWER.
    - `layered` removes think blocks and chat markup, turns the markers `[n]` into the ids of the passages (numbers that
      no passage has are dropped), and recognises refusals. Brackets and the words "cannot answer" stay text where they
      were copied from a passage. An empty answer is CANNOTANSWER, and so is one that ends with the verdict
      `Answered by the passages: no`.
    """
    if parser == "none":
        return Answer(raw, (), raw)
    if parser == "strip":
        text = raw.strip()
        return Answer(text or CANNOTANSWER, (), raw)
    text = _without_markup(raw)
    # The second line that the prompt `decide-v1` asks for.
    if verdict := VERDICT.search(text):
        if verdict[1].lower() == "no":
            return Answer(CANNOTANSWER, (), raw)
        text = text[: verdict.start()]
    if _refuses(text, passages):
        return Answer(CANNOTANSWER, (), raw)
    text, numbers = _split_citations(text, passages)
    # Without its markers a text can turn out to be a refusal: "[1] cannot answer".
    if _refuses(text, passages):
        return Answer(CANNOTANSWER, (), raw)
    # An answer with a refusal behind it is an answer. Ellipses at the ends come from excerpts.
    text = _unquoted(ELLIPSES.sub("", TRAILING_REFUSAL.sub("", text)))
    if not any(ch.isalnum() for ch in text) or text == CANNOTANSWER:
        return Answer(CANNOTANSWER, (), raw)
    return Answer(text, tuple(dict.fromkeys(passages[n - 1].id for n in numbers)), raw)


def _refuses(text: str, passages: Sequence[Passage]) -> bool:
    """Whether an answer begins as a refusal. "cannot answer the telephone" may be copied from a passage."""
    if REFUSAL.match(text) is None:
        return False
    opening = normalized_words(text)[:WORDS_OF_A_COPY]
    if opening[:1] != ["cannot"] or len(opening) <= 2:
        return True
    return not any(_contains(normalized_words(passage.content), opening) for passage in passages)


def _without_markup(raw: str) -> str:
    """The model's last answer without think blocks or chat markup.

    The cruder cuts (after the last assistant turn, after the last `A:` line, last line) are made only where the output
    holds chat turns: an answer that merely contains such words stays whole.
    """
    text = OPEN_THINK.sub("", THINK_BLOCK.sub("", raw))
    if "</think>" in text:  # the opening tag was part of the prompt
        text = re.sub(r"\A.*?</think>", "", text, count=1, flags=re.DOTALL)
    if TURN_MARKER.search(text):
        turns = list(ASSISTANT_TURN.finditer(text))
        if turns:
            text = text[turns[-1].end() :]
        elif bare := list(BARE_ASSISTANT_LINE.finditer(text)):
            text = text[bare[-1].end() :]
        text = CHAT_MARKER.split(text)[0] if turns else CHAT_MARKER.sub("\n", text)
        if labels := list(ANSWER_LINE.finditer(text)):
            text = text[labels[-1].end() :]
        elif not turns:
            text = next((line for line in reversed(text.splitlines()) if line.strip()), "")
    else:
        # A stop token and what the model babbled after it.
        text = next((part for part in CHAT_MARKER.split(text) if part.strip()), "")
    return LABEL.sub("", text.strip()).strip()


def _split_citations(text: str, passages: Sequence[Passage]) -> tuple[str, list[int]]:
    """(text without citation markers, valid numbers in order). `items[0]` within a sentence is code, not a marker."""
    numbers: list[int] = []
    contents = [_collapsed(passage.content) for passage in passages]

    def visit(match: re.Match) -> str:
        before = text[: match.start()]
        after = text[match.end() :]
        if _is_copied(before, match[0], contents):
            return match[0]
        # A bracket attached to a word is code, unless a clause or the text ends behind it.
        attached = not match[0][0].isspace() and before != "" and (before[-1].isalnum() or before[-1] in "_)")
        ends = not after.strip() or re.match(r"\s*(?:[.!?;,](?:\s|\Z)|\[)", after) is not None
        if attached and not ends:
            return match[0]
        found = [int(digits) for digits in re.findall(r"\d+", match[0])]
        numbers.extend(n for n in found if 1 <= n <= len(passages))
        return ""

    return CITATION.sub(visit, text).strip(), numbers


def _is_copied(before: str, marker: str, contents: Sequence[str]) -> bool:
    """Whether a bracket was copied from a passage: it stands there after the same words.

    At the beginning of an answer no words stand before it. There a single number from 1, as in `[2]`, is taken for a
    citation; other brackets are copied if any passage holds them.
    """
    copy = _collapsed(marker)
    if any(ch.isalnum() for ch in before):
        copy = _collapsed(before + marker)[-len(copy) - CHARACTERS_OF_A_COPY :]
    elif re.fullmatch(r"\[\s*0*[1-9]\d*\s*\]", copy):
        return False
    return any(copy in content for content in contents)


def _collapsed(text: str) -> str:
    return " ".join(text.split())


def _unquoted(text: str) -> str:
    """The text without one pair of quotation marks around the whole of it."""
    text = text.strip()
    for left, right in (('"', '"'), ("“", "”"), ("'", "'")):
        if len(text) > 1 and text[0] == left and text[-1] == right and left not in text[1:-1]:
            return text[1:-1].strip()
    return text


def verify_citations(answer: Answer, contexts: Sequence[Passage]) -> Answer:
    """The answer with citations corrected where its words decide; `contexts` come best first.

    An answer that occurs word for word in some contexts cites those of them that the model cited, else the first of
    them. An answer in the model's own words keeps the model's citations; without any, it cites the context that holds
    most of its words, if that is at least six in ten.
    """
    if answer.abstained or not contexts:
        return answer
    words = normalized_words(answer.text)
    if not words:
        return answer
    holding = [p.id for p in contexts if _contains(normalized_words(p.content), words)]
    if holding:
        cited = tuple(pid for pid in answer.citations if pid in holding) or (holding[0],)
        return Answer(answer.text, cited, answer.raw)
    if answer.citations:
        return answer
    shares = [len(set(words) & set(normalized_words(p.content))) / len(set(words)) for p in contexts]
    most = max(shares)
    if most < SHARE_OF_WORDS:
        return answer
    return Answer(answer.text, (contexts[shares.index(most)].id,), answer.raw)


def normalized_words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    table = str.maketrans(dict.fromkeys(string.punctuation + "–—’“”…", " "))
    return text.lower().translate(table).split()


def _contains(words: list[str], wanted: list[str]) -> bool:
    """Whether `wanted` occurs in `words` as a sequence without gaps."""
    return f" {' '.join(wanted)} " in f" {' '.join(words)} "
