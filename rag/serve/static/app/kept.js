// What this browser remembers, where it remembers anything at all.

export function kept(name) {
  try {
    return localStorage.getItem(name);
  } catch {
    return null;
  }
}

export function keep(name, value) {
  try {
    if (value === null) localStorage.removeItem(name);
    else localStorage.setItem(name, value);
  } catch { /* a browser that keeps nothing */ }
}

export function keptJson(name) {
  try {
    const value = JSON.parse(kept(name) ?? "null");
    return value && typeof value === "object" ? value : {};
  } catch {
    return {};
  }
}
