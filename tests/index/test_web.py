"""Web pages in an index: fetched from a site on this machine, followed, forgotten, and kept where it fails."""

import gzip
import json
import time
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from rag.build.indexes import examine_index, ingest_documents
from rag.build.retrievers import Retrievers
from rag.cli.main import app
from rag.config import load_settings
from rag.documents.web import crawl, fetch, visit
from rag.documents.web.store import WebPages
from rag.errors import DataError
from rag.index.read import open_index, read_documents, read_sources
from rag.serve.sources import Sources
from rag.serve.view import turn_view
from tests.fakes.web_site import WebSite, page, reply

FAST = ["documents.chunk_tokens=40", "web.allow_private=true", "web.seconds_between_requests=0"]
SETTINGS = load_settings(None, FAST)


@pytest.fixture
def site():
    made = WebSite()
    yield made
    made.close()


@pytest.fixture
def index(tmp_path):
    return tmp_path / "index"


def settings(*overrides):
    return load_settings(None, [*FAST, *overrides])


def texts(index):
    return sorted(passage.text for passage in open_index(index).corpus)


def small_site(site):
    """A start page that links to b and c, and c to d."""
    site.pages |= {
        "/": page('<p>Start of the harbour.</p><a href="/b">b</a><a href="c#x">c</a><a href="/">home</a>', "Start"),
        "/b": page("<p>Boats of the harbour.</p><a href='/'>home</a>", "Boats"),
        "/c": page("<p>Cats of the harbour.</p><a href='/d?b=1&a=2'>d</a>", "Cats"),
        "/d?b=1&a=2": page("<p>Dogs of the harbour.</p>", "Dogs"),
    }


def test_an_address_is_one_page_with_its_title_and_address(site, index, encoder):
    small_site(site)
    result = ingest_documents(SETTINGS, [site.address], index)
    (passage,) = open_index(index).corpus
    assert (passage.text, passage.title, passage.source) == ("Start of the harbour.", "Start", f"{site.address}/")
    assert (result.added, dict(result.left_out), site.paths) == (1, {}, ["/"])
    assert read_sources(open_index(index).folder) == {"roots": [f"{site.address}/"], "forgotten": []}
    assert site.asked[0][1]["user-agent"].startswith("rag-qa/")
    assert list(Retrievers(SETTINGS, index).collections()) == [site.address.removeprefix("http://")]
    assert examine_index(SETTINGS, index) == []


@pytest.mark.parametrize(("depth", "n"), [(0, 1), (1, 3), (2, 4), (5, 4)])
def test_links_are_followed_as_deep_as_asked_and_each_page_once(site, index, encoder, depth, n):
    small_site(site)
    ingest_documents(SETTINGS, [site.address], index, depth=depth)
    assert site.paths == ["/", "/b", "/c", "/d?b=1&a=2"][:n]
    assert len(texts(index)) == n
    site.asked.clear()
    ingest_documents(SETTINGS, [], index)  # the depth is remembered
    assert sorted(site.paths) == ["/", "/b", "/c", "/d?b=1&a=2"][:n]
    assert ingest_documents(SETTINGS, [site.address], index, depth=0).n_passages == 1


def test_only_the_same_host_is_followed_and_what_is_not_is_counted(site, index, encoder):
    other = WebSite()
    other.pages["/x"] = page("<p>Elsewhere.</p>")
    site.pages["/"] = page(
        f'<p>Start of the harbour.</p><a href="{other.address}/x">x</a><a href="/moved">m</a><a href="/absent">a</a>'
        '<a href="/picture.png">p</a><img src="/other.png"><a href="/data">d</a><a href="mailto:a@b.c">m</a>'
    )
    site.pages["/moved"] = reply(302, location=f"{other.address}/x")
    site.pages["/data"] = reply(200, b"{}", content_type="application/json")
    try:
        result = ingest_documents(SETTINGS, [site.address], index, depth=3)
    finally:
        other.close()
    assert other.paths == []
    assert result.passed_over == {"on another host": 1, "moved to another host": 1, "gone or never there (404)": 1}
    assert result.other_kinds == {".png": 1, "application/json": 1}
    assert result.left_out == {}
    assert texts(index) == ["Start of the harbour."]


def test_a_named_page_may_lead_to_another_host_and_its_links_are_those_of_that_host(site, index, encoder):
    other = WebSite()
    other.pages |= {"/": page('<p>Start of the harbour.</p><a href="/b">b</a>'), "/b": page("<p>Boats.</p>")}
    site.pages["/"] = reply(301, location=f"{other.address}/")
    try:
        ingest_documents(SETTINGS, [site.address], index, depth=1)
        ingest_documents(SETTINGS, [], index)
        assert {passage.source for passage in open_index(index).corpus} == {f"{other.address}/", f"{other.address}/b"}
        ingest_documents(SETTINGS, [], index, forget=[site.address])
        assert texts(index) == []
    finally:
        other.close()


def test_private_addresses_are_refused_by_default_and_the_setting_is_named(site, index, encoder):
    small_site(site)
    guarded = load_settings(None, ["web.seconds_between_requests=0"])
    for address in (site.address, site.address.replace("127.0.0.1", "localhost"), "http://169.254.169.254/latest"):
        with pytest.raises(DataError, match=r"in a private network .*--set web\.allow_private=true"):
            ingest_documents(guarded, [address], index)
    assert site.asked == []


def test_a_redirect_to_a_private_address_is_refused(site, index, encoder, monkeypatch):
    from rag.documents.web import guard

    site.pages["/"] = reply(302, location="http://127.0.0.2:1/secret")
    monkeypatch.setattr(guard, "is_public", lambda address: str(address) == "127.0.0.1")  # as if the site were public
    guarded = load_settings(None, ["web.seconds_between_requests=0"])
    with pytest.raises(DataError, match=r"127\.0\.0\.2 is in a private network"):
        ingest_documents(guarded, [site.address], index)


def test_unchanged_pages_are_not_sent_again_and_changed_ones_are_replaced(site, index, encoder):
    def with_etag(asked):
        if asked.get("if-none-match") == '"one"':
            return 304, {"ETag": '"one"'}, b""
        return page('<p>Start of the harbour.</p><a href="/b">b</a>', ETag='"one"')(asked)

    day = "Sun, 29 Nov 2026 10:00:00 GMT"

    def with_date(asked):
        if asked.get("if-modified-since") == day:
            return 304, {}, b""
        return page("<p>Boats of the harbour.</p>", Last_Modified=day)(asked)

    site.pages |= {"/": with_etag, "/b": with_date}
    ingest_documents(SETTINGS, [site.address], index, depth=1)
    encoder.embedded.clear()
    result = ingest_documents(SETTINGS, [], index)
    assert (result.added, result.kept, encoder.embedded) == (0, 2, [])
    assert site.asked[2][1]["if-none-match"] == '"one"'
    assert site.asked[3][1]["if-modified-since"] == day
    site.pages["/"] = page('<p>The harbour has moved.</p><a href="/b">b</a>', ETag='"two"')
    result = ingest_documents(SETTINGS, [], index)
    assert (result.added, result.removed, result.kept) == (1, 1, 1)
    assert texts(index) == ["Boats of the harbour.", "The harbour has moved."]


@pytest.mark.parametrize("status", [404, 410])
def test_a_page_that_is_gone_is_removed(site, index, encoder, status):
    small_site(site)
    ingest_documents(SETTINGS, [site.address], index, depth=2)
    site.pages["/c"] = reply(status)
    result = ingest_documents(SETTINGS, [], index)
    assert result.removed == 1
    assert "Cats of the harbour." not in texts(index)
    assert "Dogs of the harbour." in texts(index)  # no longer linked, but there


@pytest.mark.parametrize("status", [500, 503, 403, 429, 418])
def test_a_page_that_fails_keeps_its_copy_and_is_named(site, index, encoder, status):
    small_site(site)
    ingest_documents(SETTINGS, [site.address], index, depth=1)
    site.pages["/b"] = reply(status)
    result = ingest_documents(SETTINGS, [], index)
    day = time.strftime("%Y-%m-%d", time.gmtime())
    assert result.not_updated == {f"{site.address}/b": f"the server answers {status}; its copy of {day} stays"}
    assert result.removed == 0
    assert len(texts(index)) == 3
    shown = run("ingest", "-i", index)
    assert shown.exit_code == 3
    assert f"not updated: {site.address}/b: the server answers {status}" in shown.output


def test_a_site_that_is_down_keeps_its_copies_and_is_not_asked_for_each(site, index, encoder):
    small_site(site)
    ingest_documents(SETTINGS, [site.address], index, depth=2)
    site.close()
    result = ingest_documents(SETTINGS, [], index)
    assert len(texts(index)) == 4
    assert result.removed == 0
    assert len(result.not_updated) == 3  # of four pages: three in a row are enough
    problem = result.not_updated[f"{site.address}/"]
    assert problem.startswith("cannot be reached")
    assert problem.endswith("not looked at: 1, kept pages among them, which stay as they are: 1")


def test_a_busy_server_is_asked_once_more_when_it_says(site, index, encoder, monkeypatch):
    waited = []
    monkeypatch.setattr(visit, "time", SimpleNamespace(sleep=waited.append))
    answers = [reply(429, Retry_After="7"), page("<p>Start of the harbour.</p>")]
    site.pages["/"] = lambda asked: answers.pop(0)(asked)
    ingest_documents(SETTINGS, [site.address], index)
    assert waited == [7]
    assert texts(index) == ["Start of the harbour."]


def test_robots_txt_is_obeyed(site, index, encoder):
    small_site(site)
    site.pages["/robots.txt"] = reply(200, b"User-agent: *\nDisallow: /b\nDisallow: /d?b=1", content_type="text/plain")
    result = ingest_documents(SETTINGS, [site.address], index, depth=3)
    assert site.paths == ["/", "/c"]
    assert result.passed_over == {"not allowed by the site's robots.txt": 2}
    with pytest.raises(DataError, match=r"/b: not allowed by the site's robots\.txt"):
        ingest_documents(SETTINGS, [f"{site.address}/b"], index.with_name("other"))


def test_rules_that_have_moved_are_obeyed(site, index, encoder):
    small_site(site)
    site.pages["/robots.txt"] = reply(301, location="/rules.txt")
    site.pages["/rules.txt"] = reply(200, b"User-agent: *\nDisallow: /b")
    ingest_documents(SETTINGS, [site.address], index, depth=1)
    assert site.paths == ["/rules.txt", "/", "/c"]


def test_where_robots_txt_cannot_be_read_nothing_is_fetched(site, index, encoder):
    small_site(site)
    ingest_documents(SETTINGS, [site.address], index)
    site.asked.clear()
    site.pages["/robots.txt"] = reply(503)
    result = ingest_documents(SETTINGS, [], index)
    assert site.asked == []
    assert "robots.txt cannot be read: the server answers 503" in result.not_updated[f"{site.address}/"]
    assert len(texts(index)) == 1


def test_the_pace_is_the_slower_of_the_setting_and_the_crawl_delay(site, index, encoder, monkeypatch):
    small_site(site)
    waited = []
    monkeypatch.setattr(fetch, "time", SimpleNamespace(sleep=waited.append, monotonic=time.monotonic))
    site.pages["/robots.txt"] = reply(200, b"User-agent: *\nCrawl-delay: 3\n")
    ingest_documents(SETTINGS, [site.address], index, depth=1)
    assert [round(seconds) for seconds in waited] == [0, 3, 3, 3]


def test_a_sitemap_stands_for_its_pages(site, index, encoder):
    small_site(site)
    inner = "".join(f"<url><loc>{site.address}{path}</loc></url>" for path in ("/b", "/c", "/gone"))
    inner += "<url><loc>https://elsewhere.example/x</loc></url>"
    outer = f"<sitemapindex><sitemap><loc>{site.address}/pages.xml.gz</loc></sitemap></sitemapindex>"
    site.pages |= {
        "/sitemap.xml": reply(200, outer.encode(), content_type="application/xml"),
        "/pages.xml.gz": reply(200, gzip.compress(f"<urlset>{inner}</urlset>".encode()), content_type="text/xml"),
    }
    result = ingest_documents(SETTINGS, [f"{site.address}/sitemap.xml"], index)
    assert texts(index) == ["Boats of the harbour.", "Cats of the harbour."]
    assert result.passed_over == {"on another host": 1, "gone or never there (404)": 1}
    ingest_documents(SETTINGS, [f"{site.address}/sitemap.xml"], index, depth=1)
    assert texts(index) == [
        "Boats of the harbour.",
        "Cats of the harbour.",
        "Dogs of the harbour.",
        "Start of the harbour.",
    ]


def test_pages_are_limited_in_number_and_what_was_known_stays(site, index, encoder):
    site.pages["/"] = page("<p>Harbour 0.</p>" + "".join(f'<a href="/{n}">{n}</a>' for n in range(1, 9)))
    site.pages |= {f"/{n}": page(f"<p>Harbour {n}.</p>") for n in range(1, 9)}
    result = ingest_documents(settings("web.max_pages=4"), [site.address], index, depth=1)
    assert len(texts(index)) == 4
    assert result.not_updated == {
        f"{site.address}/": "stopped after 4 addresses (web.max_pages); addresses that were not looked at: 5"
    }
    ingest_documents(SETTINGS, [], index)
    result = ingest_documents(settings("web.max_pages=4"), [], index)
    assert len(texts(index)) == 9
    assert "which stay as they are: 5" in result.not_updated[f"{site.address}/"]


def test_time_is_limited_too(site, index, encoder, monkeypatch):
    small_site(site)
    ticks = iter(range(0, 10_000, 10))
    monkeypatch.setattr(crawl, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    result = ingest_documents(settings("web.max_seconds=15"), [site.address], index, depth=2)
    assert "stopped after 15 s (web.max_seconds)" in result.not_updated[f"{site.address}/"]
    assert 1 <= len(texts(index)) < 4


def test_a_calendar_without_end_is_left_after_a_number_of_queries(site, index, encoder, monkeypatch):
    monkeypatch.setattr(crawl, "MAX_QUERIES_A_PATH", 3)
    links = "".join(f'<a href="/calendar?day={n}">{n}</a>' for n in range(10))
    site.pages["/"] = page(f"<p>Start of the harbour.</p>{links}")
    site.pages |= {f"/calendar?day={n}": page(f"<p>Harbour day {n}.</p>") for n in range(10)}
    result = ingest_documents(SETTINGS, [site.address], index, depth=1)
    assert len(texts(index)) == 4
    assert result.passed_over == {"more than 3 queries of one page": 7}


def test_redirects_are_bounded_and_lead_to_one_page(site, index, encoder):
    site.pages |= {
        "/": page('<p>Start of the harbour.</p><a href="/old">1</a><a href="/new">2</a><a href="/round">3</a>'),
        "/old": reply(301, location="/new"),
        "/new": page("<p>New harbour.</p>"),
        "/round": reply(302, location="/round"),
    }
    result = ingest_documents(SETTINGS, [site.address], index, depth=1)
    assert texts(index) == ["New harbour.", "Start of the harbour."]
    assert result.left_out == {f"{site.address}/round": "leads on and on (more than 5 redirects)"}
    assert site.paths.count("/new") == 1


def test_a_page_that_has_moved_is_replaced_by_where_it_went(site, index, encoder):
    site.pages["/a"] = page("<p>The old harbour.</p>")
    ingest_documents(SETTINGS, [f"{site.address}/a"], index)
    site.pages |= {"/a": reply(301, location="/b"), "/b": page("<p>The new harbour.</p>")}
    ingest_documents(SETTINGS, [], index)
    assert texts(index) == ["The new harbour."]
    assert [file.name.endswith(".json") for file in sorted((index / "web").iterdir())] == [False, True]


@pytest.mark.parametrize("content_type", ["text/plain", "text/html; charset=utf-8", "application/octet-stream", ""])
def test_a_sitemap_is_no_page_whatever_its_type(site, index, encoder, content_type):
    sitemap = f"<urlset><url><loc>{site.address}/b</loc></url></urlset>".encode()
    small_site(site)
    site.pages["/sitemap.xml"] = reply(200, sitemap, content_type=content_type)
    ingest_documents(SETTINGS, [f"{site.address}/sitemap.xml"], index)
    assert texts(index) == ["Boats of the harbour."]


@pytest.mark.parametrize("status", [302, 303, 307])
def test_a_kept_page_that_leads_to_another_host_for_now_stays(site, index, encoder, status):
    """So answers a site behind a login, one that is being repaired, and the network of a hotel."""
    other = WebSite()
    other.pages["/"] = page("<p>Log in to the hotel.</p>")
    small_site(site)
    try:
        ingest_documents(SETTINGS, [site.address], index, depth=1)
        before = texts(index)
        site.pages |= {path: reply(status, location=f"{other.address}/") for path in ("/", "/b", "/c")}
        result = ingest_documents(SETTINGS, [], index)
        assert texts(index) == before
        assert set(result.not_updated) == {f"{site.address}{path}" for path in ("/", "/b", "/c")}
        assert f"to another host for now ({status}, {other.address[7:]})" in result.not_updated[f"{site.address}/"]
        site.pages["/b"] = reply(301, location=f"{other.address}/")  # for good
        ingest_documents(SETTINGS, [], index)
        assert texts(index) == [text for text in before if "Boats" not in text]
    finally:
        other.close()


def test_a_redirect_to_no_address_is_named_and_asked_for_once(site, index, encoder, tmp_path):
    (tmp_path / "a.txt").write_text("The harbour opens at six.", "utf-8")
    site.pages |= {"/a": reply(302), "/b": reply(302, location="file:///etc/passwd"), "/c": reply(302, location=" ")}
    addresses = [f"{site.address}/{name}" for name in "abc"]
    result = ingest_documents(SETTINGS, [*addresses, tmp_path / "a.txt"], index)
    assert set(result.left_out.values()) == {"the server answers 302 and does not say where to"}
    assert site.paths == ["/a", "/b", "/c"]


def test_a_depth_without_an_address_is_refused(site, index, encoder, tmp_path):
    (tmp_path / "a.txt").write_text("The harbour opens at six.", "utf-8")
    small_site(site)
    with pytest.raises(DataError, match=r"--depth .* name the addresses"):
        ingest_documents(SETTINGS, [tmp_path / "a.txt"], index, depth=1)
    assert ingest_documents(SETTINGS, [tmp_path / "a.txt", site.address], index, depth=1).added == 4
    with pytest.raises(DataError, match=r"--depth .* name the addresses"):
        ingest_documents(SETTINGS, [], index, depth=2)


def test_the_charset_of_the_header_is_honoured_and_other_formats_are_read(site, index, encoder):
    meta = '<html><head><meta charset="utf-8"></head><body><p>Die Fähre am Hafen.</p></body></html>'
    site.pages |= {
        "/latin": reply(200, meta.encode("cp1252"), content_type="text/html; charset=windows-1252"),
        "/notes.txt": reply(200, "Der Größe nach.".encode("latin-1"), content_type='text/plain;charset="ISO-8859-1"'),
        "/table": reply(200, b"boat,length\nAmber,14\n", content_type="text/csv"),
    }
    ingest_documents(SETTINGS, [site.address + path for path in site.pages], index)
    assert texts(index) == ["Der Größe nach.", "Die Fähre am Hafen.", "boat | length\nAmber | 14"]
    titles = {passage.title for passage in open_index(index).corpus}
    assert titles == {"latin", "notes.txt", "table"}  # a page without a title is called by its address


def test_one_address_that_fails_is_listed_beside_the_others(site, index, encoder, tmp_path):
    small_site(site)
    (tmp_path / "a.txt").write_text("The harbour opens at six.", "utf-8")
    site.pages["/data.json"] = reply(200, b"{}", content_type="application/json")
    names = [f"{site.address}/b", f"{site.address}/absent", f"{site.address}/data.json", str(tmp_path / "a.txt")]
    shown = run("ingest", *names, "-i", index)
    assert shown.exit_code == 3
    assert f"left out: {site.address}/absent: the server answers that there is no such page" in shown.output
    assert f"left out: {site.address}/data.json: of a kind that is not read (application/json)" in shown.output
    assert texts(index) == ["Boats of the harbour.", "The harbour opens at six."]


def test_a_page_too_large_or_a_bomb_is_left_out(site, index, encoder):
    small_site(site)
    bomb = gzip.compress(b"<p>" + b"a " * 2_000_000)
    site.pages["/b"] = reply(200, bomb, content_type="text/html", content_encoding="gzip")
    result = ingest_documents(settings("web.max_page_mib=1"), [site.address], index, depth=1)
    assert result.left_out == {f"{site.address}/b": "larger than the limit of 1 MiB (web.max_page_mib)"}
    assert len(texts(index)) == 2


def run(*arguments):
    options = [option for setting in FAST for option in ("--set", setting)]
    return CliRunner().invoke(app, [*map(str, arguments), *options])


def test_the_command_takes_addresses_and_forgets_them(site, index, encoder):
    small_site(site)
    shown = run("ingest", site.address.upper().replace("HTTP", "Http"), "--depth", "1", "-i", index)
    assert shown.exit_code == 0, shown.output
    assert "3 documents (3 html), 3 passages" in shown.output
    site.asked.clear()
    assert run("ingest", "-i", index, "--forget", f"{site.address}/b").exit_code == 0
    assert "/b" not in site.paths
    assert texts(index) == ["Cats of the harbour.", "Start of the harbour."]
    assert run("ingest", "-i", index, "--forget", f"{site.address}/").exit_code == 0
    assert (texts(index), list((index / "web").iterdir())) == ([], [])
    assert run("ingest", f"{site.address}/b", "-i", index).exit_code == 0
    assert texts(index) == ["Boats of the harbour."]


def test_a_damaged_copy_is_fetched_again(site, index, encoder):
    small_site(site)
    site.pages["/"] = page("<p>Start of the harbour.</p>", ETag='"one"')
    ingest_documents(SETTINGS, [site.address], index)
    (body,) = (index / "web").glob("*.html")
    for damage in (lambda: body.write_bytes(b"x"), body.unlink, lambda: body.with_suffix(".json").write_text("{")):
        damage()
        site.asked.clear()
        ingest_documents(SETTINGS, [], index)
        assert "if-none-match" not in site.asked[0][1]
        assert texts(index) == ["Start of the harbour."]
    assert len(WebPages(index).of(f"{site.address}/")) == 1


def test_an_index_with_pages_can_be_moved_and_its_lost_sources_are_known_from_the_documents(site, index, encoder):
    small_site(site)
    ingest_documents(SETTINGS, [site.address], index, depth=1)
    (open_index(index).folder / "sources.json").unlink()
    moved = index.rename(index.with_name("moved"))
    result = ingest_documents(SETTINGS, [], moved)
    assert (result.added, result.kept) == (0, 3)
    assert {place["root"] for row in read_documents(open_index(moved).folder) for place in row["paths"]} == {
        str(moved / "web")
    }
    assert len(read_sources(open_index(moved).folder)["roots"]) == 3


def test_cards_and_pages_of_sources_show_the_address_as_a_link(site, index, encoder):
    from rag.serve.source_pages import source_html
    from rag.serve.turns import Turn
    from rag.types import Hit, Query, Response

    small_site(site)
    ingest_documents(SETTINGS, [site.address], index)
    opened = open_index(index)
    sources = Sources(index, lambda: opened)
    (passage,) = opened.corpus
    link = f'<a href="{site.address}/" target="_blank" rel="noopener noreferrer nofollow">{site.address}/</a>'
    turn = Turn("q", response=Response(Query("q", "q"), contexts=(Hit(passage, 1.0),)), done=True)
    (card,) = turn_view(turn, number=1)["sources"]
    assert (card["address"], card["title"]) == (f"{site.address}/", "Start")
    source = sources.find(passage.id)
    assert source.paths == (next((index / "web").glob("*.html")),)
    shown = source_html(source)
    assert link in shown
    assert '<h1 dir="auto">Start</h1>' in shown
    sources.close()


def test_watching_looks_at_pages_when_it_is_time(site, index, encoder):
    import threading

    from rag.build.indexes import watch_documents

    small_site(site)
    stop = threading.Event()
    updates = []

    def on_update(update):
        updates.append(update)
        site.pages["/"] = page("<p>The harbour has moved.</p>")
        if len(updates) == 2:
            stop.set()

    soon = settings("documents.watch_seconds=0.02", "web.watch_minutes=0.001")
    ending = threading.Timer(60, stop.set)
    ending.start()
    watch_documents(soon, [site.address], index, on_update=on_update, stop=stop)
    ending.cancel()
    assert [update.problem for update in updates] == ["", ""]
    assert texts(index) == ["The harbour has moved."]


def test_the_record_of_a_page_is_json(site, index, encoder):
    site.pages["/"] = page("<p>Start of the harbour.</p>", ETag='W/"1"')
    ingest_documents(SETTINGS, [site.address], index)
    (record,) = (index / "web").glob("*.json")
    stored = json.loads(record.read_text("utf-8"))
    assert (stored["address"], stored["etag"], stored["roots"]) == (
        f"{site.address}/",
        'W/"1"',
        {f"{site.address}/": 0},
    )
