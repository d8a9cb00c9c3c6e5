// A citation scrolls to its card instead of opening a page.
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

// "Copy citation" copies the citation with the address of the passage in its document.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("button.copy[data-citation]");
  if (!button) return;
  const link = button.parentElement.querySelector("a").href;
  const text = `${button.dataset.citation} (${link})`;
  try {
    await navigator.clipboard.writeText(text);
  } catch {  // browsers give a clipboard to https and localhost alone
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

//# sourceURL=page.js
