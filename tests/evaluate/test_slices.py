"""The groups that figures are split by, worked by hand."""

from rag.evaluate.slices import length_bin, question_word


def test_the_first_question_word():
    assert question_word("In what year, and where?") == "what"
    assert question_word("How many were there?") == "how many"
    assert question_word("Somewhat so, says the whole.") == "other"


def test_bins_of_lengths():
    assert [length_bin(n, (1, 3, 8)) for n in (0, 1, 2, 3, 8, 9)] == ["1", "1", "2–3", "2–3", "4–8", "over 8"]
    assert length_bin(7, (50, 100)) == "up to 50"
