import pytest

from rag.generate.references import refers_back


@pytest.mark.parametrize(
    "question",
    [
        "Where did she study?",
        "Who gave it to them?",
        "How many professors does it employ?",
        "What are their names?",
        "Where is its home venue located?",
        "What is the population of its capital?",
        "Was there a fire in it?",
        "What is it often referred to as?",
        "Besides Graz, where did it have a station?",
        "What brought its tram to a stop?",
        "What does that mean?",
        "Is that included?",
        "In that year, who won the cup?",
        "Is this still true?",
        "Who was there?",
        "How do I get there?",
        "Which one is older?",
        "What else can I see in Graz?",
        "And the ferry?",
        "And in winter, when the lake is frozen?",
        "What about Graz, then?",
        "Why?",
        "How long?",
        "Which year?",
        "The price?",
        "¿Por qué?",
        "Et le prix ?",
        "她在哪里学习？",
    ],
)
def test_a_word_that_stands_for_something_said_before_refers_back(question):
    assert refers_back(question)


@pytest.mark.parametrize(
    "question",
    [
        "Is there a fee for dogs on board?",
        "How many lakes are there in Styria?",
        "How many lakes are there?",
        "Are there any other lakes in Styria?",
        "When was the lighthouse of Tern Island built?",
        "How long does it take to cross the lake?",
        "Is it possible to pay by card?",
        "Why did the king leave his castle?",
        "What happened to the bridge after it was closed?",
        "How many lines did Voss design in her career?",
        "Why do cats lick their fur?",
        "What animal eats its young?",
        "Which ferry is older, and when was this ferry built?",
        "Which law bans the fees that banks charge?",
        "Who argued that the earth is round?",
        "What does the ferry cost this year?",
        "What is one of the lakes in Styria?",
        "Who is also known as the Iron Lady?",
        "Are Graz and Linz in the same province?",
        "What is photosynthesis?",
        "When is checkout?",
        "Who discovered insulin?",
        "Where is Graz?",
        "Wann wurde der Leuchtturm auf Tern Island gebaut?",
        "琥珀线的第一座车站是在哪一年由谁设计的？",
    ],
)
def test_the_same_words_used_otherwise_do_not(question):
    assert not refers_back(question)
