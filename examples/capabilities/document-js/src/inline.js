// Markdown within a line: emphasis, code, links, images, escapes. All text is escaped, whatever it looks like.

/** How deep links and images are nested at most; what is deeper is text. */
const DEEPEST = 8;

const SPECIAL = /[\\\n`<![*_~]/g;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const AUTOLINK = /<((?:https?:\/\/|mailto:)[^\s<>]*|[\w.+-]+@[\w-]+(?:\.[\w-]+)+)>/y;
const ENTITIES = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

/** Text as HTML that shows it, also within the quotes of an attribute. */
export function escaped(text) {
  return /[&<>"']/.test(text) ? text.replace(/[&<>"']/g, (character) => ENTITIES[character]) : text;
}

/** What a reader sees of HTML that `inline` made. */
export function plain(html) {
  const text = html.replace(/<img[^>]* alt="([^"]*)"[^>]*>/g, "$1").replace(/<[^>]*>/g, "");
  const back = Object.fromEntries(Object.entries(ENTITIES).map(([character, entity]) => [entity, character]));
  return text.replace(/&(?:amp|lt|gt|quot|#39);/g, (entity) => back[entity]);
}

/**
 * The HTML of a text.
 *
 * @param {string} text
 * @param {Map<string, { target: string, title?: string }>} links the links that are defined elsewhere in the document, by name
 */
export function inline(text, links, depth = 0, inLink = false) {
  // Pieces of HTML, and runs of `*`, `_` and `~` of which `emphasized` makes tags.
  const pieces = [];
  const ends = depth < DEEPEST && text.includes("[") ? brackets(text) : new Map();
  let at = 0;
  let from = 0;
  const flush = (to) => {
    if (to > from) pieces.push(escaped(text.slice(from, to)));
  };
  const put = (html, next) => {
    flush(at);
    pieces.push(html);
    at = from = next;
  };
  while (at < text.length) {
    SPECIAL.lastIndex = at;
    at = SPECIAL.test(text) ? SPECIAL.lastIndex - 1 : text.length;
    const character = text[at];
    if (character === undefined) break;
    if (character === "\\" && text[at + 1] === "\n") put("<br>\n", at + 2);
    else if (character === "\\" && PUNCTUATION.test(text[at + 1] ?? "")) put(escaped(text[at + 1]), at + 2);
    else if (character === "\n") {
      const spaces = /[ ]*$/.exec(text.slice(Math.max(from, at - 80), at))[0].length;
      flush(at - spaces);
      from = at;
      put(spaces >= 2 ? "<br>\n" : "\n", at + 1);
    } else if (character === "`") {
      const span = codeSpan(text, at);
      if (span.html !== null) put(span.html, span.next);
      else at = span.next;
    } else if (character === "<" && !inLink && matchAt(AUTOLINK, text, at)) {
      const [whole, target] = matchAt(AUTOLINK, text, at);
      const to = /^(https?:|mailto:)/.test(target) ? target : `mailto:${target}`;
      put(`<a href="${escaped(to)}">${escaped(target)}</a>`, at + whole.length);
    } else if (character === "!" && text[at + 1] === "[" && ends.has(at + 1)) {
      const found = destination(text, at + 1, ends, links);
      const shown = found && plain(inline(found.text, links, depth + 1, true));
      if (found) put(`<img src="${escaped(safe(found.target))}" alt="${escaped(shown)}"${titleOf(found)}>`, found.next);
      else at += 1;
    } else if (character === "[" && !inLink && ends.has(at)) {
      const found = destination(text, at, ends, links);
      const inner = found && inline(found.text, links, depth + 1, true);
      if (found) put(`<a href="${escaped(safe(found.target))}"${titleOf(found)}>${inner}</a>`, found.next);
      else at += 1;
    } else if (character === "*" || character === "_" || character === "~") {
      let end = at;
      while (text[end] === character) end += 1;
      flush(at);
      pieces.push(run(text, at, end));
      at = from = end;
    } else at += 1;
  }
  flush(text.length);
  return emphasized(pieces);
}

function matchAt(pattern, text, at) {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

const titleOf = ({ title }) => (title === undefined ? "" : ` title="${escaped(title)}"`);

/** A target that can do no harm: on the web, mail, or relative; anything else, such as `javascript:`, leads nowhere. */
function safe(target) {
  const seen = target.replace(/[\u0000-\u0020\u007f-\u009f]/g, "");
  const scheme = /^([^/?#]*?):/.exec(seen);
  return !scheme || /^(https?|mailto)$/i.test(scheme[1]) ? seen : "#";
}

/** A code span that begins at `at`, or how many backticks to take as text. */
function codeSpan(text, at) {
  let open = at;
  while (text[open] === "`") open += 1;
  const ticks = open - at;
  for (let close = text.indexOf("`", open); close >= 0; close = text.indexOf("`", close)) {
    let end = close;
    while (text[end] === "`") end += 1;
    if (end - close === ticks) {
      let code = text.slice(open, close).replaceAll("\n", " ");
      if (code.startsWith(" ") && code.endsWith(" ") && code.trim() !== "") code = code.slice(1, -1);
      return { html: `<code>${escaped(code)}</code>`, next: end };
    }
    close = end;
  }
  return { html: null, next: open };
}

/** For each `[` the place of its `]`. */
function brackets(text) {
  const ends = new Map();
  const open = [];
  for (const { 0: mark, index } of text.matchAll(/\\.|\[|\]/gs)) {
    if (mark === "[") open.push(index);
    else if (mark === "]" && open.length > 0) ends.set(open.pop(), index);
  }
  return ends;
}

const INLINE_TARGET = /\(\s*(?:<([^<>\n]*)>|((?:[^\s()\\]|\\.|\([^\s()]*\))*))(?:\s+"((?:[^"\\]|\\.)*)"|\s+'((?:[^'\\]|\\.)*)')?\s*\)/y;
const unescaped = (text) => text.replace(/\\([!-/:-@[-`{-~])/g, "$1");

/** Where a link leads whose text begins at `at`: `[text](target "title")`, `[text][name]` or `[name]`. */
function destination(text, at, ends, links) {
  const end = ends.get(at);
  const shown = text.slice(at + 1, end);
  const found = matchAt(INLINE_TARGET, text, end + 1);
  if (found) {
    const title = found[3] ?? found[4];
    const target = unescaped(found[1] ?? found[2] ?? "");
    return { text: shown, target, title: title && unescaped(title), next: end + 1 + found[0].length };
  }
  const second = text[end + 1] === "[" ? ends.get(end + 1) : undefined;
  const name = (second === undefined ? "" : text.slice(end + 2, second)) || shown;
  const defined = links.get(name.trim().toLowerCase());
  return defined ? { ...defined, text: shown, next: (second ?? end) + 1 } : null;
}

/** A run of marks, and whether it can open or close emphasis, as CommonMark has it. */
function run(text, at, end) {
  const mark = text[at];
  const [before, after] = [text[at - 1] ?? " ", text[end] ?? " "];
  const space = (character) => /\s/.test(character);
  const sign = (character) => /[!-/:-@[-`{-~\u00a1-\u00bf\u2010-\u2064\u20a0-\u2bff\u3001-\u303f]/.test(character);
  const left = !space(after) && (!sign(after) || space(before) || sign(before));
  const right = !space(before) && (!sign(before) || space(after) || sign(after));
  const within = mark === "_";
  const opens = left && (!within || !right || sign(before));
  const closes = right && (!within || !left || sign(after));
  return { mark, count: end - at, size: end - at, opens, closes, before: "", after: "" };
}

/** Pairs the runs and puts the pieces together. */
function emphasized(pieces) {
  const stack = [];
  for (const piece of pieces) {
    if (typeof piece === "string") continue;
    if (piece.closes) close(piece, stack);
    if (piece.opens && piece.count > 0) stack.push(piece);
  }
  return pieces
    .map((piece) => (typeof piece === "string" ? piece : piece.before + piece.mark.repeat(piece.count) + piece.after))
    .join("");
}

/** Closes with a run what was opened before; what was opened in between stays text. */
function close(closer, stack) {
  for (let index = stack.length - 1; index >= 0 && closer.count > 0; ) {
    const opener = stack[index];
    // A run that could do both pairs only with one whose sum is no multiple of three, as CommonMark has it.
    const both = opener.closes || closer.opens;
    const odd = both && (opener.size + closer.size) % 3 === 0 && (opener.size % 3 !== 0 || closer.size % 3 !== 0);
    const struck = closer.mark === "~";
    const fits = opener.mark === closer.mark && (struck ? opener.count === 2 && closer.count === 2 : !odd);
    if (!fits) {
      index -= 1;
      continue;
    }
    const used = Math.min(opener.count, closer.count, 2);
    const tag = struck ? "del" : used === 2 ? "strong" : "em";
    opener.after = `<${tag}>${opener.after}`;
    closer.before += `</${tag}>`;
    opener.count -= used;
    closer.count -= used;
    stack.length = opener.count > 0 ? index + 1 : index;
    if (opener.count === 0) index -= 1;
  }
}
