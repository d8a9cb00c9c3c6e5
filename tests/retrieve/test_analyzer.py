"""The words that BM25 counts: English as ever, and texts of other languages, scripts and spellings found."""

import unicodedata

import bm25s
import pytest
import Stemmer

from rag.data.passages import Corpus
from rag.languages import LANGUAGES
from rag.retrieve.analyzer import Analyzer, split
from rag.retrieve.bm25 import BM25Retriever
from rag.types import Passage

ENGLISH = [
    "The Amber Line was designed by Mira Halloran in 1932, and it's still running (mostly) – on time!",
    "State-of-the-art e-mail systems cost $1,250.50; the U.S. and the UK don't agree… “quoted” ‘text’",
    "def split_words(text): return text.split()  # i += 1; foo_bar == 3.14",
    "Zoë’s naïve résumé from São Tomé & Kraków: Ærø, Łódź, straße, 25 °C, 5 µm, ½ cup, m², H₂O, Java™",
    "RUNNING runners ran; the generalization of generalizations was generally GENERALISED",
    "",
]


def found(passages, question, language="english", k=5):
    corpus = Corpus([Passage(f"p{n}", text) for n, text in enumerate(passages)])
    (hits,) = BM25Retriever(corpus, analyzer=Analyzer(language)).retrieve([question], k)
    return [hit.passage.id for hit in hits]


def test_english_text_gives_the_words_that_bm25s_gives():
    stemmer = Stemmer.Stemmer("english")
    expected = bm25s.tokenize(ENGLISH, stopwords="en", stemmer=stemmer, return_ids=False, show_progress=False)
    assert [Analyzer().words(text) for text in ENGLISH] == expected
    assert [Analyzer(version=1).words(text) for text in ENGLISH] == expected


def test_english_passages_score_as_with_the_analyzer_of_older_indexes():
    corpus = Corpus([Passage(f"p{n}", text, "title") for n, text in enumerate(ENGLISH)])
    old, new = (BM25Retriever(corpus, analyzer=Analyzer(version=version)) for version in (1, 2))
    questions = ["who designed the amber line", "résumé of Zoë", "generalized running", "split words"]
    assert new.retrieve(questions, 6) == old.retrieve(questions, 6)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("café", "cafe\u0301"),
        ("office", "o\ufb03ce"),
        ("python", "Ｐｙｔｈｏｎ"),
        ("cooperate", "co\u00adoperate"),
        ("database", "data\u200bbase"),
        ("database", "\ufeffdata\u2060base"),
        ("ガラス", "ｶﾞﾗｽ"),
        ("パン", "ハ\u309aン"),
        ("2024", "２０２４"),
        ("2024", "٢٠٢٤"),
        ("サーバー", "サーバー\ufe0f"),
        ("istanbul", "İstanbul"),
        ("한국", unicodedata.normalize("NFD", "한국")),
        ("كتاب", "كِتَاب"),
        ("كتاب", "كتـــاب"),
        ("שלום", "שָׁלוֹם"),
        ("كيف", "کیف"),
        ("น้ำ", "น้\u0e4d\u0e32"),
        ("matrix", "𝐦𝐚𝐭𝐫𝐢𝐱"),
        ("viii", "Ⅷ"),
        ("一二三", "⼀⼆三"),
        ("5 km", "5 ㎞"),
        ("キロ", "㌔"),
        ("株式会社", "㍿"),
        ("पांच लड़का", "पाँच लडका"),
        ("แมว", "เเมว"),
        ("ανθρωποσ", "ἄνθρωποσ"),
    ],
)
def test_one_word_is_the_same_however_it_is_encoded(one, other):
    assert Analyzer().words(one) == Analyzer().words(other) != []


def test_signs_that_only_end_a_word_are_no_letters():
    assert Analyzer().words("Java™ №7 m² x…y") == ["java", "m²"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("東京タワー", ["東京", "東", "京", "タワ", "ワー"]),
        ("猫", ["猫"]),
        ("我用Python3写代码", ["我用", "我", "用", "python3", "写代", "代码", "写", "代", "码"]),
        ("B型肝炎", ["b", "型肝", "肝炎", "型", "肝", "炎"]),
        ("第5章", ["第", "5", "章"]),
        ("1990年", ["1990", "年"]),
        ("犬と猫", ["犬と", "と猫", "犬", "猫"]),
        ("パンは", ["パン"]),
        ("물을", ["물을", "물", "을"]),
        ("ที่นี่", ["ที่นี่"]),
        ("ลาว", ["ลา", "าว"]),
        ("ภาษา", ["ภา", "าษ", "ษา"]),
        ("ខ្មែរ", ["ខ្មែ", "មែរ"]),  # a consonant below another is a letter of its own here
        ("မြန်", ["မြန်"]),
        ("ພາສາ", ["ພາ", "າສ", "ສາ"]),
    ],
)
def test_text_without_spaces_is_split_into_pairs_of_characters(text, words):
    assert split(text, "none") == words


@pytest.mark.parametrize(
    ("passages", "question", "language"),
    [
        (["机器学习是人工智能的一个分支。", "北京是中国的首都。"], "中国的首都是哪里？", "chinese"),
        (["富士山は日本で一番高い山です。", "琵琶湖は日本最大の湖です。"], "最大の湖はどこですか", "japanese"),
        (["แมวชอบกินปลา", "กรุงเทพเป็นเมืองหลวงของประเทศไทย"], "เมืองหลวงของไทย", "thai"),
        (["고양이는 생선을 좋아한다.", "서울은 대한민국의 수도이다."], "대한민국 수도는 어디인가?", "korean"),
        (["Der Hund schläft.", "Die Häuser wurden 1890 gebaut."], "Wann wurde das Haus gebaut?", "german"),
        (["Le chat dort.", "Les écoles étaient fermées."], "ecole fermee", "french"),
        (["кошка спит", "книги лежат на столе"], "где лежит книга", "russian"),
        (["बिल्ली सो रही है", "किताबें मेज़ पर हैं"], "किताब कहाँ", "hindi"),
        (["The dog sleeps.", "The city 北京市 is large."], "北京", "english"),
        (["El perro duerme.", "Las canciones antiguas."], "cancion antigua", "spanish"),
        (["köpek uyuyor", "KITAPLAR masada; IŞIK açık"], "ışık", "turkish"),
        (["no", "The Unicode name of 猫 is cat."], "猫", "english"),
    ],
)
def test_a_question_finds_its_passage_in_its_language(passages, question, language):
    assert found(passages, question, language)[:1] == ["p1"]


def test_pairs_do_not_go_over_the_end_of_a_sentence_or_a_space():
    assert "京北" not in Analyzer("chinese").words("东京。北京 南京")


@pytest.mark.parametrize("term", ["C++", "C#", "F#", ".NET", "c++11", "Ｃ＋＋", "Node.js", "C++/CLI"])
def test_names_of_programming_languages_are_terms(term):
    passages = ["A net of words and nodes, in C.", f"It is written in {term}, mostly.", "It is written in Go."]
    assert found(passages, f"Is it {term}?")[0] == "p1"


@pytest.mark.parametrize("text", ["支持C++和C#，也支持.NET框架。", "とC++、のC#、は.NETの", "และC++กับC#ใช้.NETได้"])
def test_names_of_programming_languages_are_terms_between_letters_without_spaces(text):
    assert {"c++", "c#", ".net"} <= set(split(text, "chinese"))


@pytest.mark.parametrize(
    ("one", "other", "language"),
    [
        ("cœur", "coeur", "french"),
        ("ŒUVRE", "oeuvre", "french"),
        ("hòa thủy lúy", "hoà thuỷ luý", "vietnamese"),
        ("STRASSE", "Straße", "german"),
        ("ΛΟΓΟΣ", "λόγος", "greek"),
        ("ἄνθρωπος", "άνθρωπος", "greek"),
        ("IŞIK", "ışık", "turkish"),
        ("مُحَمَّد", "محمد", "arabic"),
        ("ёлка", "елка", "russian"),
        ("iPhone15الجديد", "iPhone15 الجديد", "arabic"),
        ("הiPhone", "ה iPhone", "hebrew"),
    ],
)
def test_one_word_is_the_same_in_the_spellings_of_its_language(one, other, language):
    assert Analyzer(language).words(one) == Analyzer(language).words(other) != []


def test_a_vietnamese_tone_stays_where_it_is_told_by_the_spelling():
    assert split("quý hoàn loại toàn", "vietnamese") == ["quý", "hoàn", "loại", "toàn"]


def test_letters_of_greek_and_latin_side_by_side_are_one_word_as_ever():
    assert Analyzer().words("5 μm of β2m") == ["μm", "β2m"]


def test_c_plus_plus_and_c_sharp_are_told_apart():
    passages = ["Written in C#.", "Written in C++.", "Written in F#."]
    assert [found(passages, term, k=1) for term in ("C#", "C++", "F#")] == [["p0"], ["p1"], ["p2"]]


def test_words_in_latin_letters_of_another_script_are_stemmed_as_english():
    assert Analyzer("chinese").words("the 猫狗 databases") == ["猫狗", "猫", "狗", "databas"]
    assert Analyzer("russian").words("the databases книгами") == ["databas", "книг"]
    assert Analyzer("german").words("книгами") == ["книг"]


def test_no_language_means_no_stems_and_no_stop_words():
    assert Analyzer("none").words("The Databases и книгами") == ["the", "databases", "книгами"]


def test_every_language_has_an_analyzer():
    for language in LANGUAGES:
        assert Analyzer(language).words("abc 123") == ["abc", "123"]


def test_an_index_that_is_saved_is_searched_with_the_analyzer_that_made_it(tmp_path):
    corpus = Corpus([Passage("a", "Die Häuser der Stadt"), Passage("b", "Der Hund")])
    BM25Retriever(corpus, analyzer=Analyzer("german")).save(tmp_path / "bm25")
    for language, hits in (("german", ["a"]), ("english", [])):
        retriever = BM25Retriever.load(tmp_path / "bm25", corpus, analyzer=Analyzer(language))
        assert [hit.passage.id for hit in retriever.retrieve(["Häusern"], 2)[0]] == hits


def test_passages_without_a_word_are_indexed_and_not_found(tmp_path):
    corpus = Corpus([Passage("a", "。。"), Passage("b", "!?")])
    BM25Retriever(corpus).save(tmp_path / "bm25")
    for retriever in (BM25Retriever(corpus), BM25Retriever.load(tmp_path / "bm25", corpus)):
        assert retriever.retrieve(["word", "", "。", "猫"], 2) == [[]] * 4
