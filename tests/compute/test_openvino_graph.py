"""Models compiled by OpenVINO, and what is left where one cannot be."""

import logging

import pytest
import torch

from rag.compute.openvino_graph import NotConverted, openvino_forward


class Refused(torch.nn.Module):
    def forward(self, ids, mask):
        raise ValueError("cannot be traced")


def test_the_programs_warnings_are_still_heard_after_a_model_that_cannot_be_converted(caplog):
    root = logging.getLogger()
    before = root.level, list(root.filters), list(root.handlers)
    with pytest.raises(NotConverted):
        openvino_forward(Refused, 2, "fp32", None)
    assert (root.level, list(root.filters), list(root.handlers)) == before
    logging.getLogger("rag.some.room").warning("heard")
    assert [record.getMessage() for record in caplog.records if record.name == "rag.some.room"] == ["heard"]
