"""A packaged adapter is a model of its own name: merged once, again when it changes, whole or not at all."""

import json
import os
import shutil
import subprocess
import sys
import threading

import pytest
import torch
from safetensors.torch import load_file
from typer.testing import CliRunner

from rag.build.parts import make_encoder, make_reranker
from rag.cli.main import app
from rag.config import load_settings
from rag.errors import DamagedFileError, ModelError
from rag.files import weights_sha256
from rag.index.read import open_index
from rag.index.write import build_index
from rag.models import adapters
from rag.models import resolve as resolving
from rag.models.cache import RECORD, cached_model, make_once, model_folder
from rag.models.promoted import all_promoted, go_back, promote, what_serves
from rag.models.resolve import resolve, resolve_generator
from tests.fakes.adapters import edit_card, write_adapter, write_base
from tests.fakes.tiny import write_corpus

CHANGE = {"x.diff": torch.ones(1).half()}


@pytest.fixture
def tuned(tmp_path, monkeypatch):
    """The adapters of the package: a folder of this test's own."""
    folder = tmp_path / "tuned"
    monkeypatch.setattr(adapters, "PACKAGED_ADAPTERS", folder)
    monkeypatch.setenv("RAG_HOME", str(tmp_path / "home"))
    return folder


@pytest.fixture
def base(tmp_path):
    return write_base(tmp_path / "base", {"x": torch.zeros(1)})


@pytest.fixture
def merges(monkeypatch):
    """The names of adapters that were merged."""
    done = []
    merge = resolving.merge_adapter

    def counted(adapter, *arguments):
        done.append(adapter.name)
        return merge(adapter, *arguments)

    monkeypatch.setattr(resolving, "merge_adapter", counted)
    return done


def x_of(name):
    return load_file(resolve(name).folder / "model.safetensors")["x"].item()


def test_a_packaged_adapter_is_merged_once(tuned, base, merges, capsys):
    write_adapter(tuned / "tiny", base, CHANGE)
    threads = [threading.Thread(target=resolve, args=("rag-qa/tiny",)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    shutil.rmtree(base)  # it is no longer asked for
    found = resolve("rag-qa/tiny")
    assert merges == ["rag-qa/tiny"]
    assert (found.name, found.source, x_of("rag-qa/tiny")) == ("rag-qa/tiny", "adapter", 1.0)
    record = json.loads((found.folder / RECORD).read_text())
    assert (record["base"], record["role"], record["license"]) == (str(base), "retriever", "MIT")
    assert capsys.readouterr().err.count("Merging rag-qa/tiny") == 1


def test_an_adapter_that_has_changed_is_merged_again(tuned, base, merges):
    write_adapter(tuned / "tiny", base, CHANGE)
    assert x_of("rag-qa/tiny") == 1
    edit_card(tuned / "tiny", {"figures": ["MRR@10 .8"]})  # what a person says of it changes nothing
    assert x_of("rag-qa/tiny") == 1
    assert len(merges) == 1
    write_adapter(tuned / "tiny", base, {"x.diff": torch.tensor([3.0]).half()})
    assert x_of("rag-qa/tiny") == 3
    write_adapter(tuned / "tiny", base, {"x.diff": torch.tensor([3.0]).half()}, files={"prompt.json": "{}"})
    assert (resolve("rag-qa/tiny").folder / "prompt.json").is_file()
    assert len(merges) == 3


def test_a_merge_that_fails_leaves_nothing(tuned, base, tmp_path, monkeypatch):
    write_adapter(tuned / "tiny", base, CHANGE)

    def interrupted(adapter, base, target):
        target.mkdir()
        (target / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(resolving, "merge_adapter", interrupted)
    with pytest.raises(KeyboardInterrupt):
        resolve("rag-qa/tiny")
    assert [path.name for path in (tmp_path / "home" / "models").iterdir()] == ["rag-qa--tiny.lock"]


def test_a_kill_leaves_nothing_that_looks_whole(tmp_path):
    killed = (
        "import os, sys; from pathlib import Path; from rag.models.cache import make_once\n"
        "def make(work):\n"
        "    (work / 'model').mkdir(); (work / 'model' / 'half').write_text(''); os.kill(os.getpid(), 9)\n"
        "make_once(Path(sys.argv[1]), 'a/b', make)"
    )
    assert subprocess.run([sys.executable, "-c", killed, str(tmp_path)]).returncode == -9
    assert cached_model(tmp_path, "a/b") is None
    assert len(list((tmp_path / "models").glob(".building-*"))) == 1

    def make(work):
        (work / "model").mkdir()
        return work / "model", {}

    assert make_once(tmp_path, "a/b", make) == model_folder(tmp_path, "a/b")
    assert sorted(os.listdir(model_folder(tmp_path, "a/b"))) == ["files.json", RECORD]
    assert list((tmp_path / "models").glob(".building-*")) == []


def test_an_adapter_in_a_folder_of_ones_own_is_a_model_too(tuned, base, tmp_path):
    own = write_adapter(tmp_path / "own" / "tiny", base, CHANGE)
    write_adapter(tuned / "tiny", base, {"x.diff": torch.tensor([3.0]).half()})
    assert (x_of(str(own)), x_of("rag-qa/tiny"), x_of(str(own))) == (1, 3, 1)


def test_an_unknown_name_lists_what_there_is(tuned, base):
    with pytest.raises(ModelError, match=r"no adapter in this package is called 'rag-qa/other' \(it holds: none\)"):
        resolve("rag-qa/other")
    write_adapter(tuned / "tiny", base, CHANGE)
    for name in ("rag-qa/other", "rag-qa/../base", "rag-qa/"):
        with pytest.raises(ModelError, match=r"\(it holds: rag-qa/tiny\)"):
            resolve(name)


def test_a_damaged_adapter_is_no_reason_for_another_model(tuned, base):
    write_adapter(tuned / "tiny", base, CHANGE)
    (tuned / "tiny" / "adapter.safetensors").write_bytes(b"")
    with pytest.raises(DamagedFileError):
        resolve("rag-qa/tiny")
    with pytest.raises(DamagedFileError):
        resolve_generator("rag-qa/tiny")


def test_a_card_of_another_name_is_refused(tuned, base):
    edit_card(write_adapter(tuned / "tiny", base, CHANGE), {"name": "rag-qa/other"})
    with pytest.raises(ModelError, match="is the card of 'rag-qa/other'"):
        resolve("rag-qa/tiny")


def test_a_base_that_is_nowhere_is_said(tuned, base):
    write_adapter(tuned / "tiny", base, CHANGE)
    shutil.rmtree(base)
    with pytest.raises(ModelError, match=f"'{base}' is not available"):
        resolve("rag-qa/tiny")


def encoder_adapter(tuned, folder, name="tiny"):
    files = ["modules.json", "sentence_bert_config.json", "config_sentence_transformers.json", "1_Pooling/config.json"]
    change = {"embeddings.LayerNorm.bias.diff": torch.full((32,), 0.5).half()}
    return write_adapter(tuned / name, folder, change, base_files=files)


def test_an_adapter_encodes_an_index_that_knows_it_again(tuned, tiny_encoder_folder, passages, tmp_path):
    encoder_adapter(tuned, tiny_encoder_folder)
    encoder = make_encoder(load_settings(None, ["encoder.model=rag-qa/tiny"]))
    folder = resolve("rag-qa/tiny").folder
    assert encoder.fingerprint.weights_sha256 == weights_sha256(folder)
    build_index(write_corpus(tmp_path / "corpus.txt", passages), tmp_path / "index", encoder)
    index = open_index(tmp_path / "index")
    index.check_encoder(make_encoder(load_settings(None, ["encoder.model=rag-qa/tiny"])).fingerprint)
    with pytest.raises(Exception, match="encoder"):
        index.check_encoder(make_encoder(load_settings(None, [f"encoder.model={tiny_encoder_folder}"])).fingerprint)


def test_a_model_is_promoted_in_place_of_an_adapter_and_taken_back(tuned, tiny_encoder_folder, base):
    encoder_adapter(tuned, tiny_encoder_folder)
    assert what_serves("rag-qa/tiny") == "rag-qa/tiny"
    promote("rag-qa/tiny", base)
    assert what_serves("rag-qa/tiny") == str(base)
    assert go_back("rag-qa/tiny") == "rag-qa/tiny"


def test_what_was_promoted_in_place_of_its_base_serves_for_an_adapter_of_the_same_role(tmp_path):
    base, tuned = "cross-encoder/ms-marco-MiniLM-L-12-v2", "rag-qa/minilm-reranker-openqa"
    folders = [tmp_path / name for name in ("older", "newer")]
    for folder in folders:
        folder.mkdir()
    promote(base, folders[0])
    assert what_serves(tuned) == what_serves(base) == str(folders[0])
    assert what_serves("rag-qa/minilm-reader-openqa") == "rag-qa/minilm-reader-openqa"  # no reranker
    promote(tuned, folders[1])
    assert (what_serves(tuned), what_serves(base)) == (str(folders[1]), str(folders[0]))
    assert [go_back(tuned), go_back(tuned)] == [str(folders[0]), tuned]
    assert all_promoted() == {}


def test_an_adapter_reranks(tuned, tiny_reranker_folder, tmp_path):
    change = {"bert.embeddings.LayerNorm.bias.diff": torch.full((32,), 0.5).half()}
    write_adapter(tuned / "judge", tiny_reranker_folder, change)
    reranker = make_reranker(load_settings(None, ["reranker.model=rag-qa/judge"]))
    assert reranker.weights_sha256 == weights_sha256(resolve("rag-qa/judge").folder)


def listed(*options):
    result = CliRunner().invoke(app, ["models", "--json", *options], catch_exceptions=False)
    return {record["model"]: record for record in json.loads(result.stdout)}


def test_rag_models_lists_adapters_before_and_after_they_are_merged(tuned, tiny_encoder_folder, merges):
    encoder_adapter(tuned, tiny_encoder_folder)
    record = listed()["rag-qa/tiny"]
    assert (record["role"], record["base"], record["license"]) == ("retriever", str(tiny_encoder_folder), "MIT")
    assert "its first use merges it" in record["notice"]
    assert "folder" not in record
    assert merges == []
    resolve("rag-qa/tiny")
    record = listed()["rag-qa/tiny"]
    assert record["folder"] == str(resolve("rag-qa/tiny").folder)
    assert record["notice"] == ""
    assert f"base     {tiny_encoder_folder}" in CliRunner().invoke(app, ["models"]).stdout


def test_fetching_merges_the_adapter_that_the_settings_name(
    tuned, tiny_encoder_folder, tiny_reranker_folder, tiny_generator_folder, merges
):
    encoder_adapter(tuned, tiny_encoder_folder)
    others = [f"reranker.model={tiny_reranker_folder}", f"generator.model={tiny_generator_folder}"]
    others += [f"scorer.model={tiny_encoder_folder}", "reader.enabled=false"]
    options = [word for setting in ("encoder.model=rag-qa/tiny", *others) for word in ("--set", setting)]
    assert listed("--fetch", *options)["rag-qa/tiny"]["role"] == "retriever"
    assert merges == ["rag-qa/tiny"]
