"""An index finds its language, keeps it, changes it when most of the corpus or the settings do, and opens as before."""

import json

import pytest

from rag.build.english import _say_left_out
from rag.build.indexes import examine_index, ingest_documents, make_index, rebuild_index
from rag.build.serving import serving_over
from rag.config import load_settings
from rag.errors import ConfigError
from rag.index.calibration import uncalibrated_lines
from rag.index.folder import current_generation
from rag.index.manifest import MANIFEST, Manifest, manifest_json, read_manifest
from rag.index.read import open_index
from rag.index.write import BM25, BM25Retriever
from rag.retrieve.analyzer import Analyzer
from rag.types import Passage
from tests.fakes.documents import SETTINGS
from tests.fakes.tiny import write_corpus

ENGLISH = ["The harbour is one of the oldest on the coast.", "The ferry is for the people of the island."]
GERMAN = ["Die Häuser sind auf der Insel und nicht am Hafen.", "Der Hund ist nicht auf dem Schiff und nicht im Haus."]
CHINESE = ["港口是海岸上最古老的港口之一。", "北京是中国的首都，人口很多。"]


def passages(*texts):
    return [Passage(f"p{n}", text) for n, text in enumerate(texts)]


@pytest.fixture
def built(tmp_path, encoder):
    """Builds the index of some texts, by some settings; returns its manifest."""

    def build(texts, *settings):
        write_corpus(tmp_path / "corpus.txt", passages(*texts))
        return make_index(load_settings(None, list(settings)), tmp_path / "corpus.txt", tmp_path / "index")

    build.folder = tmp_path / "index"
    return build


def made_before(folder):
    """Turn an index into one of the version before: English, without a version of the analyzer."""
    generation, manifest = current_generation(folder)
    opened = open_index(folder)
    BM25Retriever(opened.corpus, analyzer=Analyzer(version=1)).save(generation / BM25)
    old = {**manifest_json(manifest), "bm25": {"k1": 1.5, "b": 0.75, "language": "english"}}
    del old["fingerprint"]
    shown = Manifest(**{**old, "encoder": manifest.encoder})
    (generation / MANIFEST).write_text(json.dumps(manifest_json(shown)), "utf-8")
    return shown


def ids(folder, question):
    (hits,) = open_index(folder).bm25().retrieve([question], 5)
    return [hit.passage.id for hit in hits]


def test_the_language_of_most_passages_is_found_and_searched_by(built, capsys):
    assert built(ENGLISH).language == "english"
    assert "taken for" not in capsys.readouterr().err
    assert built(GERMAN).language == "german"
    assert "taken for German" in capsys.readouterr().err
    assert sorted(ids(built.folder, "Haus")) == ["p0", "p1"]
    assert built(CHINESE).language == "chinese"
    assert ids(built.folder, "中国首都") == ["p1"]


def test_a_named_language_wins_and_stays(built):
    assert built(GERMAN, "index.language=english").bm25["language"] == "english"
    assert built(GERMAN).language == "english"
    assert built([*GERMAN, GERMAN[0] + " Und noch etwas."]).language == "english"
    assert built(GERMAN, "index.language=german").language == "german"
    assert built(GERMAN, "index.language=none").language == "none"
    assert ids(built.folder, "Haus") == ["p1"]  # no stems


def test_a_language_is_named_as_messages_show_it(built):
    assert built(ENGLISH, "index.language=German").language == "german"


def test_nobody_is_told_of_the_language_that_they_named(built, capsys):
    built(GERMAN)
    assert "taken for German" in capsys.readouterr().err
    built(GERMAN, "index.language=english")
    assert "taken for" not in capsys.readouterr().err


def test_passages_in_letters_that_no_language_is_known_for_are_not_english(built, capsys):
    assert built(["ნავსადგური აშენდა 1890 წელს და უძველესია.", "12 345"]).language == "none"
    assert ids(built.folder, "ნავსადგური") == ["p0"]
    assert "no language that is known" in capsys.readouterr().err


def test_an_english_corpus_with_foreign_names_serves_with_the_english_models(built):
    built([ENGLISH[0], "name: Anna de la Cruz | city: Los Andes", "name: Juan del Rio | city: Las Palmas, El Oro"])
    assert serving_over(load_settings(), built.folder).reranker == load_settings().reranker.model


def test_an_unknown_language_is_refused_with_those_that_are_known(built):
    with pytest.raises(ConfigError, match=r"index\.language.*german"):
        built(GERMAN, "index.language=klingon")


def test_the_language_stays_until_most_of_the_corpus_has_changed(built, capsys):
    built(ENGLISH)
    assert built([*ENGLISH, *GERMAN, GERMAN[1]]).language == "english"
    capsys.readouterr()
    assert built([ENGLISH[0], *GERMAN, GERMAN[1]]).language == "german"
    assert "taken for German" in capsys.readouterr().err
    assert built([*ENGLISH, *GERMAN]).language == "german"


def test_a_change_of_language_encodes_nothing_again(built, encoder):
    built(GERMAN)
    n_embedded = len(encoder.embedded)
    assert built(GERMAN, "index.language=french").language == "french"
    assert len(encoder.embedded) == n_embedded


def test_an_older_index_opens_and_is_searched_as_before(built):
    built(GERMAN)
    made_before(built.folder)
    opened = open_index(built.folder)
    assert (opened.manifest.language, opened.manifest.analyzer) == ("english", Analyzer("english", 1))
    assert ids(built.folder, "Haus") == ["p1"]  # "Häuser" has no English stem in common


def test_an_older_english_index_stays_as_it_is_until_its_passages_change(built):
    built(ENGLISH)
    old = made_before(built.folder)
    assert built(ENGLISH).fingerprint == old.fingerprint
    assert built([*ENGLISH, "One more."]).bm25 == {"k1": 1.5, "b": 0.75, "language": "english", "analyzer": 2}


def test_an_older_index_in_another_language_is_named_by_the_doctor_and_made_anew_by_its_command(built, encoder):
    built(GERMAN)
    made_before(built.folder)
    (finding,) = examine_index(SETTINGS, built.folder)
    assert finding.severity == "stale"
    assert "German" in finding.what
    assert finding.mend == f"rag index --rebuild -o {built.folder}"
    rebuild_index(SETTINGS, built.folder)
    assert open_index(built.folder).manifest.language == "german"
    assert examine_index(SETTINGS, built.folder) == []


def test_documents_find_their_language_too(tmp_path, encoder):
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "haus.txt").write_text(" ".join(GERMAN), "utf-8")
    ingest_documents(SETTINGS, [tmp_path / "docs"], tmp_path / "index")
    assert open_index(tmp_path / "index").manifest.language == "german"
    (tmp_path / "docs" / "port.txt").write_text(ENGLISH[0], "utf-8")
    ingest_documents(SETTINGS, [], tmp_path / "index")
    assert read_manifest(current_generation(tmp_path / "index")[0]).language == "german"


def test_english_models_are_left_out_over_another_language_and_that_is_said(built, capsys):
    _say_left_out.cache_clear()
    built(GERMAN)
    serving = serving_over(load_settings(), built.folder)
    serving = serving_over(load_settings(), built.folder)
    assert (serving.reranker, serving.reader, serving.rerank_threshold, serving.calibration) == (None,) * 4
    assert not serving.settings.reranker.enabled
    err = capsys.readouterr().err
    assert err.count("German") == 2  # once when it was made, once when it serves
    assert "--set reranker.model=NAME" in err


def test_nobody_is_asked_to_calibrate_what_is_not_reranked(built):
    built(GERMAN)
    assert uncalibrated_lines(built.folder) == []
    built(ENGLISH, "index.language=english")
    assert len(uncalibrated_lines(built.folder)) == 1


def test_english_models_serve_over_english(built):
    built(ENGLISH)
    serving = serving_over(load_settings(), built.folder)
    assert serving.reranker == load_settings().reranker.model
    assert serving.reader == load_settings().reader.model


def test_named_models_serve_over_any_language(built):
    built(GERMAN)
    serving = serving_over(load_settings(None, ["reranker.model=some/multilingual"]), built.folder)
    assert (serving.reranker, serving.reader) == ("some/multilingual", None)
    serving = serving_over(load_settings(None, ["reader.model=some/reader"]), built.folder)
    assert (serving.reranker, serving.reader) == (None, "some/reader")


def test_bm25_counts_less_over_another_language_unless_its_weight_is_set(built):
    built(GERMAN)
    weights = [
        serving_over(load_settings(None, settings), built.folder).settings.retriever.bm25_weight
        for settings in ([], ["retriever.bm25_weight=0.7"])
    ]
    built(ENGLISH, "index.language=english")
    weights.append(serving_over(load_settings(), built.folder).settings.retriever.bm25_weight)
    assert weights == [0.3, 0.7, 0.5]


def test_nothing_is_said_where_no_english_model_is_used(built, capsys):
    _say_left_out.cache_clear()
    built(GERMAN)
    capsys.readouterr()
    serving_over(load_settings(None, ["reranker.enabled=false", "reader.enabled=false"]), built.folder)
    assert capsys.readouterr().err == ""
