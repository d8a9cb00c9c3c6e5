"""How `pytest -n auto` shares the tests among its workers."""

from types import SimpleNamespace

import psutil
import pytest

from tests import conftest


@pytest.mark.parametrize(
    ("n_cores", "free_gib", "n_workers"),
    [(2, 20, 2), (16, 21, 7), (16, 100, 16), (4, 9, 1), (4, 3, 1)],
)
def test_each_core_has_a_worker_as_far_as_memory_allows(monkeypatch, n_cores, free_gib, n_workers):
    monkeypatch.setattr(conftest, "n_threads", lambda: n_cores)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=free_gib * 2**30))
    assert conftest.pytest_xdist_auto_num_workers(None) == n_workers


@pytest.mark.parametrize("mark", ["real", "vllm", "browser"])
def test_files_that_load_real_weights_are_one_piece_of_work_and_every_other_file_another(tmp_path, mark):
    pytest.importorskip("xdist")
    marked = f"@pytest.mark.{mark}\ndef test_it(): pass\n"
    for name, text in {"a": marked, "b": marked, "c": "# unmarked", "d": "# really unmarked"}.items():
        (tmp_path / f"{name}.py").write_text(text)
    config = SimpleNamespace(rootpath=tmp_path, option=SimpleNamespace(), getvalue=lambda name: ["popen"])
    scheduler = conftest.pytest_xdist_make_scheduler(config, None)
    nodes = (
        "a.py::test_it",
        "b.py::TestIt::test_it[c.py::x]",
        "c.py::test_it",
        "c.py::TestIt::test_it",
        "d.py::test_it",
    )
    a, b, c, c_too, d = map(scheduler._split_scope, nodes)
    assert a == b
    assert c == c_too
    assert len({a, c, d}) == 3
