// The conversation: its turns one below the other, asking, stopping, editing a question, and the address of it all.

import { renderTurn } from "./answer.js";
import { fill, h, iconButton, isSeen } from "./dom.js";
import { address, lines } from "./net.js";

const SECONDS_BETWEEN_LOOKS = 2;
const NEAR = 80; // pixels from the end within which the page follows a growing answer
const ABOVE = 8; // pixels left above the question of that answer
const $ = (id) => document.getElementById(id);

export function mountTurns(element, app) {
  const turns = new Turns(element, app);
  app.ask = (question, more) => turns.ask(question, more);
  app.stop = () => turns.stop();
  app.open = (id) => turns.open(id);
  addEventListener("popstate", () => turns.open(named(), { push: false }));
  app.on("renamed", ({ id, title }) => id === app.state.conversation && turns.name(title));
  turns.open(named(), { push: false });
}

function named() {
  return new URLSearchParams(location.search).get("c");
}

class Turns {
  constructor(element, app) {
    this.element = element;
    this.app = app;
    this.controller = null; // of the answer that grows now
    this.ending = null; // resolves once it has ended
    this.opened = 0;
  }

  // Ask, show the answer as it grows, and leave it as it ends.
  async ask(question, { searchFor = "", fromTurn = null, options = {} } = {}) {
    const text = question.trim();
    if (!text) return;
    await this.stop();
    const { state } = this.app;
    const number = fromTurn ?? Math.max(0, ...state.views.keys()) + 1;
    const controller = new AbortController();
    this.controller = controller;
    let end;
    this.ending = new Promise((resolve) => { end = resolve; });
    state.busy = true;
    const started = performance.now();
    let view = {
      number, conversation: state.conversation, question: text, searched_for: searchFor, state: "working",
      status: "Asking…", seconds: 0, error: "", answer_html: "", answer_markdown: "", quote_html: "", support: "",
      sources: [], offers: [], notes: [], feedback: null, reason: "", model: "",
    };
    const later = [...state.views.keys()].filter((each) => each > number).length;
    this.show(view, { scroll: true });
    for (const article of [...this.element.children]) article.hidden = Number(article.dataset.number) > number;
    this.app.emit("turn", { began: true, view });
    const clock = setInterval(() => {
      view.seconds = (performance.now() - started) / 1000;
      this.show(view);
    }, 1000);
    let begun = false;
    try {
      await lines("page/ask", {
        conversation: state.conversation ?? "", question: text, search_for: searchFor, from_turn: fromTurn,
        attached: state.attached, options: { ...state.options, ...options },
      }, (line) => {
        if (controller.signal.aborted) return;
        if (line.event === "turn") {
          begun = true;
          this.began(line, number);
        } else if (line.event === "error") {
          view = { ...view, state: "error", error: line.text, status: "" };
        } else {
          view = line.view;
        }
        if (line.event !== "turn") this.show(view);
      }, controller.signal);
      if (view.state === "working") view = { ...view, state: "stopped", status: "" }; // the server ended in between
    } catch (error) {
      if (error.name === "AbortError") view = { ...view, state: "stopped", status: "" };
      else if (begun) view = { ...view, state: "error", error: error.message, status: "" };
      else this.refused(error, text, number, fromTurn);
    }
    clearInterval(clock);
    if (begun || view.state === "stopped") this.show(view);
    state.busy = false;
    this.controller = null;
    if (begun || view.state === "stopped") {
      this.app.announce(said(view));
      if (later && begun) this.offerBack(later);
    }
    this.app.emit("turn", { ended: true, view });
    end();
  }

  // The turn is kept: the conversation has an address from now on.
  began({ conversation, title, number }, asked) {
    const { state } = this.app;
    for (const each of [...state.views.keys()]) if (each > asked) state.views.delete(each);
    for (const article of [...this.element.children]) if (article.hidden) article.remove();
    const isNew = state.conversation !== conversation;
    state.conversation = conversation;
    state.attached = "";
    this.name(title);
    if (isNew) {
      history.pushState(null, "", address(`?c=${conversation}`));
      this.app.emit("conversation", { id: conversation, title });
    }
    if (number !== asked) this.open(conversation, { push: false }); // another page has asked here meanwhile
  }

  // Nothing could be asked: everything is as before, and the question is not lost.
  refused(error, text, number, fromTurn) {
    const { state } = this.app;
    this.app.toast(error.message);
    this.app.announce(error.message);
    state.views.delete(number);
    this.article(number)?.remove();
    if (fromTurn !== null && state.conversation) this.open(state.conversation, { push: false });
    else {
      this.app.write(text);
      this.empty();
    }
  }

  offerBack(later) {
    const { conversation } = this.app.state;
    const answers = later === 1 ? "The later answer is gone." : `The ${later} later answers are gone.`;
    this.app.toast(answers, { label: "Undo", action: async () => {
      await this.stop();
      try {
        await this.app.request("POST", `page/conversations/${conversation}/uncut`);
        this.open(conversation, { push: false });
      } catch (error) {
        this.app.toast(error.message);
      }
    } });
  }

  // What there is stays. Resolves once nothing is answered any more.
  async stop() {
    this.controller?.abort();
    await this.ending;
  }

  // Show a kept conversation; null begins a new one, and so does one that is not there.
  async open(id, { push = true } = {}) {
    const opened = ++this.opened;
    await this.stop();
    const { state } = this.app;
    let found = null;
    if (id) {
      try {
        found = await this.app.request("GET", `page/conversations/${encodeURIComponent(id)}`);
      } catch (error) {
        this.app.toast(error.message);
      }
      if (opened !== this.opened) return;
    }
    const same = found && state.conversation === found.id && this.element.childElementCount > 0;
    state.conversation = found?.id ?? null;
    state.attached = "";
    state.views.clear();
    const where = address(found ? `?c=${found.id}` : ".");
    if (push && where.href !== location.href) history.pushState(null, "", where);
    else if (id && !found) history.replaceState(null, "", where);
    const numbers = new Set((found?.turns ?? []).map((view) => String(view.number)));
    for (const article of [...this.element.children]) if (!same || !numbers.has(article.dataset.number)) article.remove();
    this.name(found?.title ?? "");
    this.app.emit("conversation", { id: state.conversation, title: state.title, files: found?.files ?? [] });
    if (!found) this.app.emit("answer", { view: null });
    for (const view of found?.turns ?? []) this.show(view); // the sources of the last one are shown
    this.empty();
    if (!same) $("scroll").scrollTop = $("scroll").scrollHeight;
    if (found?.turns.some((view) => view.state === "working")) { // asked from elsewhere, and still answered
      setTimeout(() => opened === this.opened && !state.busy && this.open(id, { push: false }),
        SECONDS_BETWEEN_LOOKS * 1000);
    }
  }

  name(title) {
    this.app.state.title = title;
    $("title").textContent = title || this.app.config.name;
    document.title = title ? `${title} – ${this.app.config.name}` : this.app.config.page_title;
  }

  article(number) {
    return document.getElementById(`turn-${number}`);
  }

  // Draw a turn, or draw it again as it is now.
  show(view, { scroll = false } = {}) {
    const { state } = this.app;
    const pane = $("scroll");
    const follows = pane.scrollHeight - pane.scrollTop - pane.clientHeight < NEAR;
    const focused = document.activeElement;
    let article = this.article(view.number);
    if (!article) {
      article = h("article", { class: "turn", id: `turn-${view.number}`, "aria-label": `Question ${view.number}`,
        dataset: { number: String(view.number) } }, h("div", { class: "asked" }), h("div", { class: "reply" }));
      const next = [...this.element.children].find((each) => Number(each.dataset.number) > view.number);
      this.element.insertBefore(article, next ?? null);
    }
    article.setAttribute("aria-busy", String(view.state === "working"));
    this.asked(article, view);
    renderTurn(article.querySelector(".reply"), view, this.app);
    state.views.set(view.number, view);
    this.empty();
    this.keepFocus(article, focused);
    if (view.number === Math.max(...state.views.keys()) || scroll) this.app.emit("answer", { view });
    if (scroll) article.scrollIntoView({ block: "start" });
    else if (follows && state.busy) { // as far as its question stays in sight
      const top = article.getBoundingClientRect().top - pane.getBoundingClientRect().top + pane.scrollTop - ABOVE;
      pane.scrollTop = Math.max(pane.scrollTop, Math.min(pane.scrollHeight, top));
    }
  }

  // Where what had the focus is gone, as a form that was sent, the focus stays at the question of this turn; behind a
  // question that was chosen in the first view it goes to where the next one is written.
  keepFocus(article, before) {
    if (before === document.body || isSeen(before) || isSeen(document.activeElement)) return;
    const writes = !matchMedia("(pointer: coarse)").matches && $("first").contains(before);
    (writes ? $("question") : article.querySelector(".edit"))?.focus({ preventScroll: true });
  }

  empty() {
    const is = this.element.childElementCount === 0;
    $("first").hidden = !is;
    document.body.classList.toggle("empty", is);
  }

  // The question, with a button to edit it.
  asked(article, view) {
    const place = article.querySelector(".asked");
    if (place.querySelector("textarea") || place.dataset.question === view.question) return;
    place.dataset.question = view.question;
    fill(place, h("h2", { class: "question" }, view.question), iconButton("edit", "Edit this question", {
      class: "icon-button edit", onclick: () => this.edit(place, article),
    }));
  }

  edit(place, article) {
    const number = Number(article.dataset.number);
    const was = place.dataset.question;
    const box = h("textarea", { rows: "2", maxlength: "2000", "aria-label": "The question, edited" });
    box.value = was;
    const leave = () => {
      delete place.dataset.question;
      fill(place);
      this.asked(article, { ...this.app.state.views.get(number), question: was });
      place.querySelector(".edit").focus();
    };
    const send = () => {
      const text = box.value.trim();
      leave();
      if (text) this.app.ask(text, { fromTurn: number });
    };
    box.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        send();
      } else if (event.key === "Escape") {
        event.preventDefault();
        leave();
      }
    });
    fill(place, h("div", { class: "editing" }, box, h("div", { class: "row" },
      h("button", { type: "button", class: "quiet", onclick: leave }, "Cancel"),
      h("button", { type: "button", class: "primary", onclick: send }, "Ask again"))));
    box.focus();
    box.setSelectionRange(was.length, was.length);
  }
}

// What a screen reader says at the end of an answer.
function said(view) {
  if (view.state === "error") return `It did not work: ${view.error}`;
  if (view.state === "stopped") return "Stopped.";
  if (view.state === "refused") return "Not in these documents.";
  const cited = view.sources.filter((source) => source.cited).length;
  const text = new DOMParser().parseFromString(view.answer_html, "text/html").body.textContent.trim();
  return `${text} ${cited === 1 ? "One source is cited." : `${cited} sources are cited.`}`;
}
