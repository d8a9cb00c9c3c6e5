// Requests to the server: JSON in and out, an answer as a stream of lines.

/** The address of something below the page, wherever that is served. */
export function address(path) {
  return new URL(path.replace(/^\//, ""), new URL(".", location.href));
}

/** An error that the server has a sentence for; `status` is 0 where it could not be reached. */
export class ServerError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

async function sent(method, path, body, signal) {
  const isForm = body instanceof FormData;
  const headers = body !== undefined && !isForm ? { "Content-Type": "application/json" } : {};
  const given = body === undefined || isForm ? body : JSON.stringify(body);
  let response;
  try {
    response = await fetch(address(path), { method, headers, body: given, signal, credentials: "same-origin" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The chat cannot be reached. Is it still running?", 0);
  }
  if (!response.ok) throw new ServerError(await sentence(response), response.status);
  return response;
}

async function sentence(response) {
  const text = await response.text().catch(() => "");
  try {
    const { detail, error } = JSON.parse(text);
    if (typeof detail === "string") return detail;
    if (typeof error?.message === "string") return error.message;
  } catch { /* no JSON: the text itself */ }
  return text && text.length < 300 && !text.startsWith("<") ? text : `The chat answered with an error (${response.status}).`;
}

/** JSON from the server, null for an empty answer. Throws ServerError with the server's sentence. */
export async function request(method, path, body, signal) {
  const response = await sent(method, path, body, signal);
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

/** Send JSON and call `each` with every line of the answer, itself JSON. */
export async function lines(path, body, each, signal) {
  const response = await sent("POST", path, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      rest += value;
      const whole = rest.split("\n");
      rest = whole.pop();
      for (const line of whole) if (line) each(JSON.parse(line));
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The connection was lost. What was answered so far is kept.", 0);
  }
  if (rest) each(JSON.parse(rest));
}
