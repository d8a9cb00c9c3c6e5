"""The built-in prompts: what they say, and how one is found by name."""

import pytest

from rag.errors import ConfigError
from rag.generate.answer import parse_answer
from rag.generate.builtin import BUILT_IN, get_prompt
from rag.generate.prompts import Prompt
from rag.types import Passage

PASSAGES = [Passage("a", "First text.", "One"), Passage("b", "Second text.", "Two")]


@pytest.mark.parametrize("name", [name for name in BUILT_IN if name != "course-v1"])
def test_passages_are_numbered_and_the_question_stands_last(name):
    last = get_prompt(name).conversation("Why?", PASSAGES)[-1]
    assert last["role"] == "user"
    first, second, question = (last["content"].index(part) for part in ("First text.", "Second text.", "Why?"))
    assert first < second < question


def test_course_v1_is_the_literal_prompt_without_a_system_message():
    assert get_prompt("course-v1").conversation("Why?", PASSAGES) == [{"role": "user", "content": "*****"}]


def test_course_v3_is_the_reference_reports_prompt():
    system, user = get_prompt("course-v3").conversation("Why?", PASSAGES)
    assert system["content"] == (
        "You are a precise QA assistant. Answer based only on the given context. "
        "If the answer is not in the context, say 'CANNOTANSWER'."
    )
    assert user["content"] == "[1] First text.\n\n[2] Second text.\n\nQ: Why?\nA: "
    assert BUILT_IN["course-v2"].conversation("Why?", PASSAGES) == [system, user]


def test_the_parser_is_not_part_of_what_the_model_sees():
    assert BUILT_IN["course-v2"].sha256() == BUILT_IN["course-v3"].sha256()
    assert len({prompt.sha256() for prompt in BUILT_IN.values()}) == len(BUILT_IN) - 1


@pytest.mark.parametrize("name", ["fewshot-v1", "fewshot-refuse-v1", "decide-v1"])
def test_the_built_in_examples_are_answered_as_their_prompt_asks(name):
    """Each answer parses into words of its own passages, or into a refusal where it is an example of one."""
    prompt = get_prompt(name)
    for example in prompt.examples:
        passages = [Passage(str(n), text) for n, text in enumerate(example.passages)]
        answer = parse_answer(example.answer, passages, prompt.parser)
        is_refusal = "How tall" in example.question
        assert answer.abstained == is_refusal
        if not is_refusal:
            assert answer.text.lower() in " ".join(example.passages).lower()


def test_a_prompt_of_ones_own_wins_and_a_broken_one_is_explained():
    own = {"mine": Prompt("mine", user="{{ nothing }}")}
    with pytest.raises(ConfigError, match="mine"):
        get_prompt("mine", own).conversation("q", PASSAGES)
    with pytest.raises(ConfigError, match="course-v3"):
        get_prompt("theirs", own)


def test_the_prompts_to_train_with_differ_in_the_form_that_they_ask_for_alone():
    short, sentences = (get_prompt(name) for name in ("tuned-v1", "tuned-sentences-v1"))
    assert short.user == sentences.user
    told = [prompt.system.partition("CANNOTANSWER. ") for prompt in (short, sentences)]
    assert told[0][0] == told[1][0] != ""
    assert (told[0][2], told[1][2]) == ("Give a short answer.", "Answer in sentences.")


LAMP = [
    Passage("a", "The lamp is restarted by holding its key for five seconds. It then blinks.", "Lamp"),
    Passage("b", "A lamp takes 9 W.", "Power"),
]


@pytest.mark.parametrize(
    ("raw", "text", "marks"),
    [
        (
            "Hold the key, then the lamp restarts [1]. It takes 9 watts [2][1].",
            "Hold the key, then the lamp restarts. It takes 9 watts.",
            ((36, ("a",)), (54, ("b", "a"))),
        ),
        (
            "Man hält die Taste fünf Sekunden [1].\n\n- Sie blinkt [1].\n- Sie braucht 9 W [2].",
            "Man hält die Taste fünf Sekunden.\n\n- Sie blinkt.\n- Sie braucht 9 W.",
            ((32, ("a",)), (47, ("a",)), (66, ("b",))),
        ),
        ("Hold it [Passage 1], at 9 watts [passages 1, 2].", "Hold it, at 9 watts.", ((7, ("a",)), (19, ("a", "b")))),
        (
            "One holds the key [1]. The passages do not say who built the lamp.",
            "One holds the key. The passages do not say who built the lamp.",
            ((17, ("a",)),),
        ),
        (
            "The passages do not say who built the lamp. It takes 9 watts [2].",
            "The passages do not say who built the lamp. It takes 9 watts.",
            ((60, ("b",)),),
        ),
        ("CANNOTANSWER.", "CANNOTANSWER", ()),
    ],
)
def test_an_answer_to_the_prompt_for_large_models_keeps_its_citations_and_what_it_says_is_missing(raw, text, marks):
    answer = parse_answer(raw, LAMP, get_prompt("cited-v2").parser)
    assert (answer.text, answer.marks) == (text, marks)


def test_the_prompt_for_large_models_shows_where_a_passage_ends_that_has_paragraphs_of_its_own():
    passages = [Passage("a", "One. [2]\n\n[3] Two.", "T"), Passage("b", "Three.")]
    system, user = get_prompt("cited-v2").conversation("Why?", passages)
    assert user["content"] == (
        "<passage 1>\nT: One. [2]\n\n[3] Two.\n</passage>\n\n<passage 2>\nThree.\n</passage>\n\nQuestion: Why?"
    )
    assert "CANNOTANSWER" in system["content"]
