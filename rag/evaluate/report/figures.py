"""The report's figures: inline SVG, drawn in the text colour of the page, so that it follows dark mode and print."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rag.evaluate.outcomes import Outcome
from rag.evaluate.training_log import LOSS, SCORES, SHARES, figures_by_kind
from rag.terminal import one_line

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLORS = ("#2f7ed8", "#e07b28", "#2c9c69", "#b04fb8", "#c9403f", "#8a8d91")
GOOD = "#2c9c69"
LOST = "#e07b28"
WRONG = "#c9403f"
PLAIN = "#8a8d91"
# A colour that nothing else has: every place where it is drawn becomes `currentColor`.
_INK = "#010203"

# The Sankey diagram, in its own units.
WIDTH = 900
HEIGHT = 380
NODE_WIDTH = 12
NODE_GAP = 22
LABEL_WIDTH = 290
LONGEST_NAME = 72  # characters of a name beside a figure; the rest is left out of its middle


@dataclass(frozen=True, slots=True)
class Dot:
    """A value with its interval, or without one."""

    value: float | None
    interval: Sequence[float] | None = None


def dots_figure(rows: Sequence[str], series: Mapping[str, Sequence[Dot]], label: str) -> str:
    """Dots with their intervals: one line per row, one colour per series; values lie between 0 and 1.

    Every series holds one dot per row. `label` names the axis.
    """
    figure = _figure(8, 1.0 + len(rows) * max(0.3, 0.14 * len(series)))
    axes = figure.subplots()
    step = 0.7 / max(len(series), 1)
    for n, (name, dots) in enumerate(series.items()):
        # The series of one row lie beside one another, around the row's own place.
        places = [row + (n - (len(series) - 1) / 2) * step for row in range(len(rows))]
        color = COLORS[n % len(COLORS)]
        shown: list[tuple[float, float]] = []
        for place, dot in zip(places, dots, strict=True):
            if dot.value is None:
                continue
            shown.append((dot.value, place))
            if dot.interval:
                axes.plot(dot.interval, [place, place], color=color, linewidth=2, alpha=0.6)
        axes.plot([value for value, _ in shown], [place for _, place in shown], "o", color=color, label=_label(name))
    axes.set_yticks(range(len(rows)), [_short(one_line(row)) for row in rows], parse_math=False)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xlim(0, 1)
    axes.set_xlabel(label)
    if len(series) > 1:
        figure.legend(fontsize="small", loc="outside upper left", ncols=3, framealpha=0)
    return _svg(figure, axes)


def risk_figure(runs: Mapping[str, Mapping]) -> str:
    """Risk against coverage, by run name; the values are those of `abstention_figures`.

    One line shows the bad answers, with a dot where the run stands; a dotted one the unanswerable questions, as if all
    questions were answered.
    """
    figure = _figure(8, 3.4)
    axes = figure.subplots()
    for n, (name, abstention) in enumerate(runs.items()):
        color = COLORS[n % len(COLORS)]
        if risk := abstention["risk"]:
            axes.plot(
                risk["coverage"], risk["risk"], color=color, label=_label(f"{name}: answered wrongly or unanswerable")
            )
            axes.plot(risk["coverage"][-1:], risk["risk"][-1:], "o", color=color)
        if risk := abstention["risk_unanswerable"]:
            axes.plot(
                risk["coverage"],
                risk["risk"],
                color=color,
                linestyle=":",
                label=_label(f"{name}: unanswerable, if answered"),
            )
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("coverage: share of all questions answered, the best rerank score first")
    axes.set_ylabel("risk")
    figure.legend(fontsize="small", loc="outside upper left", ncols=2, framealpha=0)
    return _svg(figure, axes)


def training_figure(steps: Sequence[Mapping], evaluations: Sequence[Mapping]) -> str:
    """Loss, dev metrics and the separation of scores by step, from the rows of a training log.

    Each has axes of its own: a loss, shares between 0 and 1, and logits or cosines. What the log lacks is not drawn.
    """
    kinds = figures_by_kind(key for row in evaluations for key in row)
    panels = [("loss per row", kinds[LOSS], None), ("share or probability", kinds[SHARES], (0, 1))]
    if kinds[SCORES]:
        panels.append(("score difference (logits or cosines)", kinds[SCORES], None))
    figure = _figure(8, 5.4 if len(panels) > 2 else 2.8)
    drawn = []
    for place, (label, names, limits) in enumerate(panels, 1):
        axes = figure.add_subplot((len(panels) + 1) // 2, 2, place)
        if place == 1:
            _draw_line(axes, steps, "loss", "-", 0, "training")
        for n, name in enumerate(names, 1):
            _draw_line(axes, evaluations, name, "o-", n, f"dev: {name.removeprefix('eval_').removeprefix('dev_')}")
        axes.set_xlabel("step")
        axes.set_ylabel(label)
        if limits is not None:
            axes.set_ylim(limits)
        elif place == 1:
            axes.set_ylim(bottom=0)
        if axes.lines:
            axes.legend(fontsize="small", framealpha=0)
        drawn.append(axes)
    return _svg(figure, *drawn)


def _draw_line(axes: Axes, rows: Sequence[Mapping], name: str, form: str, color: int, label: str) -> None:
    """A figure by step, where the rows hold it."""
    shown = [row for row in rows if row.get(name) is not None]
    if shown:
        steps, values = [row["step"] for row in shown], [row[name] for row in shown]
        axes.plot(steps, values, form, color=COLORS[color % len(COLORS)], label=label)


def flow_svg(counts: Mapping[str, int], right_without_gold: int) -> str:
    """A Sankey diagram of where questions go; a band is as wide as its number of questions.

    `counts` are by outcome; `right_without_gold` of the right answers came without a gold passage in the context.
    """
    n = {outcome: counts.get(outcome.value, 0) for outcome in Outcome}
    unanswerable = n[Outcome.REFUSED_RIGHTLY] + n[Outcome.ANSWERED_UNANSWERABLE]
    aside = n[Outcome.NOT_RUN] + n[Outcome.NOT_JUDGED]
    with_gold = n[Outcome.RIGHT] - right_without_gold
    at_the_end = {Outcome.REFUSED_WRONGLY: WRONG, Outcome.ANSWERED_WRONGLY: WRONG, Outcome.IN_CONTEXT: GOOD}
    in_context = with_gold + sum(n[outcome] for outcome in at_the_end)
    early = (Outcome.NOT_IN_CORPUS, Outcome.NOT_RETRIEVED, Outcome.RANKED_OUT, Outcome.CUT)
    answerable = in_context + right_without_gold + sum(n[outcome] for outcome in early)
    links = [
        ("all questions", "answerable", answerable, PLAIN),
        ("all questions", "unanswerable", unanswerable, PLAIN),
        ("all questions", "not run or judged", aside, PLAIN),
        ("answerable", "gold in the context", in_context, PLAIN),
        ("answerable", Outcome.RIGHT.value, right_without_gold, GOOD),
        *(("answerable", outcome.value, n[outcome], LOST) for outcome in early),
        ("gold in the context", Outcome.RIGHT.value, with_gold, GOOD),
        *(("gold in the context", outcome.value, n[outcome], color) for outcome, color in at_the_end.items()),
        ("unanswerable", Outcome.REFUSED_RIGHTLY.value, n[Outcome.REFUSED_RIGHTLY], GOOD),
        ("unanswerable", Outcome.ANSWERED_UNANSWERABLE.value, n[Outcome.ANSWERED_UNANSWERABLE], WRONG),
    ]
    columns = [
        ["all questions"],
        ["answerable", "unanswerable", "not run or judged"],
        ["gold in the context"],
        [
            Outcome.RIGHT.value,
            *(outcome.value for outcome in at_the_end),
            *(outcome.value for outcome in early),
            Outcome.REFUSED_RIGHTLY.value,
            Outcome.ANSWERED_UNANSWERABLE.value,
        ],
    ]
    return _bands([link for link in links if link[2] > 0], columns)


def _bands(links: Sequence[tuple[str, str, int, str]], columns: Sequence[Sequence[str]]) -> str:
    """A Sankey diagram of (source, target, count, colour): nodes stand in their columns, top to bottom as listed."""
    size = _node_sizes(links, columns)
    if not max(size.values(), default=0):
        return ""
    shown = [[name for name in column if size[name]] for column in columns]
    # The fullest column decides how tall one question is.
    scale = min(
        (HEIGHT - NODE_GAP * len(column)) / max(sum(size[name] for name in column), 1) for column in shown if column
    )
    left: dict[str, float] = {}
    top: dict[str, float] = {}
    for place, column in enumerate(shown):
        y = NODE_GAP / 2
        for name in column:
            left[name] = place * (WIDTH - LABEL_WIDTH) / (len(columns) - 1)
            top[name] = y
            y += size[name] * scale + NODE_GAP
    parts = [f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Where questions are lost">']
    # Bands leave and reach a node below one another, in the order of the links.
    used_out = dict.fromkeys(size, 0.0)
    used_in = dict.fromkeys(size, 0.0)
    for source, target, count, color in links:
        thickness = count * scale
        start = (left[source] + NODE_WIDTH, top[source] + used_out[source] + thickness / 2)
        end = (left[target], top[target] + used_in[target] + thickness / 2)
        used_out[source] += thickness
        used_in[target] += thickness
        parts.append(_band(start, end, thickness, color, f"{source} → {target}: {count:,}"))
    parts += [_node(name, left[name], top[name], size[name], scale) for name in left]
    return "".join([*parts, "</svg>"])


def _node_sizes(links: Sequence[tuple[str, str, int, str]], columns: Sequence[Sequence[str]]) -> dict[str, int]:
    """Node -> the number of questions that go through it."""
    sizes = {}
    for name in (name for column in columns for name in column):
        incoming = sum(count for _, target, count, _ in links if target == name)
        outgoing = sum(count for source, _, count, _ in links if source == name)
        sizes[name] = max(incoming, outgoing)
    return sizes


def _band(start: tuple[float, float], end: tuple[float, float], thickness: float, color: str, title: str) -> str:
    (x0, y0), (x1, y1) = start, end
    middle = (x0 + x1) / 2
    return (
        f'<path d="M{x0:.1f},{y0:.1f} C{middle:.1f},{y0:.1f} {middle:.1f},{y1:.1f} {x1:.1f},{y1:.1f}" fill="none" '
        f'stroke="{color}" stroke-opacity=".45" stroke-width="{max(thickness, 1):.1f}">'
        f"<title>{html.escape(title)}</title></path>"
    )


def _node(name: str, x: float, y: float, count: int, scale: float) -> str:
    """A bar as tall as its number of questions, with its name and number beside it."""
    tall = max(count * scale, 2)
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{NODE_WIDTH}" height="{tall:.1f}" '
        'fill="currentColor" fill-opacity=".55"/>'
        f'<text x="{x + NODE_WIDTH + 6:.1f}" y="{y + tall / 2 + 4:.1f}" font-size="13" '
        f'fill="currentColor">{html.escape(name)} <tspan font-weight="600">{count:,}</tspan></text>'
    )


def _label(text: str) -> str:
    """Text for a legend: matplotlib reads `$` as mathematics, and hides a label that begins with `_`."""
    text = _short(one_line(text)).replace("$", "\\$")
    return f"\u200b{text}" if text.startswith("_") else text


def _short(name: str) -> str:
    """A name that leaves room for the figure beside it."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME // 2]}…{name[-LONGEST_NAME // 2 + 1 :]}"


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def _svg(figure: Figure, *axes: Axes) -> str:
    """The figure as an SVG element without a fixed size, ids that could clash, or metadata."""
    import matplotlib

    for each in axes:
        each.grid(color=_INK, alpha=0.15)
        each.tick_params(colors=_INK)
        each.xaxis.label.set_color(_INK)
        each.yaxis.label.set_color(_INK)
        for spine in each.spines.values():
            spine.set_visible(False)
    legends = [*figure.legends, *(each.get_legend() for each in axes)]
    for text in (text for legend in legends if legend for text in legend.get_texts()):
        text.set_color(_INK)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none"}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    svg = buffer.getvalue()
    svg = svg[svg.index("<svg") :].replace(_INK, "currentColor")
    svg = re.sub(r"<metadata>.*?(?:</metadata>|\Z)", "", svg, flags=re.DOTALL)
    svg = re.sub(r' id="[A-Za-z0-9.]+_\d+"', "", svg)
    return re.sub(r'(<svg [^<>]*?)width="[^"]*" height="[^"]*"', r"\1", svg, count=1)
