// The first view: what is indexed, questions that can be asked, and how to add documents.

import { counted, fill, h, icon } from "./dom.js";

const SECONDS = 3;
const KINDS = { // of one, and of many where that is not "s"
  pdf: ["PDF"], html: ["web page"], markdown: ["Markdown file"], text: ["text file"], docx: ["Word document"],
  pptx: ["presentation"], xlsx: ["workbook"], csv: ["table"], jsonl: ["file of rows", "files of rows"], epub: ["book"],
};

/** The first view in `element`; it is shown where a conversation has no turns. */
export function mountFirst(element, app) {
  const { config } = app;
  const questions = h("ul", { class: "suggestions", "aria-label": "Questions to begin with" });
  const status = h("p", { class: "muted", role: "status" });
  const what = h("p", { class: "what" }, ...inWords(config));
  element.append(
    h("h2", {}, config.title),
    what,
    questions,
    config.may_upload ? h("p", {}, h("button", { type: "button", onclick: () => app.show("documents") },
      icon("upload"), config.n_documents || config.n_passages ? "Add documents" : "Add your first documents")) : "",
    status,
  );
  const shown = () => !element.hidden;
  const look = async () => {
    if (!shown()) {
      setTimeout(look, SECONDS * 1000);
      return;
    }
    try {
      const now = await app.request("GET", "page/suggestions");
      offer(now.questions);
      status.textContent = now.ready ? "" : now.status;
      if (!now.is_final) setTimeout(look, SECONDS * 1000);
    } catch { /* nothing to suggest */ }
  };
  const offer = (found) => {
    const there = [...questions.querySelectorAll("button")].map((button) => button.textContent);
    if (found.join("\n") === there.join("\n")) return;
    if (questions.contains(document.activeElement)) return; // somebody is about to choose one
    fill(questions, found.map((question) => h("li", {},
      h("button", { type: "button", class: "suggestion", onclick: () => app.ask(question) }, question))));
  };
  app.on("overview", () => {
    fill(what, inWords(config));
    look();
  });
  look();
}

function inWords({ n_documents: n, n_passages: passages, kinds }) {
  if (!n) return [passages ? `${counted(passages, "passage")} to ask about.` : "There are no documents yet."];
  const most = Object.entries(kinds).sort((one, other) => other[1] - one[1]);
  const named = most.slice(0, 4).map(([kind, many]) => counted(many, ...(KINDS[kind] ?? [`${kind} file`])));
  if (most.length === 1) return [`${named[0]} to ask about.`];
  if (most.length > 4) named.push("others");
  return [`${counted(n, "document")} to ask about: ${named.join(", ")}.`];
}
