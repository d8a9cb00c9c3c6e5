// Thumbs below an answer, thanks, and why an answer is bad.

import { fill, h, iconButton } from "./dom.js";

const WHAT_FOR = "It is kept with this conversation. Whoever runs this chat can tune with it when to answer, and which "
  + "passages to find.";
// What is kept, and how it is called here.
const REASONS = {
  answered: [
    ["Wrong source", "Wrong source"],
    ["Wrong answer", "Wrong answer"],
    ["Incomplete", "Something is missing"],
    ["Should have refused", "The documents do not say this"],
  ],
  refused: [["Should have answered", "The documents do say it"]],
};

/** Two buttons; what they lead to is shown in `own.judged`. */
export function judging(own, view, app) {
  const path = `page/conversations/${encodeURIComponent(view.conversation)}/turns/${view.number}/feedback`;
  const state = { value: view.feedback ?? null };
  const send = async (value, reason = "", comment = "") => {
    try {
      await app.request("POST", path, { value, reason, comment });
    } catch (error) {
      app.toast(error.message);
      return false;
    }
    state.value = value;
    own.view.feedback = value;
    const shown = app.state?.views?.get(view.number);
    if (shown) shown.feedback = value;
    mark();
    return true;
  };
  const choose = async (value) => {
    if (state.value === value) {
      if (await send(null)) fill(own.judged);
    } else if (await send(value)) thank(own, view, app, value, send);
  };
  const up = iconButton("thumbup", "Good answer", { dataset: { tool: "up" }, onclick: () => choose(1) });
  const down = iconButton("thumbdown", "Bad answer", { dataset: { tool: "down" }, onclick: () => choose(-1) });
  const mark = () => {
    up.setAttribute("aria-pressed", String(state.value === 1));
    down.setAttribute("aria-pressed", String(state.value === -1));
  };
  mark();
  return [up, down];
}

function thank(own, view, app, value, send) {
  const thanks = h("p", {}, h("b", {}, "Thank you. "), WHAT_FOR);
  app.announce?.("Thank you.");
  if (value > 0) {
    fill(own.judged, h("div", { class: "thanks" }, thanks));
    return;
  }
  let chosen = "";
  const buttons = (REASONS[view.state] ?? REASONS.answered).map(([reason, label]) => {
    const button = h("button", {
      type: "button", class: "reason", "aria-pressed": "false",
      onclick: async () => {
        chosen = chosen === reason ? "" : reason;
        for (const other of buttons) other.setAttribute("aria-pressed", String(chosen !== "" && other === button));
        await send(-1, chosen, comment.value);
      },
    }, label);
    return button;
  });
  const comment = h("input", { type: "text", maxlength: "1000", "aria-label": "What was wrong, in your words",
    placeholder: "In your words (optional)" });
  fill(own.judged, h("form", {
    class: "thanks",
    onsubmit: async (event) => {
      event.preventDefault();
      if (await send(-1, chosen, comment.value)) {
        fill(own.judged, h("div", { class: "thanks" }, h("p", {}, h("b", {}, "Thank you. "), WHAT_FOR)));
        app.announce?.("Thank you.");
        own.tools.querySelector('[data-tool="down"]')?.focus();
      }
    },
  }, thanks, h("div", { class: "reasons", role: "group", "aria-label": "What was wrong?" }, buttons),
  h("div", { class: "comment" }, comment, h("button", { type: "submit", class: "small" }, "Send"))));
  own.judged.scrollIntoView({ block: "nearest" });
}
