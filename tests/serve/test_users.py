"""Who is let in, by password and by key, and how often."""

import json
import stat

import pytest
from typer.testing import CliRunner

from rag.cli.main import app
from rag.errors import ConfigError
from rag.serve.users import RateLimit, Users


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    users = Users(tmp_path_factory.mktemp("users") / "deep" / "users.json")
    return users, users.add("ada", "correct horse")


def test_a_password_and_a_key_open_and_nothing_else_does(known):
    users, key = known
    assert users.check_password("ada", "correct horse")
    assert not users.check_password("ada", "correct horse ")
    assert not users.check_password("ada", "")
    assert not users.check_password("eve", "correct horse")
    assert users.of_key(key) == "ada"
    assert users.of_key(key[:-1]) is users.of_key("") is None


def test_neither_password_nor_key_stands_in_the_file(known):
    users, key = known
    text = users.path.read_text("utf-8")
    assert "correct horse" not in text
    assert key not in text
    assert "$argon2id$" in text
    assert stat.S_IMODE(users.path.stat().st_mode) == 0o600


def test_changes_of_the_file_are_followed(tmp_path):
    users, other = Users(tmp_path / "users.json"), Users(tmp_path / "users.json")
    key = users.add("ada", "correct horse")
    assert other.of_key(key) == "ada"
    again = users.add("ada", "battery staple")
    assert other.of_key(key) is None
    assert other.of_key(again) == "ada"
    assert other.check_password("ada", "battery staple")
    assert other.knows("ada")
    users.remove("ada")
    assert other.of_key(again) is None
    assert not other.knows("ada")
    with pytest.raises(ConfigError, match="knows nobody"):
        users.remove("ada")


@pytest.mark.parametrize("content", ["", "[]", '{"ada": {"password": 1}}', "{"])
def test_a_damaged_file_lets_nobody_in(tmp_path, content):
    path = tmp_path / "users.json"
    key = Users(path).add("ada", "correct horse")
    path.write_text(content, "utf-8")
    assert Users(path).of_key(key) is None
    assert not Users(path).check_password("ada", "correct horse")
    with pytest.raises(ConfigError, match=r"is damaged .*rag user add"):
        Users(path).names()


def test_bad_names_and_short_passwords_are_refused(tmp_path):
    users = Users(tmp_path / "users.json")
    for name, password in (("a b", "correct horse"), ("", "correct horse"), ("<b>", "correct horse"), ("ada", "short")):
        with pytest.raises(ConfigError):
            users.add(name, password)
    assert not users.path.exists()
    with pytest.raises(ConfigError, match="rag user add"):
        users.names()


def test_the_command_asks_for_the_password_and_shows_the_key_once(tmp_path):
    path = str(tmp_path / "users.json")
    result = CliRunner().invoke(app, ["user", "add", "ada", path], input="correct horse\ncorrect horse\n")
    assert result.exit_code == 0, result.output
    key = result.output.strip().split("once: ")[1]
    assert Users(path).of_key(key) == "ada"
    assert CliRunner().invoke(app, ["user", "list", path]).output == "ada\n"
    assert CliRunner().invoke(app, ["user", "remove", "ada", path]).exit_code == 0
    assert json.loads((tmp_path / "users.json").read_text("utf-8")) == {}


def test_so_many_questions_a_minute_each():
    now = [0.0]
    limit = RateLimit(2, clock=lambda: now[0])
    assert [limit.wait_seconds("ada") for _ in range(3)] == [0, 0, 60]
    assert limit.wait_seconds("bob") == 0
    now[0] = 30.0
    assert limit.wait_seconds("ada") == 30
    now[0] = 61.0
    assert [limit.wait_seconds("ada") for _ in range(3)] == [0, 0, 60]
    assert all(RateLimit(0).wait_seconds("ada") == 0 for _ in range(99))
