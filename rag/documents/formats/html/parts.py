"""Which parts of a page are read: not its menus, its own footer, scripts and forms; the text that a button opens is."""

from __future__ import annotations

import re
from collections.abc import Callable

from rag.documents.formats.html.text import text_of
from rag.documents.formats.html.tree import HEADINGS, Node, Tree

_CODE_AND_FORMS = (
    "title script style noscript template iframe object embed select option datalist textarea audio video canvas "
    "defs symbol metadata desc"
)
_NEVER_READ = set(_CODE_AND_FORMS.split())
_SECTIONS = "article aside section blockquote main figure details dialog li td th dd fieldset"
_OWN_SECTION = set(_SECTIONS.split())
_SAYS_WHO = re.compile(r"quot|\bcit(?:e|ation)\b|attribution|testimonial")
_NAMES = {"summary", "dt", "th", "caption", "legend"}
_NAVIGATION = {"navigation", "search", "menu", "menubar"}
_PARTS_OF_A_PAGE = {*HEADINGS, "p", "table", "ul", "ol", "dl", "pre", "article", "main", "section"}
_OPENS_A_PANEL = re.compile(r"accordion|collaps|expand|faq|question|disclos|toggle|panel|spoiler|\btab\b|\btabs?[_-]")
_OPENS_A_MENU = re.compile(
    r"menu|nav|dropdown|theme|search|sidebar|modal|dialog|carousel|slide|copy|close|share|cookie"
)
_ACTS_ON_A_HEADING = re.compile(r"copy|share|edit|close|anchor|permalink")
_IS_A_PANEL = re.compile(r"accordion|collaps|panel|answer|faq|tab-?pane|tab-?content|disclos|spoiler|expand|\bhidden\b")
_IDS_IN_A_CALL = re.compile(r"[\"']#?([\w-]{1,80})[\"']")
_CALLED_A_MENU = re.compile(
    r"(?:^|\s)(?:nav|navbar|navheader|navfooter|navigation|nav-?panel|(?:main|site|top)[-_]?(?:menu|nav)|breadcrumbs?)(?:\s|$)"
)
_HIDDEN_STYLE = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.I)
_SKIP_LINK = re.compile(r"skip|screen-?reader|sr-only|visually-?hidden")
_PERMALINK = re.compile(r"\b(?:headerlink|head(?:er|ing)-anchor|anchor-?link|hash-link|permalink|anchorjs-link)\b")
_SECOND_COPY = re.compile(r"\bmw-editsection\b|\bkatex-html\b|\bmjx_assistive_mathml\b")
MAX_ELEMENTS_OF_A_QUESTION = 20
MAX_HIDDEN_CHARACTERS = 40
"""A hidden piece inside a line is dropped up to this length: a key to sort by, a mark for machines."""


def drop_unread(tree: Tree) -> None:
    """Mark what is not read on a page. Where that would leave no text, menus and footers are read after all."""
    drop_only_code(tree)
    above_main = _above(tree, lambda node: node.tag in ("main", "article") or node.get("role") == "main")
    above_tabs = _above(tree, lambda node: node.get("role") == "tab")
    footers = _page_footers(tree)
    for node in tree.nodes:
        is_menu = node.tag in ("nav", "search") or node.get("role") in _NAVIGATION or _is_menu_by_name(node, tree.root)
        if ((is_menu and node not in above_tabs) or node in footers) and not node.dropped and node not in above_main:
            node.dropped = "" if not above_main and _holds_the_page(node, tree.root) else "menu or footer"
    measure(tree)
    for node in tree.nodes:
        if not node.dropped and (_is_mark(node) or _is_hidden_key(node)):
            node.dropped = "mark"
    measure(tree)
    above_parts = _above(tree, _is_part_of_a_page)
    for node in tree.nodes:
        if node.tag == "button" and not node.dropped:
            node.dropped = "" if node in above_parts or _is_text_of_button(node, tree) else "button"
    measure(tree)
    if not tree.root.size:
        for node in tree.nodes:
            node.dropped = node.dropped if node.dropped == "never read" else ""
        measure(tree)


def drop_only_code(tree: Tree) -> None:
    """Mark scripts, forms and the like alone: a chapter of a book has no menus; what it has of a footer is a note."""
    _set_flags(tree)
    above_parts = _above(tree, _is_part_of_a_page)
    for node in tree.nodes:
        if _is_never_read(node, above_parts):
            node.dropped = "never read"
    measure(tree)


def main_part(tree: Tree) -> tuple[Node, int]:
    """The part of a page that is read, and how many characters outside it, in no link, are then left out.

    It is the one <main> or role=main, if it holds at least a third of the text, or the one <article>, if hardly more
    than menus and headers stands outside it; else the whole page.
    """
    root = tree.root
    mains = _outermost(tree, lambda node: node.tag == "main" or node.get("role") == "main")
    articles = _outermost(tree, lambda node: node.tag == "article" or node.get("role") == "article")
    chosen = mains[0] if len(mains) == 1 else articles[0] if not mains and len(articles) == 1 else None
    if chosen is None or not chosen.size:
        return root, 0
    inside = chosen.size - chosen.link_size
    beside = _outermost(tree, lambda node: node.tag in ("header", "aside", "form", "dialog"))
    beside = [node for node in beside if not node.is_inside(chosen) and not chosen.is_inside(node)]
    outside = root.size - root.link_size - inside - sum(node.size - node.link_size for node in beside)
    is_main = 3 * chosen.size >= root.size if mains else inside >= 9 * outside
    return (chosen, max(outside, 0)) if is_main else (root, 0)


def heading_outside(tree: Tree, part: Node, title: str) -> Node | None:
    """The page's one h1, where it stands outside the part that is read: with the header around it, but for its menus.

    None where that says no more than the page's title.
    """
    found = [node for node in tree.nodes if node.tag == "h1" and node.size and not node.left_out]
    if len(found) != 1 or found[0].is_inside(part):
        return None
    header: Node | None = found[0]
    while header is not None and header.tag != "header":
        header = header.parent
    if header is None or part.is_inside(header):
        return None if text_of(found[0]) in title else found[0]
    for node in tree.nodes[header.place + 1 : header.last + 1]:
        if node.is_block and node.size == node.link_size and node.tag not in HEADINGS:
            node.dropped = node.dropped or "menu or footer"
    if found[0].size == header.size - header.link_size and text_of(found[0]) in title:
        return None
    return header


def measure(tree: Tree) -> None:
    """Count the characters that are read below every element, those in links for themselves."""
    for node in (tree.root, *tree.nodes):
        node.size = node.own_size
        node.link_size = node.size if node.in_link else 0
        node.left_out = bool(node.dropped) or (node.parent is not None and node.parent.left_out)
    for node in reversed(tree.nodes):
        if node.parent is not None and not node.dropped:
            node.parent.size += node.size
            node.parent.link_size += node.link_size


def _set_flags(tree: Tree) -> None:
    for node in tree.nodes:
        above = node.parent or tree.root
        node.in_link = above.in_link or (node.tag == "a" and bool(node.get("href")))
        node.in_section = above.in_section or above.tag in _OWN_SECTION or above.get("role") in ("main", "article")
        node.in_heading = above.in_heading or above.tag in HEADINGS or above.tag in _NAMES


def _is_never_read(node: Node, above_parts: set[Node]) -> bool:
    if node.tag == "template":  # a declared shadow tree is shown
        return not (node.get("shadowrootmode") or node.get("shadowroot"))
    if node.tag in ("select", "option"):  # one that nobody closed holds the rest of the page
        return node not in above_parts
    if node.tag == "script":  # the source of a formula, unless the page has it in print, too
        return not node.get("type").startswith("math/") or node.get("id").startswith("MathJax")
    if node.tag == "text" and node.parent is not None:  # of a drawing: a shadow, or what older programs show
        others = node.parent.children[:8] if node.parent.tag == "switch" else []
        is_older = any(isinstance(other, Node) and other.tag == "foreignobject" for other in others)
        return is_older or node.get("aria-hidden") == "true"
    return node.tag in _NEVER_READ


def _is_part_of_a_page(node: Node) -> bool:
    return node.tag in _PARTS_OF_A_PAGE


def _above(tree: Tree, wanted: Callable[[Node], bool]) -> set[Node]:
    """The elements that hold one of a kind."""
    above: set[Node] = set()
    for node in tree.nodes:
        if wanted(node):
            parent = node.parent
            while parent is not None and parent not in above:
                above.add(parent)
                parent = parent.parent
    return above


def _is_menu_by_name(node: Node, root: Node) -> bool:
    """Whether a block is called a menu, and nearly all of its text is links; not where the page is little else."""
    if not ("class" in node.attributes or "id" in node.attributes) or not node.is_block:
        return False
    is_links = 5 * node.link_size >= 4 * node.size > 0 and 2 * node.size <= root.size
    return is_links and bool(_CALLED_A_MENU.search(node.words))


def _page_footers(tree: Tree) -> set[Node]:
    """The footers of the page itself: hardly any running text follows them, and none names who said a quotation."""
    found: set[Node] = set()
    plain = [0 if node.left_out or node.in_link else node.own_size for node in tree.nodes]
    total = sum(plain)
    after = 0
    last = len(plain)
    for node in reversed(tree.nodes):
        is_footer = (node.tag == "footer" or node.get("role") == "contentinfo") and not node.in_section
        if is_footer and not _SAYS_WHO.search(f"{node.words} {node.parent.words if node.parent else ''}"):
            after += sum(plain[node.last + 1 : last])
            if 10 * after > total:
                break
            found.add(node)
            last = min(last, node.place)
    return found


def _holds_the_page(node: Node, root: Node) -> bool:
    """Whether most of the page stands in a menu or footer, since nobody closed it."""
    plain = node.size - node.link_size
    return plain > 400 and 3 * plain >= 2 * (root.size - root.link_size)


def _is_mark(node: Node) -> bool:
    """A link that leads to the heading it stands in, one over the menu, or the second copy of a formula."""
    if node.tag != "a":
        return "class" in node.attributes and bool(_SECOND_COPY.search(node.words))
    if "#" not in node.get("href"):
        return False
    text = node.own_text
    above = node.parent
    if above is not None and node.size < above.size and _PERMALINK.search(node.words):
        return True
    if node.in_heading and node.size == len(text) and not any(ch.isalnum() for ch in text):
        return True
    return bool(_SKIP_LINK.search(node.words)) or text.lower().startswith(("skip to ", "jump to content"))


def _is_hidden(node: Node) -> bool:
    attributes = node.attributes
    return ("hidden" in attributes and attributes["hidden"] != "until-found") or (
        "style" in attributes and bool(_HIDDEN_STYLE.search(attributes["style"]))
    )


def _is_hidden_key(node: Node) -> bool:
    """A few hidden words inside a line; longer hidden text, and every hidden block, is what a reader can open."""
    if not node.attributes or node.is_block or node.tag == "a" or not _is_hidden(node):
        return False
    is_formula = any(child.tag == "math" for child in node.elements())
    return node.size <= MAX_HIDDEN_CHARACTERS and not is_formula and not _IS_A_PANEL.search(node.words)


def _is_text_of_button(node: Node, tree: Tree) -> bool:
    """Whether a button is a heading, stands in one, asks a question, or opens a panel."""
    if node.in_heading and not _ACTS_ON_A_HEADING.search(node.words):
        return True
    if node.get("aria-haspopup") not in ("", "false") or node.get("role") in ("combobox", "menuitem", "switch"):
        return False
    toggles = f"{node.get('data-bs-toggle')} {node.get('data-toggle')}".split()
    is_tab = node.get("role") == "tab" or bool({"tab", "pill"} & set(toggles))
    is_menu = bool({"dropdown", "modal", "offcanvas"} & set(toggles)) or bool(_OPENS_A_MENU.search(node.words))
    if is_menu and not is_tab:
        return False
    targets = _targets_of(node, tree)
    if targets:
        return any(target.size and not target.left_out for target in targets)  # it may open what is not read
    if is_tab or "aria-expanded" in node.attributes or "aria-controls" in node.attributes:
        return True
    if {"collapse", "accordion", "toggle"} & set(toggles) or _OPENS_A_PANEL.search(node.words):
        return True
    is_short = node.last - node.place < MAX_ELEMENTS_OF_A_QUESTION
    return (is_short and text_of(node).endswith(("?", "？", "؟"))) or _is_panel(_next_block(node))


def _targets_of(node: Node, tree: Tree) -> list[Node]:
    """The elements that a button says it opens."""
    named = [node.get(name) for name in ("aria-controls", "popovertarget", "commandfor")]
    data = [value for name, value in node.attributes.items() if name.startswith("data-") and "clipboard" not in name]
    named += [value[1:] for value in data if value.startswith("#")]
    for name in ("onclick", "@click", "x-on:click"):
        named += _IDS_IN_A_CALL.findall(node.get(name)[:500])
    return [tree.ids[name] for value in named for name in value.split()[:1] if name in tree.ids]


def _next_block(node: Node) -> Node | None:
    """The block that follows a button, or the element that holds nothing but it; None where text stands between."""
    for _ in range(3):
        siblings = node.parent.children if node.parent is not None else []
        start = next((n for n, child in enumerate(siblings[:2_000]) if child is node), len(siblings))
        after = (each for each in siblings[start + 1 : start + 4] if isinstance(each, Node) or each.strip())
        if (following := next(after, None)) is not None:
            return following if isinstance(following, Node) and following.is_block else None
        if node.parent is None or node.parent.size != node.size:
            return None
        node = node.parent
    return None


def _is_panel(node: Node | None) -> bool:
    if node is None:
        return False
    is_shut = _is_hidden(node) or node.get("aria-hidden") == "true" or bool({"x-show", "v-show"} & set(node.attributes))
    return is_shut or bool(_IS_A_PANEL.search(node.words))


def _outermost(tree: Tree, wanted: Callable[[Node], bool]) -> list[Node]:
    """The elements of a kind that are read and stand in no other of the kind."""
    inside: set[Node] = set()
    found = []
    for node in tree.nodes:
        if node.parent in inside:
            inside.add(node)
        elif not node.left_out and wanted(node):
            inside.add(node)
            found.append(node)
    return found
