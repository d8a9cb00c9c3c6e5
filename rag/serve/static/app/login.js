// The login: name and password go to the server, and the page opens.

import { address } from "./net.js";

const form = document.getElementById("login");
const problem = document.getElementById("problem");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = form.querySelector("button");
  button.disabled = true;
  problem.textContent = "";
  try {
    const body = new URLSearchParams(new FormData(form));
    const response = await fetch(address("login"), { method: "POST", body, credentials: "same-origin" });
    if (response.ok) {
      location.reload();
      return;
    }
    problem.textContent = response.status === 429
      ? "Too many tries. Wait a minute, then try again."
      : "Name or password is wrong.";
  } catch {
    problem.textContent = "The chat cannot be reached. Is it still running?";
  }
  button.disabled = false;
  form.elements.password.select();
});
