"""HTML: words stand apart, tables keep their rows, what a reader can open is text, and no nesting is too deep."""

import pytest

from rag.documents.formats.html.html import parse_html
from rag.documents.parse import parse_file


def parse(body, head="<title>T</title>"):
    return parse_html(f"<!doctype html><html><head>{head}</head><body>{body}</body></html>".encode())


def shown(body):
    """(kind, text) of every block of a page with this body; a heading's kind is h1 to h6."""
    document = parse(body)
    return [(f"h{b.level}" if b.level else b.kind, document.text[b.start : b.end]) for b in document.blocks]


def texts(body):
    return [text for _, text in shown(body)]


def rows(*cells):
    return "<table>" + "".join(f"<tr>{row}</tr>" for row in cells) + "</table>"


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        ("North<br>Pier", "North Pier"),
        ("<p>Mon 9-17</p><p>Tue 8-12</p>", "Mon 9-17 Tue 8-12"),
        ("<ul><li>alpha<li>beta</ul>", "alpha beta"),
        ("<div>one</div><div>two</div>", "one two"),
        ("<dl><dt>term<dd>meaning</dl>", "term meaning"),
        ("<span style='display: block'>one</span><span style='display:block'>two</span>", "one two"),
        ("<my-card>one</my-card><my-card>two</my-card>", "one two"),
        ("<label>one</label><input value=9><label>two</label>", "one two"),
        ("<a href=x>Home</a><a href=y>About</a>", "Home About"),
        ("<del>$50</del><ins>$40</ins>", "$50 $40"),
        ("<q>Ahoy</q>said", "“Ahoy”said"),
        ("un<b>believ</b>able so<wbr>long hy&shy;phen", "unbelievable solong hyphen"),
        ("c<!-- no -->at<script>no()</script>s <st1:place>Lon</st1:place>don", "cats London"),
    ],
)
def test_words_run_together_only_where_they_do_for_a_reader(cell, text):
    assert shown(rows("<th>a<th>b", f"<td>{cell}<td>x")) == [("table", f"a | b\n{text} | x")]
    assert " ".join(texts(f"<div>{cell}</div>")) == text
    assert " ".join(texts(f"<h2>{cell}</h2>" if "<p>" not in cell else f"<div>{cell}</div>")) == text


def test_captions_and_list_items_keep_their_words_apart():
    assert shown("<table><caption>Two<br>lines</caption><tr><td>a<td>b<tr><td>c<td>d</table>") == [
        ("text", "Two lines"),
        ("table", "a | b\nc | d"),
    ]
    assert texts("<ol><li>one<p>two</p><ul><li>three</ul></ol>") == ["one", "two", "three"]


def test_preformatted_text_keeps_its_lines():
    assert shown("<pre>a\n  b<br>c<div>d</div><div>e</div></pre>") == [("code", "a\n  b\nc\nd\ne")]
    assert shown("<pre><ol><li>x = 1</li><li>  y</li></ol></pre>") == [("code", "x = 1\n  y")]
    assert shown("<pre><code><span>if</span> x:\n    <span>y</span></code></pre>") == [("code", "if x:\n    y")]
    assert shown("<pre>\n\n    x = 1\n  y\n\n</pre>") == [("code", "    x = 1\n  y")]
    assert shown("<pre><input><code>import a</code><code>require a</code> or <code>b</code></pre>") == [
        ("code", "import a\nrequire a or b")
    ]


@pytest.mark.parametrize(
    "button",
    [
        "<h3><button type=button>QUESTION</button></h3><div hidden>ANSWER</div>",
        "<button><h3>QUESTION</h3></button><div aria-hidden=true>ANSWER</div>",
        "<button aria-expanded=false>QUESTION</button><div style='display:none'>ANSWER</div>",
        "<button aria-controls=p1>QUESTION</button><div id=p1>ANSWER</div>",
        "<button data-bs-toggle=collapse data-bs-target='#p1'>QUESTION</button><div id=p1 class=collapse>ANSWER</div>",
        "<button class='accordion'>QUESTION</button><div class='panel'>ANSWER</div>",
        "<button onclick='go()'>QUESTION</button><div hidden>ANSWER</div>",
        "<button role=tab>QUESTION</button><section role=tabpanel hidden>ANSWER</section>",
        "<details><summary>QUESTION</summary>ANSWER</details>",
        "<dl><dt><button>QUESTION</button></dt><dd hidden>ANSWER</dd></dl>",
        "<div role=heading aria-level=3><button>QUESTION</button></div><div hidden=until-found>ANSWER</div>",
        "<button popovertarget=p1>QUESTION</button><div id=p1 popover>ANSWER</div>",
        "<button commandfor=d command=show-modal>QUESTION</button><dialog id=d>ANSWER</dialog>",
        "<p><button onclick=\"toggle('a1')\">QUESTION</button></p><p id=a1>ANSWER</p>",
        "<button data-accordion-target='#b1'>QUESTION</button><div id=b1>ANSWER</div>",
        "<div><button @click='open=!open'>QUESTION</button><div x-show=open>ANSWER</div></div>",
        "<ul><li><div><button class=btn>QUESTION</button></div><div hidden>ANSWER</div></ul>",
        "<nav><div role=tablist><button role=tab class=nav-link>QUESTION</button></div></nav><div>ANSWER</div>",
    ],
)
def test_the_text_of_a_button_that_opens_a_panel_is_read_and_so_is_the_panel(button):
    assert texts(f"<p>Start.</p>{button}<button>Buy</button>") == ["Start.", "QUESTION", "ANSWER"]


@pytest.mark.parametrize(
    "button",
    [
        "<button>Buy now</button>",
        "<button aria-expanded=false aria-haspopup=true>Export</button>",
        "<button data-bs-toggle=dropdown aria-expanded=false>More</button>",
        "<button class='nav-toggle' aria-expanded=false>Menu</button>",
        "<button aria-expanded=false aria-controls=m>Menu</button><nav id=m><a href=x>Home</a></nav>",
        "<h2><button class='copy-link'>Copy</button></h2>",
    ],
)
def test_other_buttons_are_not_read(button):
    assert texts(f"<p>Start.</p>{button}") == ["Start."]


def test_a_button_that_asks_or_names_a_column_is_text():
    assert texts("<button>Where do I park?</button><p>Behind the shed.</p>") == ["Where do I park?", "Behind the shed."]
    table = rows("<th><button>Boat ▲</button><th><button>Fee</button>", "<td>Tern<td>nine")
    assert texts(table) == ["Boat ▲ | Fee\nTern | nine"]


@pytest.mark.parametrize("outside", ["blockquote", "article", "section", "figure", "main"])
def test_the_footer_of_a_part_is_text_and_that_of_the_page_is_not(outside):
    body = f"<{outside}><p>To be.</p><footer>By <cite>Hamlet</cite></footer></{outside}><footer>Imprint</footer>"
    assert texts(body) == ["To be.", "By Hamlet"]
    assert texts("<p>x</p><div role=contentinfo>Imprint</div>") == ["x"]


def test_only_the_last_footer_of_a_page_is_its_own():
    cards = "".join(
        f"<div class=card><p>{text}</p><footer>By {who}</footer></div>"
        for text, who in (("one", "Ann"), ("two", "Bob"))
    )
    assert texts(f"{cards}<p>And a paragraph after both.</p><footer>Imprint</footer>") == [
        *("one", "By Ann", "two", "By Bob"),
        "And a paragraph after both.",
    ]
    assert texts("<div class=testimonial><p>Fine.</p><footer>By Ann</footer></div><footer>Imprint</footer>") == [
        "Fine.",
        "By Ann",
    ]
    notice = "<div>We use cookies.</div>"
    assert "Imprint" not in texts(f"<p>{'The ferry sails at noon. ' * 9}</p><footer>Imprint</footer>{notice}")


def test_a_block_of_links_that_is_called_a_menu_is_not_read_and_other_lists_of_links_are():
    links = "<li><a href=a>Home</a><li><a href=b>About</a>"
    text = "<p>The ferry sails daily at noon.</p>"
    assert texts(f"<ul class='nav wide'>{links}</ul><div id=breadcrumb><a href=a>Home</a></div>{text}") == [
        "The ferry sails daily at noon."
    ]
    for kept in (
        f"<ul class=navigator>{links}</ul>",
        f"<ul class=nav><li>Fish soup <a href=a>Soups</a>{links[:0]}</ul>",
    ):
        assert len(texts(f"{kept}{text}")) > 1
    assert texts(f"<ul class=nav>{links}</ul>") == ["Home", "About"]
    tabs = "<ul class=nav role=tablist><li><a role=tab href='#a'>Opening hours</a></ul>"
    assert texts(f"{tabs}<div id=a>Nine to five, and from June to eight.</div>")[0] == "Opening hours"


def test_menus_are_left_out_unless_there_is_nothing_else():
    menus = "<nav>Home</nav><ul role=menu><li>File</ul><div role=navigation>About</div><div role=search>Find</div>"
    assert texts(f"{menus}<p>Text.</p>") == ["Text."]
    assert texts("<nav><a href=a>Tides</a> <a href=b>Fares</a></nav>") == ["Tides Fares"]
    assert texts("<a href='#c' class=skip-link>Zum Inhalt</a><a href='#c'>Skip to content</a><p>Text.</p>") == ["Text."]


def test_a_menu_that_nobody_closed_does_not_hide_the_page():
    assert "Text of the page." in texts("<nav>Home<main><p>Text of the page.</p></main>")
    long = "The ferry sails daily at noon from the northern pier. " * 12
    assert texts(f"<nav><a href=x>Home</a><p>{long}</p>")[-1] == long.strip()


def test_a_span_of_rows_fills_its_rows_and_a_span_of_columns_its_columns():
    table = rows(
        "<th rowspan=2>Day<th colspan=2>Price",
        "<th>Adult<th>Child",
        "<td rowspan=3>Monday<td>1<td>2",
        "<td>3<td>4",
        "<td colspan=2>closed",
        "<td colspan=3>Summer",
        "<td>Tuesday<td>5<td>6",
    )
    document = parse(table)
    assert document.text.split("\n") == [
        "Day | Price | Price",
        "Day | Adult | Child",
        "Monday | 1 | 2",
        "Monday | 3 | 4",
        "Monday | closed | closed",
        "Summer",
        "Tuesday | 5 | 6",
    ]
    assert document.blocks[0].header == 2


def test_a_span_ends_with_its_part_of_the_table_and_a_long_cell_is_not_repeated():
    parts = "<tbody><tr><td rowspan=9>g1<td>a<tr><td>b</tbody><tbody><tr><td>g2<td>c</tbody>"
    assert texts(f"<table>{parts}</table>") == ["g1 | a\ng1 | b\ng2 | c"]
    assert texts(rows("<td rowspan=0>x<td>1", "<td>2", "<td>3")) == ["x | 1\nx | 2\nx | 3"]
    assert texts(rows("<td>a<td rowspan=2>b", "<td>c", "<td>d<td>e")) == ["a | b\nc | b\nd | e"]
    long = "word " * 60
    assert parse(rows(f"<td rowspan=3>{long}<td>1", "<td>2", "<td>3")).text.count("word") == 60


@pytest.mark.parametrize(
    "table",
    [
        rows("<td rowspan=65534>x<td colspan=1000>y", "<td>z"),
        rows("<td rowspan=65534 colspan=1000>x" * 300, *["<td colspan=1000>y"] * 300),
        rows("<td rowspan=65534>x" * 900, *[""] * 3_000, "<td>z"),
        rows("<td>x" * 1_000, *["<td colspan=1000>y"] * 1_000),
        rows(*["<td rowspan=2000 colspan=3>y"] * 1_500),
    ],
)
def test_spans_do_not_blow_a_table_up(table):
    assert len(parse(table).text) < 20 * len(table)


def test_the_head_comes_first_and_the_foot_last():
    foot, body = "<tfoot><tr><td>Sum<td>9</tfoot>", "<tbody><tr><td>a<td>1</tbody>"
    assert texts(f"<table>{foot}{body}<thead><tr><th>N<th>V</thead></table>") == ["N | V\na | 1\nSum | 9"]


def test_the_header_is_what_names_the_columns():
    def header(table):
        return parse(table).blocks[0].header

    assert header(rows("<td>a<td>b", "<td>1<td>2")) == 1
    assert header(rows("<th>Founded<td>1890", "<th>Mayor<td>Kolbe")) == 0  # each row has a name of its own
    assert header(rows("<td><th>Mon<th>Tue", "<th>9:00<td>x<td>y", "<th>10:00<td>x<td>y")) == 1
    assert header(rows("<th colspan=2>Timetable", "<td>Stop<td>Time", "<td>A<td>1")) == 2
    assert header(rows("<th>Hours<td>9-17")) == 0


def test_a_table_in_a_table_is_read_once_with_its_rows():
    inner = rows("<th>n<th>m", "<td>1<td>2")
    assert texts(rows("<th>Who<th>What", f"<td>Ann<td>see {inner}", "<td>Bob<td>y")) == [
        "Who | What\nAnn | see\nBob | y",
        "n | m\n1 | 2",
    ]
    placed = rows("<td>only<td>placed")
    assert texts(rows("<th>Who<th>What", f"<td>Ann<td>{placed}")) == ["Who | What\nAnn | only placed"]


def test_a_table_that_only_places_things_is_no_table():
    assert shown(rows("<td><h2>News</h2><p>One.</p><td>menu", "<td>foot")) == [
        ("h2", "News"),
        ("text", "One."),
        ("text", "menu"),
        ("text", "foot"),
    ]
    assert texts("<table role=presentation><tr><th>x<td>y<tr><td>z<td>w</table>") == ["x", "y", "z", "w"]


def test_a_tag_that_is_open_in_a_cell_does_not_swallow_the_next_cell():
    assert texts("<table><tr><td><b>Monday<td>9:00<tr><td><i>Tue<wbr>sday<td>10:00</table><p>x") == [
        "Monday | 9:00\nTuesday | 10:00",
        "x",
    ]


def test_text_in_a_table_but_in_no_cell_is_not_lost():
    assert texts("<table>Loose<form><tr><td>a<td>b<tr><td>c<td>d</form></table>") == ["Loose", "a | b\nc | d"]
    assert texts("<table><td>A<td>B<tr><td>C<td>D</table>") == ["A | B\nC | D"]


def test_a_table_by_its_roles():
    row = "<div role=row><span role={0}>{1}</span><span role={0}>{2}</span></div>"
    table = row.format("columnheader", "Day", "Tide") + row.format("cell", "Monday", "high")
    assert shown(f"<div role=table>{table}</div>") == [("table", "Day | Tide\nMonday | high")]


@pytest.mark.parametrize(
    "opening",
    [
        *("<div>", "<b>", "<font color=red>", "<ul><li>", "<table><tr><td>", "<blockquote>", "<article>", "<sup>"),
        *("<p><b>", "<a href=x>", "<details><summary>", "<ruby>", "<section><h2>", "<pre>", "<dl><dt>", "<form>"),
    ],
)
def test_nesting_of_any_depth_and_tags_that_nobody_closed_lose_nothing(opening):
    depth = 3_000  # more than Python's recursion and libxml2's trees allow
    body = f"<p>Start.</p>{opening * depth}The vault opens at noon.</p><p>End."
    assert " ".join(parse(body).text.split()) == "Start. The vault opens at noon. End."


def test_deep_tables_with_heads_are_read():
    depth = 1_500
    text = parse("<table><tr><th>k<td>" * depth + "vault").text
    assert text.count("k") == depth
    assert text.endswith("vault")


@pytest.mark.parametrize(
    "opening",
    [
        *("<title>", "<textarea>", "<!-- ", "<noscript>", "<select><option>", "<svg>", "<iframe src=x>", "<canvas>"),
        *("<select><option>", "<SELECT>" * 3, "<video controls>", "<object>", "<template>", "<iframe src=x />"),
        "<select><option>One</select><select><option>",
    ],
)
def test_an_opening_that_would_swallow_the_page_does_not(opening):
    assert "The ferry sails." in parse(f"{opening}Words<p>The ferry sails.</p>", head="").text


def test_a_list_to_choose_from_that_ends_far_below_does_not_hide_the_page():
    assert "The ferry sails." in parse("<select><option>Words<p>The ferry sails.</p><select></select>").text


def test_an_inline_element_that_is_never_closed_keeps_the_blocks_in_it():
    assert shown("<b>Bold <p>one</p><h2>Head</h2><a href=q>link<div>block</div>") == [
        ("text", "Bold"),
        ("text", "one"),
        ("h2", "Head"),
        ("text", "link"),
        ("text", "block"),
    ]


def test_hidden_text_that_can_be_opened_is_read_and_a_hidden_key_is_not():
    assert texts("<div hidden>Panel.</div><p>x</p>") == ["Panel.", "x"]
    assert texts("<p><span style='display:none'>0196207</span>20 July</p>") == ["20 July"]
    assert texts("<p>a <span hidden>" + "the rest of a sentence " * 3 + "</span></p>") == [
        "a " + " ".join(["the rest of a sentence"] * 3)
    ]


def test_scripts_templates_and_fields_are_not_read_but_a_declared_shadow_tree_is():
    junk = "<script>EVIL</script><noscript>JS</noscript><template>T</template><select><option>O</select>"
    assert texts(f"<p>a</p>{junk}<textarea>F</textarea><svg><title>icon</title></svg>") == ["a"]
    assert texts("<x-y><template shadowrootmode=open><p>Shown.</p></template></x-y>") == ["Shown."]


def test_the_title_is_that_of_the_page_and_not_of_a_picture():
    document = parse("<svg><title>icon</title></svg><h1>Ferries</h1>", head="")
    assert document.title == "Ferries"


def test_marks_at_headings_are_left_out():
    assert texts("<h1>Ferries<a class=headerlink href='#f'>¶</a></h1><h2><a href='#x'>#</a> Fares</h2>") == [
        "Ferries",
        "Fares",
    ]
    assert texts("<h2><a class=header-anchor href='#x'><span>Tides</span></a></h2>") == ["Tides"]
    assert texts("<h2>Tides<span class=mw-editsection>[<a href=e>edit</a>]</span></h2>") == ["Tides"]


def test_a_heading_that_was_never_closed_is_its_first_line():
    paragraph = "The ferry sails daily. " * 20
    assert shown(f"<h2>Ferries<div>{paragraph}</div><div>More.</div>") == [
        ("h2", "Ferries"),
        ("text", paragraph.strip()),
        ("text", "More."),
    ]
    assert shown("<h2>Ferries<ul><li>one</ul></h2>") == [("h2", "Ferries"), ("text", "one")]


def test_small_letters_do_not_change_numbers_and_words():
    assert texts("10<sup>6</sup> 5 m<sup>2</sup> H<sub>2</sub>O 1<sup>st</sup> log<sub>2</sub>8") == [
        "10^6 5 m2 H2O 1st log2 8"
    ]
    assert texts("the toll<sup><a href='#n1'>[a]</a></sup> of x<sup>a</sup>") == ["the toll [a] of xa"]
    assert texts("harbour<sup>3</sup> in 1990<sup><a href='#n4'>4</a></sup>") == ["harbour 3 in 1990 4"]


def test_the_reading_of_a_word_follows_it():
    assert texts("<ruby>漢<rp>(</rp><rt>かん</rt><rp>)</rp>字<rt>じ</rt></ruby>を") == ["漢字(かんじ)を"]
    assert texts("<ruby>東<rt>とう</ruby><ruby>京<rt>きょう</ruby>へ") == ["東京(とうきょう)へ"]


def test_formulas_are_read_once():
    tex = '<annotation encoding="application/x-tex">x^2</annotation>'
    math = f"<math><semantics><msup><mi>x</mi><mn>2</mn></msup>{tex}</semantics></math>"
    assert texts(f"<p>a {math} b</p>") == ["a x^2 b"]
    assert texts("<p><math><msup><mi>c</mi><mn>2</mn></msup></math></p>") == ["c^2"]
    assert texts(f"<p><span class=katex>{math}<span class=katex-html aria-hidden=true>x2</span></span></p>") == ["x^2"]


def test_the_source_of_a_formula_is_text_unless_it_is_in_print_too():
    assert texts("<p>Energy <script type='math/tex'>E=mc^2</script>.</p>") == ["Energy E=mc^2."]
    printed = "<span class=MathJax>E=mc2</span><script type='math/tex' id=MathJax-Element-1>E=mc^2</script>"
    assert texts(f"<p>Energy {printed}.</p>") == ["Energy E=mc2."]


def test_the_words_of_a_drawing_are_text_once():
    label = "<foreignObject><div>Valve</div></foreignObject>"
    older = f"<switch>{label}<text>Valve</text></switch>"
    hidden = (
        "<defs><style>.a{}</style></defs><title>icon</title><desc>made by</desc><text aria-hidden=true>Boiler</text>"
    )
    text = "<text>Boiler</text><text><tspan>Pump</tspan><tspan>house</tspan></text>"
    assert texts(f"<p>a</p><svg aria-label=Plan>{hidden}{text}{older}</svg><p>b</p>") == [
        *("a", "Boiler", "Pump", "house", "Valve", "b")
    ]
    icon = "<svg role=img><title>Allowed</title><path d=M0 /></svg>"
    assert texts(rows("<th>Boat<th>Dogs", f"<td>Tern<td>{icon}", "<td>Gull<td><svg aria-label=Forbidden></svg>")) == [
        "Boat | Dogs\nTern | Allowed\nGull | Forbidden"
    ]


def test_what_an_image_says_in_words_is_text_once():
    assert texts("<map><area alt='North quay' href=a><area alt='South quay' href=b></map>") == ["North quay South quay"]
    assert texts("<figure><img alt='Map of the harbour'><figcaption>Fig. 1</figcaption></figure>") == [
        "Map of the harbour",
        "Fig. 1",
    ]
    assert texts("<figure><img alt='The map'><figcaption>The map of 1890</figcaption></figure>") == ["The map of 1890"]
    assert texts("<p>x <img alt='logo.png'> <img alt=image> <img alt='Tide' role=presentation> y</p>") == ["x y"]
    assert texts("<p>x <img alt='Tern Line Logo'> y</p>") == ["x y"]
    assert texts("<p>a<picture><source src=x><img alt='tall ship'></picture>b</p>") == ["a tall ship b"]
    assert texts("<a href=x><img alt='Tide table'> Tide table</a>") == ["Tide table"]
    assert texts(rows("<th>Boat<th>Dogs", "<td>Tern<td><img alt=Yes>")) == ["Boat | Dogs\nTern | Yes"]


def test_the_main_part_is_read_with_the_heading_above_it():
    menu = "<div>Home About</div>"
    assert texts(f"<header><h1>Timetable</h1></header>{menu}<main><p>Runs at noon from the pier.</p></main>") == [
        "Timetable",
        "Runs at noon from the pier.",
    ]
    header = "<header><ul><li><a href=x>Home</a></ul><h1>Timetable</h1><p>From March.</p></header>"
    assert texts(f"{header}<main><p>Runs at noon from the pier.</p></main>") == [
        "Timetable",
        "From March.",
        "Runs at noon from the pier.",
    ]
    assert texts("<main></main><p>Text.</p>") == ["Text."]


def test_text_beside_articles_is_not_lost():
    assert texts("<article><p>one</p></article><article><p>two</p></article><p>three</p>") == ["one", "two", "three"]
    assert texts("<p>intro</p><article><p>one one one</p></article><p>and text beside it</p>") == [
        "intro",
        "one one one",
        "and text beside it",
    ]


def test_much_text_outside_the_main_part_is_noted():
    outside = "<div>" + "Words outside. " * 30 + "</div>"
    (note,) = parse(f"<main>{'<p>Words of the main part.</p>' * 30}</main>{outside}").notes
    assert note == "about 390 characters outside the page's main part were left out"


def test_xhtml_may_have_prefixes_closed_tags_and_cdata(tmp_path):
    page = (
        '<?xml version="1.0"?><h:html xmlns:h="http://www.w3.org/1999/xhtml"><h:head><h:title>T</h:title></h:head>'
        '<h:body><h:h2>Head<h:a id="x"/></h:h2><h:script src="y"/><h:p>One <![CDATA[<two> & three]]></h:p>'
        "</h:body></h:html>"
    )
    (tmp_path / "a.xhtml").write_text(page, "utf-8")
    document = parse_file(tmp_path / "a.xhtml")
    assert (document.title, document.text) == ("T", "Head\n\nOne <two> & three")
    assert document.blocks[0].level == 2


def test_characters_by_number_are_cleaned():
    assert parse("<p>a&#1;b&#150;c&nbsp;d&hellip;</p>").text == "ab–c d…"
