"""Whether the words of a question refer to something said before it. The rules are for English.

A word list alone takes too much for a reference: "there" in "Is there a fee?", "it" in "How long does it take to go?",
"his" in "Why did the king leave his castle?", "one" in "one of the lakes". So a word counts only where it is used to
refer, and nothing before it in the same question could be what it stands for. A few words without a verb or without
content ("How long?", "The price?", "¿Por qué?") lean on the conversation too, in any language.
"""

from __future__ import annotations

import re

from rag.scripts import UNSPACED

OPENS_AS_FOLLOW_UP = re.compile(
    r"\A\s*(?:(?:and|but|or|so|also|then)\b(?!-)|what about\b|how about\b|why not\b|why\??\s*\Z)", re.I
)
REFERRING_WORD = re.compile(
    r"\b(?:it|its|itself|they|them|their|theirs|he|him|his|she|her|hers|this|that|these|those|one|ones|there|then|"
    r"the same|former|latter|above|else|another|other|others|instead|too|also)\b",
    re.I,
)
"""Any word that may refer, whether it does in its sentence or not."""
SHORT_WORDS = 4
MAX_CHARACTERS = 2_000
WITHOUT_SPACES = re.compile(f"[{UNSPACED}]{{1,2}}")  # Chinese, Japanese and others: about two letters a word

AUXILIARY = r"(?:is|are|was|were|am|be|been|do|does|did|can|could|will|would|shall|should|may|might|must|has|have|had)"
PREPOSITION = r"(?:of|in|on|at|for|by|to|from|with|about|like|after|before|since|until|than|during|under|into|over)"
CLAUSE_OPENS = (
    r"(?:after|before|when|while|because|if|as|until|since|that|where|once|although|though|"
    r"who|which|and|so|but|how|why)"
)
TIME = r"(?:year|month|week|day|morning|evening|night|season|time|century|decade|point|moment|weekend|summer|winter)s?"

ADJECTIVE = (
    r"(?:possible|impossible|legal|illegal|allowed|permitted|forbidden|necessary|needed|required|important|safe|worth|"
    r"true|free|cheap|cheaper|better|best|good|bad|easy|easier|hard|difficult|wise|normal|common|usual|likely|ok|okay)"
)
IT_STANDS_FOR_NOTHING = re.compile(
    rf"\bit\s+(?:{AUXILIARY}\s+|really\s+|always\s+|usually\s+)*(?:take|cost|mean|feel|make)s?\b.*\bto\b|"
    rf"\b{AUXILIARY}\s+it\s+(?:\w+\s+)?{ADJECTIVE}\s+(?:to|that|if|when|for)\b|\bwhat\s+time\s+is\s+it\b|"
    rf"\bit\s+(?:is|was)\s+(?:\w+\s+)?{ADJECTIVE}\s+(?:to|that)\b|\bit\s+(?:rain|snow)s?\b",
    re.I,
)
THERE_IS = re.compile(
    rf"\b{AUXILIARY}(?:n['’]t)?\s+there(?=\s+\w)|\bthere(?:['’]s|\s+(?:{AUXILIARY}|exists?|seems?|remains?))\b|"
    rf"\A\W*(?:how\s+(?:many|much)|what|which)\b.*\b{AUXILIARY}\s+there\W*\Z",
    re.I,
)
PERSONAL = re.compile(
    r"\b(?P<own>its|it['’]s|their|his|her(?=\s+\w)|itself|themselves|himself|herself)\b|"
    r"\b(?:it|they|he|she|them|him|hers?|theirs)\b",
    re.I,
)
POINTING = re.compile(r"\b(?P<word>this|that|these|those)\b(?:\s+(?P<noun>\w+))?", re.I)
THAT_REFERS = re.compile(rf"(?:\A\W*|\b(?:{AUXILIARY}|{PREPOSITION}|what|why|how|who|when|where)\s+)\Z", re.I)
POINTS_BACK = re.compile(
    r"\b(?:how|get|go|goes|going|be|live|lives|lived|from|went|over|up|down|in|out)\s+there\b|\bthere\W*\Z|"
    r"\b(?:which|another|other|this|that|first|second|last|next|new|old)\s+ones?\b(?!\s+of\b)|"
    r"\bthe\s+ones?(?=\W*\Z|\s+(?:before|above|you|we|i)\b)|(?<!no )(?<!any )(?<!-)\bones?\W*\Z|"
    r"\btoo\W*\Z|\bthen\W*\Z|\b(?:by|since|until|back)\s+then\b|\belse\b(?!.*\b(?:than|besides|but|except|apart)\b)|"
    r"\bthe\s+others?\W*\Z|\A(?!.*\b(?:and|both|as)\b).*\bthe\s+same\b|\bthe\s+latter\b|\bthe\s+former\W*\Z|"
    r"\bthe\s+above\b|\babove\W*\Z|\binstead\b(?!\s+of\b)|\bthe\s+(?:previous|preceding|aforementioned)\b",
    re.I,
)
ASKING = r"(?:who|whom|whose|what|which|when|where|why|how)"
FUNCTION_WORD = re.compile(
    rf"(?:{AUXILIARY}|{PREPOSITION}|{ASKING}|the|a|an|and|or|not|no|yes|much|many|long|far|often|old|more|most|any|some|"
    r"i|you|we|me|us|your|my|our|it|its|they|their|he|his|she|her|this|that|these|those|there)",
    re.I,
)
NAMED_BEFORE = re.compile(
    rf"(?i:\b(?:the|a|an|each|every|my|your|our|some|all)\s+\w+)|(?i:\b(?:what|which|whose)\s+(?!{AUXILIARY}\b)\w+\s+\w)|"
    rf"(?<=\s)[A-Z]\w+|(?i:\b{AUXILIARY}\s+(?!{FUNCTION_WORD.pattern}\b)\w+)"
)


def refers_back(question: str) -> bool:
    """Whether a word of the question, or its opening or brevity, shows that it leans on the conversation before it.

    Of a very long question the beginning is looked at.
    """
    question = question[:MAX_CHARACTERS]
    return (
        bool(OPENS_AS_FOLLOW_UP.search(question))
        or _is_fragment(question)
        or bool(POINTS_BACK.search(THERE_IS.sub(" ", question)))
        or _has_pronoun(question)
        or any(_points_back(question, found) for found in POINTING.finditer(question))
    )


def _is_fragment(question: str) -> bool:
    """Few words, and among them no verb that makes them a sentence, or nothing that it could be about.

    A number or a name within them is enough to search for.
    """
    words = re.findall(r"[\w'’-]+", WITHOUT_SPACES.sub(r"\g<0> ", question))
    if not words or len(words) > SHORT_WORDS or any(word[0].isupper() or word[0].isdigit() for word in words[1:]):
        return False
    n_content = sum(FUNCTION_WORD.fullmatch(word) is None for word in words)
    if any(re.fullmatch(AUXILIARY, word, re.I) for word in words):
        return n_content == 0
    # "Who discovered insulin?" has a verb of its own, "Which year?" has none.
    return n_content < 2 if re.fullmatch(ASKING, words[0], re.I) else True


def _has_pronoun(question: str) -> bool:
    """Whether a personal pronoun stands for something outside the question."""
    question = IT_STANDS_FOR_NOTHING.sub(" ", question)
    for found in PERSONAL.finditer(question):
        before = question[: found.start()]
        named = NAMED_BEFORE.search(before)
        if named is None:
            return True
        # "… the bridge after it was closed": a new clause takes up what was named before it.
        has_new_clause = re.search(rf"\b{CLAUSE_OPENS}\b(?!\s+{AUXILIARY}\b)", before[named.end() :], re.I) is not None
        if not has_new_clause and (found["own"] is None or _owner_is_outside(before)):
            return True
    return False


def _owner_is_outside(before: str) -> bool:
    """Whether a possessive behind these words belongs to nothing in them, as in "What is the height of its tower?"."""
    copula = re.match(
        r"\W*(?:(?:what|which|who|where|when|how)\b\s*(?:\w+\s+)?)?(?:is|are|was|were)\b(.*)", before, re.I
    )
    return copula is not None and re.search(r"(?:\A\s*|\bof\s+)\Z", copula[1]) is not None


def _points_back(question: str, found: re.Match[str]) -> bool:
    """Whether `this`, `that`, `these` or `those` points to something outside the question."""
    word, noun = found["word"].lower(), found["noun"]
    before, behind = question[: found.start()], question[found.end("word") :]
    if noun is not None:
        if re.fullmatch(TIME, noun, re.I) and word in ("this", "these"):
            return False
        named = rf"\b{re.escape(noun)}\b"
        if re.search(named, before, re.I) or re.search(named, question[found.end() :], re.I):
            return False
    if word == "those" and re.match(r"\s+(?:who|that|of|with|in|from|which)\b", behind, re.I):
        return False
    return word != "that" or not behind.strip(" ?!.") or THAT_REFERS.search(before) is not None
