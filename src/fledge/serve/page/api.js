// Asks the server: JSON in and out, answers as streams of events, and a key where one is wanted.

import { button, make } from "./dom.js";

const KEY = "fledge-key"; // of sessionStorage: gone with the tab

export class ServerError extends Error {
  constructor(message, status) {
    super(message);
    this.status = status;
  }
}

export const get = (path) => request(path, {}).then((reply) => reply.json());

export const post = (path, body, signal) =>
  request(path, { method: "POST", body: JSON.stringify(body), signal }).then((reply) =>
    reply.json(),
  );

// A document: as a link where the browser may fetch it itself, as a file where only we have the
// key.
export function linkTo(path, label, name) {
  if (!sessionStorage.getItem(KEY))
    return make("a", { href: path, target: "_blank", rel: "noopener", "data-key": path }, label);
  return button(label, async () => {
    const url = URL.createObjectURL(await (await request(path, {})).blob());
    make("a", { href: url, download: name }).click();
    URL.revokeObjectURL(url);
  });
}

// The events of a stream, each parsed.
export async function* stream(path, body, signal) {
  const reply = await request(path, { method: "POST", body: JSON.stringify(body), signal });
  const reader = reply.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines) {
        if (!line.startsWith("data:")) continue;
        const data = line.slice(5).trim();
        if (data === "[DONE]") continue; // the connection's own end follows, and is waited for
        const event = JSON.parse(data);
        if (event.error) throw new ServerError(event.error.message, event.error.code);
        yield event;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

async function request(path, options) {
  const headers = options.body ? { "content-type": "application/json" } : {};
  const key = sessionStorage.getItem(KEY);
  if (key) headers.authorization = `Bearer ${key}`;
  let reply;
  try {
    reply = await fetch(path, { ...options, headers, cache: "no-store", credentials: "omit" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ServerError("The server does not answer. Is `fledge serve` still running?", 0);
  }
  if (reply.status === 401 && (await askForKey(Boolean(key)))) return request(path, options);
  if (!reply.ok) throw new ServerError(await readMessage(reply), reply.status);
  return reply;
}

async function readMessage(reply) {
  const text = await reply.text();
  try {
    const told = JSON.parse(text);
    return told.error?.message ?? told.detail ?? text;
  } catch {
    return text || `The server answered with status ${reply.status}.`;
  }
}

let asking = null; // one dialog, however many requests wait for it

function askForKey(wrong) {
  asking ??= new Promise((resolve) => {
    const field = make("input", { type: "password", id: "key", autocomplete: "off" });
    const keep = () => {
      sessionStorage.setItem(KEY, field.value);
      dialog.close("kept");
    };
    const dialog = make(
      "dialog",
      { class: "key", "aria-labelledby": "key-title" },
      make("h2", { id: "key-title" }, "This server wants its key"),
      wrong && make("p", { role: "alert" }, "The key that was given is not the server's."),
      make("label", { for: "key" }, "Key"),
      field,
      make(
        "p",
        { class: "actions" },
        button("Use it", keep, { class: "main" }),
        button("Cancel", () => dialog.close("")),
      ),
    );
    field.addEventListener("keydown", (event) => event.key === "Enter" && keep());
    dialog.addEventListener("close", () => {
      dialog.remove();
      asking = null;
      resolve(dialog.returnValue === "kept");
    });
    document.body.append(dialog);
    dialog.showModal();
  });
  return asking;
}
