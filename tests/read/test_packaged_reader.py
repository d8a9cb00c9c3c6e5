"""The span reader that ships with the package, on passages that nobody trained it on."""

import pytest

from rag.build.parts import reader_of
from rag.config import load_settings
from rag.models.resolve import resolve
from rag.types import Passage

BRIDGE = Passage(
    "bridge@0",
    "The Alder Bridge crosses the Mura at Stenfeld. It was designed by the engineer Ines Halloran and opened to carts "
    "in 1874, two years after the flood that took the old ford.",
    "Alder Bridge",
)
FERRY = Passage("ferry@0", "The ferry to Tern Island leaves three times a day in summer and once in winter.", "Ferry")


@pytest.fixture(scope="module")
def reader():
    settings = load_settings(None, [])
    return reader_of(settings, resolve(settings.reader.model, source=settings.models.source))


@pytest.mark.real
@pytest.mark.parametrize(
    ("question", "answer"),
    [
        ("Who designed the Alder Bridge?", "Ines Halloran"),
        ("When did the Alder Bridge open to carts?", "1874"),
        ("Which river does the Alder Bridge cross?", "Mura"),
    ],
)
def test_the_packaged_reader_finds_the_answer_and_nothing_in_another_passage(reader, question, answer):
    ((in_bridge, in_ferry),) = reader.read([question], [[BRIDGE, FERRY]])
    assert answer in in_bridge.text_in(BRIDGE)
    assert len(in_bridge.text_in(BRIDGE)) < 40
    assert in_bridge.margin > 0 > in_ferry.margin
