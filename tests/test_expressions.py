"""Every regular expression of the package takes time that grows with the text and no faster.

A million characters of an expression's worst input are searched within seconds where the time is linear. Where it is
quadratic they take hours: a limit of processor time then ends the process that searches.
"""

import ast
import re

import pytest

from benchmarks.attack import worst_inputs
from benchmarks.attack.worst_inputs import Expression, checked, expressions
from benchmarks.attack.worst_inputs import worst_inputs as inputs_of

LENGTH = 1_000_000


ROOMS = sorted(path.name for path in worst_inputs.ROOT.iterdir() if path.is_dir() and (path / "__init__.py").exists())


@pytest.fixture(scope="module")
def every():
    return expressions()


@pytest.mark.parametrize("room", [*ROOMS, "ground"])
def test_every_expression_is_linear_over_its_worst_inputs(every, room):
    def room_of(name):
        return name.split(".")[1] if name.split(".")[1] in ROOMS else "ground"

    assert checked([expression for expression in every if room_of(expression.name) == room], LENGTH) == {}


def test_every_expression_that_is_written_in_the_package_is_found(every):
    """Counted by another way: each call of `re` in the source, but those whose pattern only a function knows."""
    found = {expression.pattern.pattern for expression in every}
    missing = []
    for path in worst_inputs.ROOT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            is_call = isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args
            if is_call and ast.unparse(node.func.value) == "re" and isinstance(node.args[0], ast.Constant):
                pattern = node.args[0].value
                if node.func.attr != "escape" and pattern not in found:
                    missing.append((path.name, pattern))
    assert missing == []
    assert len(every) > 200


def test_expressions_in_tables_and_those_made_of_names_are_found(every):
    names = {expression.name for expression in every}
    assert "rag.generate.markup.THINK_BLOCK" in names
    assert any(name.startswith("rag.generate.instructions.RULES.") for name in names)  # in a dictionary
    assert any(name.startswith("rag.documents.decode._DECLARED.") for name in names)  # in a tuple
    assert any(re.match(r"rag\.generate\.references:\d+$", name) for name in names)  # an f-string in a function


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"\s+$", "search"),  # blanks, and something behind them
        (r"<\s*/?\s*passage", "sub"),  # the one that froze a server
        (r"<think>.*?</think>", "sub"),  # openings without an end
        (r"^\s*answer\s*:", "finditer"),  # line ends alone
        (r"(?:(?:x+x+)+)y", "fullmatch"),  # exponential
        (r"(\w+)@\w+\.com", "findall"),
    ],
)
def test_one_that_is_not_linear_is_named(pattern, method):
    flags = re.M | re.S if isinstance(pattern, str) else 0
    slow = Expression("slow", re.compile(pattern, flags), (method,))
    assert list(checked([slow], LENGTH, seconds=2)) == ["slow"]


@pytest.mark.parametrize("pattern", [r"(?<!\s)\s++$", r"<(?=\s*+(?:/\s*+)?+passage)", r"a[bc]d", r"[^<>]+"])
def test_one_that_is_linear_is_not_named(pattern):
    fast = Expression("fast", re.compile(pattern), ("finditer",))
    assert checked([fast], LENGTH) == {}


def test_worst_inputs_are_made_of_the_parts_of_an_expression():
    texts = set(inputs_of(re.compile(r"<think>\s*(?:ab)+;"), 1_000))
    assert any(text.startswith("<think>" * 10) for text in texts)
    assert any(text.startswith("<think>" + " " * 10) for text in texts)
    assert any("abababab" in text for text in texts)
    assert all(len(text) <= 1_100 for text in texts)
