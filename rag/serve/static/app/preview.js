// What a citation shows when it is pointed at, or has the focus: title, file and page, and the sentence.

import { fill, h } from "./dom.js";

const DELAY = 150; // milliseconds, so that nothing flickers below a pointer that passes
const GAP = 6;
let box = null;
let shownFor = null;
let timer = 0;

/** Show previews for the citations inside an element; `sourceOf` gives the source of a button. */
export function previewOf(element, sourceOf) {
  const cite = (event) => event.target.closest?.("button.cite");
  element.addEventListener("pointerover", (event) => {
    const button = cite(event);
    if (!button || event.pointerType === "touch" || button === shownFor) return;
    clearTimeout(timer);
    timer = setTimeout(() => show(button, sourceOf(button)), DELAY);
  });
  element.addEventListener("pointerout", (event) => {
    if (cite(event) && !event.relatedTarget?.closest?.("#preview")) later();
  });
  element.addEventListener("focusin", (event) => {
    const button = cite(event);
    if (button?.matches(":focus-visible")) show(button, sourceOf(button));
  });
  element.addEventListener("focusout", (event) => cite(event) && hide());
  element.addEventListener("click", (event) => cite(event) && hide());
}

function later() {
  clearTimeout(timer);
  timer = setTimeout(hide, DELAY);
}

function made() {
  if (box) return box;
  box = h("div", { id: "preview", role: "tooltip", hidden: true, onpointerenter: () => clearTimeout(timer), onpointerleave: later });
  (document.querySelector("main") ?? document.body).append(box);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || box.hidden) return;
    event.preventDefault(); // it closes the preview, and nothing else
    hide();
  }, true);
  document.addEventListener("scroll", () => (shownFor && shownFor === document.activeElement ? place() : hide()), true);
  addEventListener("resize", hide);
  return box;
}

function show(button, source) {
  clearTimeout(timer);
  if (!source || !button.isConnected) return;
  hide();
  const where = [source.file === source.title ? "" : source.file, source.page ? `page ${source.page}` : ""];
  fill(made(),
    h("b", { dir: "auto" }, source.title),
    h("span", { class: "where" }, where.filter(Boolean).join(", ")),
    source.sentence ? h("q", { dir: "auto" }, source.sentence) : null);
  box.hidden = false;
  shownFor = button;
  place();
  button.setAttribute("aria-describedby", "preview");
}

// Beside its citation. One that the Tab key reaches may only now be scrolled to where it is seen.
function place() {
  const at = shownFor.getBoundingClientRect();
  const above = at.top - box.offsetHeight - GAP;
  box.style.top = `${above > GAP ? above : at.bottom + GAP}px`;
  box.style.left = `${Math.max(GAP, Math.min(at.left, innerWidth - box.offsetWidth - GAP))}px`;
}

function hide() {
  clearTimeout(timer);
  if (!box || box.hidden) return;
  box.hidden = true;
  shownFor?.removeAttribute("aria-describedby");
  shownFor = null;
}
