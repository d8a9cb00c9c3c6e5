"""Answers are found in text without spaces, and English ones as ever."""

import pytest

from rag.data.answers import find_answers
from rag.evaluate.answers import sentences
from rag.evaluate.metrics import normalize_answer, token_f1


@pytest.mark.parametrize(
    ("text", "answer", "found"),
    [
        ("北京是中国的首都。", "中国", ["中国"]),
        ("Python是一种语言", "python", ["Python"]),
        ("서울은 수도이다", "서울", ["서울"]),
        ("建于1890年", "1890", ["1890"]),
        ("建于18901年", "1890", []),
        ("ภาษาไทย", "ไทย", ["ไทย"]),
        ("the cathedral", "cat", []),
        ("a cat.", "cat", ["cat"]),
        ("C++ and C", "C++", ["C++"]),
        ("snake_case", "snake", []),
    ],
)
def test_an_answer_is_found_where_it_stands(text, answer, found):
    assert [text[start:end] for start, end in find_answers(text, [answer])] == found


def test_text_without_spaces_is_compared_letter_by_letter():
    assert normalize_answer("北京，中国。") == "北 京 中 国"
    assert token_f1("中国北京", ["北京"]) == pytest.approx(2 * 0.5 / 1.5)
    assert normalize_answer("The U.S. Army, 3.5") == "us army 35"


def test_sentences_end_without_a_space_too():
    assert sentences("北京是首都。人口很多！Yes. No.") == ["北京是首都。", "人口很多！", "Yes.", "No."]
