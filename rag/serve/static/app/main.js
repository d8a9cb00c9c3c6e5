// The page: it makes `app`, which all parts share, and lays the parts out.
//
// app.config                the server's words about itself (see rag/serve/page_shell.py)
// app.state                 {conversation: id or null, title, options, attached, busy, views: Map number → VIEW}
// app.on(name, fn)          "conversation" {id, title}, "turn" {began | ended, view}, "answer" {view: its sources are to
//                           be shown}, "source" {view, n: this one is to be shown}, "renamed" {id, title}, "documents",
//                           "overview" (config says anew what is indexed), "options"
// app.emit(name, detail)
// app.request(method, path, body)   JSON; throws an Error with the server's sentence
// app.ask(question, {searchFor, fromTurn, options})   `options` differ for this question alone
// app.stop()
// app.open(id or null)      a conversation; null begins a new one
// app.show("sources" | "documents")   the right-hand panel, on small screens a sheet; app.hide() closes sheets
// app.settings()            how to answer
// app.toast(text, {label, action, seconds})
// app.announce(text)        said by screen readers

import { mountComposer } from "./composer.js";
import { mountConversations } from "./conversations.js";
import { mountDocuments } from "./documents.js";
import { fill, h, iconButton, isSeen } from "./dom.js";
import { mountFirst } from "./first.js";
import { mountFrame } from "./frame.js";
import { request } from "./net.js";
import { mountSettings } from "./settings.js";
import { mountSources } from "./sources.js";
import { mountTurns } from "./turns.js";

const $ = (id) => document.getElementById(id);

function makeApp(config) {
  const listeners = new Map();
  const app = {
    config,
    state: { conversation: null, title: "", options: {}, attached: "", busy: false, views: new Map() },
    on(name, fn) {
      listeners.set(name, [...(listeners.get(name) ?? []), fn]);
    },
    emit(name, detail = {}) {
      for (const fn of listeners.get(name) ?? []) fn(detail);
    },
    async request(method, path, body) {
      try {
        return await request(method, path, body);
      } catch (error) {
        if (error.status === 401 && config.user) location.reload(); // the login is over
        throw error;
      }
    },
    toast,
    announce(text) {
      $("said").textContent = text;
    },
  };
  return app;
}

let endToast = () => {};

// A message for a while. It stays as long as somebody points at it, has the focus in it, or is on their way to it by
// keyboard. Where it had the focus, that goes back to where it came from.
function toast(text, { label = "Undo", action, seconds = 8 } = {}) {
  endToast();
  const from = new AbortController();
  const box = h("div", { class: "toast" }, h("span", {}, text));
  let before = null;
  let timer = 0;
  const close = () => {
    clearTimeout(timer);
    from.abort();
    const had = box.contains(document.activeElement);
    box.remove();
    if (had) (isSeen(before) ? before : $("question")).focus({ preventScroll: true });
  };
  const wait = () => {
    clearTimeout(timer);
    timer = setTimeout(() => (box.matches(":hover, :focus-within") ? wait() : close()), seconds * 1000);
  };
  const act = action && h("button", { type: "button", class: "quiet", onclick: () => { close(); action(); } }, label);
  box.append(...[act, iconButton("close", "Close this message", { onclick: close })].filter(Boolean));
  box.addEventListener("focusin", ({ relatedTarget }) => {
    if (!box.contains(relatedTarget)) before = relatedTarget;
  });
  document.addEventListener("keydown", ({ key }) => key === "Tab" && wait(), { signal: from.signal });
  fill($("toast"), box);
  endToast = close;
  wait();
}

function boot() {
  const app = makeApp(JSON.parse($("config").textContent));
  mountFrame(app);
  mountComposer($("composer"), app);
  mountSettings(app);
  mountFirst($("first"), app);
  mountSources($("sources"), app);
  mountDocuments($("documents"), app);
  mountConversations($("conversations"), app);
  mountTurns($("turns"), app);
  app.on("documents", async () => {
    try {
      Object.assign(app.config, await app.request("GET", "page/overview"));
      app.emit("overview");
    } catch { /* as it was */ }
  });
}

boot();
