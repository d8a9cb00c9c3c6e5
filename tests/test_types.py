"""Passages: the document that they are of, and excerpts of their text."""

import pytest

from rag.types import Passage, document_of


@pytest.mark.parametrize(("passage_id", "document"), [("doc_0@3", "doc_0"), ("mail@x.org@2", "mail"), ("7", "7")])
def test_the_part_of_an_id_before_the_first_at_sign_names_the_document(passage_id, document):
    assert document_of(passage_id) == document
    assert Passage(passage_id, "text").document == document


@pytest.mark.parametrize(
    ("spans", "text"),
    [
        ([(0, 4)], "One. …"),
        ([(5, 9)], "… Two. …"),
        ([(10, 16)], "… Three."),
        ([(0, 4), (5, 9)], "One. Two. …"),
        ([(0, 4), (10, 16)], "One. … Three."),
        ([(0, 16)], "One. Two. Three."),
    ],
)
def test_an_ellipsis_stands_for_what_an_excerpt_leaves_out(spans, text):
    assert Passage("a", "One. Two. Three.").excerpt(spans).text == text
