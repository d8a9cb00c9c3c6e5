"""The question tower is trained alone: an index stays as it is, and the model serves beside no other encoder."""

import dataclasses
import json

import numpy as np
import pytest
import torch

from rag.build import parts
from rag.build.identity import run_identity
from rag.build.indexes import make_index
from rag.build.overview import models_of
from rag.build.serving import serving_over
from rag.errors import ConfigError, ModelError
from rag.evaluate.verdict import PROMOTE
from rag.files import weights_sha256
from rag.index.checked import CHECKED
from rag.index.read import open_index
from rag.models.promoted import all_promoted, go_back, questions_of, what_serves
from rag.models.query_encoder import NOTE, note_of
from rag.resume import read_jsonl
from rag.retrieve.encoder import Encoder
from rag.train.files import TrainingFiles
from rag.train.frozen_passages import frozen_passages
from rag.train.meet import average_models, gate_model
from rag.train.promote import promote_model
from rag.train.query_losses import CandidateTable, QueryLoss
from rag.train.retriever_losses import Guide
from rag.train.tune import tune_retriever
from tests.fakes.tiny import make_tiny_encoder, write_corpus
from tests.fakes.training import PASSAGES, mined, with_training

QUESTIONS = ["who built the river", "the road and the"]


def files_of(folder):
    """Every file below an index with its bytes, but for locks and for which files were found whole when."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.name.startswith(".lock") and path.name != CHECKED
    }


def tuned(data, recipe="query", **changes):
    settings, folder = data
    given = TrainingFiles(folder / "train.txt", folder / "dev.txt")
    if recipe == "distill":
        given = mined(settings, folder, scorer="reranker")
    settings = with_training(settings, ["retriever"], **{"filter_by_guide": False, **changes})
    return tune_retriever(serving_over(settings, folder / "index"), given, folder / "run", recipe)


@pytest.fixture
def model(tmp_path, tiny_encoder_folder):
    """What embeds questions beside the tiny encoder, as if it had been trained."""
    folder = make_tiny_encoder(tmp_path / "questions", seed=3)
    fingerprint = Encoder(tiny_encoder_folder, lazy=True).fingerprint
    (folder / NOTE).write_text(json.dumps(note_of(dataclasses.asdict(fingerprint))))
    return folder


def beside(settings, model):
    encoder = settings.encoder.model_copy(update={"query_model": str(model)})
    return settings.model_copy(update={"encoder": encoder})


def test_the_index_stays_and_questions_are_embedded_otherwise(data):
    settings, folder = data
    before, fingerprint = files_of(folder / "index"), open_index(folder / "index").manifest.fingerprint
    base = parts.make_encoder(settings)
    record = tuned(data)
    assert files_of(folder / "index") == before
    assert not (folder / "run" / "index").exists()  # nothing was encoded again for the comparison
    assert record["role"] == "retriever"
    assert record["corpus_sha256"] == open_index(folder / "index").manifest.corpus_sha256
    assert record["base_fingerprint"] == dataclasses.asdict(base.fingerprint)
    assert record["tuned_fingerprint"]["weights_sha256"] != base.fingerprint.weights_sha256

    chosen = beside(settings, folder / "run" / "model")
    serving = serving_over(chosen, folder / "index")
    encoder = serving.load_encoder()
    assert encoder.fingerprint == base.fingerprint
    assert serving.manifest.fingerprint == fingerprint
    texts = [passage.content for passage in PASSAGES[:3]]
    assert np.array_equal(encoder.encode_passages(texts)[0], base.encode_passages(texts)[0])
    assert not np.allclose(encoder.encode_queries(QUESTIONS), base.encode_queries(QUESTIONS), atol=1e-3)
    hits = serving.retrievers().get("dense").retrieve(QUESTIONS, 3)
    cosines = encoder.encode_queries(QUESTIONS) @ open_index(folder / "index").vectors().vectors(range(30)).T
    for own, row in zip(hits, cosines, strict=True):
        assert own[0].score == pytest.approx(float(row.max()), abs=1e-5)
    losses = [row["loss"] for row in read_jsonl(folder / "run" / "log.jsonl") if "loss" in row]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


def test_an_index_made_later_is_of_the_encoder_of_passages(data, model):
    settings, folder = data
    corpus = write_corpus(folder / "other.txt", PASSAGES[:9])
    plain = make_index(settings, corpus, folder / "plain")
    assert make_index(beside(settings, model), corpus, folder / "other").fingerprint == plain.fingerprint


def test_what_embeds_questions_alone_makes_no_index(data, model):
    settings, _ = data
    encoder = settings.encoder.model_copy(update={"model": str(model)})
    with pytest.raises(ModelError, match=r"embeds questions alone.*name it as encoder.query_model"):
        parts.make_encoder(settings.model_copy(update={"encoder": encoder}), lazy=True)


def test_a_batch_by_another_question_encoder_is_another_run(data, model):
    settings, folder = data
    settings = settings.model_copy(update={"retriever": settings.retriever.model_copy(update={"kind": "dense"})})
    plain, other = (
        run_identity(serving_over(one, folder / "index"), folder / "dev.txt", generate=False)
        for one in (settings, beside(settings, model))
    )
    assert "query_encoder" not in plain
    assert "query_model" not in plain["settings"]["encoder"]  # runs begun before it go on
    assert other["query_encoder"] == Encoder(model, lazy=True).fingerprint.weights_sha256
    assert {**other, "query_encoder": None} == {**plain, "query_encoder": None}


def test_a_question_encoder_is_promoted_beside_its_encoder_and_goes_back(data, model):
    settings, folder = data
    record = gate_model(serving_over(settings, folder / "index"), model, folder / "dev.txt", folder / "met")
    assert record["embeds"] == "questions"
    assert (folder / "met" / "model" / NOTE).is_file()
    assert not (folder / "met" / "index").exists()
    (folder / "met" / "gate.json").write_text(json.dumps({**record, "verdict": PROMOTE}))
    said = promote_model(folder / "met")
    promoted, name = str(folder / "met" / "model"), questions_of(settings.encoder.model)
    assert "Indexes stay as they are" in said
    assert name in said
    assert what_serves(settings.encoder.model) == settings.encoder.model
    serving = serving_over(settings, folder / "index")
    assert serving.query_encoder == promoted
    assert serving.load_encoder().questions.folder == folder / "met" / "model"
    assert promoted in models_of(settings)["questions"]
    assert "already serves" in promote_model(folder / "met")
    # The next one starts from, and has to beat, what embeds questions now.
    second = tuned(data, epochs=1, evaluations=1)
    assert second["base"] == name
    assert second["base_fingerprint"] == record["tuned_fingerprint"]
    assert json.loads((folder / "run" / "training.json").read_text())["base"] == weights_sha256(model)
    assert go_back(name) == settings.encoder.model
    assert all_promoted() == {}
    (folder / "run" / "gate.json").write_text(json.dumps({**second, "verdict": PROMOTE}))
    with pytest.raises(ConfigError, match="has met another model"):
        promote_model(folder / "run")


def test_a_model_of_another_kind_width_or_base_embeds_no_questions(data, model, tmp_path):
    settings, _ = data
    plain = make_tiny_encoder(tmp_path / "plain", seed=5)
    with pytest.raises(ModelError, match="was not trained to embed questions alone"):
        parts.make_encoder(beside(settings, plain))
    narrow = make_tiny_encoder(tmp_path / "narrow", width=16)
    with pytest.raises(ModelError, match=r"questions in 16 dimensions, and .* passages in 32"):
        parts.make_encoder(beside(settings, narrow))
    other = make_tiny_encoder(tmp_path / "other", seed=7)
    of_another = settings.model_copy(update={"encoder": settings.encoder.model_copy(update={"model": str(other)})})
    with pytest.raises(ModelError, match=r"trained beside another encoder .* \(other: weights_sha256\)"):
        parts.make_encoder(beside(of_another, model))
    (model / NOTE).write_text('{"passages": 3}')
    with pytest.raises(ModelError, match="is damaged"):
        parts.make_encoder(beside(settings, model))


def test_it_learns_from_a_teacher_as_well(data):
    _, folder = data
    record = tuned(data, recipe="distill", query_only=True, negatives=2, epochs=1, evaluations=1)
    assert record["embeds"] == "questions"
    assert (folder / "run" / "model" / NOTE).is_file()


def test_a_recipe_that_needs_the_passages_is_refused(data):
    with pytest.raises(ConfigError, match="'margin' does not train the question tower alone"):
        tuned(data, recipe="margin", query_only=True, filter_by_guide=None)
    with pytest.raises(ConfigError, match="'lasttoken' does not train the question tower alone"):
        tuned(data, recipe="lasttoken", query_only=True)
    with pytest.raises(ConfigError, match="tension_share trains on them"):
        tuned(data, recipe="query", tension_share=0.2)


def test_a_start_of_another_width_is_refused(data, tmp_path):
    settings, folder = data
    narrow = make_tiny_encoder(tmp_path / "narrow", width=16)
    files = TrainingFiles(folder / "train.txt", folder / "dev.txt")
    with pytest.raises(ConfigError, match="has 16 dimensions, and the vectors of the index 32"):
        tune_retriever(serving_over(settings, folder / "index"), files, folder / "run", "query", base=str(narrow))


def test_a_whole_encoder_meets_both_towers_and_is_not_averaged_with_one(data, model, tmp_path):
    settings, folder = data
    whole = make_tiny_encoder(tmp_path / "whole", seed=7)
    serving = serving_over(beside(settings, model), folder / "index")
    record = gate_model(serving, whole, folder / "dev.txt", folder / "whole-met")
    assert "embeds" not in record
    assert record["tuned_fingerprint"]["weights_sha256"] == weights_sha256(whole)
    gate_model(serving_over(settings, folder / "index"), model, folder / "dev.txt", folder / "met")
    with pytest.raises(ConfigError, match="beside another encoder"):
        average_models(serving, [folder / "met", folder / "whole-met"], folder / "dev.txt", folder / "mean")


def test_of_a_large_index_what_is_labelled_and_a_sample_are_candidates(data):
    _, folder = data
    index = open_index(folder / "index")
    found = frozen_passages(index, {}, [29, 3, 3], seed=0, most=10)
    assert len(found.rows) == 10
    assert {3, 29} <= set(found.rows.tolist())
    assert list(found.rows) == sorted(found.rows)
    assert np.array_equal(found.vectors, index.vectors().vectors(found.rows.tolist()))
    assert found.rows[found.positions([29, 3])].tolist() == [29, 3]


def test_the_loss_is_cross_entropy_over_all_passages_that_may_be_wrong():
    vectors = np.eye(4, dtype=np.float32)
    questions = torch.tensor([[1.0, 0.5, 0.25, 0.0]], requires_grad=True)
    table = CandidateTable(np.array([[1]]), [[1, 3]])  # passage 3 is known to answer as well
    loss = QueryLoss(torch.nn.Identity(), vectors, table, temperature=0.5)
    cosines = np.array([1.0, 0.5, 0.25]) / np.linalg.norm([1.0, 0.5, 0.25]) / 0.5
    expected = np.log(np.exp(cosines).sum()) - cosines[1]
    found = loss.of_vectors(questions, np.array([0]))
    assert found.item() == pytest.approx(expected, abs=1e-5)
    assert loss.separation() == pytest.approx((cosines[1] - cosines[0]) * 0.5)
    found.backward()
    assert questions.grad.abs().sum() > 0


def test_questions_move_to_their_passages_and_away_from_all_others():
    torch.manual_seed(0)
    passages = torch.nn.functional.normalize(torch.randn(40, 8), dim=1).numpy()
    questions = torch.nn.Embedding(10, 8)
    loss = QueryLoss(
        questions, passages, CandidateTable(np.arange(10)[:, None], [[n] for n in range(10)]), temperature=0.05
    )
    optimizer = torch.optim.Adam(questions.parameters(), lr=0.1)
    rows = np.arange(10)
    for _ in range(60):
        optimizer.zero_grad()
        loss.of_vectors(questions.weight, rows).backward()
        optimizer.step()
    assert (questions.weight.detach().numpy() @ passages.T).argmax(axis=1).tolist() == rows.tolist()
    assert np.array_equal(loss.passages.numpy(), passages)


def test_what_the_guide_finds_nearer_than_gold_is_no_negative():
    vectors = np.eye(3, dtype=np.float32)
    guide = Guide(np.array([[0.9, 0.5, 0.4]], np.float32), vectors)
    table = CandidateTable(np.array([[1]]), [[1]], guide)
    assert table.negatives_mask(np.array([0]), 3).tolist() == [[False, False, True]]
    kinder = CandidateTable(np.array([[1]]), [[1]], dataclasses.replace(guide, margin=-0.5))
    assert kinder.negatives_mask(np.array([0]), 3).tolist() == [[True, False, True]]


def test_a_teacher_orders_a_questions_own_passages():
    vectors = np.eye(3, dtype=np.float32)
    table = CandidateTable(np.array([[0, 1]]), [[0]])
    loss = QueryLoss(
        torch.nn.Identity(),
        vectors,
        table,
        temperature=1.0,
        teacher=np.array([[2.0, 0.0]]),
        teacher_temperature=2.0,
        contrastive_share=0.0,
    )
    question = torch.tensor([[1.0, 1.0, 0.0]])
    teacher = np.exp([1.0, 0.0]) / np.exp([1.0, 0.0]).sum()
    assert loss.of_vectors(question, np.array([0])).item() == pytest.approx(
        float((teacher * np.log(2 * teacher)).sum())
    )
