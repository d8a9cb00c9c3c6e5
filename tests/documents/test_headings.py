"""Headings of any length lose nothing, and what front matter says can be found."""

import pytest

from rag.documents.chunk import MAX_HEADING_CHARACTERS, ChunkSettings, chunk_document, title_of
from rag.documents.document import TextBuilder
from rag.documents.formats.html.html import parse_html
from rag.documents.formats.text import parse_markdown, parse_text

RULE = "Persons who wish to moor a vessel of more than twelve metres at the eastern quay shall apply in writing"
LONG = f"{RULE} to the office, and pay 44 crowns"


def passages(document, max_tokens=60):
    """Title and text of each passage as one line."""
    chunks = chunk_document(document, lambda texts: [len(t.split()) for t in texts], ChunkSettings(max_tokens, 0))
    return [" ".join(f"{title_of(document.title, chunk.heading)}\n{chunk.text}".split()) for chunk in chunks]


def shown(document):
    return [(block.kind, document.text[block.start : block.end]) for block in document.blocks]


@pytest.mark.parametrize(
    "document",
    [
        parse_markdown(f"# Rules\n\n{'Text. ' * 50}\n\n## {LONG}\n\nBelow.\n".encode()),
        parse_markdown(f"# Rules\n\nText.\n\n{RULE}\nto the office, and pay 44 crowns\n===\n\nBelow.\n".encode()),
        parse_html(f"<h1>Rules</h1><p>{'Text. ' * 50}</p><h2>{LONG}</h2><p>Below.</p>".encode()),
        parse_text(f"Rules\n=====\n\nText.\n\n{LONG}\n{'-' * 200}\n\nBelow.\n".encode()),
    ],
    ids=["markdown", "setext", "html", "text"],
)
def test_a_heading_over_the_limit_stands_in_the_text_as_a_whole(document):
    assert len(LONG) > MAX_HEADING_CHARACTERS
    found = passages(document)
    assert sum(LONG in passage for passage in found) == 1
    assert any("Below." in passage and "Persons who wish to moor" in passage for passage in found)


def test_a_heading_of_5000_characters_loses_no_word():
    words = [f"word{n}" for n in range(700)]
    document = parse_markdown(f"# {' '.join(words)}\n\nBelow.\n".encode())
    assert len(" ".join(words)) > 5_000
    found = " ".join(passages(document)).split()
    assert set(words) <= set(found)


def test_the_path_has_the_beginning_of_a_long_heading_cut_behind_a_word():
    builder = TextBuilder()
    builder.add("heading", LONG, level=1)
    builder.add("text", "Below.")
    (chunk,) = chunk_document(builder.document("text", "T"), lambda texts: [1] * len(texts), ChunkSettings())
    assert chunk.heading == (f"{RULE} to the office,…",)
    assert chunk.text == f"{LONG}\n\nBelow."


def test_a_heading_at_the_limit_stands_in_the_path_alone():
    builder = TextBuilder()
    heading = "x" * MAX_HEADING_CHARACTERS
    builder.add("heading", heading, level=1)
    builder.add("text", "Below.")
    (chunk,) = chunk_document(builder.document("text", "T"), lambda texts: [1] * len(texts), ChunkSettings())
    assert (chunk.heading, chunk.text) == ((heading,), "Below.")


def test_a_paragraph_above_dashes_is_a_paragraph_and_loses_no_line():
    source = "# Guide\n\nIt opens at six.\nThe keeper lives there.\nThe toll is nine crowns.\n---\n\nNext.\n"
    document = parse_markdown(source.encode())
    assert shown(document) == [
        ("heading", "Guide"),
        ("text", "It opens at six.\nThe keeper lives there.\nThe toll is nine crowns."),
        ("text", "Next."),
    ]
    two = parse_markdown(b"It opens at six.\nThe keeper lives there.\n---\n\nNext.\n")
    assert [kind for kind, _ in shown(two)] == ["text", "text"]


def test_a_heading_of_two_lines_is_one_heading():
    document = parse_markdown(b"Rules of the\neastern quay\n---\n\nText.\n")
    assert shown(document) == [("heading", "Rules of the\neastern quay"), ("text", "Text.")]
    assert passages(document) == ["Rules of the eastern quay Text."]
    assert [kind for kind, _ in shown(parse_markdown(b"One\ntwo\nthree\n===\n\nText.\n"))] == ["heading", "text"]


def test_a_heading_keeps_a_sharp_sign_of_its_own():
    assert shown(parse_markdown(b"# C#\n\nx\n\n## F# ##\n\ny\n")) == [
        ("heading", "C#"),
        ("text", "x"),
        ("heading", "F#"),
        ("text", "y"),
    ]


def test_the_title_is_the_first_heading_as_it_is_shown():
    assert (
        parse_markdown(b"# [Ferry](https://example.org/x) **guide** `v_2` {#top}\n\nText.\n").title == "Ferry guide v_2"
    )
    assert parse_markdown(b"# C# <a id=x></a>and F#\n\nText.\n").title == "C# and F#"


def test_a_rule_above_a_heading_makes_another_level_than_one_below_alone():
    document = parse_text(b"=====\nGuide\n=====\n\nFees\n====\n\nNine.\n\nDogs\n++++\n\nFree.\n\nCats\n````\n\nNot.\n")
    assert [(b.level, document.text[b.start : b.end]) for b in document.blocks if b.level] == [
        *((1, "Guide"), (2, "Fees"), (3, "Dogs"), (4, "Cats"))
    ]


def test_code_keeps_the_indentation_of_its_first_line():
    document = parse_markdown(b"# Head\n\n    first\n      second\n\nText.\n")
    assert shown(document)[1] == ("code", "    first\n      second")
    builder = TextBuilder()
    builder.add("code", "\n  \n\tx = 1\n\ty = 2 \n\n")
    assert builder.text == "\tx = 1\n\ty = 2"


def test_blank_lines_of_code_fill_a_passage():
    code = "x = 1\n" + "  \n" * 1_000 + "y = 2"
    chunks = chunk_document(
        parse_markdown(f"```\n{code}\n```\n".encode()),
        lambda texts: [len(t.split()) for t in texts],
        ChunkSettings(60, 0),
    )
    assert max(chunk.text.count("\n") for chunk in chunks) <= 60


def test_a_document_of_headings_alone_is_found():
    document = parse_markdown(b"# Fares\n\n## Dogs are free\n\n## Cats are not\n\n# Tides\n")
    found = " ".join(passages(document))
    assert all(words in found for words in ("Fares", "Dogs are free", "Cats are not", "Tides"))


FIELDS = "author: Kolbe\ndate: 2024-05-01\ntags: [quay, toll]\ndescription: What mooring costs"


@pytest.mark.parametrize(
    ("front", "title", "fields"),
    [
        (f"---\ntitle: Quay rules\n{FIELDS}\n---\n", "Quay rules", [FIELDS]),
        (f"---\n{FIELDS}\ntitle: 'Quay''s rules' # 2024\n---\n", "Quay's rules", [FIELDS]),
        ("---\nauthor: K\nTitle: >-\n  Quay\n  rules\ntags:\n- a\n---\n", "Quay rules", ["author: K", "tags:\n- a"]),
        ('---\ntitle: "Rules: \\"quay\\""\nauthor: K\n...\n', 'Rules: "quay"', ["author: K"]),
        ('+++\ntitle = "Quay rules"\nauthor="K"\n[extra]\nn = 5\n+++\n', "Quay rules", ['author="K"\n[extra]\nn = 5']),
        ("\n---\nauthor: K\n---\n", "Head", ["author: K"]),
        ("---\ntitle: Quay rules\n---\n", "Quay rules", []),
    ],
)
def test_the_fields_of_front_matter_are_text_and_its_title_the_title(front, title, fields):
    source = f"{front}# Head\n\nText.\n"
    document = parse_markdown(source.encode())
    assert document.text == source
    assert document.title == title
    assert shown(document) == [*(("text", field) for field in fields), ("heading", "Head"), ("text", "Text.")]


@pytest.mark.parametrize(
    "source", ["---\ntitle: Rules\nauthor: Kolbe\n\n# Head\n\nText.\n", "+++\nauthor = 'Kolbe'\n\nText.\n"]
)
def test_front_matter_without_an_end_is_text(source):
    assert "Kolbe" in " ".join(text for kind, text in shown(parse_markdown(source.encode())) if kind == "text")


def test_prose_between_rules_is_no_front_matter():
    document = parse_markdown(b"---\nThe ferry sails daily.\nDogs are free.\n\n---\n\nText.\n")
    assert shown(document) == [("text", "The ferry sails daily.\nDogs are free."), ("text", "Text.")]


def test_a_long_title_of_front_matter_is_text_too():
    title = "mooring " * 40 + "end"
    assert title in " ".join(text for _, text in shown(parse_markdown(f"---\ntitle: {title}\n---\n\nText.\n".encode())))


def test_notes_and_targets_of_links_are_text():
    source = b'[rules]: https://example.org "Harbour rules"\n\nSee [rules].\n\n[^1]: Kolbe.\n'
    assert [text for _, text in shown(parse_markdown(source))] == [
        '[rules]: https://example.org "Harbour rules"',
        "See [rules].",
        "[^1]: Kolbe.",
    ]


def test_a_comment_without_an_end_hides_nothing():
    assert shown(parse_markdown(b"<!-- no -->\n\n<!-- The ferry\n\nsails.\n")) == [("text", "<!-- The ferry\n\nsails.")]
