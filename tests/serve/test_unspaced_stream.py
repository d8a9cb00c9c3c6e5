"""What the API streams of an answer in a script without spaces: whole words, as it grows."""

from rag.serve.api import _surely


def test_a_chinese_answer_is_streamed_before_it_is_done():
    text = "北京是中华人民共和国的首都，人口超过两千万，是全国的政治中心和文化中心，也是国际交往中心。" * 3
    sure = _surely(text)
    assert len(sure) > 60
    assert text.startswith(sure)


def test_an_english_answer_is_streamed_in_whole_words():
    sure = _surely("The harbour was built in 1890 by the people of the island and " * 3)
    assert sure.endswith(" ")
    assert sure != ""
