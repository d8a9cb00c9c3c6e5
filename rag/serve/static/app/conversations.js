// The kept conversations: a list grouped by day, with a menu for each, and a search.

import { Deleted, shortened } from "./deleted.js";
import { h, icon, iconButton, menuButton } from "./dom.js";

const LISTED = 100;
const DAY = 24 * 3600 * 1000;
const TYPING = 200; // milliseconds without a key before it is searched

export function mountConversations(element, app) {
  new Conversations(element, app);
}

function newButton(app) {
  return h("button", { type: "button", class: "conv-new", onclick: () => app.open(null) },
    icon("add"), "New conversation");
}

class Conversations {
  constructor(element, app) {
    this.app = app;
    this.found = [];
    this.asked = 0; // requests for the list so far: only the latest one's answer is shown
    this.more = false;
    this.searched = ""; // the words by which they were found
    this.words = h("input", {
      type: "search", class: "conv-words", placeholder: "Search conversations", "aria-label": "Search conversations",
      maxlength: "200", autocomplete: "off", spellcheck: "false",
    });
    this.status = h("p", { class: "conv-note", role: "status" });
    this.list = h("div", { class: "conv-list" });
    this.deleted = new Deleted(app, () => this.refresh());
    const goes = "Conversations are not kept here: they go when the chat ends, or after a day.";
    const top = h("div", { class: "conv-top" }, newButton(app), this.words);
    element.append(top, this.status, this.list, this.deleted.element);
    if (!app.config.keeps_history) element.append(h("p", { class: "conv-note" }, goes));
    this.words.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.refresh(), TYPING);
    });
    this.words.addEventListener("keydown", (event) => {
      if (event.key === "ArrowDown") {
        event.preventDefault();
        this.links()[0]?.focus();
      } else if (event.key === "Escape" && this.words.value) {
        event.preventDefault();
        event.stopPropagation();
        this.words.value = "";
        this.refresh();
      }
    });
    this.list.addEventListener("keydown", (event) => this.move(event));
    this.list.addEventListener("focusin", (event) => {
      const to = event.target.closest("[data-id]");
      if (to) for (const row of this.list.querySelectorAll("[data-id]")) this.stop(row, row === to);
    });
    app.on("conversation", ({ id, title }) => {
      this.mark();
      const known = this.found.find((one) => one.id === id);
      if (id && known?.title !== title) this.refresh();
    });
    app.on("turn", () => this.refresh());
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.refresh(); // another page may have changed them
    });
    this.refresh();
  }

  // The list as it is now; `further` adds the next ones to it.
  async refresh({ further = false } = {}) {
    const asked = ++this.asked;
    const words = this.words.value.trim();
    const offset = further ? this.found.length : 0;
    const limit = further ? LISTED : Math.max(LISTED, Math.ceil(this.found.length / LISTED) * LISTED);
    let found = [];
    try {
      for (let at = offset; at < offset + limit; at += LISTED) {
        const query = new URLSearchParams({ query: words, offset: String(at), limit: String(LISTED) });
        const part = await this.app.request("GET", `page/conversations?${query}`);
        found = found.concat(part);
        this.more = part.length === LISTED;
        if (!this.more) break;
      }
    } catch (error) {
      if (asked === this.asked) this.status.textContent = error.message;
      return;
    }
    if (asked !== this.asked) return;
    this.found = further ? this.found.concat(found) : found;
    this.searched = words;
    const behind = further && document.activeElement?.classList.contains("conv-further");
    this.show();
    if (behind) this.links()[offset]?.focus(); // the first of those that came
  }

  show() {
    if (this.list.querySelector(".conv-rename")) return; // somebody is typing a title
    const n = this.found.length;
    if (this.searched) {
      this.status.textContent = n ? `${n}${this.more ? "+" : ""} found` : `Nothing found for “${this.searched}”.`;
    } else this.status.textContent = n ? "" : "No conversations yet.";
    const focused = this.list.contains(document.activeElement) ? document.activeElement : null;
    const row = focused?.closest("[data-id]")?.dataset.id;
    const was = focused && (focused.classList.contains("conv-more") ? ".conv-more" : ".conv-open");
    const sections = [];
    for (const [name, members] of byDay(this.found, new Date())) {
      const id = `conv-day-${sections.length}`;
      const rows = members.map((one) => this.row(one));
      sections.push(h("section", {}, h("h3", { id }, name), h("ul", { "aria-labelledby": id }, ...rows)));
    }
    if (this.more) {
      sections.push(h("button", {
        type: "button", class: "conv-further small", onclick: () => this.refresh({ further: true }),
      }, "Show more"));
    }
    this.list.replaceChildren(...sections);
    this.mark();
    if (row) this.rowOf(row)?.querySelector(was)?.focus();
  }

  row(one) {
    const name = one.title || "Untitled";
    const href = `?c=${encodeURIComponent(one.id)}`;
    const link = h("a", { class: "conv-open", href, title: name, dir: "auto" }, name);
    link.addEventListener("click", (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey || event.button) return; // a tab or window of its own
      event.preventDefault();
      this.app.open(one.id);
    });
    const more = menuButton(iconButton("more", `More for ${name}`, { class: "icon-button conv-more" }), [
      { label: "Rename", icon: "edit", action: () => this.rename(one) },
      { label: "Export as Markdown", icon: "download", action: () => this.save(one) },
      { label: "Delete", icon: "trash", danger: true, action: () => this.delete(one) },
    ]);
    return h("li", { "data-id": one.id }, link, more);
  }

  save(one) {
    const href = `page/conversations/${encodeURIComponent(one.id)}/export.md`;
    const link = h("a", { href, hidden: true }); // what comes says that it is a file, and its name
    document.body.append(link);
    link.click();
    link.remove();
  }

  rename(one) {
    const row = this.rowOf(one.id);
    if (!row) return;
    const field = h("input", { class: "conv-rename", value: one.title, maxlength: "80", "aria-label": "New title" });
    const link = row.querySelector(".conv-open");
    let ended = false;
    const end = async (saves) => {
      if (ended) return;
      ended = true;
      const hadFocus = document.activeElement === field;
      const title = field.value.trim();
      field.replaceWith(link);
      if (hadFocus) link.focus();
      if (saves && title && title !== one.title) {
        try {
          const renamed = await this.app.request("PATCH", `page/conversations/${one.id}`, { title });
          this.app.emit("renamed", { id: one.id, title: renamed.title });
        } catch (error) {
          this.app.toast(error.message);
        }
      }
      this.refresh();
    };
    field.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && !event.isComposing) {
        event.preventDefault();
        end(true);
      } else if (event.key === "Escape") {
        event.preventDefault();
        end(false);
      }
      event.stopPropagation();
    });
    field.addEventListener("blur", () => end(true));
    link.replaceWith(field);
    field.focus();
    field.setSelectionRange(0, field.value.length, "backward"); // so that its beginning is seen
  }

  async delete(one) {
    const links = this.links();
    const at = links.findIndex((link) => link.closest("[data-id]").dataset.id === one.id);
    const next = (links[at + 1] ?? links[at - 1])?.closest("[data-id]").dataset.id;
    const wasOpen = this.app.state.conversation === one.id;
    try {
      await this.app.request("DELETE", `page/conversations/${one.id}`);
    } catch (error) {
      this.app.toast(error.message);
      return;
    }
    if (wasOpen) this.app.open(null);
    this.found = this.found.filter((other) => other.id !== one.id);
    this.show();
    if (!wasOpen) ((next && this.rowOf(next)?.querySelector(".conv-open")) || this.words).focus();
    this.refresh();
    this.deleted.refresh();
    this.app.toast(`Deleted “${shortened(one.title)}”.`, {
      label: "Undo",
      action: async () => {
        try {
          await this.app.request("POST", `page/conversations/${one.id}/restore`);
        } catch (error) {
          this.app.toast(error.message);
        }
        await this.refresh();
        this.deleted.refresh();
        if (wasOpen) this.app.open(one.id);
        else this.rowOf(one.id)?.querySelector(".conv-open")?.focus();
      },
    });
  }

  // Arrow keys go from row to row: the list is one stop of the Tab key, and the menu of the row in it the next.
  move(event) {
    const row = event.target.closest?.("[data-id]");
    if (!row || event.target.matches("input")) return;
    const links = this.links();
    const at = links.indexOf(row.querySelector(".conv-open"));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: links.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      if (to < 0) this.words.focus();
      else if (to < links.length) links[to].focus();
      else this.list.querySelector(".conv-further")?.focus();
    } else if (event.key === "ArrowRight" || event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey)) {
      event.preventDefault();
      row.querySelector(".conv-more").click();
    } else if (event.key === "F2" || event.key === "Delete") {
      event.preventDefault();
      const one = this.found.find((each) => each.id === row.dataset.id);
      if (event.key === "F2") this.rename(one);
      else this.delete(one);
    }
  }

  links() {
    return [...this.list.querySelectorAll(".conv-open")];
  }

  rowOf(id) {
    return [...this.list.querySelectorAll("[data-id]")].find((row) => row.dataset.id === id);
  }

  // Which row is open, and which one the Tab key stops at.
  mark() {
    const open = this.app.state.conversation;
    const rows = [...this.list.querySelectorAll("[data-id]")];
    const stop = rows.find((row) => row.contains(document.activeElement))
      ?? rows.find((row) => row.dataset.id === open) ?? rows[0];
    for (const row of rows) {
      const link = row.querySelector(".conv-open");
      row.classList.toggle("is-open", row.dataset.id === open);
      if (link && row.dataset.id === open) link.setAttribute("aria-current", "page");
      else link?.removeAttribute("aria-current");
      this.stop(row, row === stop);
    }
  }

  stop(row, is) {
    for (const each of row.querySelectorAll(".conv-open, .conv-more")) each.tabIndex = is ? 0 : -1;
  }
}

// Groups of conversations, the latest first: [[name, members]]. Days are those of the reader's own clock.
export function byDay(found, now) {
  const groups = new Map();
  const today = new Date(now.getFullYear(), now.getMonth(), now.getDate()).getTime();
  for (const one of found) {
    const at = new Date(one.updated);
    const days = Math.round((today - new Date(at.getFullYear(), at.getMonth(), at.getDate()).getTime()) / DAY);
    let name;
    if (days <= 0) name = "Today";
    else if (days === 1) name = "Yesterday";
    else if (days <= 7) name = "Previous 7 days";
    else {
      const year = at.getFullYear() === now.getFullYear() ? undefined : "numeric";
      name = new Intl.DateTimeFormat("en", { month: "long", year }).format(at);
    }
    if (!groups.has(name)) groups.set(name, []);
    groups.get(name).push(one);
  }
  return [...groups];
}
