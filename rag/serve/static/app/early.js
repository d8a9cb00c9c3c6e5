// Before anything is drawn: light or dark, as chosen here before; else as the system has it.
try {
  const chosen = localStorage.getItem("rag-theme");
  if (chosen === "light" || chosen === "dark") document.documentElement.dataset.theme = chosen;
} catch { /* a browser that keeps nothing */ }
