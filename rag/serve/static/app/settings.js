// How questions are answered: said in words, remembered in this browser; more for experts behind a fold.

import { fill, h, icon, iconButton } from "./dom.js";
import { keep, keptJson } from "./kept.js";

const DETAIL = { short: ["Short", "the fact, and where it stands"], detailed: ["Detailed", "a few sentences"] };
const STRICTNESS = {
  low: ["Answers more", "even when unsure"],
  normal: ["Balanced", "as was measured"],
  high: ["Only when sure", "or says nothing"],
};

/** The dialog, and a button in the composer that opens it and says what is set. */
export function mountSettings(app) {
  const { config } = app;
  const key = `rag-options:${config.index}`;
  const usual = () => ({
    model: "", detail: config.options.detail, strictness: "normal", collections: null, own_files: true, expert: {},
  });
  app.state.options = sound(keptJson(key), usual(), config);

  const dialog = h("dialog", { class: "sheet", "aria-labelledby": "settings-title" });
  document.body.append(dialog);
  const summary = h("button", { type: "button", class: "quiet small", "aria-haspopup": "dialog",
    onclick: () => open() });
  document.getElementById("composer-left").append(summary);

  const say = () => {
    const { model, detail, strictness, collections } = app.state.options;
    const words = [];
    const chosen = config.models.find((one) => one.name === model);
    if (chosen && config.models.length > 1) words.push(chosen.label);
    words.push(DETAIL[detail]?.[0] ?? "", strictness === "normal" ? "" : STRICTNESS[strictness]?.[0] ?? "Own strictness");
    if (collections) words.push(collections.length === 1 ? `in ${collections[0]}` : `in ${collections.length} collections`);
    const text = words.filter(Boolean).join(" · ");
    fill(summary, icon("settings"), h("span", {}, text));
    summary.setAttribute("aria-label", `How to answer: ${text}`);
    summary.title = "How to answer";
  };
  const changed = () => {
    keep(key, JSON.stringify(app.state.options));
    say();
  };
  const set = (name, value) => {
    app.state.options = { ...app.state.options, [name]: value };
    app.emit("options");
  };
  const draw = () => fill(dialog, content(app, set, () => {
    app.state.options = usual();
    app.emit("options");
    draw();
    dialog.querySelector(".sheet-foot button").focus();
  }, () => dialog.close()));
  const open = () => {
    draw();
    dialog.showModal();
  };
  dialog.addEventListener("click", (event) => {
    if (event.target === dialog) dialog.close();
  });
  app.settings = open;
  app.on("options", changed);
  app.on("overview", () => {
    app.state.options = sound(app.state.options, usual(), config);
    changed();
  });
  say();
}

// What was remembered, as far as it still means something.
function sound(given, usual, config) {
  const names = config.collections.map((one) => one.name);
  const options = { ...usual };
  if (config.models.some((one) => one.name === given.model)) options.model = given.model;
  if (given.detail in DETAIL) options.detail = given.detail;
  if (given.strictness in STRICTNESS || typeof given.strictness === "number") options.strictness = given.strictness;
  if (Array.isArray(given.collections)) {
    const there = given.collections.filter((name) => names.includes(name));
    if (there.length && there.length < names.length) options.collections = there;
  }
  if (given.own_files === false) options.own_files = false;
  if (given.expert && typeof given.expert === "object") options.expert = given.expert;
  return options;
}

function content(app, set, reset, close) {
  const { config } = app;
  const { options } = app.state;
  return [
    h("div", { class: "sheet-head" }, h("h2", { id: "settings-title" }, "How to answer"),
      iconButton("close", "Close", { onclick: close })),
    h("div", { class: "sheet-body" },
      config.models.length > 1 && models(config.models, options.model, (name) => set("model", name)),
      choice("Length of answers", "detail", DETAIL, options.detail, (name) => set("detail", name)),
      choice("When to answer", "strictness", STRICTNESS, options.strictness, (name) => set("strictness", name)),
      config.collections.length > 1 && collections(config.collections, options.collections,
        (names) => set("collections", names)),
      expert(config, options, set)),
    h("div", { class: "sheet-foot" }, h("button", { type: "button", class: "quiet", onclick: reset }, "As usual"),
      h("button", { type: "button", class: "primary", onclick: close }, "Done")),
  ];
}

function models(offered, chosen, set) {
  return h("label", { class: "field" }, h("span", {}, "Model"), h("select", {
    onchange: (event) => set(event.target.value),
  }, offered.map((one) => h("option", { value: one.name, selected: one.name === chosen }, one.label))));
}

function choice(title, name, words, chosen, set) {
  return h("fieldset", { class: "choice" }, h("legend", {}, title),
    Object.entries(words).map(([value, [label, what]]) => h("label", {},
      h("input", { type: "radio", name: `option-${name}`, value, checked: value === chosen, onchange: () => set(value) }),
      h("span", {}, h("b", {}, label), h("small", {}, what)))));
}

function collections(offered, chosen, set) {
  const boxes = offered.map((one) => h("input", {
    type: "checkbox", value: one.name, checked: !chosen || chosen.includes(one.name),
    onchange: () => {
      const names = boxes.filter((box) => box.checked).map((box) => box.value);
      if (!names.length) { // one at least is searched
        for (const box of boxes) box.checked = true;
      }
      set(names.length && names.length < offered.length ? names : null);
    },
  }));
  return h("fieldset", { class: "choice compact" }, h("legend", {}, "Search in"),
    offered.map((one, n) => h("label", {}, boxes[n],
      h("span", {}, h("b", {}, one.name), h("small", {}, `${one.n.toLocaleString("en")} documents`)))));
}

function expert(config, options, set) {
  const given = { ...options.expert };
  const own = (name, value) => {
    given[name] = value;
    set("expert", given);
  };
  const number = (name, label, most) => h("label", { class: "field" }, h("span", {}, label), h("input", {
    type: "number", min: "1", max: String(most), value: String(given[name] ?? config.options[name]),
    onchange: (event) => {
      const value = Math.round(Math.min(Math.max(Number(event.target.value) || config.options[name], 1), most));
      event.target.value = String(value);
      own(name, value);
    },
  }));
  const percent = typeof options.strictness === "number" ? Math.round(options.strictness * 100) : "";
  return h("details", { class: "expert" }, h("summary", {}, "For experts"),
    h("label", { class: "field" }, h("span", {}, "Search by"), h("select", {
      onchange: (event) => own("retriever", event.target.value),
    }, config.options.retrievers.map(([name, label]) => h("option", {
      value: name, selected: name === (given.retriever ?? config.options.retriever),
    }, label)))),
    number("retrieve", "Passages found", 200),
    number("rerank", "Passages compared", 200),
    number("contexts", "Passages read for the answer", 10),
    h("label", { class: "field" }, h("span", {}, "Strictness in per cent (0 never refuses by score; empty: as above)"),
      h("input", {
        type: "number", min: "0", max: "100", value: String(percent),
        onchange: (event) => {
          const value = event.target.value.trim();
          set("strictness", value === "" ? "normal" : Math.min(Math.max(Number(value), 0), 100) / 100);
        },
      })));
}
