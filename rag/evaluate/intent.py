"""What a query is after, told by its form: an answer, words, a topic to explore, or evidence for a claim.

Broder 2002, https://doi.org/10.1145/792550.792552, tells searches apart by what they are for; here the form alone
decides, by rules that can be read. They know the question words of some languages, and question marks of all.
"""

from __future__ import annotations

import re

from rag.languages import ENGLISH, FUNCTION_WORDS, language_of
from rag.scripts import count_words, is_unspaced

QUESTION, KEYWORDS, TOPIC, CLAIM = "question", "keywords", "topic", "claim"
INTENTS = (QUESTION, KEYWORDS, TOPIC, CLAIM)
BROAD_WORDS, CLAIM_WORDS, CLAIM_FUNCTION_WORDS = 2, 6, 2

ASKING_WORDS = {
    # Question words, and in English the verbs that a question begins with.
    "english": "how who whose whom what when where which why is are was were do does did can could should would will "
    "has have may must am name whats hows wheres",
    "german": "wer wen wem wessen wann wo woher wohin wie warum wieso weshalb welche welcher welches welchen womit",
    "dutch": "wat wanneer waar waarom hoe welke",
    "french": "qui quoi quand où comment pourquoi quel quelle quels quelles combien",
    "spanish": "qué quién quiénes cuándo dónde cómo cuál cuáles cuánto cuántos",
    "portuguese": "quem onde qual quais quantos",
    "italian": "chi cosa quando dove perché quale quanto quanti",
    "russian": "кто что когда где как почему зачем сколько какой какая какие",
}
_ASKING = frozenset(word for words in ASKING_WORDS.values() for word in words.split())
_ASKING_WITHIN = re.compile(
    "什么|什麼|谁|誰|哪|怎么|怎麼|怎样|如何|为何|多少|吗|嗎|なぜ|どこ|いつ|どう|何|무엇|누구|언제|어디|왜|어떻게"
)
_QUESTION_MARK = re.compile(r"[?？؟](?![\w/=&])")  # none of an address
_EXPLORING = re.compile(
    r"(?:about|all about|tell me about|explain|describe|discuss|compare|list|summari[sz]e|overview|introduction|"
    r"history|types|kinds|basics|erkläre|beschreibe|überblick|einführung|geschichte|explique|décris|histoire|"
    r"introducción|historia)\b|介绍|概述|简介",
    re.I,
)


def intent_of(query: str) -> str:
    """One of `INTENTS`.

    - question: a question mark ends it, or a sentence in it; or it begins as a question does;
    - topic: it asks to be told about something, or is one word or two without a number, or names a thing "of" another;
    - claim: a sentence that states something;
    - keywords: words in a row, without the small words of a sentence.
    """
    text = query.strip()
    words = re.findall(r"[^\W_]+", text.lower())
    if not words:
        return KEYWORDS
    if _QUESTION_MARK.search(text) or words[0] in _ASKING or _ASKING_WITHIN.search(text):
        return QUESTION
    if _EXPLORING.match(text):
        return TOPIC
    small_words = FUNCTION_WORDS[ENGLISH] | FUNCTION_WORDS.get(language_of(text), frozenset())
    n, n_small = count_words(text), sum(word in small_words for word in words)
    is_sentence = text.endswith((".", "!", "。", "！", "।"))
    if is_unspaced(text):
        return CLAIM if is_sentence else TOPIC if len(text) <= 6 else KEYWORDS
    if n >= CLAIM_WORDS and (is_sentence or n_small >= CLAIM_FUNCTION_WORDS):
        return CLAIM
    if n <= BROAD_WORDS:
        return KEYWORDS if any(ch.isdigit() for ch in text) else TOPIC
    return TOPIC if n_small else KEYWORDS
