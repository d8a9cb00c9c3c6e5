"""What every fine-tuning run shares: rows of like length run together, and dev looks at what would be kept."""

import pytest
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from rag.train.by_length import run_by_length
from rag.train.checkpoints import as_kept

TEXTS = ["the river", "who built the old red bridge in graz", "tower", "the amber line of the tern island", "people"]


@pytest.fixture
def batch(tiny_reranker_folder):
    return AutoTokenizer.from_pretrained(tiny_reranker_folder)(TEXTS, padding=True, return_tensors="pt")


def load(folder):
    return AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="eager").eval()


def widths_seen(model):
    """The widths of the batches that reach the embeddings, as they come."""
    seen = []
    model.get_input_embeddings().register_forward_hook(lambda module, inputs, output: seen.append(inputs[0].shape))
    return seen


def test_logits_and_gradients_stay_those_of_the_whole_batch(tiny_reranker_folder, batch):
    gradients, logits = [], []
    for by_length in (False, True):
        model = load(tiny_reranker_folder)
        if by_length:
            run_by_length(model, rows=2)
            seen = widths_seen(model)
        found = model(**batch).logits
        (found.view(-1) * torch.arange(1.0, 6.0)).sum().backward()
        logits.append(found.detach())
        gradients.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    torch.testing.assert_close(logits[1], logits[0])
    torch.testing.assert_close(gradients[1], gradients[0], atol=1e-5, rtol=1e-4)
    lengths = sorted(batch["attention_mask"].sum(dim=1).tolist())
    assert [tuple(shape) for shape in seen] == [(2, lengths[1]), (2, lengths[3]), (1, lengths[4])]


def test_token_embeddings_come_back_in_order_and_width_with_zeros_on_the_padding(tiny_reranker_folder, batch):
    encoder = load(tiny_reranker_folder).bert
    whole = encoder(**batch).last_hidden_state
    run_by_length(encoder, rows=2)
    found = encoder(**batch).last_hidden_state
    kept = batch["attention_mask"].bool()
    torch.testing.assert_close(found[kept], whole[kept])
    assert not kept.all()
    longest_of_part = torch.zeros_like(kept)
    order = batch["attention_mask"].sum(dim=1).argsort()
    for part in order.split(2):
        longest_of_part[part, : int(batch["attention_mask"][part].sum(dim=1).max())] = True
    assert (found[~longest_of_part] == 0).all()


def test_a_batch_padded_on_the_left_runs_as_it_is(tiny_reranker_folder):
    batch = AutoTokenizer.from_pretrained(tiny_reranker_folder, padding_side="left")(
        TEXTS, padding=True, return_tensors="pt"
    )
    model = load(tiny_reranker_folder)
    whole = model(**batch).logits
    run_by_length(model, rows=2)
    seen = widths_seen(model)
    torch.testing.assert_close(model(**batch).logits, whole)
    assert [tuple(shape) for shape in seen] == [tuple(batch["input_ids"].shape)]


def test_a_look_at_what_would_be_kept_leaves_the_training_as_it_was(tiny_reranker_folder):
    model = load(tiny_reranker_folder)
    base = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.rand_like(parameter))
    tuned = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with as_kept(model, base, 0.25):
        for name, parameter in model.named_parameters():
            torch.testing.assert_close(parameter, 0.25 * tuned[name] + 0.75 * base[name])
    assert all(torch.equal(parameter, tuned[name]) for name, parameter in model.state_dict().items())
