// Files on their way to the server, a few at a time; those that it cannot read are not sent.

import { counted } from "./dom.js";

const AT_ONCE = 40;
const BYTES_AT_ONCE = 24 * 2 ** 20;
const PAUSE = 1500; // milliseconds until there may be room again
const TRIES = 400;
const JUNK = /^(thumbs\.db|desktop\.ini|~\$.*|.*~)$/i;

/** Files that were chosen, each with the folder in which it lies below the one that was chosen. */
export function picked(files) {
  return [...files].map((file) => ({ file, folder: folderOf(file.webkitRelativePath ?? "") }));
}

/** The same of what was dropped, with everything in dropped folders. */
export async function dropped(transfer) {
  const entries = [...transfer.items].filter((item) => item.kind === "file").map((item) => item.webkitGetAsEntry?.());
  if (!entries.length || entries.some((entry) => !entry)) return picked(transfer.files);
  const found = [];
  for (const entry of entries) await walk(entry, "", found);
  return found;
}

async function walk(entry, folder, found) {
  if (entry.isFile) {
    const file = await new Promise((resolve) => entry.file(resolve, () => resolve(null)));
    if (file) found.push({ file, folder });
    return;
  }
  const reader = entry.createReader();
  const below = folder ? `${folder}/${entry.name}` : entry.name;
  for (;;) { // a browser gives a hundred at a time
    const part = await new Promise((resolve) => reader.readEntries(resolve, () => resolve([])));
    if (!part.length) return;
    for (const each of part) await walk(each, below, found);
  }
}

function folderOf(path) {
  return path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
}

function isHidden({ file, folder }) {
  return JUNK.test(file.name) || [...folder.split("/"), file.name].some((part) => part.startsWith(".") || part === "__MACOSX");
}

export class Sending {
  /** `where` gives the destination, `sent` is called when files have arrived, `changed` when the rows have changed. */
  constructor(app, where, sent, changed) {
    Object.assign(this, { app, where, sent, changed });
    this.left = []; // rows of what was not sent, with the reason
    this.parts = []; // what is still to be sent
    this.isBusy = false;
    this.number = 0;
  }

  rows() {
    const n = this.parts.reduce((sum, part) => sum + part.files.length, 0);
    const sending = n ? [{ item: "sending", name: counted(n, "file"), state: "waiting", reason: "Sending…" }] : [];
    return [...sending, ...this.left];
  }

  /** Take a row from the list, or stop sending; whether it was one of these. */
  drop(item) {
    if (item === "sending") {
      this.parts = [];
      this.stop?.abort();
    } else if (this.left.some((row) => row.item === item)) {
      this.left = this.left.filter((row) => row.item !== item);
    } else return false;
    this.changed();
    return true;
  }

  send(chosen, endings) {
    const seen = chosen.filter((one) => !isHidden(one));
    const reads = ({ file }) => !/\.[^.]+$/.test(file.name) || endings.some((end) => file.name.toLowerCase().endsWith(end));
    const others = seen.filter((one) => !reads(one));
    if (others.length) {
      const kinds = [...new Set(others.map(({ file }) => file.name.slice(file.name.lastIndexOf(".")).toLowerCase()))];
      const name = others.length === 1 ? others[0].file.name : counted(others.length, "file");
      this.leaveOut(name, `of kinds that are not read (${kinds.slice(0, 5).join(", ")}${kinds.length > 5 ? ", …" : ""})`);
    }
    const files = seen.filter(reads);
    if (!files.length) {
      if (!others.length) this.app.toast("There is nothing to add in there.");
      this.changed();
      return;
    }
    const where = this.where();
    for (const part of inParts(files)) this.parts.push({ ...part, where });
    this.changed();
    this.run();
  }

  async run() {
    if (this.isBusy) return;
    this.isBusy = true;
    while (this.parts.length) {
      const part = this.parts[0];
      try {
        await this.sendPart(part);
      } catch (error) {
        if (error.name !== "AbortError") {
          const name = part.files.length === 1 ? part.files[0].name : counted(part.files.length, "file");
          this.leaveOut(name, error.message);
        }
      }
      if (this.parts[0] === part) this.parts.shift();
      this.changed();
      this.sent();
    }
    this.isBusy = false;
    this.changed();
  }

  async sendPart({ files, folder, where }) {
    const form = new FormData();
    for (const file of files) form.append("files", file, file.name);
    for (let n = 0; ; n += 1) {
      const { attached } = this.app.state;
      const own = where.to === "conversation" ? { attached: where.attached || attached } : {};
      const query = new URLSearchParams(Object.entries({ ...where, ...own, folder }).filter(([, value]) => value));
      this.stop = new AbortController();
      try {
        const reply = await this.app.request("POST", `page/documents/files?${query}`, form, this.stop.signal);
        if (reply.attached && (this.app.state.conversation ?? "") === (where.conversation ?? "")) {
          this.app.state.attached = reply.attached;
        }
        return;
      } catch (error) {
        // What is on its way already leaves no room: it is read meanwhile.
        const waits = error.status === 503 || (error.status === 413 && n > 0) || (error.status === 413 && this.isWaiting?.());
        if (!waits || n >= TRIES) throw error;
        await new Promise((resolve) => setTimeout(resolve, PAUSE));
        if (!this.parts.length) throw new DOMException("stopped", "AbortError");
      }
    }
  }

  leaveOut(name, reason) {
    this.number += 1;
    this.left.push({ item: `left ${this.number}`, name, state: "left out", reason });
  }
}

/** Files in parts that are sent together: of one folder, and not too many bytes. */
function inParts(files) {
  const byFolder = new Map();
  for (const { file, folder } of files) byFolder.set(folder, [...(byFolder.get(folder) ?? []), file]);
  const parts = [];
  for (const [folder, members] of byFolder) {
    let part = null;
    for (const file of members) {
      if (!part || part.files.length >= AT_ONCE || part.bytes + file.size > BYTES_AT_ONCE) {
        part = { folder, files: [], bytes: 0 };
        parts.push(part);
      }
      part.files.push(file);
      part.bytes += file.size;
    }
  }
  return parts;
}
