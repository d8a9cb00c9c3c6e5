"""Lines for a terminal show the beginning of a text without spaces."""

from rag.cli.lines import hit_lines
from rag.scripts import whole_words
from rag.types import Hit, Passage

CHINESE = "港口建于1890年，是海岸上最古老的港口之一。" * 20


def shown(text, width=20):
    return "".join(line.strip() for line in hit_lines(Hit(Passage("p", text, "T"), 1.0), 1, width).split("\n")[1:])


def test_a_long_chinese_passage_is_shown_up_to_the_width():
    assert len(shown(CHINESE)) >= 57
    assert CHINESE.startswith(shown(CHINESE).removesuffix(" …").removesuffix("…"))


def test_an_english_passage_is_cut_between_words():
    lines = hit_lines(Hit(Passage("p", "word " * 30, "T"), 1.0), 1, 11).split("\n")[1:]
    assert " ".join(lines).split() == ["word"] * 6 + ["…"]  # of 33 characters


def test_whole_words_end_at_a_space_or_a_letter_without_spaces():
    assert whole_words("It is a bri") == "It is a "
    assert whole_words("北京是 capi") == "北京是 "
    assert whole_words("北京是") == "北京是"
    assert whole_words("bri") == ""
