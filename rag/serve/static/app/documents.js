// The documents: what is added and how far that is, what there is, and what could not be read.

import { counted, fill, h, icon, iconButton, isSeen, menuButton } from "./dom.js";
import { dropped, picked, Sending } from "./sending.js";

const TYPING = 200; // milliseconds without a key before it is searched
const LOOK = 1000; // milliseconds between two looks at what is being added
const LISTED = 200;
const NEW = "\u0000new";
const STATES = { waiting: "Waiting", reading: "Reading…", ready: "Ready", "left out": "Left out", removing: "Removing…" };
const ICONS = { waiting: "history", reading: "history", ready: "check", "left out": "warning", removing: "trash" };
const KINDS = { text: "text", markdown: "Markdown", html: "web page", pdf: "PDF", csv: "table", jsonl: "rows", docx: "Word",
  pptx: "PowerPoint", xlsx: "Excel", epub: "book" };

export function mountDocuments(element, app) {
  new Documents(element, app);
}

class Documents {
  constructor(element, app) {
    this.app = app;
    this.page = { documents: [], own: [], adding: [], collections: [], n: 0 };
    this.seen = -1; // the number of changes when the list was read
    this.asked = 0;
    this.shown = LISTED;
    this.removing = new Set();
    this.sending = new Sending(app, () => this.where(), () => this.watch(), () => this.showAdding());
    this.add = h("section", { class: "doc-add", "aria-label": "Add documents", hidden: true });
    this.adding = h("section", { class: "doc-adding", "aria-label": "Being added", hidden: true });
    this.own = h("section", { class: "doc-own", "aria-label": "Files of this conversation", hidden: true });
    this.words = h("input", { type: "search", class: "doc-words", placeholder: "Search documents", maxlength: "200",
      "aria-label": "Search documents", autocomplete: "off", spellcheck: "false" });
    this.only = h("select", { class: "doc-only", "aria-label": "Collection to list", onchange: () => this.refresh({ anew: true }) });
    this.status = h("p", { class: "doc-note", role: "status" });
    this.list = h("ul", { class: "doc-list", "aria-label": "Documents" });
    this.further = h("button", { type: "button", class: "small doc-further", hidden: true, onclick: () => {
      const first = this.shown;
      this.shown += LISTED;
      this.refresh().then(() => this.list.children[first]?.querySelector("a, button")?.focus());
    } }, "Show more");
    const all = h("section", { "aria-label": "All documents" },
      h("div", { class: "doc-find" }, this.words, this.only), this.status, this.list, this.further);
    element.append(this.add, this.adding, this.own, all);
    this.wire(element);
    this.refresh();
  }

  wire(element) {
    this.words.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.refresh({ anew: true }), TYPING);
    });
    this.words.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && this.words.value) {
        event.preventDefault();
        event.stopPropagation();
        this.words.value = "";
        this.refresh({ anew: true });
      }
    });
    this.app.on("conversation", () => this.refresh());
    this.app.on("turn", ({ ended }) => ended && this.refresh());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.refresh(); // another page may have changed them
    });
    const has = (event) => this.mayAdd() && [...(event.dataTransfer?.types ?? [])].includes("Files");
    let depth = 0;
    const over = (is) => document.body.classList.toggle("dropping", is);
    addEventListener("dragenter", (event) => {
      if (!has(event)) return;
      depth += 1;
      over(true);
    });
    addEventListener("dragleave", (event) => {
      if (!has(event)) return;
      depth = Math.max(0, depth - 1);
      if (!depth) over(false);
    });
    addEventListener("dragover", (event) => has(event) && event.preventDefault());
    addEventListener("drop", async (event) => {
      if (!has(event)) return;
      event.preventDefault();
      depth = 0;
      over(false);
      this.app.show("documents");
      this.send(await dropped(event.dataTransfer));
    });
    element.addEventListener("keydown", (event) => this.move(event));
  }

  mayAdd() {
    return Boolean(this.page.may_add_to_all || this.page.may_add_to_conversation);
  }

  // Arrow keys go from one document to the next.
  move(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step || !event.target.classList.contains("doc-open")) return;
    const links = [...this.list.querySelectorAll("a.doc-open")];
    const next = links[links.indexOf(event.target) + step];
    if (!next) return;
    event.preventDefault();
    next.focus();
  }

  query() {
    const { conversation, attached } = this.app.state;
    const query = new URLSearchParams();
    if (conversation) query.set("conversation", conversation);
    if (attached) query.set("attached", attached);
    return query;
  }

  async refresh({ anew = false } = {}) {
    if (anew) this.shown = LISTED;
    const asked = ++this.asked;
    const query = this.query();
    query.set("query", this.words.value.trim());
    query.set("collection", this.only.value);
    query.set("limit", String(this.shown));
    try {
      const page = await this.app.request("GET", `page/documents?${query}`);
      if (asked !== this.asked) return;
      this.page = page;
      this.seen = page.n_changes;
    } catch (error) {
      if (asked === this.asked) this.status.textContent = error.message;
      return;
    }
    this.show();
    if (this.isBusy()) this.watch();
  }

  isBusy() {
    return this.page.adding.some((row) => row.state === "waiting" || row.state === "reading");
  }

  // Look again and again until nothing is being added any more.
  watch() {
    if (this.looking) return;
    this.looking = setTimeout(async () => {
      this.looking = null;
      try {
        const before = new Map(this.page.adding.map((row) => [row.item, row.state]));
        const now = await this.app.request("GET", `page/documents/adding?${this.query()}`);
        Object.assign(this.page, now);
        this.tell(before);
        if (now.n_changes !== this.seen) {
          await this.refresh();
          this.app.emit("documents");
        }
      } catch { /* the next look tries again */ }
      this.showAdding();
      if (this.isBusy() || this.sending.isBusy) this.watch();
    }, LOOK);
  }

  // Say what has ended since.
  tell(before) {
    const ended = this.page.adding.filter((row) => ["waiting", "reading", undefined].includes(before.get(row.item)));
    const ready = ended.filter((row) => row.state === "ready");
    const left = ended.filter((row) => row.state === "left out");
    const words = [ready.length && `${counted(ready.length, "document")} added`,
      left.length && `${left.map((row) => row.name).slice(0, 3).join(", ")} left out`].filter(Boolean);
    if (words.length) this.app.announce(words.join(", "));
  }

  show() {
    this.showAdd();
    this.showAdding();
    this.showOwn();
    const chosen = this.only.value;
    const options = [h("option", { value: "" }, "All collections"),
      ...this.page.collections.map(({ name, label, n }) => h("option", { value: name }, `${label} (${n.toLocaleString("en")})`))];
    fill(this.only, options);
    this.only.value = this.page.collections.some(({ name }) => name === chosen) ? chosen : "";
    this.only.hidden = this.page.collections.length < 2;
    const focused = this.list.contains(document.activeElement) ? document.activeElement : null;
    const row = focused?.closest("[data-key]")?.dataset.key;
    const was = focused?.className;
    fill(this.list, this.page.documents.map((document) => this.row(document)));
    if (row) {
      const same = this.list.querySelector(`[data-key="${CSS.escape(row)}"]`);
      (same?.getElementsByClassName(was)[0] ?? this.words).focus();
    }
    this.further.hidden = this.page.documents.length >= this.page.n;
    this.status.textContent = this.summary();
  }

  summary() {
    const words = this.words.value.trim();
    if (words || this.only.value) return this.page.n ? `${this.page.n.toLocaleString("en")} found` : "Nothing found.";
    if (!this.page.n) return this.mayAdd() ? "There are no documents yet." : "There are no documents here.";
    const left = this.page.n_left_out;
    return counted(this.page.n - left, "document") + (left ? `, ${left.toLocaleString("en")} left out` : "");
  }

  row(document) {
    const key = document.id || `out ${document.name} ${document.collections.join()}`;
    const state = this.removing.has(document.id) ? "removing" : document.state;
    const bare = document.name.replace(/\.[^.]+$/, "");
    const title = [document.name, bare, ""].includes(document.title) ? "" : document.title;
    const name = document.href
      ? h("a", { class: "doc-open", href: document.href, target: "_blank", rel: "noopener", title: document.name, dir: "auto" },
        document.name)
      : h("span", { class: "doc-name", title: document.name, dir: "auto" }, document.name);
    const labels = new Map(this.page.collections.map((one) => [one.name, one.label]));
    const about = [
      title && h("span", { class: "doc-title", dir: "auto" }, title),
      document.kind && (KINDS[document.kind] ?? document.kind),
      !document.own && this.page.collections.length > 1 && document.collections.map((one) => labels.get(one) ?? one).join(", "),
    ].filter(Boolean);
    const separated = about.flatMap((part, n) => (n ? [" · ", part] : [part]));
    const body = h("div", { class: "doc-body" }, h("p", { class: "doc-head" }, name),
      separated.length > 0 && h("p", { class: "doc-about" }, separated),
      (document.reason || state === "removing") && h("p", { class: "doc-reason" }, why(state, document.reason)),
      (document.notes ?? []).slice(0, 2).map((note) => h("p", { class: "doc-about" }, note)));
    return h("li", { dataset: { key, state } }, stateIcon(state), body, document.id && state !== "removing" && this.menu(document));
  }

  menu(document) {
    const mayRemove = document.own || this.page.may_remove;
    const items = [{ label: "Open", icon: "open", action: () => open(document.href, "_blank", "noopener") }];
    if (document.address) {
      items.push({ label: "Open on the web", icon: "globe", action: () => open(document.address, "_blank", "noopener,noreferrer") });
    }
    if (mayRemove) items.push({ label: "Remove…", icon: "trash", danger: true, action: () => this.remove(document) });
    return menuButton(iconButton("more", `More for ${document.name}`, { class: "icon-button doc-more" }), items);
  }

  async remove(document) {
    const stays = document.stays
      ? (document.address ? "The page stays on the web; it is left out from now on." : "The file itself stays where it is; it is left out from now on.")
      : "Its copy here is deleted.";
    if (!await confirmed(`Remove “${document.name}”?`, `Answers no longer come from it. ${stays}`, "Remove")) {
      if (!isSeen(window.document.activeElement)) this.words.focus({ preventScroll: true }); // its row was drawn anew
      return;
    }
    this.removing.add(document.id);
    this.show();
    this.showOwn();
    const query = this.query();
    if (document.own) query.set("own", "1");
    try {
      const done = await this.app.request("DELETE", `page/documents/${document.id}?${query}`);
      this.app.toast(`${done.name} is removed.${done.note ? ` ${done.note}` : ""}`);
      if (!done.is_done) this.watch();
    } catch (error) {
      this.app.toast(error.message);
    }
    this.removing.delete(document.id);
    await this.refresh();
    this.app.emit("documents");
    this.words.focus({ preventScroll: true });
  }

  showOwn() {
    this.own.hidden = !this.page.own.length;
    if (this.own.hidden) return;
    fill(this.own, h("h2", {}, "Files of this conversation"),
      h("ul", { class: "doc-list" }, this.page.own.map((document) => this.row(document))));
  }

  // What is being added, and what has ended and was not taken from the list.
  showAdding() {
    const rows = [...this.sending.rows(), ...this.page.adding];
    this.adding.hidden = !rows.length;
    const keyed = JSON.stringify([rows, this.page.progress]);
    if (keyed === this.keyed) return;
    this.keyed = keyed;
    const ended = rows.filter((row) => row.state === "ready" || row.state === "left out");
    const had = this.adding.contains(document.activeElement);
    const focused = had && document.activeElement.closest("[data-key]")?.dataset.key;
    fill(this.adding,
      h("div", { class: "doc-adding-head" }, h("h2", {}, this.adding.hidden ? "" : heading(rows)),
        ended.length > 1 && h("button", { type: "button", class: "quiet small", onclick: () => this.clear(ended) }, "Clear")),
      this.page.progress && h("p", { class: "doc-about" }, this.page.progress),
      h("ul", { class: "doc-list" }, rows.map((row) => this.addingRow(row))));
    if (!had) return;
    const same = focused && this.adding.querySelector(`[data-key="${CSS.escape(focused)}"] button`);
    (same || this.adding.querySelector("li button") || this.words).focus({ preventScroll: true });
  }

  addingRow(row) {
    const ended = row.state === "ready" || row.state === "left out";
    const close = iconButton("close", ended ? `Take ${row.name} from the list` : `Stop adding ${row.name}`, {
      class: "icon-button doc-more", onclick: () => this.clear([row]),
    });
    const words = row.reason ? why(row.state, row.reason) : STATES[row.state];
    return h("li", { dataset: { key: row.item, state: row.state } }, stateIcon(row.state),
      h("div", { class: "doc-body" }, h("p", { class: "doc-head" }, h("span", { class: "doc-name", title: row.name, dir: "auto" }, row.name)),
        h("p", { class: row.state === "left out" ? "doc-reason" : "doc-about" }, words)), close);
  }

  async clear(rows) {
    for (const row of rows) {
      if (this.sending.drop(row.item)) continue;
      try {
        await this.app.request("DELETE", `page/documents/adding/${row.item}`);
      } catch { /* it is gone already */ }
    }
    await this.refresh();
    if (this.isBusy()) this.watch();
  }

  // Where to add: everybody's documents and one of their collections, or this conversation.
  where() {
    const { conversation, attached } = this.app.state;
    if (!this.page.may_add_to_all || this.to?.value === "conversation") return { to: "conversation", conversation, attached };
    const name = this.collection?.value === NEW ? this.named.value.trim() : this.collection?.value;
    return { to: "all", collection: name ?? "" };
  }

  send(files) {
    if (this.collection?.value === NEW && this.where().to === "all" && !this.named.value.trim()) {
      this.named.focus();
      this.app.toast("Give the new collection a name first.");
      return;
    }
    this.sending.send(files, this.page.endings ?? []);
  }

  showAdd() {
    this.add.hidden = !this.mayAdd();
    const both = this.page.may_add_to_all && this.page.may_add_to_conversation;
    const names = this.page.collections.filter((one) => one.may_write);
    const keyed = JSON.stringify([both, this.page.may_add_to_all, names.map(({ name }) => name)]);
    if (this.add.hidden || keyed === this.addKeyed) return;
    this.addKeyed = keyed;
    const named = (control) => control.id || control.getAttribute("aria-label") || control.textContent;
    const focused = this.add.contains(document.activeElement) ? named(document.activeElement) : null;
    const was = { to: this.to?.value, collection: this.collection?.value, named: this.named?.value,
      address: this.form?.querySelector("input").value, form: this.form?.hidden === false };
    this.to = both && h("select", { id: "doc-to", onchange: () => this.fitAdd() },
      h("option", { value: "all" }, "All conversations"), h("option", { value: "conversation" }, "This conversation only"));
    const usual = names.find((one) => one.label !== one.name);
    this.collection = this.page.may_add_to_all && h("select", { id: "doc-collection", onchange: () => this.fitAdd(true) },
      h("option", { value: "" }, usual?.label ?? "Added here"),
      names.filter((one) => one !== usual).map((one) => h("option", { value: one.name }, one.label)),
      h("option", { value: NEW }, "New collection…"));
    this.named = h("input", { class: "doc-named", maxlength: "64", placeholder: "Name of the new collection", autocomplete: "off",
      "aria-label": "Name of the new collection", hidden: true });
    if (this.to && was.to) this.to.value = was.to;
    if (this.collection) {
      const made = was.collection === NEW && names.find(({ name }) => name.toLowerCase() === was.named.trim().toLowerCase());
      this.collection.value = made ? made.name : was.collection ?? "";
      if (this.collection.selectedIndex < 0) this.collection.value = "";
      this.named.value = made ? "" : was.named ?? "";
    }
    fill(this.add,
      h("h2", {}, "Add documents"),
      h("div", { class: "doc-where" },
        this.to && h("div", { class: "field" }, h("label", { for: "doc-to" }, "For"), this.to),
        this.collection && h("div", { class: "field doc-in" }, h("label", { for: "doc-collection" }, "Collection"),
          this.collection), this.named),
      h("div", { class: "doc-ways" }, this.picker("Files", "file", { multiple: true }),
        this.picker("Folder", "folder", { multiple: true, webkitdirectory: true }), this.pageButton()),
      this.pageForm(), h("p", { class: "doc-hint" }, "Or drop files and folders anywhere on this page."));
    this.form.querySelector("input").value = was.address ?? "";
    this.form.hidden = !was.form;
    if (this.web) this.web.setAttribute("aria-expanded", String(was.form));
    this.fitAdd();
    if (focused === null) return;
    const same = [...this.add.querySelectorAll("button, select, input")].find((control) => named(control) === focused);
    (isSeen(same) ? same : this.words).focus({ preventScroll: true });
  }

  fitAdd(focus = false) {
    const toAll = this.where().to === "all";
    const field = this.add.querySelector(".doc-in");
    if (field) field.hidden = !toAll;
    this.named.hidden = !toAll || this.collection?.value !== NEW;
    if (focus && !this.named.hidden) this.named.focus();
    if (this.web) this.web.hidden = !toAll;
    if (!toAll) this.form.hidden = true;
  }

  picker(label, name, attributes) {
    const input = h("input", { type: "file", class: "unseen", tabindex: "-1", "aria-hidden": "true", ...attributes,
      onchange: () => {
        this.send(picked(input.files));
        input.value = "";
      } });
    return [h("button", { type: "button", onclick: () => input.click() }, icon(name === "file" ? "upload" : name), label), input];
  }

  pageButton() {
    this.web = this.page.may_add_to_all && h("button", { type: "button", "aria-expanded": "false", onclick: () => {
      this.form.hidden = !this.form.hidden;
      this.web.setAttribute("aria-expanded", String(!this.form.hidden));
      if (!this.form.hidden) this.form.querySelector("input").focus();
    } }, icon("globe"), "Web page");
    return this.web;
  }

  pageForm() {
    const address = h("input", { type: "text", inputmode: "url", placeholder: "https://…", "aria-label": "Address of a web page",
      autocomplete: "off", autocapitalize: "none", spellcheck: "false", maxlength: "2000" });
    this.form = h("form", { class: "doc-page", hidden: true, onsubmit: async (event) => {
      event.preventDefault();
      if (!address.value.trim()) return;
      try {
        const { items } = await this.app.request("POST", "page/documents/addresses",
          { address: address.value, collection: this.where().collection });
        address.value = "";
        this.page.adding.push(...items);
        this.showAdding();
        this.watch();
      } catch (error) {
        this.app.toast(error.message);
      }
    } }, address, h("button", { type: "submit", class: "primary" }, "Add"));
    return this.form;
  }
}

// Why a document is in its state, as a sentence.
function why(state, reason) {
  if (!reason) return STATES[state];
  const said = state === "left out" ? `Left out: ${reason}` : `${reason[0].toUpperCase()}${reason.slice(1)}`;
  return /[.!?…]$/.test(said) ? said : `${said}.`;
}

function heading(rows) {
  const left = rows.filter((row) => row.state !== "ready" && row.state !== "left out").length;
  return left ? `Adding ${counted(left, "document")}` : "Added";
}

function stateIcon(state) {
  return h("span", { class: "doc-state", title: STATES[state] ?? state }, icon(ICONS[state] ?? "info"),
    h("span", { class: "unseen" }, STATES[state] ?? state));
}

// Ask before something is done; resolves to whether it is to be done.
function confirmed(question, text, yes) {
  return new Promise((resolve) => {
    const dialog = h("dialog", { class: "doc-dialog", "aria-labelledby": "doc-question" },
      h("form", { method: "dialog" }, h("h2", { id: "doc-question" }, question), h("p", {}, text),
        h("div", { class: "row" }, h("button", { value: "", autofocus: true }, "Cancel"),
          h("button", { value: "yes", class: "danger" }, yes))));
    dialog.addEventListener("close", () => {
      dialog.remove();
      resolve(dialog.returnValue === "yes");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
}
