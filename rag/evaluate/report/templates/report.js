(async () => {
  const PAGE = 50;
  const packed = Uint8Array.from(atob(document.getElementById("data").textContent.trim()), (c) => c.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  const { runs, stores } = await new Response(stream).json();
  const byId = (id) => document.getElementById(id);
  const GOOD = new Set(["right", "refused rightly", "gold in the context, no answer asked"]);
  const element = (tag, className, ...children) => {
    const made = document.createElement(tag);
    if (className) made.className = className;
    made.append(...children.filter((child) => child !== null));
    return made;
  };
  const figure = (value, digits = 2) => (value === null || value === undefined ? "–" : value.toFixed(digits));
  const options = (select, names, all) => {
    select.replaceChildren(...(all ? [new Option(all, "")] : []), ...names.map((name) => new Option(name, name)));
  };
  for (const run of runs) {
    for (const q of run.questions) {
      q.words = [q.query, q.answer, q.reference, q.qid].join(" ").toLowerCase();
    }
  }

  let found = [];
  let shown = 0;
  const choose = () => {
    const run = runs[byId("run").selectedIndex];
    const words = byId("words").value.toLowerCase().split(/\s+/).filter(Boolean);
    const outcome = byId("outcome").value;
    const source = byId("source").value;
    found = run.questions.filter((q) =>
      (!outcome || q.outcome === outcome) && (!source || q.source === source) && words.every((w) => q.words.includes(w)));
    const order = byId("order").value;
    if (order) {
      const key = order.replace("-", "");
      const sign = order.startsWith("-") ? -1 : 1;
      found = found.filter((q) => q[key] !== null && q[key] !== undefined).sort((a, b) => sign * (a[key] - b[key]));
    }
    byId("count").textContent = `${found.length} of ${run.questions.length} questions` +
      (run.n > run.questions.length ? ` (drawn evenly from ${run.n})` : "");
    shown = 0;
    byId("list").replaceChildren();
    more();
  };
  const more = () => {
    byId("list").append(...found.slice(shown, shown + PAGE).map(line));
    shown = Math.min(shown + PAGE, found.length);
    byId("more").hidden = shown >= found.length;
  };
  const marked = (q, lead) => {
    const passages = stores[runs[byId("run").selectedIndex].store];
    const citation = (number) => {
      const id = q.contexts[number - 1];
      const [title, text] = passages[id] ?? ["", ""];
      const mark = element("button", "cite", `[${number}]`);
      mark.type = "button";
      mark.title = `${title || id}${text ? `: ${text.slice(0, 200)}` : ""}`;
      mark.addEventListener("click", (event) => { event.preventDefault(); lead(id); });
      return mark;
    };
    return q.marked.length ? q.marked.map((part) => (typeof part === "number" ? citation(part) : part)) : ["–"];
  };
  const line = (q) => {
    const cards = new Map();
    const open = () => { if (details.children.length === 1) details.append(opened(q, cards)); };
    const lead = (id) => {
      details.open = true;
      open();
      cards.get(id).open = true;
      cards.get(id).firstChild.focus();
    };
    const tag = element("span", `tag ${GOOD.has(q.outcome) ? "good" : "bad"}`, q.outcome);
    const summary = element("summary", "", element("span", "", q.query || q.qid), element("span", "", ...marked(q, lead)),
      element("span", "", tag, element("span", "small", q.source ? ` ${q.source}` : "")), element("span", "small", figure(q.cos_sim)));
    const details = element("details", "question", summary);
    details.addEventListener("toggle", () => { if (details.open) open(); });
    return details;
  };
  const opened = (q, cards) => {
    const passages = stores[runs[byId("run").selectedIndex].store];
    const facts = element("p", "small",
      `${q.qid} · CosSim ${figure(q.cos_sim)} · F1 ${figure(q.f1)} · best rerank score ${figure(q.best)} · ` +
      `gold at ${q.gold_before ?? "–"} retrieved, ${q.gold_after ?? "–"} reranked` + (q.refused_by ? ` · refused by ${q.refused_by}` : ""));
    const box = element("div", "", facts);
    if (q.reference !== null && q.reference !== undefined) {
      box.append(element("div", "", element("b", "", "Reference: "), [q.reference, ...q.aliases].join(" | ")));
    }
    if (q.raw !== null && q.raw !== undefined) box.append(element("div", "", element("b", "", "Raw output"), element("pre", "", q.raw)));
    for (const [id, before, scoreBefore, after, scoreAfter] of q.passages) {
      const marks = [];
      if (q.gold.includes(id)) marks.push(element("mark", "", "gold"), " ");
      if (q.citations.includes(id)) marks.push(element("mark", "", "cited"), " ");
      if (q.contexts.includes(id)) marks.push(element("mark", "", `context ${q.contexts.indexOf(id) + 1}`), " ");
      const [title, text] = passages[id] ?? ["", null];
      const ranks = `${before === null ? "not retrieved" : `#${before} (${figure(scoreBefore, 4)})`} → ` +
        `${after === null ? "not reranked" : `#${after} (${figure(scoreAfter)})`} `;
      cards.set(id, element("details", "", element("summary", "", ranks, ...marks, `${title || ""} `, element("span", "small", id)),
        element("pre", "", text ?? "The passage's text is not in this report.")));
      box.append(cards.get(id));
    }
    if (q.prompt.length) {
      const fill = (content) => content.replace(/⟦([^⟧]*)⟧(ᵗ?)/g, (all, id, isTitle) => {
        const passage = passages[id];
        return passage ? passage[isTitle ? 0 : 1] : all;
      });
      box.append(element("details", "", element("summary", "", "Prompt"),
        ...q.prompt.map(([role, content]) => element("div", "", element("b", "", role), element("pre", "", fill(content))))));
    }
    return box;
  };
  const changeRun = () => {
    const run = runs[byId("run").selectedIndex];
    const counts = new Map();
    for (const q of run.questions) counts.set(q.outcome, (counts.get(q.outcome) || 0) + 1);
    options(byId("outcome"), [...counts.keys()], "all");
    options(byId("source"), [...new Set(run.questions.map((q) => q.source))].filter(Boolean).sort(), "all");
    choose();
  };
  options(byId("run"), runs.map((run) => run.name));
  byId("run").addEventListener("change", changeRun);
  for (const id of ["outcome", "source", "order"]) byId(id).addEventListener("change", choose);
  byId("words").addEventListener("input", choose);
  byId("more").addEventListener("click", more);
  changeRun();
})();
