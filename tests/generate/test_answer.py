"""The answer parser: markup goes, answers stay whole, citations name real passages."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rag.generate.answer import parse_answer, verify_citations
from rag.types import CANNOTANSWER, Answer, Passage

PASSAGES = [
    Passage("a@0", "The Amber Line was designed by Clara Voss.", "Amber Line"),
    Passage("b@0", "Voss studied in Graz.", "Clara Voss"),
    Passage("c@0", "Tern Island has a lighthouse, built in 1874.", "Tern Island"),
]


def text(raw):
    return parse_answer(raw, PASSAGES).text


@pytest.mark.parametrize(
    ("raw", "wanted"),
    [
        ("Clara Voss", "Clara Voss"),
        ("  Clara Voss [1]\n", "Clara Voss"),
        ("<think>\nhm, [2]?\n</think>\n\nClara Voss [1]", "Clara Voss"),
        ("and so on</think>Clara Voss", "Clara Voss"),
        ("<think>never closed, never answered", CANNOTANSWER),
        ("<|im_start|>assistant\nClara Voss<|im_end|>", "Clara Voss"),
        ("<|im_start|>user\nQ: who?<|im_end|>\n<|im_start|>assistant\nA: Clara Voss<|im_end|>", "Clara Voss"),
        ("<|im_start|>user\nQ: who?\nA: nobody\n<|im_end|>\nassistant\nClara Voss", "Clara Voss"),
        ("Clara Voss<|im_end|>\n<|endoftext|>Human: more", "Clara Voss"),
        ("<|start_header_id|>assistant<|end_header_id|>\n\nClara Voss<|eot_id|>", "Clara Voss"),
        ("A: Clara Voss", "Clara Voss"),
        ("Answer: Clara Voss", "Clara Voss"),
        ('"Clara Voss"', "Clara Voss"),
        ("CANNOTANSWER", CANNOTANSWER),
        ("'CANNOTANSWER'.", CANNOTANSWER),
        ("CANNOTANSWER [1]", CANNOTANSWER),
        ("Cannot answer", CANNOTANSWER),
        ("", CANNOTANSWER),
        ("[1]", CANNOTANSWER),
        ("...", CANNOTANSWER),
        ("Clara Voss. CANNOTANSWER", "Clara Voss."),
        ("Clara Voss. CANNOTANSWER. (CANNOTANSWER)\nCANNOTANSWER.", "Clara Voss."),
        ("CANNOTANSWER the call", CANNOTANSWER),
        ("CANNOT ANSWER as asked", CANNOTANSWER),
        ("Cannot answer.", CANNOTANSWER),
        ("Cannot answer: nothing is said of it", CANNOTANSWER),
        ("Cannot answer this question from the passages", CANNOTANSWER),
        ("cannot answer based on them", CANNOTANSWER),
        ("Cannot answer this.", CANNOTANSWER),
        ("Cannot answer because the passages do not say.", CANNOTANSWER),
    ],
)
def test_the_answer_is_taken_out_of_the_output(raw, wanted):
    assert text(raw) == wanted


def test_what_a_passage_says_of_answering_is_no_refusal():
    passages = [Passage("a", "In flight mode it cannot answer incoming calls, nor cannot answer.")]
    for raw in ("cannot answer incoming calls", "Cannot answer incoming calls, nor make any."):
        assert parse_answer(raw, passages).text == raw
    for raw in ("cannot answer outgoing calls", "Cannot answer", "CANNOTANSWER incoming calls"):
        assert parse_answer(raw, passages).text == CANNOTANSWER


@pytest.mark.parametrize(
    "answer",
    [
        "the teaching assistant of Clara Voss",
        "Plan A: a bridge, plan B: a ferry",
        "use items[0] to take the first",
        "x[1] and y[2] are swapped",
        "1 < 2 and 3 > 2",
        "the think tank",
        "a line\nassistant\nanother line",
        "first line\nsecond line",
        "they could not answer the call",
        "Q: is a letter",
    ],
)
def test_an_answer_that_merely_contains_such_words_stays_whole(answer):
    assert text(answer) == answer


@pytest.mark.parametrize(
    ("raw", "cited"),
    [
        ("Clara Voss [1]", ("a@0",)),
        ("Clara Voss[1].", ("a@0",)),
        ("Graz [2][1]", ("b@0", "a@0")),
        ("Graz [2, 1]", ("b@0", "a@0")),
        ("Graz [2] [2]", ("b@0",)),
        ("Graz [7]", ()),
        ("Graz [0]", ()),
        ("Graz", ()),
        ("CANNOTANSWER [1]", ()),
    ],
)
def test_numbers_become_passage_ids_and_invented_ones_are_dropped(raw, cited):
    assert parse_answer(raw, PASSAGES).citations == cited


COPIED = [
    Passage("list@0", "It starts as [0, 1, 2] and later\nThe list is [1, 2, 3]. See x [2].", "Lists"),
    Passage("ulm@0", "Einstein was born in Ulm [1] in\n  Germany [2].", "Ulm"),
]


@pytest.mark.parametrize(
    ("raw", "wanted", "cited"),
    [
        ("[0, 1, 2]", "[0, 1, 2]", ()),
        ("“[0, 1, 2]” [1]", "[0, 1, 2]", ("list@0",)),
        ("The list is [1, 2, 3].", "The list is [1, 2, 3].", ()),
        ("Ulm [1] in Germany", "Ulm [1] in Germany", ()),
        ("Ulm [1] in Germany [2]", "Ulm [1] in Germany [2]", ()),
        ("Ulm [1] in Germany [1]", "Ulm [1] in Germany", ("list@0",)),
        ("Ulm [2]", "Ulm", ("ulm@0",)),
        ("He was born in Ulm [1, 2]", "He was born in Ulm", ("list@0", "ulm@0")),
        ("[2] Ulm", "Ulm", ("ulm@0",)),
        ("[1][2]", CANNOTANSWER, ()),
    ],
)
def test_brackets_copied_out_of_a_passage_are_text(raw, wanted, cited):
    answer = parse_answer(raw, COPIED)
    assert (answer.text, answer.citations) == (wanted, cited)


PIECES = st.lists(st.sampled_from(["a", "b ", " ", ".", "[1]", " [2]", "[0, 1]", "[4]"]), max_size=20).map("".join)


@given(PIECES)
@settings(max_examples=300, deadline=None)
def test_what_is_copied_out_of_a_passage_stays_whole(content):
    copy = f"then {content}".strip()
    assert parse_answer(copy, [Passage("a", f"and {copy} and")]).text == copy


def test_the_cruder_parsers_leave_markup_alone():
    assert parse_answer(" A: x [1] ", PASSAGES, "none").text == " A: x [1] "
    assert parse_answer(" A: x [1] ", PASSAGES, "strip").text == "A: x [1]"


MARKUP = st.sampled_from(
    ["<think>", "</think>", "<|im_start|>", "<|im_end|>", "assistant\n", "A: ", "[1]", "[9]", "\n", "CANNOTANSWER", '"']
)
ANY_OUTPUT = st.lists(st.one_of(MARKUP, st.text(max_size=12)), max_size=12).map("".join)


@given(ANY_OUTPUT)
@settings(max_examples=300, deadline=None)
def test_any_output_gives_a_clean_answer(raw):
    answer = parse_answer(raw, PASSAGES)
    assert answer.raw == raw
    assert answer.text == answer.text.strip() != ""
    assert set(answer.citations) <= {p.id for p in PASSAGES}
    assert not (answer.abstained and answer.citations)
    for marker in ("<think>", "<|im_start|>", "<|im_end|>"):
        assert marker not in answer.text


PLAIN_WORD = st.text(string.ascii_letters + string.digits, min_size=1, max_size=8)
PLAIN = st.lists(PLAIN_WORD, min_size=1, max_size=8).map(" ".join).filter(lambda s: not s.lower().startswith("cannot"))


@given(PLAIN, st.integers(1, 3))
@settings(max_examples=200, deadline=None)
def test_plain_words_survive_every_wrapping(words, number):
    wrappings = ("{}", "<think>\n\n</think>\n\n{}", "<|im_start|>assistant\n{}<|im_end|>", "A: {}", f"{{}} [{number}]")
    if "CANNOTANSWER" in words:
        return
    for wrapping in wrappings:
        assert text(wrapping.format(words)) == words


def test_words_that_stand_in_a_passage_settle_the_citation():
    def cited(answer, *given):
        return verify_citations(Answer(answer, given, answer), PASSAGES).citations

    assert cited("Clara Voss") == ("a@0",)
    assert cited("clara voss.", "b@0") == ("b@0",)
    assert cited("1874", "a@0") == ("c@0",)
    assert cited("a lighthouse that was built in 1874") == ("c@0",)
    assert cited("something else entirely") == ()
    assert cited("something else entirely", "b@0") == ("b@0",)


def test_marks_of_omission_are_no_part_of_an_answer():
    answer = parse_answer("… built in 1874 […]", PASSAGES)
    assert answer.text == "built in 1874"
    assert verify_citations(parse_answer("lighthouse … built", PASSAGES), PASSAGES).citations == ("c@0",)
    assert parse_answer("…", PASSAGES).abstained


def test_a_refusal_cites_nothing():
    assert verify_citations(Answer(CANNOTANSWER), PASSAGES).citations == ()


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        ("Graz [1]\nAnswered by the passages: yes", "Graz"),
        ("Graz [1]\nAnswered by the passages: No.", CANNOTANSWER),
        ("Graz. Answered by the passages: yes", "Graz."),
        ("Answered by the passages: yes", CANNOTANSWER),
        ("Answered by the passages: no one knows", "Answered by the passages: no one knows"),
    ],
)
def test_a_verdict_behind_the_answer_decides(raw, text):
    answer = parse_answer(raw, [Passage("p", "Graz")])
    assert answer.text == text
    assert answer.citations == (("p",) if "[1]" in raw and text != CANNOTANSWER else ())
