// Where a question is written: it grows with its text, asks with Enter, and stops what is being answered.

import { h, icon } from "./dom.js";

const DRAFT = "rag-draft";

/** The composer in its form; `app.write(text)` puts a text into it. */
export function mountComposer(form, app) {
  const box = h("textarea", {
    id: "question", rows: "1", maxlength: "2000", placeholder: "Ask a question about your documents",
    "aria-label": "Your question", autocomplete: "off", enterkeyhint: "send",
  });
  const send = h("button", { type: "submit", class: "send primary", "aria-label": "Ask", title: "Ask (Enter)" },
    icon("arrow"));
  const stop = h("button", {
    type: "button", class: "send stop", "aria-label": "Stop", title: "Stop (Escape)", hidden: true,
    onclick: () => app.stop(),
  }, icon("stop"));
  const left = h("div", { class: "composer-left", id: "composer-left" });
  form.append(box, h("div", { class: "composer-row" }, left, h("div", { class: "composer-right" }, send, stop)));
  if (app.config.may_upload) {
    left.append(h("button", {
      type: "button", class: "quiet small", onclick: () => app.show("documents"), "aria-label": "Add documents",
      title: "Add documents",
    }, icon("add"), h("span", { class: "only-wide" }, "Add documents")));
  }

  const fit = () => {
    box.style.height = "auto";
    box.style.height = `${Math.min(box.scrollHeight, innerHeight * 0.35)}px`;
    send.disabled = !box.value.trim();
  };
  app.write = (text) => {
    box.value = text;
    fit();
    box.focus();
  };
  box.addEventListener("input", () => {
    fit();
    try {
      sessionStorage.setItem(DRAFT, box.value);
    } catch { /* a browser that keeps nothing */ }
  });
  box.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      form.requestSubmit();
    }
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const question = box.value.trim();
    if (!question) return;
    app.write("");
    box.dispatchEvent(new Event("input"));
    if (matchMedia("(pointer: coarse)").matches) box.blur(); // else the keyboard lies over the answer
    app.ask(question);
  });
  form.addEventListener("click", (event) => {
    if (event.target === form) box.focus();
  });
  app.on("turn", ({ began }) => {
    if (!began && document.activeElement === stop) box.focus(); // Stop goes
    stop.hidden = !began;
    send.hidden = Boolean(began);
  });
  app.on("conversation", () => {
    if (matchMedia("(min-width: 1024px)").matches) box.focus({ preventScroll: true });
  });
  addEventListener("resize", fit);
  try {
    box.value = sessionStorage.getItem(DRAFT) ?? "";
  } catch { /* a browser that keeps nothing */ }
  fit();
  box.focus({ preventScroll: true });
}
