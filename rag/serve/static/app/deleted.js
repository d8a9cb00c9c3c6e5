// What was deleted lately, behind a fold: each conversation can be restored, or deleted for good.

import { h } from "./dom.js";

/** The fold in `element`; `changed` is called once a conversation is back, or gone. */
export class Deleted {
  constructor(app, changed) {
    this.app = app;
    this.changed = changed;
    this.list = h("ul", {});
    this.element = h("details", { class: "conv-deleted" }, h("summary", {}, "Deleted lately"), this.list);
    this.element.addEventListener("toggle", async () => {
      await this.refresh();
      if (this.element.open) this.list.scrollIntoView({ block: "nearest" });
    });
  }

  async refresh() {
    if (!this.element.open) return;
    let found;
    try {
      found = await this.app.request("GET", "page/conversations?deleted=1");
    } catch (error) {
      this.list.replaceChildren(h("li", { class: "conv-note" }, error.message));
      return;
    }
    const rows = found.map((one) => this.row(one));
    const none = h("li", { class: "conv-note" }, "None. What you delete stays here for 7 days.");
    this.list.replaceChildren(...(rows.length ? rows : [none]));
  }

  row(one) {
    const act = async (method, path) => {
      try {
        await this.app.request(method, `page/conversations/${one.id}${path}`);
      } catch (error) {
        this.app.toast(error.message);
      }
      await this.refresh();
      this.element.querySelector("summary").focus();
      this.changed();
    };
    const restore = h("button", {
      type: "button", class: "small", "aria-label": `Restore ${one.title}`, onclick: () => act("POST", "/restore"),
    }, "Restore");
    const forever = h("button", {
      type: "button", class: "small danger", "aria-label": `Delete ${one.title} for good`,
      onclick: () => {
        const asked = `Delete “${shortened(one.title)}” for good? This cannot be undone.`;
        if (confirm(asked)) act("DELETE", "?forever=1");
      },
    }, "Delete for good");
    const title = h("span", { class: "conv-gone", title: one.title, dir: "auto" }, one.title);
    return h("li", {}, title, h("span", { class: "conv-acts" }, restore, forever));
  }
}

/** A title as it stands in a sentence. */
export function shortened(title) {
  return title.length > 40 ? `${title.slice(0, 39)}…` : title;
}
