// The sources of the chosen answer, as cards beside it; on small screens they lie over it, and close back to it.

import { addCopy, morph, said } from "./answer.js";
import { copyText, fill, h, icon } from "./dom.js";

const RANKS = { strong: "Strong match", likely: "Likely match", weak: "Weak match" };
const SCORE = "how well it fits the question by its score; the higher, the better";

export function mountSources(element, app) {
  new Sources(element, app);
}

class Sources {
  constructor(element, app) {
    this.element = element;
    this.app = app;
    this.view = null;
    this.cards = new Map(); // by the number of a source: {element, key}
    this.head = h("div", { class: "sources-head" });
    this.list = h("div", { class: "cards" });
    element.append(this.head, this.list);
    app.on("answer", ({ view }) => this.draw(view));
    app.on("source", ({ view, n }) => {
      this.draw(view);
      this.show(n);
    });
    this.conversation = null;
    app.on("conversation", ({ id }) => {
      if (id !== this.conversation) this.draw(null);
      this.conversation = id;
    });
    this.draw(null);
  }

  draw(view) {
    const isSame = view && this.view && view.number === this.view.number && view.conversation === this.view.conversation;
    this.view = view;
    if (!isSame) {
      this.cards.clear();
      fill(this.list);
    }
    this.drawHead(view);
    if (!view?.sources.length) {
      this.cards.clear();
      fill(this.list, h("p", { class: "empty" }, view?.state === "working" ? "Searching…" : "The passages behind an answer appear here."));
      return;
    }
    const isAnswered = view.sources.some((source) => source.cited);
    const groups = isAnswered
      ? [["Cited", view.sources.filter((one) => one.cited)], ["Also read", view.sources.filter((one) => !one.cited)]]
      : [[view.state === "refused" ? "Closest passages" : "Found", view.sources]];
    const wanted = groups.filter(([, sources]) => sources.length).flatMap(([label, sources]) => [
      { key: `h:${label}`, make: () => h("h3", { class: "group" }, label) },
      ...sources.map((source) => ({ key: `s:${source.n}:${JSON.stringify(source)}`, make: () => this.card(source) })),
    ]);
    // What has not changed stays as it is, where the reader is.
    const old = new Map([...this.list.children].map((child) => [child.dataset.key, child]));
    const children = wanted.map(({ key, make }) => {
      const child = old.get(key) ?? make();
      child.dataset.key = key;
      return child;
    });
    const focused = this.list.contains(document.activeElement) && document.activeElement.closest("[data-source]");
    for (const child of [...this.list.children]) if (!children.includes(child)) child.remove();
    // One that is taken out and put back forgets how far it was scrolled, and what is selected in it.
    children.forEach((child, n) => {
      if (this.list.children[n] !== child) this.list.insertBefore(child, this.list.children[n] ?? null);
    });
    if (focused && !this.list.contains(document.activeElement)) {
      this.list.querySelector(`[data-source="${focused.dataset.source}"]`)?.focus({ preventScroll: true });
    }
  }

  drawHead(view) {
    const key = JSON.stringify([view?.number, view?.question]);
    if (this.headKey === key) return;
    this.headKey = key;
    fill(this.head, view ? [
      h("button", { type: "button", class: "quiet small back-to-answer", onclick: () => this.app.hide() },
        icon("back"), "Back to the answer"),
      h("p", { class: "for-question", dir: "auto" }, view.question),
    ] : []);
  }

  card(source) {
    const title = `source-title-${source.n}`;
    const excerpt = h("div", { class: "excerpt", dir: "auto" });
    morph(excerpt, source.excerpt_html);
    excerpt.querySelectorAll("figure.code").forEach(addCopy);
    const more = h("button", {
      type: "button", class: "quiet small", hidden: true, "aria-expanded": "false",
      onclick: () => {
        const open = excerpt.classList.toggle("whole");
        more.textContent = open ? "Show less" : "Show the whole passage";
        more.setAttribute("aria-expanded", String(open));
        if (!open) toMark(excerpt);
      },
    }, "Show the whole passage");
    const card = h("article", {
      class: `source${source.cited ? " cited" : ""}`, tabindex: "-1", "aria-labelledby": title,
      dataset: { source: String(source.n) },
    },
    h("header", {}, h("b", { class: "n" }, String(source.n)), h("h4", { id: title, dir: "auto" }, source.title), rank(source)),
    where(source),
    excerpt,
    more,
    equals(source),
    h("footer", {},
      h("a", { class: "button quiet small", href: source.href, target: "_blank", rel: "noopener" },
        icon("open"), "Open", h("span", { class: "unseen" }, ` source ${source.n} in its document, in a new tab`)),
      copyButton(source)));
    new ResizeObserver((_, observer) => {
      if (!card.isConnected || !excerpt.offsetHeight) return;
      more.hidden = excerpt.scrollHeight <= excerpt.clientHeight + 4 && !excerpt.classList.contains("whole");
      toMark(excerpt);
      observer.disconnect();
    }).observe(excerpt);
    return card;
  }

  show(n) {
    const source = this.view?.sources.find((one) => one.n === n || one.equal_to.some((other) => other.n === n));
    const card = source && this.list.querySelector(`[data-source="${source.n}"]`);
    if (!card) return;
    const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
    // The panel may only now be shown.
    requestAnimationFrame(() => {
      card.scrollIntoView({ block: "start", behavior: calm ? "auto" : "smooth" });
      card.focus({ preventScroll: true });
    });
    for (const other of this.list.querySelectorAll(".chosen")) other.classList.remove("chosen");
    card.classList.add("chosen");
  }
}

function where(source) {
  const file = source.file && source.file !== source.title ? h("span", { title: source.path }, source.file) : null;
  const named = source.address
    ? h("a", { href: source.address, target: "_blank", rel: "noopener noreferrer nofollow" }, source.file)
    : file;
  const parts = [named, source.page ? h("span", {}, `page ${source.page}`) : null].filter(Boolean);
  return parts.length ? h("p", { class: "where" }, parts.flatMap((part, n) => (n ? [", ", part] : [part]))) : null;
}

function rank(source) {
  if (source.score === null) return null; // not compared yet
  const number = h("span", { class: "number", hidden: true }, ` ${source.score.toFixed(2)}`);
  const button = h("button", {
    type: "button", class: `rank ${source.rank ?? "likely"}`, title: "Show the score", "aria-expanded": "false",
    onclick: () => {
      number.hidden = !number.hidden;
      button.setAttribute("aria-expanded", String(!number.hidden));
      button.title = number.hidden ? "Show the score" : `${source.score.toFixed(2)}: ${SCORE}`;
    },
  }, RANKS[source.rank] ?? "Score", number);
  return button;
}

function equals(source) {
  if (!source.equal_to.length) return null;
  return h("p", { class: "equal" }, "The same text: ", source.equal_to.flatMap((other, n) => [
    n ? "; " : "",
    h("a", { href: other.href, target: "_blank", rel: "noopener" },
      [other.file || other.title, other.page ? `page ${other.page}` : ""].filter(Boolean).join(", ")),
  ]));
}

function copyButton(source) {
  const link = new URL(source.href, new URL(".", location.href)).href;
  const named = [source.title, source.file === source.title ? "" : source.file, source.page ? `page ${source.page}` : ""];
  const button = h("button", {
    type: "button", class: "quiet small",
    onclick: async () => said(button, await copyText(`${named.filter(Boolean).join(", ")}\n${link}`)),
  }, icon("copy"), h("span", { class: "words" }, "Copy citation"), h("span", { class: "unseen" }, ` of source ${source.n}`));
  return button;
}

// Within its own box, a long passage is scrolled to its sentence.
function toMark(excerpt) {
  const mark = excerpt.querySelector("mark");
  if (!mark || excerpt.classList.contains("whole")) return;
  const top = mark.getBoundingClientRect().top - excerpt.getBoundingClientRect().top + excerpt.scrollTop;
  excerpt.scrollTop = Math.max(0, top - excerpt.clientHeight / 3);
}
