"""The language of a corpus: its name, and how it is recognised by scripts and function words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from rag.scripts import OTHER, composed, script_counts

ENGLISH = "english"
NO_LANGUAGE = "none"
SAMPLED_PASSAGES = 500
SAMPLED_CHARACTERS = 1000
LEAST_WORDS = 2
WORDS_FOR_ONE_MORE = 25
MOST_WANTED = 5
LEAST_VOTERS = 0.25
LEAST_TO_ENGLISH = 1.5
LEAST_KANA = 0.1
STAYS_FROM = 1 / 3

# The most frequent words of running text, and few that another language of the same script has, too.
_LATIN = {
    "english": "the of and to is that was for with as are on this by be from not it have which or at an has you were",
    "german": "der die und das ist nicht von mit den dem ein eine zu des auf für sich im auch als wird sind oder",
    "french": "le la les des et est dans un une du que pour qui pas sur au avec sont ce cette ou il plus par aux été",
    "spanish": "el la los las de que y en un una por con para es del se no su como más al lo son está fue este pero",
    "portuguese": "o os as de que e do da em um uma para com não é dos das no na por se mais ao são foi pelo também",
    "italian": "il di che e la per un una è non sono del della con le gli dei nel alla si da anche come più dal delle",
    "catalan": "el la els les de que i en un una per amb és del no al es va dels més són aquest aquesta pel ha seva",
    "romanian": "și în de la cu că nu este din pe un o mai sau pentru care sunt ale prin fost fi acest lui după către",
    "dutch": "de het een van en is dat niet op te zijn voor met die aan er ook als bij wordt door naar worden deze",
    "swedish": "och att det som är på en för av med den till inte har ett om kan eller från de när var ska även vid",
    "danish": "og at det er på en for af med den til ikke har et om kan eller fra de når var skal også ved blev efter",
    "norwegian": "og å det er på en for av med den til ikke har et om kan eller fra de når var skal også ved ble etter",
    "finnish": "ja on ei se että oli ovat kun tai myös hän mutta sekä joka kuin ole voi mukaan jälkeen sen niin jos",
    "estonian": "ja on ei see et oli ka kui ning või mis aga ta seda selle ole võib kes oma siis välja olid järgi",
    "hungarian": "a az és hogy nem egy is volt van meg de vagy ezt mint csak már ez el lehet azonban ki amely után",
    "polish": "i w nie na się z do jest że to o od po jak przez oraz są być był dla lub które który może tym jego",
    "czech": "a v se je na že to s z o do od po jako pro by jsou byl který nebo jeho které při také aby není ve",
    "slovak": "a v sa je na že to s z o do od po ako pre by sú bol ktorý alebo jeho ktoré pri tiež aby nie vo",
    "croatian": "i u je na se da za su od s a o kao ne koji bi ili to iz koje te nije samo može bio nakon prema",
    "turkish": "ve bir bu da de için ile olarak çok daha olan gibi ne en sonra kadar ya veya ama her değil var ise",
    "lithuanian": "ir yra kad į iš su tai ne kaip buvo o ar jis apie bet po dėl nuo taip pat gali arba už jo metais",
    "latvian": "un ir ka ar uz no par tas bija kas arī kā vai pēc ne tika gada bet lai viņš to ja gadā kuri pie",
    "indonesian": "yang dan di ini itu dengan untuk pada dari tidak dalam adalah ke oleh akan atau juga karena bisa",
    "vietnamese": "là và của có cho không được một các trong với người này đã khi từ những để đến theo như năm cũng ở",
}
_CYRILLIC = {
    "russian": "и в не на что с по как это для из от был его к он или также которые быть является все при были ы",
    "ukrainian": "і в не на що з до як це для із від був його та у він або також які бути є всі при були цей",
    "bulgarian": "и в не на че с по като това за от е да се са или който си към до през които съм беше бъде",
    "serbian": "и у не на да се је за су од са као који или из што није био то а би њ које али након",
}
_ARABIC = {
    "arabic": "في من على إلى أن عن التي الذي هذا هذه ما كان لا مع أو هو هي كما قد بين بعد كل لم ذلك",
    "persian": "در از به که است این را با آن برای می تا بر یک شده شد های نیز خود یا کرد باشد هم بود",
    "urdu": "کے کی میں ہے سے کا اور کو نے پر یہ ہیں تھا اس ایک کہ بھی تھے کر لیے گیا جو نہیں ہو",
}
_DEVANAGARI = {
    "hindi": "के में की है से का और को ने पर यह हैं था इस एक कि भी थे कर लिए गया जो नहीं हो",
    "nepali": "को र मा छ यो पनि हो एक छन् भने थियो गर्न गरेको लागि तथा बाट ले त्यो हुन् गर्ने",
    "marathi": "आणि आहे या व हे तो ते आहेत होते होता केले करण्यात च्या पण त्या एक असे किंवा मध्ये",
}
_WITHIN = {"latin": _LATIN, "cyrillic": _CYRILLIC, "arabic": _ARABIC, "devanagari": _DEVANAGARI}
# Where the words of a text in these letters do not tell; that it is not English, the letters tell.
_USUAL = {"cyrillic": "russian", "arabic": "arabic", "devanagari": "hindi"}
# Parts of names of people, places and wines, and codes of languages. English tables and lists hold many of them.
_NAME_PARTS = (
    "da das de dei del della den der des di die do dos du e el en es et het il is it la las le les lo los no se te und "
    "van von y zu"
)
_IN_NAMES = frozenset(_NAME_PARTS.split())
_IN_GERMAN_NAMES = frozenset(("den", "der", "des", "die", "von", "zu"))
_ALONE = {"hangul": "korean", "han": "chinese"} | {
    name: name for name in ("greek", "armenian", "hebrew", "bengali", "tamil", "thai", "lao", "khmer", "burmese")
}
FUNCTION_WORDS = {language: frozenset(words.split()) for group in _WITHIN.values() for language, words in group.items()}
"""Language -> its most frequent words."""
_LANGUAGES_OF: dict[str, dict[str, list[str]]] = {script: {} for script in _WITHIN}
for _script, _group in _WITHIN.items():
    for _language in _group:
        for _word in FUNCTION_WORDS[_language]:
            if len(_word) > 1 or _script != "latin":  # single letters are variables, columns and options as well
                _LANGUAGES_OF[_script].setdefault(_word, []).append(_language)
SCRIPT_OF = {language: script for script, group in _WITHIN.items() for language in group} | {
    **{language: script for script, language in _ALONE.items()},
    "japanese": "kana",
}
"""Language -> the script that it is recognised by."""
LANGUAGES = (*sorted(SCRIPT_OF), NO_LANGUAGE)
"""Every language that a corpus may have; `none` is for any other."""

_SYMBOL = re.compile(r"(?<!\w)[\u0370-\u03ff](?!\w)")  # a Greek letter by itself: of a formula
_WORD = re.compile(r"[^\W\d_]+(?:[\u0900-\u097f\u200c]+[^\W\d_]*)*")


def language_votes(texts: Sequence[str]) -> Counter[str]:
    """Language -> passages written in it; "" -> those whose words do not tell. About five hundred are looked at."""
    step = max(len(texts) // SAMPLED_PASSAGES, 1)
    return Counter(language_of(text[:SAMPLED_CHARACTERS]) for text in texts[::step])


def detect_language(texts: Sequence[str], *, before: str = "") -> str:
    """The language that most of the passages are written in, of those that tell; English where fewer than a quarter do.

    `before` is the one found earlier: it stays while a third of the passages are in it, so that a corpus in two
    languages does not change sides with every file.
    """
    votes = language_votes(texts)
    n_silent = votes.pop("", 0)
    if before and votes[before] >= STAYS_FROM * votes.total():
        return before
    # Code, logs and tables hold few words of any language.
    if votes.total() < LEAST_VOTERS * (votes.total() + n_silent):
        return before or ENGLISH
    return max(votes, key=lambda language: (votes[language], language == ENGLISH), default=before or ENGLISH)


def language_of(text: str) -> str:
    """The language of one text; "" where its words do not tell."""
    text = _SYMBOL.sub("", composed(text))
    counts = script_counts(text)
    if not counts:
        return ""
    kana, han = counts.get("kana", 0), counts.get("han", 0)
    script = max(counts, key=lambda name: counts[name] + (kana if name == "han" else 0))
    if script in ("han", "kana"):
        return "japanese" if kana > LEAST_KANA * (kana + han) else "chinese"
    if script in _ALONE or script == OTHER:
        return _ALONE.get(script, NO_LANGUAGE)
    words = _WORD.findall(text.lower())
    # Different words, each once: what a table or a program repeats says no more than what it says once.
    known = Counter(language for word in set(words) for language in _LANGUAGES_OF[script].get(word, ()))
    wanted = min(LEAST_WORDS + len(words) // WORDS_FOR_ONE_MORE, MOST_WANTED)
    best = max(_WITHIN[script], key=known.__getitem__)  # of several the first; English is before all
    if known[best] >= wanted and (script != "latin" or best == ENGLISH or _is_running_text(set(words), known, best)):
        return best
    return _USUAL.get(script, "")


def _is_running_text(words: set[str], known: Counter[str], language: str) -> bool:
    """Whether a text in Latin letters is in a language, rather than English with foreign names.

    One word is wanted that stands in no name, two where another language has as many words; and clearly more words
    than are English.
    """
    if known[language] < LEAST_TO_ENGLISH * known[ENGLISH]:
        return False
    in_names = _IN_GERMAN_NAMES if language == "german" else _IN_NAMES
    n_equal = sum(n == known[language] for n in known.values())
    return len(words & FUNCTION_WORDS[language] - in_names) >= min(n_equal, 2)
