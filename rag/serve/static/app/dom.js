// Small helpers to make elements. Text is always text: nothing here reads HTML, except `html`, which is for what the
// server has rendered and made safe.

const SVG = "http://www.w3.org/2000/svg";

// Paths on a grid of 24, drawn as lines.
const ICONS = {
  add: "M12 5v14M5 12h14",
  archive: "M4 5h16v4H4zM6 9v10h12V9M10 13h4",
  arrow: "M12 19V5M6 11l6-6 6 6",
  back: "M15 5l-7 7 7 7",
  book: "M5 4h9a4 4 0 0 1 4 4v12H8a3 3 0 0 1-3-3zM5 17a3 3 0 0 1 3-3h10",
  check: "M5 13l4 4 10-10",
  close: "M6 6l12 12M18 6L6 18",
  copy: "M9 9h10v10H9zM5 15V5h10",
  dark: "M20 14.5A8 8 0 0 1 9.5 4 8 8 0 1 0 20 14.5z",
  down: "M6 9l6 6 6-6",
  download: "M12 4v11M7 11l5 5 5-5M5 20h14",
  edit: "M4 20h4L19 9l-4-4L4 16zM13 7l4 4",
  file: "M7 3h7l4 4v14H7zM14 3v4h4",
  folder: "M4 6h6l2 2h8v11H4z",
  globe: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM3 12h18M12 3c3 3 3 15 0 18M12 3c-3 3-3 15 0 18",
  history: "M4 12a8 8 0 1 0 3-6.2M4 4v4h4M12 8v4l3 2",
  info: "M12 3a9 9 0 1 0 0 18 9 9 0 0 0 0-18zM12 11v5M12 8h.01",
  light: "M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2v2M12 20v2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M2 12h2M20 12h2M4.9 19.1"
    + "l1.4-1.4M17.7 6.3l1.4-1.4",
  link: "M10 14a4 4 0 0 0 6 0l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6 0l-3 3a4 4 0 0 0 6 6l1-1",
  menu: "M4 7h16M4 12h16M4 17h16",
  more: "M5 12h.01M12 12h.01M19 12h.01",
  open: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
  out: "M14 4h5v16h-5M4 12h11M11 8l4 4-4 4",
  person: "M12 4a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM4 21c0-4 4-6 8-6s8 2 8 6",
  retry: "M20 12a8 8 0 1 1-3-6.2M20 4v4h-4",
  search: "M11 4a7 7 0 1 0 0 14 7 7 0 0 0 0-14zM16 16l5 5",
  settings: "M4 7h9M19 7h1M4 17h1M11 17h9M16 4.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0 0 0 0-5zM8 14.5a2.5 2.5 0 1 0 0 5 2.5 2.5 0"
    + " 0 0 0-5z",
  stop: "M7 7h10v10H7z",
  system: "M4 5h16v11H4zM9 20h6M12 16v4",
  thumbdown: "M17 13V4H8.5L5 13v1h6l-1 6 2 1 5-8zM17 4h3v9h-3",
  thumbup: "M7 11v9h8.5l3.5-9v-1h-6l1-6-2-1-5 8zM7 20H4v-9h3",
  trash: "M5 7h14M10 4h4M7 7l1 13h8l1-13M10 11v5M14 11v5",
  up: "M6 15l6-6 6 6",
  upload: "M12 16V5M7 9l5-5 5 5M5 20h14",
  warning: "M12 4l9 16H3zM12 10v4M12 17h.01",
};

/** An element: h("button", {class: "x", onclick: f, disabled: true, "aria-label": "…"}, "text", child, [more]).
 *
 * `dataset`, `hidden` and other properties may be given as they are named in HTML; null, undefined and false leave an
 * attribute out, and such children too.
 */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "dataset") Object.assign(element.dataset, value);
    else if (name === "value" && "value" in element) element.value = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An icon as inline SVG; it says nothing to screen readers. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("aria-hidden", "true");
  svg.classList.add("icon", `icon-${name}`);
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name] ?? ICONS.info);
  svg.append(path);
  return svg;
}

/** A button with an icon alone: `label` is its name, and shown when it is pointed at. */
export function iconButton(name, label, attributes) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, ...attributes },
    icon(name));
}

/** Put HTML that the server rendered, and made safe, into an element. */
export function html(element, text) {
  element.innerHTML = text;
  return element;
}

/** Remove all children, and put these in their place. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child));
  return element;
}

/** Whether an element is on the page and not hidden: whether it can have the focus. */
export function isSeen(element) {
  return Boolean(element?.isConnected && element !== document.body && element.getClientRects().length
    && !element.closest("[inert]"));
}

/** "1 document", "1,240 documents". */
export function counted(n, one, many = `${one}s`) {
  return `${n.toLocaleString("en")} ${n === 1 ? one : many}`;
}

/** Copy text; resolves to whether that worked. Browsers give a clipboard to https and localhost alone. */
export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const focused = document.activeElement;
    const field = h("textarea", { class: "unseen", "aria-hidden": "true" });
    field.value = text;
    (document.querySelector("dialog[open]") ?? document.body).append(field);
    field.select();
    const copied = document.execCommand("copy");
    field.remove();
    focused?.focus();
    return copied;
  }
}

/** A menu below a button: items are {label, icon, action, danger}. Arrow keys move, Escape and a click outside close.
 *
 * Returns the button, with aria-haspopup; the menu is made when it is opened.
 */
export function menuButton(button, items) {
  button.setAttribute("aria-haspopup", "menu");
  button.setAttribute("aria-expanded", "false");
  let menu = null;
  const close = (back) => {
    if (!menu) return;
    menu.remove();
    menu = null;
    button.setAttribute("aria-expanded", "false");
    document.removeEventListener("pointerdown", outside, true);
    if (back) button.focus();
  };
  const outside = (event) => {
    if (!menu.contains(event.target) && !button.contains(event.target)) close(false);
  };
  const open = () => {
    const rows = (typeof items === "function" ? items() : items).map((item) => h("button", {
      type: "button", role: "menuitem", class: item.danger ? "danger" : null, tabindex: "-1",
      onclick: (event) => { event.stopPropagation(); close(true); item.action(); },
    }, item.icon ? icon(item.icon) : null, item.label));
    menu = h("div", { class: "menu", role: "menu", "aria-label": button.getAttribute("aria-label") ?? button.textContent,
      onkeydown: (event) => {
        const at = rows.indexOf(document.activeElement);
        const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: rows.length - 1 }[event.key];
        if (to !== undefined) {
          event.preventDefault();
          rows[(to + rows.length) % rows.length].focus();
        } else if (event.key === "Escape" || event.key === "Tab") {
          if (event.key === "Escape") event.preventDefault();
          event.stopPropagation();
          close(true);
        }
      } }, rows);
    (button.closest("dialog") ?? document.body).append(menu);
    const box = button.getBoundingClientRect();
    const below = box.bottom + menu.offsetHeight + 8 < innerHeight;
    menu.style.top = `${below ? box.bottom + 4 : Math.max(8, box.top - menu.offsetHeight - 4)}px`;
    menu.style.left = `${Math.max(8, Math.min(box.right - menu.offsetWidth, innerWidth - menu.offsetWidth - 8))}px`;
    button.setAttribute("aria-expanded", "true");
    document.addEventListener("pointerdown", outside, true);
    rows[0]?.focus();
  };
  button.addEventListener("click", (event) => { event.stopPropagation(); menu ? close(true) : open(); });
  return button;
}
