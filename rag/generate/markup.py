"""What surrounds an answer in raw output: thinking, chat markup, a transcript, an echoed question, more questions."""

from __future__ import annotations

import re
from collections.abc import Sequence

from rag.generate.citations import CITATION
from rag.generate.copies import is_copied, normalized_words
from rag.types import Passage

# Every expression here takes time that grows with the text and no faster, whatever the text is: what is repeated is
# possessive, and goes on over blanks only where it began before them.
THINK_BLOCK = re.compile(r"<think>.*?(?:</think>|\Z)", re.DOTALL)
OPEN_THINK = re.compile(r"<think>.*\Z", re.DOTALL)
CHAT_MARKER = re.compile(r"<\|[^|<>\s]{1,40}\|>")
TURN_MARKER = re.compile(r"<\|im_start\|>|<\|start_header_id\|>|<\|im_end\|>\s*(?=(?:system|user|assistant)\b)")
ASSISTANT_TURN = re.compile(r"(?:<\|im_start\|>|<\|start_header_id\|>)\s*assistant\s*(?:<\|end_header_id\|>)?", re.I)
BARE_ASSISTANT_LINE = re.compile(r"^[^\S\n]*+assistant[^\S\n]*+:?[^\S\n]*+$", re.I | re.M)
LABEL = re.compile(r"\A\s*(?:A|Answer)\s*:\s*", re.I)
ANSWER_LINE = re.compile(r"^[^\S\n]*+A:[ \t]*", re.M)
# The same without markup. A role fills a line, or stands before a colon.
ROLE = re.compile(r"^[ \t]*(system|user|human|assistant)[ \t]*(?::[ \t]*|$)", re.I | re.M)
JOINED_TRANSCRIPT = re.compile(r"\A\s*+system\s(?>.*?\suser\s).*\sassistant[ \t]*+\n", re.S)
ECHO = re.compile(
    r"\A\s*+(?:Q|Question)[ \t]*+:(?:[^\S\n]*+\n)*+"
    r"[^\n]*?(?:[?.!]\s++|\n\s*+|(?<=\n)[^\S\n]*+)(?:A|Answer)[ \t]*+:\s*+(?=\S)",
    re.I,
)
NEXT_QUESTION = re.compile(r"\n[^\S\n]*+(?:Q|Question)[ \t]*+(?:\d{1,2}[ \t]*+)?:[^\n]*", re.I)
# How many words behind a marker must stand in a passage, too, for the marker to count as copied from it.
WORDS_BEHIND = 3
WORDS_OF_A_QUESTION = 7
CHARACTERS_BEHIND = 300
"""The words behind a marker are looked for in so many characters."""


def without_markup(raw: str) -> str:
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


def without_dialogue(text: str, passages: Sequence[Passage]) -> str:
    """The answer alone, without a transcript or an echoed question before it and further questions behind it.

    Roles, `Q:` and `A:` that were copied from a passage, such as a list of questions, are part of the answer.
    """
    text = _after_transcript(text, passages)
    echo = ECHO.match(text)
    if echo and not _is_copied(text, 0, echo.end(), passages):
        text = text[echo.end() :]
    answer_start = len(text) - len(text.lstrip())
    for question in NEXT_QUESTION.finditer(text):
        words = _words(question[0])[:WORDS_OF_A_QUESTION]
        if answer_start < question.start() and not is_copied(words, passages):
            text = text[: question.start()]
            break
    return LABEL.sub("", text.strip()).strip()


def _after_transcript(text: str, passages: Sequence[Passage]) -> str:
    """The assistant's last words in a transcript; of an answer with a transcript behind it, the answer."""
    roles = [role for role in ROLE.finditer(text) if not _is_copied(text, role.start(), role.end(), passages)]
    before = text[: roles[0].start()].strip() if roles else text
    if before and (joined := JOINED_TRANSCRIPT.match(text)) and not _is_copied(text, 0, joined.end(), passages):
        return text[joined.end() :]
    if not roles:
        return text
    starts = [*(role.start() for role in roles), len(text)]
    said = [(role[1].lower(), text[role.end() : end].strip()) for role, end in zip(roles, starts[1:], strict=True)]
    answers = [words for role, words in said if role == "assistant" and words]
    if before:
        # Words such as "user" alone on a line are no transcript: somebody has to ask or to answer.
        asks = any(role in ("user", "human") and words.endswith("?") for role, words in said)
        return before if said[0][0] != "assistant" and (answers or asks) else text
    if not answers:
        return text
    return answers[0] if said[0][0] == "assistant" else answers[-1]


def _is_copied(text: str, start: int, end: int, passages: Sequence[Passage]) -> bool:
    """Whether `text[start:end]` and the words behind it stand in a passage."""
    behind = _words(text[end : end + CHARACTERS_BEHIND])[:WORDS_BEHIND]
    return is_copied(_words(text[start:end]) + behind, passages)


def _words(text: str) -> list[str]:
    return normalized_words(CITATION.sub(" ", text))
