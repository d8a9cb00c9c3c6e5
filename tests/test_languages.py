"""The language of a corpus is told by its scripts and its function words."""

import unicodedata

import pytest

from rag.languages import detect_language, language_of
from rag.scripts import count_words, is_mostly_latin, normalized, spaced_out

SENTENCES = {
    "english": "The harbour was built in 1890, and it is one of the oldest on the coast.",
    "german": "Der Hafen wurde 1890 gebaut und ist einer der ältesten an der Küste.",
    "french": "Le port a été construit en 1890 et il est un des plus anciens de la côte.",
    "spanish": "El puerto fue construido en 1890 y es uno de los más antiguos de la costa.",
    "portuguese": "O porto foi construído em 1890 e é um dos mais antigos da costa.",
    "italian": "Il porto è stato costruito nel 1890 ed è uno dei più antichi della costa.",
    "dutch": "De haven werd in 1890 gebouwd en is een van de oudste aan de kust.",
    "swedish": "Hamnen byggdes år 1890 och är en av de äldsta som finns vid kusten.",
    "danish": "Havnen blev bygget i 1890 og er en af de ældste ved kysten.",
    "norwegian": "Havnen ble bygget i 1890 og er en av de eldste ved kysten.",
    "finnish": "Satama rakennettiin vuonna 1890, ja se on yksi rannikon vanhimmista kuin muut.",
    "polish": "Port został zbudowany w 1890 roku i jest to jeden z najstarszych na wybrzeżu.",
    "czech": "Přístav byl postaven v roce 1890 a je jedním z nejstarších, které jsou na pobřeží.",
    "hungarian": "A kikötő 1890-ben épült, és az egyik legrégebbi a parton.",
    "romanian": "Portul a fost construit în 1890 și este unul din cele mai vechi de pe coastă.",
    "turkish": "Liman 1890 yılında inşa edildi ve bu kıyının en eski limanlarından bir tanesi olarak bilinir.",
    "vietnamese": "Bến cảng được xây dựng năm 1890 và là một trong những bến cảng của vùng này.",
    "indonesian": "Pelabuhan ini dibangun pada tahun 1890 dan merupakan yang tertua di pantai.",
    "russian": "Гавань была построена в 1890 году и является одной из старейших на побережье.",
    "ukrainian": "Гавань була побудована в 1890 році і є однією з найстаріших на узбережжі.",
    "greek": "Το λιμάνι χτίστηκε το 1890 και είναι ένα από τα παλαιότερα της ακτής.",
    "arabic": "تم بناء الميناء في عام 1890 وهو من أقدم الموانئ على الساحل.",
    "persian": "این بندر در سال ۱۸۹۰ ساخته شد و یکی از قدیمی‌ترین بندرهای ساحل است.",
    "hebrew": "הנמל נבנה בשנת 1890 והוא אחד העתיקים בחוף.",
    "hindi": "बंदरगाह 1890 में बनाया गया था और यह तट के सबसे पुराने बंदरगाहों में से एक है।",
    "chinese": "港口建于1890年，是海岸上最古老的港口之一。",
    "japanese": "この港は1890年に建設され、海岸で最も古い港の一つです。",
    "korean": "항구는 1890년에 건설되었으며 해안에서 가장 오래된 항구 중 하나이다.",
    "thai": "ท่าเรือถูกสร้างขึ้นในปี 1890 และเป็นหนึ่งในท่าเรือที่เก่าแก่ที่สุดบนชายฝั่ง",
}


@pytest.mark.parametrize("language", SENTENCES)
def test_a_sentence_is_in_its_language(language):
    assert language_of(SENTENCES[language]) == language


def test_decomposed_letters_tell_as_much():
    for language in ("french", "vietnamese", "korean", "japanese"):
        assert language_of(unicodedata.normalize("NFD", SENTENCES[language])) == language


def test_text_that_tells_nothing_has_no_vote():
    assert [language_of(text) for text in ("", "12 345", "x = y + 1", "qwertz uiop", "de")] == [""] * 5
    assert detect_language([]) == detect_language(["12 345", "a1 b2"]) == "english"


def test_chinese_among_terms_in_latin_letters_is_chinese():
    assert language_of("使用 Python 的 asyncio 库可以编写并发代码") == "chinese"


def test_most_passages_decide():
    assert detect_language([SENTENCES["german"]] * 3 + [SENTENCES["english"]] * 2) == "german"
    assert detect_language([SENTENCES["german"]] * 2 + [SENTENCES["english"]] * 3) == "english"
    assert detect_language([SENTENCES["german"]] + ["12 345"] * 3) == "german"


def test_code_logs_and_tables_are_taken_for_english():
    assert detect_language([SENTENCES["german"]] + ["12 345"] * 4) == "english"
    minified = "var e=o.a;for(var n in e)if(e.as)return t(e,o,n,a),i.do(e)?o:a;function u(e,o){return e+o}" * 9
    log = "2026-11-29 18:00:01 worker 3: GET /api/v1/items 200 in 12 ms od=4 do=9" * 9
    assert [language_of(text) for text in (minified, log)] == ["", ""]


@pytest.mark.parametrize(
    "text",
    [
        "name: Anna de la Cruz | city: Las Palmas | state: El Oro de los Andes",
        "Juan del Rio, Los Angeles\nJan van de Berg, Den Haag\nKlaus von der Heide\nMaria dos Santos da Silva",
        "Domaine de la Romanee Conti, Cotes du Rhone, Chateau les Ormes de Pez et les Tours",
        "SELECT de, en, es, la FROM words WHERE code IN ('es', 'de', 'no', 'se', 'da', 'en', 'it')",
        "en English\nde German\nes Spanish\nda Danish\nse Sami\nla Latin\nel Greek\nno Norwegian",
        "WARNING: HIGH VOLTAGE. DISCONNECT POWER BEFORE SERVICE.",
        "α β γ δ ε ζ η θ = λ μ ν ξ π ρ σ τ",
        "Hello world. Setup guide.",
    ],
)
def test_an_english_corpus_of_names_codes_and_formulas_stays_english(text):
    assert detect_language([text]) == "english"


def test_a_foreign_sentence_in_a_small_english_corpus_leaves_it_english():
    readme = "This tool reads the files of the bank. Translate 'Guten Tag und danke, das ist nicht von mir' as needed."
    assert detect_language([readme]) == "english"
    assert detect_language([SENTENCES["english"], SENTENCES["german"]]) == "english"


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Насос красный. Снять крышку.", "russian"),
        ("افصل الكهرباء. نظف المرشح.", "arabic"),
        ("هٰذَا كِتَابٌ مُفِيدٌ", "arabic"),
        ("पानी पंप।", "hindi"),
        ("ნავსადგური აშენდა 1890 წელს", "none"),
        ("ወደቡ በ1890 ተገነባ።", "none"),
        ("నౌకాశ్రయం నిర్మించబడింది", "none"),
    ],
)
def test_few_words_in_other_letters_are_not_english(text, language):
    assert detect_language([text]) == language
    assert not is_mostly_latin(text)


def test_of_two_languages_with_as_many_words_the_more_frequent_is_taken_whatever_the_order_of_the_words():
    assert language_of("Jeg vet ikke hvor han er.") == language_of("Er han hvor jeg ikke vet?") == "danish"
    assert language_of("Die pomp is een van die") == "dutch"


def test_german_without_any_other_word_than_articles_and_and_is_german():
    assert language_of("Danach das Programm starten und die Datei öffnen") == "german"


def test_what_was_found_before_stays_while_a_third_of_the_passages_are_in_it():
    german, english = SENTENCES["german"], SENTENCES["english"]
    assert detect_language([german] * 2 + [english], before="english") == "english"
    assert detect_language([german] * 3 + [english], before="english") == "german"
    assert detect_language(["12"], before="german") == "german"


def test_half_in_latin_letters_is_mostly_latin():
    assert is_mostly_latin("What is asyncio?")
    assert is_mostly_latin("123?")
    assert is_mostly_latin("What does 猫 mean?")
    assert not is_mostly_latin("什么是asyncio？")
    assert not is_mostly_latin("Где книга?")


def test_letters_without_spaces_become_words():
    assert spaced_out("I like 東京 a lot").split() == ["I", "like", "東", "京", "a", "lot"]
    assert count_words("I like 東京タワー") == 5  # 東京, タワ and ー
    assert spaced_out("plain text") == "plain text"


def test_plain_text_is_in_its_usual_form():
    for text in ("plain text – with “quotes”, é, ü, 5 € and ½", "™ ² …"):
        assert normalized(text) == text
