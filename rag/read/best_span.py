"""The best span of a pair, found in the model's own graph: O(t) for t tokens, by a sliding maximum over the ends."""

from __future__ import annotations

from typing import Any

NEVER = -1e4
"""Stands for minus infinity where the arithmetic may be of 16 bits."""


def make_best_span_module(model: Any, sep_token_id: int, max_span_tokens: int) -> Any:
    """A torch module around a question answering model, for `rag.compute.runner.BatchRunner`.

    It maps (input_ids, attention_mask, token_type_ids), int64 (b, t), to (b, 4) float32: the logit of "no answer", the
    logit of the best span, and its first and last token. Spans lie within the passage (type 1, without separators) and
    are at most `max_span_tokens` long. Where there is no passage, the best span's logit is below any that a model
    gives.
    """
    import torch
    from torch.nn import functional

    class BestSpan(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, input_ids, attention_mask, token_type_ids):
            out = self.model(input_ids=input_ids, attention_mask=attention_mask, token_type_ids=token_type_ids)
            starts, ends = out.start_logits.float(), out.end_logits.float()  # (b, t)
            is_outside = (token_type_ids != 1) | (attention_mask != 1) | (input_ids == sep_token_id)
            null = starts[:, 0] + ends[:, 0]
            starts, ends = starts.masked_fill(is_outside, NEVER), ends.masked_fill(is_outside, NEVER)
            # (b, t): the best end of a span that begins here.
            padded = functional.pad(ends, (0, max_span_tokens - 1), value=NEVER)
            ahead = functional.max_pool1d(padded.unsqueeze(1), max_span_tokens, stride=1).squeeze(1)
            score, first = (starts + ahead).max(dim=-1)
            distance = torch.cumsum(torch.ones_like(input_ids), dim=-1) - 1 - first.unsqueeze(1)
            is_too_far = (distance < 0) | (distance >= max_span_tokens)
            last = ends.masked_fill(is_too_far, 2 * NEVER).argmax(dim=-1)
            return torch.stack([null, score, first.float(), last.float()], dim=-1)

    return BestSpan()
