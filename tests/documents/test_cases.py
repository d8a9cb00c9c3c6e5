"""Small files that fail elsewhere, each for a reason of its own: what must stand in the index, and what must not.

`cases/cases.json` says of each file what it shows (`what`), what stands in some passage with its headings (`must`),
what stands in none (`must_not`), and what stands so many times (`times`). A file of which nothing is said is refused.
"""

import json
from pathlib import Path

import pytest

from rag.build import indexes
from rag.build.indexes import ingest_documents
from rag.config import load_settings
from rag.documents.records import HASH_CHARACTERS, path_of
from rag.index.read import open_index
from rag.types import document_of
from tests.fakes.documents import WordEncoder

FOLDER = Path(__file__).parent / "cases"
CASES = json.loads((FOLDER / "cases.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def ingested(tmp_path_factory):
    """What an ingest of all files reported, and the passages of each, title and headings above the text."""
    index = tmp_path_factory.mktemp("cases") / "index"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(indexes, "make_encoder", lambda settings, lazy: WordEncoder())
        result = ingest_documents(load_settings(None, []), [FOLDER], index)
    names = {one.sha256[:HASH_CHARACTERS]: [path_of(place).name for place in one.paths] for one in result.documents}
    passages: dict[str, list[str]] = {}
    for passage in open_index(index).corpus:
        for name in names[document_of(passage.id)]:
            passages.setdefault(name, []).append(passage.content)
    return result, passages


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["file"])
def test_every_file_is_indexed_as_a_person_reads_it(case, ingested):
    result, passages = ingested
    refused = {Path(path).name: reason for path, reason in result.left_out.items()}
    found = passages.get(case["file"], [])
    as_lines = [*found, *(" ".join(text.split()) for text in found)]
    assert bool(found) == any(case[key] for key in ("must", "must_not", "times")), refused.get(case["file"])
    for wanted in case["must"]:
        assert any(wanted in text for text in as_lines), case["what"]
    for unwanted in case["must_not"]:
        assert not any(unwanted in text for text in as_lines), case["what"]
    for wanted, n in case["times"].items():
        assert sum(" ".join(text.split()).count(wanted) for text in found) == n, case["what"]
