// The frame: conversations at the left, sources and documents at the right. On small screens they lie over the page, one
// at a time, and Escape, a click beside them or Back closes them.

import { h, icon, iconButton, isSeen } from "./dom.js";
import { kept, keep } from "./kept.js";
import { mountTheme } from "./theme.js";

const SMALL = matchMedia("(max-width: 1023px)");
const ROOMY = matchMedia("(min-width: 1280px)");
const $ = (id) => document.getElementById(id);

/** Buttons of the bar, and `app.show(tab)`, `app.hide()`. */
export function mountFrame(app) {
  const body = document.body;
  let over = null; // the side that lies over the page, and what had the focus before
  let before = null;

  const sides = {
    left: { element: $("left"), button: iconButton("menu", "Conversations", { "aria-controls": "left" }) },
    right: { element: $("right"), button: iconButton("book", "Sources and documents", { "aria-controls": "right" }) },
  };

  const isOpen = (side) => (SMALL.matches ? over === side : body.dataset[side] !== "closed");

  const mark = () => {
    for (const [side, { element, button }] of Object.entries(sides)) {
      const open = isOpen(side);
      button.setAttribute("aria-expanded", String(open));
      element.toggleAttribute("inert", !open);
      element.classList.toggle("over", over === side);
    }
    $("main").toggleAttribute("inert", SMALL.matches && over !== null);
    body.classList.toggle("covered", SMALL.matches && over !== null);
  };

  const close = () => {
    if (over === null) return;
    over = null;
    mark();
    before?.isConnected && before.focus({ preventScroll: true });
    before = null;
  };

  const open = (side) => {
    if (SMALL.matches) {
      if (over === null) before = document.activeElement;
      over = side;
    } else {
      body.dataset[side] = "open";
      keep(`rag-${side}`, "open");
    }
    mark();
  };

  const shut = (side) => {
    if (SMALL.matches) {
      close();
      return;
    }
    body.dataset[side] = "closed";
    keep(`rag-${side}`, "closed");
    mark();
    if (sides[side].element.contains(document.activeElement)) sides[side].button.focus();
  };

  for (const side of ["left", "right"]) {
    const usual = side === "left" || ROOMY.matches ? "open" : "closed";
    body.dataset[side] = kept(`rag-${side}`) ?? usual;
    sides[side].button.addEventListener("click", () => {
      if (isOpen(side)) shut(side);
      else {
        open(side);
        if (SMALL.matches) sides[side].element.querySelector("button, a, input")?.focus();
      }
    });
    const closer = iconButton("close", side === "left" ? "Close conversations" : "Close sources and documents", {
      class: "icon-button closer", onclick: () => shut(side),
    });
    sides[side].element.querySelector(".side-head").append(closer);
  }

  $("bar-left").append(sides.left.button, iconButton("add", "New conversation", {
    class: "icon-button only-small", onclick: () => app.open(null),
  }));
  mountTheme($("bar-right"));
  $("bar-right").append(sides.right.button);
  $("shade").addEventListener("click", close);
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || document.querySelector("dialog[open]")) return;
    if (over !== null) {
      event.preventDefault();
      close();
    } else if (app.state.busy && document.activeElement === $("question")) {
      event.preventDefault();
      app.stop();
    }
  });
  SMALL.addEventListener("change", () => {
    over = null;
    mark();
  });

  const tabs = mountTabs(app);
  let from = null; // what had the focus before the panel at the right took it
  app.show = (tab) => {
    if (!$("right").contains(document.activeElement)) from = document.activeElement;
    tabs.choose(tab);
    if (!isOpen("right")) open("right");
    $(tab).focus({ preventScroll: true });
  };
  $("right").addEventListener("keydown", (event) => {
    if (event.key !== "Escape" || event.defaultPrevented || SMALL.matches || !isSeen(from)) return;
    event.preventDefault();
    from.focus({ preventScroll: true });
  });
  app.hide = close;
  app.on("source", () => app.show("sources"));
  app.on("conversation", close);
  app.on("turn", ({ began }) => began && close());
  mark();
  mountPerson(app);
}

function mountTabs(app) {
  const names = { sources: "Sources", documents: "Documents" };
  const buttons = Object.entries(names).map(([name, label]) => h("button", {
    type: "button", role: "tab", id: `tab-${name}`, "aria-controls": name, class: "tab",
    onclick: () => choose(name),
  }, label));
  const list = h("div", {
    role: "tablist", "aria-label": "Sources and documents", class: "tabs",
    onkeydown: (event) => {
      const at = buttons.indexOf(document.activeElement);
      const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (at < 0 || !step) return;
      event.preventDefault();
      const next = buttons[(at + step + buttons.length) % buttons.length];
      next.focus();
      next.click();
    },
  }, buttons);
  const choose = (chosen) => {
    for (const button of buttons) {
      const is = button.id === `tab-${chosen}`;
      button.setAttribute("aria-selected", String(is));
      button.tabIndex = is ? 0 : -1;
      $(button.getAttribute("aria-controls")).hidden = !is;
    }
    app.state.tab = chosen;
  };
  $("right-head").prepend(list);
  choose("sources");
  return { choose };
}

function mountPerson(app) {
  if (!app.config.user) return;
  $("person").append(
    h("span", { class: "person" }, icon("person"), h("span", {}, app.config.user)),
    h("a", { class: "button quiet", href: "logout" }, icon("out"), "Log out"),
  );
}
