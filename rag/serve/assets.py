"""The page's CSS and JavaScript."""

from __future__ import annotations

CSS = """
.searched, .status, footer, .score { color: var(--body-text-color-subdued); font-size: .85em; }
.problem { border-left: 3px solid #d97706; padding-left: .6em; }
.refusal { border-left: 3px solid #64748b; padding-left: .6em; }
a.cite { text-decoration: none; font-weight: 600; }
.card { border: 1px solid var(--border-color-primary); border-radius: 8px; padding: .6em .8em; margin: .5em 0; }
.card.cited { border-left: 4px solid var(--color-accent); }
.card:target, .card.flash { outline: 2px solid var(--color-accent); }
.card pre { white-space: pre-wrap; font: inherit; font-size: .9em; max-height: 16em; overflow: auto; margin: .4em 0; }
.card .badge { background: var(--color-accent); color: white; border-radius: 6px; padding: 0 .4em; font-size: .75em; }
.card .score { float: right; }
.card footer { display: flex; flex-wrap: wrap; justify-content: space-between; gap: 0 1em; }
.card .tools { display: inline-flex; gap: .8em; }
.card .tools > * { font: inherit; color: inherit; text-decoration: underline; cursor: pointer; }
.card .copy { background: none; border: 0; padding: 0; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
.listing ul { padding-left: 1.2em; font-size: .9em; } .listing summary { cursor: pointer; }
#documents-files td.download { display: none; }
#sources { max-height: 78vh; overflow-y: auto !important; }
.turn > summary { cursor: pointer; font-weight: 600; margin: .4em 0; }
"""

# A citation scrolls to its card instead of opening a page.
HEAD = """<script>
document.addEventListener("click", (event) => {
  const link = event.target.closest('a[href*="#source-"]');
  if (!link) return;
  const card = document.getElementById(link.getAttribute("href").split("#")[1]);
  event.preventDefault();
  event.stopPropagation();
  if (!card) return;
  card.closest("details").open = true;
  document.querySelectorAll(".card.flash").forEach((other) => other.classList.remove("flash"));
  card.classList.add("flash");
  card.scrollIntoView({ behavior: "smooth", block: "center" });
  card.focus({ preventScroll: true });
}, true);
// A citation is copied with the address of the passage in its document.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy[data-citation]");
  if (!button) return;
  const link = button.parentElement.querySelector("a").href;
  const text = `${button.dataset.citation} (${link})`;
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // no clipboard without https
    const field = document.createElement("textarea");
    field.value = text;
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
    button.focus();
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy citation"; }, 1500);
});
</script>"""

SAVE_TEXT = """(text) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/markdown" }));
  link.download = "conversation.md";
  link.click();
  URL.revokeObjectURL(link.href);
}"""
