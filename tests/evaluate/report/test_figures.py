from rag.evaluate.outcomes import Outcome
from rag.evaluate.report.figures import Dot, dots_figure, flow_svg


def test_the_axis_of_dots_keeps_its_name_beside_a_legend():
    dots = [Dot(0.5, (0.4, 0.6)), Dot(None, None)]
    svg = dots_figure(["MRR@10", "nDCG@10"], {"first run": dots, "second run": dots}, "by stage")
    assert svg.count(">by stage<") == 1
    assert svg.count(">second run<") == 1


def test_the_flow_shows_every_question_once_at_its_end():
    counts = {Outcome.RIGHT.value: 5, Outcome.NOT_RETRIEVED.value: 2, Outcome.REFUSED_RIGHTLY.value: 3}
    svg = flow_svg(counts, 1)
    for name, n in (("all questions", 10), ("answerable", 7), ("right", 5), ("not retrieved", 2), ("unanswerable", 3)):
        assert f'{name} <tspan font-weight="600">{n}</tspan>' in svg
    assert flow_svg({}, 0) == ""
