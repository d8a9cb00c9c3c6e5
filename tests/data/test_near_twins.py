"""Questions in which a name or a number is exchanged."""

import random

from rag.data.near_twins import near_twins, pieces, pieces_by_shape


def test_pieces_are_numbers_by_their_digits_and_names_behind_the_first_word():
    question = "Did Clara Voss build 3 ferries or 1,200 in 1931 for the Amber-Line?"
    assert {(piece.text, piece.shape) for piece in pieces(question)} == {
        ("Clara Voss", ("name", "2")),
        ("3", ("number", "0")),
        ("1,200", ("number", "0,000")),
        ("1931", ("number", "0000")),
        ("Amber-Line", ("name", "1")),
    }
    assert pieces("who built it?") == pieces("Who built it?") == []


def test_a_near_twin_differs_in_one_piece_of_the_same_shape():
    others = pieces_by_shape(["Was Rye sold in 1874?", "Was it in 1931 or at 12?", "Did Ines Halloran?"])
    question = "Who built the ferry to Tern Island in 1931?"
    made = set(near_twins(question, others, random.Random(0)))
    assert made == {
        ("Who built the ferry to Tern Island in 1874?", "1874"),
        ("Who built the ferry to Ines Halloran in 1931?", "Ines Halloran"),
    }
    assert list(near_twins("who built it?", others, random.Random(0))) == []
