"""Parts of fetching: addresses written in one way, private networks, robots.txt, links, sitemaps, charsets."""

import contextlib
import gzip
import ipaddress
import socket
import threading
import zlib
from types import SimpleNamespace

import httpx
import pytest

from rag.documents.address import canonical, covers, is_address, joined, page_name
from rag.documents.web import fetch, guard
from rag.documents.web.body import as_utf8, suffix_of
from rag.documents.web.fetch import Fetcher, NotReached
from rag.documents.web.guard import checked_addresses, checked_transport, is_public
from rag.documents.web.links import is_sitemap, links_of, never_a_page, sitemap_links
from rag.documents.web.robots import read_robots
from rag.errors import DataError, UnreadableFile


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("https://Example.ORG", "https://example.org/"),
        ("HTTP://example.org:80/a#part", "http://example.org/a"),
        ("https://example.org:443/", "https://example.org/"),
        ("https://example.org:8443/a/./b/../c", "https://example.org:8443/a/c"),
        ("https://example.org/a/..", "https://example.org/"),
        ("https://example.org/?b=2&a=1&b=0#x", "https://example.org/?b=2&a=1&b=0"),
        ("https://example.org/a b/ü?q=ü", "https://example.org/a%20b/%C3%BC?q=%C3%BC"),
        ("https://example.org/a%20b%2Fc", "https://example.org/a%20b%2Fc"),
        ("https://bücher.example./", "https://xn--bcher-kva.example/"),
        ("https://[2001:DB8::1]:8080/a", "https://[2001:db8::1]:8080/a"),
        ("https:/example.org/a", "https://example.org/a"),  # what a Path makes of it
    ],
)
def test_an_address_is_written_in_one_way(given, wanted):
    assert is_address(given)
    assert canonical(given) == wanted
    assert canonical(wanted) == wanted


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("https://user:secret@example.org/", "name or password"),
        ("https://example.org:port/", "no address"),
        ("https://example.org/" + "a" * 2000, "longer than 2,000"),
        ("https://exa mple.org/", "no address"),
        ("https://[::1/", "no address"),
        ("https://example.org/\udcff", "no address"),  # a byte that is no text, from the command line
        ("https://example.org/?\udcff", "no address"),
        ("https://" + "ü" * 3000, "longer than 2,000"),
    ],
)
def test_what_is_no_address_to_fetch_is_refused_without_its_password(given, reason):
    with pytest.raises(DataError, match=reason) as error:
        canonical(given)
    assert "secret" not in str(error.value)


def test_links_become_addresses_and_other_schemes_do_not():
    base = "https://example.org/docs/a.html"
    links = ["b.html", "../c", "//other.org/d", "?page=2", "#part", "mailto:a@b.c", "javascript:alert(1)", "data:,x"]
    assert [joined(base, link) for link in links] == [
        "https://example.org/docs/b.html",
        "https://example.org/c",
        "https://other.org/d",
        "https://example.org/docs/a.html?page=2",
        "https://example.org/docs/a.html",
        None,
        None,
        None,
    ]
    assert not is_address("httpserver.txt")
    assert not is_address("https:")
    assert covers("https://example.org/a", "https://example.org/a/b")
    assert not covers("https://example.org/a", "https://example.org/ab")
    assert [page_name(address) for address in ("https://e.org/", "https://e.org/a/caf%C3%A9/")] == ["e.org", "café"]


PRIVATE = (
    "127.0.0.1 10.1.2.3 172.16.0.1 192.168.0.1 169.254.169.254 100.64.0.1 0.0.0.0 224.0.0.1 255.255.255.255 240.0.0.1 "
    "192.0.2.1 198.18.0.1 ::1 :: fe80::1 fec0::1 fc00::1 fd00:ec2::254 ff02::1 ::ffff:127.0.0.1 ::ffff:10.0.0.1 "
    "64:ff9b::7f00:1 64:ff9b::a9fe:a9fe 2002:7f00:1:: 2001:db8::1 2001:0:7f00:1::"
)


@pytest.mark.parametrize("address", PRIVATE.split())
def test_private_addresses_are_known_in_every_dress(address):
    assert not is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "64:ff9b::5db8:d822", "::ffff:93.184.216.34"]
)
def test_public_addresses_are_public(address):
    assert is_public(ipaddress.ip_address(address))


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433", "0x7f.1", "[::1]"])
def test_this_machine_is_refused_however_it_is_written(host):
    client = httpx.Client(transport=checked_transport(allow_private=False))
    with pytest.raises(UnreadableFile, match=r"private network .*web\.allow_private=true|is not known"):
        client.get(f"http://{host}:1/")


def test_a_connection_is_made_to_the_address_that_was_checked(monkeypatch):
    """A name that resolves to a public address for the check and to a private one later leads to the public one."""
    answers = iter(["93.184.216.34", "127.0.0.1"])
    asked, connected = [], []

    def resolve(host, port, **how):
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (next(answers), port))]

    class Transport(httpx.BaseTransport):
        def handle_request(self, request):
            connected.append((request.url.host, request.headers["host"], request.extensions["sni_hostname"]))
            return httpx.Response(200)

    monkeypatch.setattr(guard.socket, "getaddrinfo", resolve)
    monkeypatch.setattr(httpx, "HTTPTransport", Transport)
    client = httpx.Client(transport=checked_transport(allow_private=False))
    client.get("https://rebinding.example/a")
    assert connected == [("93.184.216.34", "rebinding.example", "rebinding.example")]
    with pytest.raises(UnreadableFile, match=r"rebinding\.example is in a private network \(127\.0\.0\.1\)"):
        client.get("https://rebinding.example/b")
    assert asked == ["rebinding.example"] * 2
    assert len(connected) == 1


def test_only_the_public_addresses_of_a_name_are_used(monkeypatch):
    found = [(0, 0, 0, "", (text, 80)) for text in ("10.0.0.1", "93.184.216.34", "93.184.216.34", "fe80::1%eth0")]
    monkeypatch.setattr(guard.socket, "getaddrinfo", lambda *arguments, **how: found)
    assert checked_addresses("example.org", 80, allow_private=False) == ["93.184.216.34"]
    assert len(checked_addresses("example.org", 80, allow_private=True)) == 3


def fetcher(answer, max_bytes=10_000):
    return Fetcher(httpx.MockTransport(answer), max_bytes=max_bytes, seconds_per_page=5, seconds_between=0)


def streamed(*chunks, **headers):
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda request: httpx.Response(200, headers=named, stream=httpx.ByteStream(b"".join(chunks)))


def test_bodies_are_unpacked_within_the_limit():
    text = b"The ferry sails daily. " * 20
    packed = gzip.compress(text[:100]) + gzip.compress(text[100:])
    assert fetcher(streamed(packed, content_encoding="gzip")).get("http://e.org/").body == text
    assert fetcher(streamed(zlib.compress(text), content_encoding="deflate")).get("http://e.org/").body == text
    bomb = gzip.compress(b"\x00" * 30_000_000)
    assert len(bomb) < 40_000
    with pytest.raises(UnreadableFile, match=r"larger than the limit .*web\.max_page_mib"):
        fetcher(streamed(bomb, content_encoding="gzip")).get("http://e.org/")
    with pytest.raises(UnreadableFile, match="cut short"):
        fetcher(streamed(packed[:-20], content_encoding="gzip")).get("http://e.org/")
    with pytest.raises(UnreadableFile, match="damaged"):
        fetcher(streamed(b"no gzip", content_encoding="gzip")).get("http://e.org/")
    with pytest.raises(UnreadableFile, match=r"not asked for \(br\)"):
        fetcher(streamed(b"brotli", content_encoding="br")).get("http://e.org/")
    with pytest.raises(UnreadableFile, match="larger than the limit"):
        fetcher(streamed(b"x" * 10_001)).get("http://e.org/")
    with pytest.raises(UnreadableFile, match="larger than the limit"):
        fetcher(streamed(b"x", content_length="99999")).get("http://e.org/")


def test_a_server_that_does_not_answer_or_sends_forever_is_not_reached(monkeypatch):
    def slow(request):
        raise httpx.ReadTimeout("slow", request=request)

    with pytest.raises(NotReached, match="did not answer within 5 s"):
        fetcher(slow).get("http://e.org/")
    clock = iter(range(0, 1000, 3))
    monkeypatch.setattr(fetch, "time", SimpleNamespace(sleep=lambda seconds: None, monotonic=lambda: next(clock)))

    class Drops(httpx.SyncByteStream):
        def __iter__(self):
            while True:
                yield b"."

    with pytest.raises(NotReached, match=r"took longer than 5 s \(web\.max_seconds_per_page\)"):
        fetcher(lambda request: httpx.Response(200, stream=Drops())).get("http://e.org/")


SLOW_ANSWERS = {
    "headers": (b"HTTP/1.1 200 OK\r\nX: ", b"a"),
    "chunk": (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;x=", b"a"),
    "body": (b"HTTP/1.1 200 OK\r\n\r\n", b"a"),
    "once": (b"HTTP/1.1 200 OK\r\n\r\nbegun", b""),  # and the connection stays open
}


@pytest.mark.parametrize("where", SLOW_ANSWERS)
def test_a_server_that_sends_a_byte_now_and_then_is_cut_off(where):
    """Each byte comes in time, the answer does not."""
    begin, drop = SLOW_ANSWERS[where]
    server = socket.create_server(("127.0.0.1", 0))
    over = threading.Event()

    def serve():
        connection, _ = server.accept()
        with connection, contextlib.suppress(OSError):
            connection.recv(10_000)
            connection.sendall(begin)
            for _ in range(400):
                if over.wait(0.02):
                    break
                connection.sendall(drop)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    asking = Fetcher(checked_transport(allow_private=True), max_bytes=10_000, seconds_per_page=0.3, seconds_between=0)
    try:
        with pytest.raises(NotReached, match=r"took longer than 0\.3 s|did not answer within 0\.3 s"):
            asking.get(f"http://127.0.0.1:{server.getsockname()[1]}/")
    finally:
        over.set()
        asking.close()
        thread.join(10)
        server.close()


def test_a_connection_that_a_deadline_has_cut_is_not_used_again():
    deadline = fetch._Deadline([], 0)
    ours, theirs = socket.socketpair()
    stream = SimpleNamespace(get_extra_info=lambda name: ours)
    deadline.trace("connection.connect_tcp.complete", {"return_value": stream})
    deadline._cut()
    assert theirs.recv(1) == b""
    with pytest.raises(httpx.ConnectTimeout):
        deadline.trace("connection.connect_tcp.started", {})
    ours.close()
    theirs.close()


def test_cookies_are_not_sent_on():
    asked = []

    def answer(request):
        asked.append(request.headers.get("cookie"))
        return streamed(b"x", set_cookie="session=1")(request)

    asking = fetcher(answer)
    asking.get("http://e.org/")
    asking.get("http://e.org/")
    assert asked == [None, None]


ROBOTS = b"""
# comment
User-agent: other
Disallow: /

User-agent: *
User-agent: somebody
Crawl-delay: 2.5
Disallow: /private/
Allow: /private/open
Disallow: /*.pdf$
Disallow: /a*b*c
Disallow:

Sitemap: https://example.org/sitemap.xml
Disallow: /caf%C3%A9
"""


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("/", True),
        ("/private", True),
        ("/private/x", False),
        ("/private/open/x", True),
        ("/x.pdf", False),
        ("/x.pdf?y", True),
        ("/axxbxxcxx", False),
        ("/axxbxx", True),
        ("/caf%c3%a9", False),
    ],
)
def test_the_longest_rule_of_the_group_decides(path, is_allowed):
    assert read_robots(ROBOTS, "rag-qa").allows(path) is is_allowed


def test_a_group_that_names_the_program_replaces_the_group_for_all():
    rules = read_robots(
        b"User-agent: *\nDisallow: /\n\nUser-Agent: RAG-QA/2.0\nCrawl-delay: 999\nDisallow: /x", "rag-qa"
    )
    assert (rules.allows("/y"), rules.allows("/x"), rules.delay_seconds) == (True, False, 30.0)
    assert read_robots(ROBOTS, "rag-qa").delay_seconds == 2.5
    assert read_robots(b"\xff\xfe nonsense\nDisallow: /", "rag-qa").allows("/")
    assert not read_robots(b"\xef\xbb\xbfUser-agent: *\rDisallow: /", "rag-qa").allows("/")


def test_a_rule_of_many_stars_takes_no_time():
    rules = read_robots(b"User-agent: *\nDisallow: /" + b"*a" * 10_000 + b"b$", "rag-qa")
    assert rules.allows("/" + "a" * 20_000)


def test_links_are_read_with_their_base_and_wishes():
    body = """<html><head><base href="/docs/"><title>x</title></head><body>
    <a href="a.html#1">1</a><a href="a.html#2">2</a><a href=" b.html\n">3</a><a rel="nofollow ugc" href="c.html">4</a>
    <map><area href="d.html"></map><iframe src="e.html"></iframe><a>no</a><a href="mailto:x@y.z">5</a>"""
    wanted = [f"https://e.org/docs/{name}.html" for name in "abde"]
    assert links_of(body.encode(), "https://e.org/x/y") == wanted
    for wish in ("nofollow", "noindex, NOFOLLOW", "none"):
        assert links_of(f'<meta name="ROBOTS" content="{wish}">{body}'.encode(), "https://e.org/") == []
    assert links_of(body.replace("<base", "<base target=_top><base").encode(), "https://e.org/x/y") == wanted
    for content in ("0; url=/docs/", "5;URL='docs/'", "0;url=docs/#x"):
        refresh = f'<meta http-equiv="Refresh" content="{content}"><p>Moved.</p>'
        assert links_of(refresh.encode(), "https://e.org/") == ["https://e.org/docs/"]
    assert links_of(b'<meta http-equiv="refresh" content="30"><p>x</p>', "https://e.org/") == []
    assert links_of(b"", "https://e.org/") == []
    assert links_of(b"<a href='x'>" * 100_000, "https://e.org/") == ["https://e.org/x"]


def test_sitemaps_name_pages_and_other_sitemaps():
    pages = b"""<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9"
    xmlns:image="http://www.google.com/schemas/sitemap-image/1.1"><url><loc> https://e.org/a </loc>
    <image:image><image:loc>https://e.org/a.png</image:loc></image:image></url><url><loc>https://e.org/b?x=1&amp;y=2</loc></url>
    <url><loc>https://e.org/a</loc></url></urlset>"""
    index = b"<sitemapindex><sitemap><loc>/one.xml.gz</loc></sitemap></sitemapindex>"
    assert is_sitemap(pages)
    assert is_sitemap(gzip.compress(pages))
    assert is_sitemap(b"\xef\xbb\xbf\n" + pages)
    for other in (b"<html><body>urlset</body></html>", b"<HTML><pre><urlset></pre>", b"# Sitemaps\n\n<urlset>\n"):
        assert not is_sitemap(other)
    assert sitemap_links(gzip.compress(pages), "https://e.org/") == (["https://e.org/a", "https://e.org/b?x=1&y=2"], [])
    assert sitemap_links(index, "https://e.org/x/") == ([], ["https://e.org/one.xml.gz"])
    assert sitemap_links(pages[: pages.index(b"</loc></url>\n    <url>")], "https://e.org/")[0][0] == "https://e.org/a"
    bomb = b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;">]><urlset><url><loc>&b;</loc></url></urlset>'
    assert "a" * 20 not in str(sitemap_links(bomb, "https://e.org/"))


def test_pictures_and_archives_are_known_by_their_names():
    never = ["https://e.org/a.PNG", "https://e.org/a.css?v=1", "https://e.org/x.tar.gz", "https://e.org/a.mp4"]
    assert [never_a_page(address) for address in never] == [".png", ".css", ".gz", ".mp4"]
    for name in ("", "a", "a.html", "a.php", "v1.2", "a.pdf", "a.aspx", "a.txt", "sitemap.xml"):
        assert never_a_page(f"https://e.org/{name}") == ""


@pytest.mark.parametrize(
    ("content_type", "path", "body", "wanted"),
    [
        ("text/html", "a.php", b"", ".html"),
        ("application/pdf", "a", b"", ".pdf"),
        ("text/plain", "a.rst", b"", ".rst"),
        ("text/plain", "a.html", b"", ".txt"),
        ("text/plain", "a", b"", ".txt"),
        ("", "a", b"  <!DOCTYPE html>", ".html"),
        ("", "a", b"\xef\xbb\xbf<html>", ".html"),
        ("application/octet-stream", "a", b"%PDF-1.4", ".pdf"),
        ("application/octet-stream", "a.docx", b"PK", ".docx"),
        ("application/octet-stream", "a.bin", b"PK", None),
        ("application/json", "a.json", b"{}", None),
        ("image/png", "a.html", b"", None),
    ],
)
def test_the_kind_of_a_body(content_type, path, body, wanted):
    assert suffix_of(content_type, f"https://e.org/{path}", body) == wanted


@pytest.mark.parametrize(
    ("body", "charset", "text"),
    [
        ("Große Fähre".encode("cp1252"), "iso-8859-1", "Große Fähre"),
        ("„Größe“ – 5 €".encode("cp1252"), "ISO-8859-1", "„Größe“ – 5 €"),
        ("Паром".encode("koi8-r"), "koi8-r", "Паром"),
        ("フェリー".encode("shift_jis"), "shift_jis", "フェリー"),
        ("Fähre".encode(), "utf-8", "Fähre"),
    ],
)
def test_the_charset_of_the_header_counts(body, charset, text):
    made = as_utf8(body, charset, ".html")
    assert made == b"\xef\xbb\xbf" + text.encode()


def test_a_body_that_does_not_fit_its_charset_stays_as_it_is():
    latin = "Fähre".encode("latin-1")
    for charset in ("utf-8", "", "no-such-charset", "rot13"):
        assert as_utf8(latin, charset, ".html") == latin
    for charset in ("unicode_escape", "raw-unicode-escape", "punycode", "idna", "utf-7"):  # Python's own, no page's
        assert as_utf8(b"C:\\new +AGE- abc-9", charset, ".html") == b"C:\\new +AGE- abc-9"
    assert as_utf8(latin, "latin-1", ".pdf") == latin
    assert as_utf8(b"\xff\xfea\x00", "latin-1", ".txt") == b"\xff\xfea\x00"
