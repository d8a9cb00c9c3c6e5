// An answer: its text with citations, the quoted sentence, the sources by name, what can be done next, and thumbs.
// Everything whose name ends in `_html` was rendered and made safe by the server.

import { copyText, counted, fill, h, icon, iconButton, menuButton } from "./dom.js";
import { judging } from "./judging.js";
import { previewOf } from "./preview.js";

const parts = new WeakMap(); // of each element: what it holds, and the view that they show

/** Show a view's answer in an element. Called again and again while it grows: what has not changed is left as it is. */
export function renderTurn(element, view, app) {
  const own = parts.get(element) ?? begun(element, app);
  const before = own.view;
  own.view = { ...view };
  element.dataset.state = view.state;
  drawSearched(own, view, app, before);
  drawStatus(own, view, app, before);
  if (before?.answer_html !== view.answer_html) {
    morph(own.answer, view.answer_html);
    for (const figure of own.answer.querySelectorAll("figure.code")) addCopy(figure);
  }
  if (before?.quote_html !== view.quote_html) morph(own.quote, view.quote_html);
  drawSupport(own, view, before);
  drawSources(own, view, app, before);
  drawNext(own, view, app, before);
  drawTools(own, view, app, before);
}

function begun(element, app) {
  const own = {
    view: null,
    searched: h("div", { class: "searched" }),
    status: h("p", { class: "status" }),
    answer: h("div", { class: "answer" }),
    quote: h("div", { class: "quoted" }),
    support: h("div", { class: "support" }),
    sources: h("div", { class: "found" }),
    next: h("div", { class: "next" }),
    tools: h("div", { class: "tools" }),
    judged: h("div", { class: "judged" }),
  };
  element.classList.add("reply");
  element.append(...Object.values(own).filter((part) => part));
  const cited = (event) => event.target.closest?.("button.cite");
  element.addEventListener("click", (event) => {
    const button = cited(event);
    if (button) app.emit("source", { view: own.view, n: Number(button.dataset.source) });
  });
  previewOf(element, (button) => own.view.sources.find((source) => source.n === Number(button.dataset.source)));
  parts.set(element, own);
  return own;
}

// What was searched for in place of the question; it can be searched for in other words.
function drawSearched(own, view, app, before) {
  if (before?.searched_for === view.searched_for && before?.state === view.state) return;
  const isTyping = own.searched.contains(document.activeElement);
  if (isTyping && before?.searched_for === view.searched_for) return;
  if (!view.searched_for) {
    fill(own.searched);
    return;
  }
  const change = view.state !== "working" && h("button", {
    type: "button", class: "quiet small", onclick: () => fill(own.searched, searchForm(own, view, app)),
  }, "Change");
  fill(own.searched, h("span", {}, "Searched for “", h("bdi", {}, view.searched_for), "”"), change);
}

function searchForm(own, view, app) {
  const box = h("input", { type: "text", value: view.searched_for, maxlength: "2000", "aria-label": "Search for" });
  const form = h("form", {
    class: "search-again",
    onsubmit: (event) => {
      event.preventDefault();
      if (box.value.trim()) app.ask(view.question, { searchFor: box.value.trim(), fromTurn: view.number });
    },
    onkeydown: (event) => {
      if (event.key !== "Escape") return;
      event.preventDefault();
      event.stopPropagation();
      fill(own.searched);
      drawSearched(own, view, app, null);
      own.searched.querySelector("button")?.focus();
    },
  }, box, h("button", { type: "submit", class: "small" }, "Search again"));
  setTimeout(() => {
    box.focus();
    box.select();
  });
  return form;
}

function drawStatus(own, view, app, before) {
  const waits = view.state === "working";
  const seconds = Math.floor(view.seconds ?? 0);
  const text = view.error || (view.state === "stopped" ? "Stopped." : waits ? view.status || "Writing…" : "");
  const isSame = before && before.state === view.state && own.said === `${text} ${waits ? seconds : ""}`;
  if (isSame) return;
  own.said = `${text} ${waits ? seconds : ""}`;
  own.status.hidden = !text;
  own.status.classList.toggle("problem", Boolean(view.error));
  fill(own.status,
    view.error ? icon("warning") : waits ? h("span", { class: "spinner", "aria-hidden": "true" }) : null,
    h("span", {}, text),
    waits && seconds > 0 ? h("span", { class: "seconds" }, `${seconds} s`) : null);
  // Said when it changes, and not at every second.
  if (waits && view.status && before?.status !== view.status) app.announce?.(view.status);
}

const SUPPORT = { words: "check", meaning: "check", weak: "warning" };

function drawSupport(own, view, before) {
  if (before && JSON.stringify(before.support) === JSON.stringify(view.support)) return;
  if (!view.support) {
    fill(own.support);
    return;
  }
  const { level, text, detail } = view.support;
  fill(own.support, h("details", { class: level }, h("summary", {}, icon(SUPPORT[level] ?? "info"), text), h("p", {}, detail)));
}

// The sources by name, as soon as they are found.
function drawSources(own, view, app, before) {
  const known = (sources) => JSON.stringify((sources ?? []).map(({ n, title, file, page, cited }) => [n, title, file, page, cited]));
  if (before && known(before.sources) === known(view.sources) && before.state === view.state) return;
  const focused = own.sources.contains(document.activeElement) ? document.activeElement.dataset.source : null;
  const cited = view.sources.filter((source) => source.cited);
  const shown = cited.length ? cited : view.sources;
  const label = cited.length ? "Sources" : view.state === "refused" ? "Closest passages" : "Found";
  fill(own.sources, shown.length ? [
    h("span", { class: "label", id: `found-${view.number}` }, label),
    h("ul", { "aria-labelledby": `found-${view.number}` }, shown.map((source) => h("li", {}, h("button", {
      type: "button", class: "chip", dataset: { source: String(source.n) },
      onclick: () => app.emit("source", { view: own.view, n: source.n }),
    }, h("b", {}, String(source.n)), h("span", {}, source.file || source.title),
    source.page ? h("small", {}, `page ${source.page}`) : null)))),
    view.sources.length > shown.length ? h("button", {
      type: "button", class: "quiet small", onclick: () => { app.emit("answer", { view: own.view }); app.show?.("sources"); },
    }, `${counted(view.sources.length - shown.length, "more", "more")} read`) : null,
  ] : []);
  if (focused) own.sources.querySelector(`[data-source="${focused}"]`)?.focus({ preventScroll: true });
}

// What can be done next: after a refusal, an error, or a stop.
function drawNext(own, view, app, before) {
  const key = JSON.stringify([view.state, view.offers, view.notes, app.state?.options?.strictness]);
  if (before && own.nextKey === key) return;
  own.nextKey = key;
  const again = (options) => app.ask(view.question, {
    fromTurn: view.number, ...(view.searched_for ? { searchFor: view.searched_for } : {}), ...(options ? { options } : {}),
  });
  const actions = {
    everything: () => again({ collections: null }),
    lower: () => again({ strictness: "low" }),
    add: () => app.show("documents"),
  };
  const icons = { everything: "search", lower: "retry", add: "upload" };
  const { strictness } = app.state?.options ?? {};
  const isOffered = ({ kind }) => (kind === "add" ? app.config?.may_upload !== false
    : kind === "lower" ? strictness !== "low" && strictness !== 0 : true);
  const buttons = (view.offers ?? []).filter(isOffered).map(({ kind, label }) => h("button", {
    type: "button", class: "offer", onclick: actions[kind],
  }, icon(icons[kind]), label));
  if (view.state === "error" || view.state === "stopped") {
    buttons.push(h("button", { type: "button", class: "offer", onclick: () => again() }, icon("retry"), "Ask again"));
  }
  fill(own.next, (view.notes ?? []).map((note) => h("p", { class: "note" }, note)),
    buttons.length ? h("div", { class: "offers", role: "group", "aria-label": "What to do next" }, buttons) : null);
}

function drawTools(own, view, app, before) {
  const isDone = view.state !== "working" && Boolean(view.answer_markdown);
  const key = JSON.stringify([isDone, view.state, view.conversation, view.number, view.model, view.seconds, view.feedback]);
  if (before && own.toolsKey === key) return;
  own.toolsKey = key;
  own.tools.hidden = !isDone;
  if (!isDone) return;
  const focused = own.tools.contains(document.activeElement) ? document.activeElement.dataset.tool : null;
  const copy = iconButton("copy", "Copy with citations", {
    dataset: { tool: "copy" },
    onclick: async () => { said(copy, await copyText(own.view.answer_markdown)); },
  });
  const made = [view.model, view.seconds ? `${view.seconds < 10 ? view.seconds.toFixed(1) : Math.round(view.seconds)} s` : ""];
  fill(own.tools, copy,
    view.conversation && ["answered", "refused"].includes(view.state) ? judging(own, view, app) : null,
    again(view, app),
    h("span", { class: "made" }, made.filter(Boolean).join(" · ")));
  if (focused) own.tools.querySelector(`[data-tool="${focused}"]`)?.focus({ preventScroll: true });
}

// Ask the same once more, also with another model.
function again(view, app) {
  const ask = (options) => app.ask(view.question, { fromTurn: view.number, ...(options ? { options } : {}) });
  const models = app.config?.models ?? [];
  const button = iconButton("retry", "Ask again", { dataset: { tool: "again" }, ...(models.length > 1 ? {} : { onclick: () => ask() }) });
  if (models.length < 2) return button;
  return menuButton(button, () => models.map(({ name, label }) => ({ label: `With ${label}`, action: () => ask({ model: name }) })));
}

/** Say on a button, for a moment, whether something was copied: in its words, or in its name where it has none. */
export function said(button, copied) {
  const words = button.querySelector(".words");
  const label = button.dataset.label ?? (words ? words.textContent : button.getAttribute("aria-label"));
  button.dataset.label = label;
  const say = (text, name) => {
    if (words) words.textContent = text;
    else {
      button.setAttribute("aria-label", text);
      button.title = text;
    }
    button.querySelector("svg").replaceWith(icon(name));
  };
  say(copied ? "Copied" : "Not copied: select the text instead", copied ? "check" : "warning");
  button.classList.add("was-copied");
  setTimeout(() => {
    say(label, "copy");
    button.classList.remove("was-copied");
  }, 2000);
}

/** Give a block of code its own copy button. */
export function addCopy(figure) {
  if (figure.querySelector(".copy-code")) return;
  const button = iconButton("copy", "Copy the code", {
    class: "icon-button copy-code",
    onclick: async () => { said(button, await copyText(figure.querySelector("code").textContent)); },
  });
  figure.querySelector("figcaption").after(button);
}

/** Make an element show this HTML, which the server made safe, and change no more than has changed. */
export function morph(element, html) {
  const wanted = document.createElement("template");
  wanted.innerHTML = html;
  morphChildren(element, wanted.content);
}

function morphChildren(element, wanted) {
  const now = [...element.childNodes].filter((node) => !node.classList?.contains("copy-code"));
  const next = [...wanted.childNodes];
  next.forEach((node, n) => {
    const old = now[n];
    if (!old) element.append(node);
    else if (old.nodeType === Node.TEXT_NODE && node.nodeType === Node.TEXT_NODE) {
      // A text that grows keeps what is selected in it.
      if (node.data.startsWith(old.data)) old.appendData(node.data.slice(old.data.length));
      else old.data = node.data;
    } else if (isAlike(old, node)) morphChildren(old, node);
    else old.replaceWith(node);
  });
  for (const node of now.slice(next.length)) node.remove();
}

function isAlike(old, node) {
  return old.nodeType === Node.ELEMENT_NODE && node.nodeType === Node.ELEMENT_NODE && old.cloneNode().isEqualNode(node.cloneNode());
}
