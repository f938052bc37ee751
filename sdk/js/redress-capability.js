// A capability in JavaScript: description, dispatch, undo records, files and requests, for components built with componentize-js.
//
//     import { object, provide } from "../redress/redress-capability.js";
//
//     export const provider = provide({
//       id: "acme.notes.add",
//       title: "Add a note",
//       summary: "Adds a line to a file of notes.",
//       risk: "MEDIUM",
//       effect: "reversible",
//       idempotent: true,
//       permissions: ["fs:read", "fs:write"],
//       input: object({ path: { type: "string" }, line: { type: "string" } }),
//       output: object({ path: { type: "string" } }),
//       execute(call) {
//         const [before] = call.saveFiles(call.input.path);
//         writeText(call.input.path, (textOf(before) ?? "") + call.input.line + "\n");
//         return { path: call.input.path };
//       },
//       compensate: (call) => call.restoreFiles(),
//     });
//
// - `provide` checks the definitions when the component is built: a mistake is an error of the build.
// - What `execute` and `compensate` throw becomes a failure: a `Failure` as it is, anything else under the code `unexpected`.
// - Save before the first change, and start from what `save` returns; `call.saveFiles` does both for files.
// - Each call runs in a fresh copy of the built component: no variable keeps its value from one call to the next, and what runs
//   at the top level runs once, when the component is built.
//
// There is no `node:fs` in a component: files go through the functions below. `fetch` works if the build keeps the feature `http`, and
// traps otherwise; `request` below is `fetch` with failures that have codes.

import { append as appendRecord, save as saveRecord } from "redress:capability/undo@0.1.0";
import { get } from "redress:capability/context@0.1.0";
import { getDirectories } from "wasi:filesystem/preopens@0.2.0";

/**
 * @typedef {"LOW" | "MEDIUM" | "HIGH" | "CRITICAL"} Risk
 * @typedef {"none" | "reversible" | "irreversible"} Effect
 * @typedef {Record<string, unknown>} Schema a JSON Schema
 * @typedef {{ path: string, content: Uint8Array | null }} FileState how a file is; the content is null if there is none
 */

/**
 * One capability.
 *
 * @typedef {object} Capability
 * @property {string} id two or more segments of lower-case letters, digits, `_` or `-`, joined by dots
 * @property {string} title
 * @property {string} summary
 * @property {Risk} risk
 * @property {Effect} effect `none` changes nothing; `reversible` has `compensate`; `irreversible` is at least HIGH
 * @property {boolean} idempotent whether a second execution with the same key has no further effect
 * @property {string[]} permissions `fs:read`, `fs:write`, `http:METHODS URL`, `secret:NAME`, `config:NAME`
 * @property {Schema} input
 * @property {Schema} output
 * @property {(call: Call) => unknown} execute does the operation once; returns the output, or a promise of it
 * @property {(call: Undo) => unknown} [compensate] undoes it; must be safe to repeat
 */

/**
 * One attempt of one step.
 *
 * @typedef {object} Call
 * @property {string} capability
 * @property {any} input
 * @property {string} key the idempotency key: the same for every attempt of a step
 * @property {number} attempt 1 for the first
 * @property {number} timeoutMs how long the host will wait
 * @property {(state: unknown) => any[]} save Before the first change: keeps what brings the target back, any JSON value. Returns
 *   the records in force, of which the first is the state: this one, or those of an earlier attempt; then bring the target back
 *   to them first.
 * @property {(state: unknown) => void} append After a change: keeps what was learned, such as an id that the target chose.
 * @property {(...paths: string[]) => FileState[]} saveFiles Before the first change: saves how these files are. If an earlier
 *   attempt did, brings them back to how it found them. Returns how they are, in the order of the paths. In place of `save`.
 */

/**
 * The undoing of one step.
 *
 * @typedef {object} Undo
 * @property {string} capability
 * @property {any} input
 * @property {string} executeKey the key that `execute` was given
 * @property {string} key the key of the undo
 * @property {number} attempt
 * @property {number} timeoutMs
 * @property {any} output what `execute` returned; undefined if it is unclear whether it happened
 * @property {any[]} records the state that was saved, then what was appended; empty if nothing was saved, and so nothing changed;
 *   what `saveFiles` saved is a list of `FileState`
 * @property {() => void} restoreFiles brings the files of `saveFiles` back, byte for byte
 */

/** Why a call did not do what it was asked to do. */
export class Failure extends Error {
  /**
   * @param {string} code a word: `invalid-input`, `not-found`, `unauthorized`, `rate-limited`, `unavailable`, `conflict`,
   *   `undo_too_large`, `not-settled` (an undo that must wait), or one of your own
   * @param {string} message one sentence for a person
   * @param {{ retryable?: boolean, retryAfterMs?: number, details?: string }} [more]
   */
  constructor(code, message, { retryable = false, retryAfterMs, details } = {}) {
    super(message);
    this.name = "Failure";
    this.code = code;
    this.retryable = retryable;
    this.retryAfterMs = retryAfterMs;
    this.details = details;
  }
}

// Definitions

const KEYS = ["id", "title", "summary", "risk", "effect", "idempotent", "permissions", "input", "output", "execute", "compensate"];
const RISKS = ["LOW", "MEDIUM", "HIGH", "CRITICAL"];
const EFFECTS = ["none", "reversible", "irreversible"];

/**
 * The interface `provider` of a component that has these capabilities: export it under the name `provider`.
 *
 * @param {...Capability} capabilities
 */
export function provide(...capabilities) {
  const byId = new Map();
  for (const capability of capabilities) {
    check(capability);
    if (byId.has(capability.id)) throw new TypeError(`the capability \`${capability.id}\` is defined twice`);
    byId.set(capability.id, capability);
  }
  const told = KEYS.filter((key) => key !== "execute" && key !== "compensate");
  const described = capabilities.map((capability) => Object.fromEntries(told.map((key) => [key, capability[key]])));
  const description = JSON.stringify({ schema: 1, capabilities: described });
  const find = (id) => {
    const capability = byId.get(id);
    if (!capability) throw new Failure("not-found", `this component has no capability \`${id}\``);
    return capability;
  };
  return {
    describe: () => description,
    execute: (call) =>
      answering(async () => {
        return json(await find(call.capability).execute(callOf(call)));
      }),
    compensate: (call) =>
      answering(async () => {
        await find(call.capability).compensate?.(undoOf(call));
      }),
  };
}

function check(capability) {
  const { id, effect } = capability;
  const wrong = (what) => new TypeError(`the capability \`${id}\`: ${what}`);
  const optional = effect === "reversible" ? [] : ["compensate"];
  const missing = KEYS.filter((key) => capability[key] === undefined && !optional.includes(key));
  if (missing.length > 0) throw wrong(`without ${missing.join(", ")}`);
  const unknown = Object.keys(capability).filter((key) => !KEYS.includes(key));
  if (unknown.length > 0) throw wrong(`unknown: ${unknown.join(", ")}`);
  if (!/^[a-z0-9_-]+(\.[a-z0-9_-]+)+$/.test(id)) throw wrong("the id must be lower-case segments joined by dots");
  if (!RISKS.includes(capability.risk)) throw wrong(`the risk must be one of ${RISKS.join(", ")}`);
  if (!EFFECTS.includes(effect)) throw wrong(`the effect must be one of ${EFFECTS.join(", ")}`);
  if (effect === "irreversible" && RISKS.indexOf(capability.risk) < 2) throw wrong("what is irreversible is at least HIGH");
  if (effect === "none" && capability.compensate) throw wrong("the effect is `none`, so there is nothing to compensate");
}

/**
 * The schema of an object that has exactly these properties, all of them required but those that are named as optional.
 *
 * @param {Record<string, Schema>} properties
 * @param {{ optional?: string[] }} [more]
 * @returns {Schema}
 */
export function object(properties, { optional = [] } = {}) {
  const unknown = optional.find((name) => !(name in properties));
  if (unknown !== undefined) throw new TypeError(`there is no property \`${unknown}\` that could be optional`);
  const required = Object.keys(properties).filter((name) => !optional.includes(name));
  return { type: "object", properties, required, additionalProperties: false };
}

// Calls

function callOf(call) {
  const save = (state) => saved(encoded(state)).records();
  const saveFiles = (...paths) => {
    const now = [];
    let size = 0;
    for (const path of paths) {
      now.push(look(path));
      size += now.at(-1).content?.length ?? 0;
      if (size > MOST_SAVED) break;
    }
    // Too much fails, unless an earlier attempt saved less and has made the files grow since.
    const fits = size <= MOST_SAVED;
    const { records, earlier } = saved(packed(fits ? now : []));
    if (earlier) {
      const before = records()[0];
      before.forEach(restore);
      return before;
    }
    if (fits) return now;
    const counted = now.at(-1).path;
    throw new Failure("undo_too_large", `undoing this needs more than ${MOST_SAVED >> 20} MiB, counted up to \`${counted}\``);
  };
  return { ...common(call), save, append: (state) => undoable(() => appendRecord(encoded(state))), saveFiles };
}

function undoOf(call) {
  const records = call.undo.map(decoded);
  const output = call.output === undefined || call.output === null ? undefined : JSON.parse(call.output);
  const restoreFiles = () => records[0]?.forEach(restore);
  return { ...common(call), executeKey: call.executeKey, output, records, restoreFiles };
}

function common({ capability, input, key, attempt, timeoutMs }) {
  return { capability, input: JSON.parse(input), key, attempt, timeoutMs: Number(timeoutMs) };
}

/** Saves a record. Returns how to read those in force, and whether they are an earlier attempt's. */
function saved(own) {
  const inForce = undoable(() => saveRecord(own));
  if (inForce.length === 0) throw new Failure("undo-refused", "the host returned no undo record");
  return { records: () => inForce.map(decoded), earlier: !same(own, inForce[0]) };
}

function undoable(work) {
  try {
    return work();
  } catch (error) {
    throw new Failure("undo-refused", String(error?.payload ?? error?.message ?? error));
  }
}

/** JSON, in which numbers that have no place there are an error. */
function json(value) {
  const text = JSON.stringify(value, (key, part) => {
    if (typeof part === "number" && !Number.isFinite(part)) throw new TypeError(`\`${key}\` is ${part}, which JSON cannot hold`);
    return part;
  });
  if (text === undefined) throw new TypeError("what is returned or saved must be JSON");
  return text;
}

const encoded = (value) => new TextEncoder().encode(json(value));

function decoded(bytes) {
  return bytes[0] === 0 ? unpacked(bytes) : JSON.parse(new TextDecoder().decode(bytes));
}

// The record of files is a zero, the paths and sizes as JSON, a line feed, and the contents. It begins as no JSON does, and is not
// larger than the files.

/**
 * @param {FileState[]} states
 * @returns {Uint8Array}
 */
function packed(states) {
  const sizes = states.map(({ path, content }) => ({ path, size: content?.length ?? null }));
  const header = new TextEncoder().encode(`\0${JSON.stringify(sizes)}\n`);
  const record = new Uint8Array(states.reduce((sum, { content }) => sum + (content?.length ?? 0), header.length));
  record.set(header);
  let offset = header.length;
  for (const { content } of states) {
    if (content === null) continue;
    record.set(content, offset);
    offset += content.length;
  }
  return record;
}

/**
 * @param {Uint8Array} record
 * @returns {FileState[]}
 */
function unpacked(record) {
  let offset = record.indexOf(10) + 1;
  return JSON.parse(new TextDecoder().decode(record.subarray(1, offset))).map(({ path, size }) => {
    if (size === null) return { path, content: null };
    offset += size;
    return { path, content: record.subarray(offset - size, offset) };
  });
}

/** Runs a call; whatever is thrown becomes a failure of the contract, never a trap. */
async function answering(work) {
  try {
    return await work();
  } catch (error) {
    const known = error instanceof Failure;
    const wait = known ? error.retryAfterMs : undefined;
    throw {
      code: known ? String(error.code) : "unexpected",
      message: known ? error.message : String(error?.payload ?? error),
      retryable: known && Boolean(error.retryable),
      retryAfterMs: wait === undefined ? undefined : BigInt(Math.max(0, Math.ceil(wait))),
      details: known ? error.details : error?.stack || undefined,
    };
  }
}

// Context and log

/**
 * What the host tells of the run: `run`, `step`, `principal`, `deadline`; undefined if there is none.
 *
 * @param {string} name
 * @returns {string | undefined}
 */
export function context(name) {
  return get(name) ?? undefined;
}

/**
 * A configuration value that is asked for with `config:NAME` and granted; undefined otherwise.
 *
 * @param {string} name
 * @returns {string | undefined}
 */
export function config(name) {
  return context(`config.${name}`);
}

/**
 * Stands for a secret in the value of a header; the host puts the secret in its place. Ask for it with `secret:NAME`.
 *
 * @param {string} name
 */
export function secret(name) {
  return "${secret:" + name + "}";
}

/** Writes a line to standard error, which `redress logs` shows. Print no secrets. */
export function log(...values) {
  console.error(...values);
}

// Files

/** What is read and written at a time. */
const READ = 4 << 20;
const WRITTEN = 1 << 20;
/** What `saveFiles` keeps of all files together: several copies of it are in memory, of which a call has 64 MiB. */
const MOST_SAVED = 4 << 20;

/**
 * The content of a file; null if there is none.
 *
 * @param {string} path absolute, as the component sees it, such as `/workspace/notes.txt`
 * @returns {Uint8Array | null}
 */
export function read(path) {
  return at("read", path, (directory, name) => {
    let file;
    try {
      file = directory.openAt({ symlinkFollow: true }, name, {}, { read: true });
    } catch (error) {
      if (error?.payload === "no-entry") return null;
      throw error;
    }
    return using(file, () => {
      const chunks = [];
      let size = 0;
      for (let end = false; !end; ) {
        let bytes;
        [bytes, end] = file.read(BigInt(READ), BigInt(size));
        end ||= bytes.length === 0;
        if (bytes.length > 0) chunks.push(bytes);
        size += bytes.length;
      }
      if (chunks.length === 1) return chunks[0];
      const content = new Uint8Array(size);
      let offset = 0;
      for (const chunk of chunks) {
        content.set(chunk, offset);
        offset += chunk.length;
      }
      return content;
    });
  });
}

/**
 * The text of a file; null if there is none. Fails if it is not UTF-8.
 *
 * @param {string} path
 * @returns {string | null}
 */
export function readText(path) {
  return textOf(look(path));
}

/**
 * Makes a file or replaces its content, in place, so that its mode and owner stay. The directory must exist.
 *
 * @param {string} path
 * @param {Uint8Array} content
 */
export function write(path, content) {
  at("write", path, (directory, name) => {
    const file = directory.openAt({ symlinkFollow: true }, name, { create: true }, { write: true });
    using(file, () => {
      for (let offset = 0; offset < content.length; ) {
        offset += Number(file.write(content.subarray(offset, offset + WRITTEN), BigInt(offset)));
      }
      file.setSize(BigInt(content.length));
    });
  });
}

/**
 * The same with text, as UTF-8.
 *
 * @param {string} path
 * @param {string} text
 */
export function writeText(path, text) {
  write(path, new TextEncoder().encode(text));
}

/**
 * Removes a file; nothing happens if there is none.
 *
 * @param {string} path
 */
export function remove(path) {
  at("remove", path, (directory, name) => {
    try {
      directory.unlinkFileAt(name);
    } catch (error) {
      if (error?.payload !== "no-entry") throw error;
    }
  });
}

/**
 * The names in a directory, sorted.
 *
 * @param {string} path
 * @returns {string[]}
 */
export function list(path) {
  return at("list", path, (directory, name) =>
    using(directory.openAt({ symlinkFollow: true }, name, { directory: true }, { read: true }), (opened) =>
      using(opened.readDirectory(), (entries) => {
        const names = [];
        for (let entry = entries.readDirectoryEntry(); entry; entry = entries.readDirectoryEntry()) names.push(entry.name);
        return names.sort();
      }),
    ),
  );
}

/**
 * How a file is.
 *
 * @param {string} path
 * @returns {FileState}
 */
export function look(path) {
  return { path, content: read(path) };
}

/**
 * Brings a file back to how it was, byte for byte; changes nothing if it is so already.
 *
 * @param {FileState} state
 */
export function restore({ path, content }) {
  const now = read(path);
  if (content === null) {
    if (now !== null) remove(path);
  } else if (now === null || !same(now, content)) {
    write(path, content);
  }
}

/**
 * The content of a file as text; null if there is none. Fails if it is not UTF-8.
 *
 * @param {FileState} state
 * @returns {string | null}
 */
export function textOf({ path, content }) {
  if (content === null) return null;
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content);
  } catch {
    throw new Failure("invalid-input", `\`${path}\` is not UTF-8 text`);
  }
}

const CODES = {
  "no-entry": "not-found",
  access: "unauthorized",
  "not-permitted": "unauthorized",
  "read-only": "unauthorized",
  exist: "conflict",
  "not-empty": "conflict",
  invalid: "invalid-input",
  "is-directory": "invalid-input",
  "not-directory": "invalid-input",
  "name-too-long": "invalid-input",
  "file-too-large": "invalid-input",
  loop: "invalid-input",
  "would-block": "unavailable",
  busy: "unavailable",
  interrupted: "unavailable",
  quota: "unavailable",
  "insufficient-space": "unavailable",
};

/** Calls `work` with the granted directory that holds `path`, and the path within it. */
function at(doing, path, work) {
  const directories = getDirectories();
  try {
    let found;
    for (const [directory, guest] of directories) {
      const root = guest.endsWith("/") ? guest : `${guest}/`;
      if (`${path}/`.startsWith(root) && root.length > (found?.root.length ?? 0)) found = { directory, root };
    }
    if (!found) throw new Failure("unauthorized", `cannot ${doing} \`${path}\`: no granted directory holds it`);
    return work(found.directory, path.slice(found.root.length) || ".");
  } catch (error) {
    if (typeof error?.payload !== "string") throw error;
    const code = CODES[error.payload] ?? "io-error";
    const message = `cannot ${doing} \`${path}\`: ${error.payload.replaceAll("-", " ")}`;
    throw new Failure(code, message, { retryable: code === "unavailable" });
  } finally {
    for (const [directory] of directories) directory[Symbol.dispose]();
  }
}

/** Calls `work` with something that is closed afterwards. */
function using(resource, work) {
  try {
    return work(resource);
  } finally {
    resource[Symbol.dispose]();
  }
}

/** Whether two contents are the same. A loop over the bytes would cost a hundred times more work than the engine's own functions. */
function same(one, other) {
  if (one.length !== other.length) return false;
  const part = (bytes, offset) => bytes.subarray(offset, offset + (1 << 18)).toBase64();
  for (let offset = 0; offset < one.length; offset += 1 << 18) {
    if (part(one, offset) !== part(other, offset)) return false;
  }
  return true;
}

// Requests

/**
 * An answer to a request.
 *
 * @typedef {object} Answer
 * @property {number} status
 * @property {Headers} headers
 * @property {string} text
 * @property {any} json the body as JSON; undefined if it is none
 */

/**
 * Sends a request and reads the whole answer. A status that is not expected becomes a failure with the code that fits, and one
 * without an answer the failure `unavailable`, which may be retried. Needs the feature `http` in the build, and the permission
 * `http:METHODS URL`.
 *
 * @param {string} method
 * @param {string} url
 * @param {{ headers?: Record<string, string>, json?: unknown, body?: string | Uint8Array, expect?: number[] }} [more] `expect`: the
 *   statuses to return; without it those from 200 to 299
 * @returns {Promise<Answer>}
 */
export async function request(method, url, { headers = {}, json, body, expect } = {}) {
  const sent = { method, headers: new Headers(headers), body };
  if (json !== undefined) {
    sent.body = JSON.stringify(json);
    if (!sent.headers.has("content-type")) sent.headers.set("content-type", "application/json");
  }
  const what = `${method} ${url}`;
  let answer, text;
  try {
    answer = await fetch(url, sent);
    text = await answer.text();
  } catch (error) {
    throw new Failure("unavailable", `no answer to ${what}`, { retryable: true, details: String(error) });
  }
  const { status } = answer;
  if (expect ? !expect.includes(status) : status < 200 || status > 299) {
    const seconds = Number(answer.headers.get("retry-after") ?? NaN);
    const retryAfterMs = Number.isFinite(seconds) ? seconds * 1000 : undefined;
    const code = codeOf(status);
    const retryable = code === "unavailable" || code === "rate-limited";
    throw new Failure(code, `${what} was answered with ${status}`, { retryable, retryAfterMs, details: text.slice(0, 2000) });
  }
  let value;
  try {
    value = JSON.parse(text);
  } catch {
    // Not JSON.
  }
  return { status, headers: answer.headers, text, json: value };
}

function codeOf(status) {
  if (status === 401 || status === 403) return "unauthorized";
  if (status === 404 || status === 410) return "not-found";
  if (status === 409 || status === 412) return "conflict";
  if (status === 429) return "rate-limited";
  if (status >= 500 || status === 408) return "unavailable";
  return status >= 400 ? "invalid-input" : "unexpected-status";
}
