// Light or dark: as the system has it, unless a person chooses.

import { icon, iconButton, menuButton } from "./dom.js";
import { kept, keep } from "./kept.js";
import { address } from "./net.js";

const NAMES = { system: "As the system", light: "Light", dark: "Dark" };

const YEAR = 365 * 24 * 3600; // seconds

function set(choice) {
  if (choice === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = choice;
  // For the pages of sources, which hold no script: the server reads it (rag/serve/source_pages.py).
  const lasts = choice === "system" ? 0 : YEAR;
  const secure = location.protocol === "https:" ? "; secure" : "";
  document.cookie = `rag-theme=${choice}; path=${address(".").pathname}; max-age=${lasts}; samesite=lax${secure}`;
}

/** A button with a menu of three, put into `element`. */
export function mountTheme(element) {
  let choice = kept("rag-theme") ?? "system";
  if (!(choice in NAMES)) choice = "system";
  set(choice);
  const button = iconButton(choice, `Appearance: ${NAMES[choice]}`, {});
  menuButton(button, () => Object.entries(NAMES).map(([name, label]) => ({
    label: name === choice ? `${label} ✓` : label,
    icon: name,
    action: () => {
      choice = name;
      keep("rag-theme", name === "system" ? null : name);
      set(name);
      button.replaceChildren(icon(name));
      button.setAttribute("aria-label", `Appearance: ${label}`);
      button.title = `Appearance: ${label}`;
    },
  })));
  element.append(button);
}
