"""An index of a table: what it was made from is known, and a change of it is seen."""

import shutil

import datasets
import pytest

from rag.data.corpus import load_corpus
from rag.errors import IndexMismatchError
from rag.index.doctor import examine
from rag.index.manifest import read_manifest
from rag.index.read import open_index
from rag.index.write import build_index
from rag.lazy import Lazy
from rag.retrieve.encoder import Encoder


@pytest.fixture
def encoder(tiny_encoder_folder):
    return Encoder(tiny_encoder_folder, device="cpu", precision="fp32")


def rows(n):
    return datasets.Dataset.from_list([{"nr": f"d{i}", "body_text": f"text {i} of ferries"} for i in range(n)])


@pytest.mark.parametrize("kind", ["csv", "parquet", "shards", "saved"])
def test_a_changed_table_is_refused_with_the_command_that_names_its_columns(tmp_path, encoder, kind, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def write(n):
        shutil.rmtree("data", ignore_errors=True)
        (tmp_path / "data").mkdir()
        if kind == "shards":
            rows(n - 1).to_parquet("data/a.parquet")
            rows(1).map(lambda row: {"nr": "last", "body_text": row["body_text"]}).to_parquet("data/b.parquet")
        elif kind == "saved":
            rows(n).save_to_disk("data")
        else:
            getattr(rows(n), f"to_{kind}")(f"data/rows.{kind}")

    write(4)
    place = "data" if kind in ("shards", "saved") else f"data/rows.{kind}"
    manifest = build_index(f"{place}:id=nr,text=body_text", "index", encoder)
    reference = f"{tmp_path}/{place}:id=nr,text=body_text"
    assert manifest.corpus_path == reference
    monkeypatch.chdir("/")
    assert list(open_index(tmp_path / "index").corpus) == list(load_corpus(reference))
    assert not [
        finding for finding in examine(tmp_path / "index", Lazy(lambda: encoder)) if finding.severity != "waste"
    ]
    monkeypatch.chdir(tmp_path)
    write(3)
    with pytest.raises(IndexMismatchError) as caught:
        open_index(tmp_path / "index")
    assert "built for 4 passages" in str(caught.value)
    assert "(now 3)" in str(caught.value)
    assert f"rag index {reference} -o" in str(caught.value)
    build_index(reference, "index", encoder)
    assert len(open_index("index").corpus) == 3
    shutil.rmtree("data")
    assert len(open_index("index").corpus) == 3


def test_an_index_of_the_hub_opens_without_it(tmp_path, encoder, monkeypatch):
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: datasets.DatasetDict({"train": rows(3)}))
    manifest = build_index("someone/rows:id=nr,text=body_text", tmp_path / "index", encoder)
    assert manifest.corpus_path == "someone/rows:id=nr,text=body_text"
    monkeypatch.setattr(datasets, "load_dataset", lambda *a, **k: pytest.fail("asked the hub"))
    opened = open_index(tmp_path / "index")
    assert len(opened.corpus) == 3
    assert read_manifest(opened.folder) == manifest
