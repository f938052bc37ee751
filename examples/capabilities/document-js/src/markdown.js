// Markdown to HTML: the blocks. What is within a line is in inline.js.
//
// Supported of CommonMark: headings, paragraphs, quotes, lists (also nested), fenced and indented code, rules, and all of inline.js;
// of GitHub's additions: tables, struck text, items to tick off. HTML is not: it is shown as text.

import { escaped, inline, plain } from "./inline.js";

/** What is no part of a word. The engine in the component has no tables of Unicode, and so no `\p{L}`. */
const SIGNS = /[\u0000-/:-@[-`{-\u00bf\u2000-\u206f\u3000-\u303f]+/g;

/** How deep quotes and lists are nested at most; what is deeper is text. */
const DEEPEST = 16;

const FENCE = /^ {0,3}(`{3,}|~{3,})\s*([^`\s]*)[^`]*$/;
const HEADING = /^ {0,3}(#{1,6})(?:[ \t]+(.*?))?(?:[ \t]+#+)?[ \t]*$/;
const RULE = /^ {0,3}(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,})$/;
const QUOTE = /^ {0,3}> ?/;
const ITEM = /^( {0,3})([-*+]|\d{1,9}[.)])( {1,4}(?! )| (?= )|$)/;
const UNDERLINE = /^ {0,3}(=+|-+)[ \t]*$/;
const DELIMITER_ROW = /^ {0,3}\|?[ \t]*:?-+:?[ \t]*(\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$/;
const DEFINITION = /^ {0,3}\[([^\[\]]+)\]:[ \t]*<?([^\s<>]+)>?(?:[ \t]+"([^"]*)")?[ \t]*$/;

/**
 * @param {string} markdown
 * @param {string} [title] makes a whole page
 */
export function toHtml(markdown, title) {
  const document = { headings: [], ids: new Map(), links: new Map() };
  const lines = definitions(markdown.replace(/\r\n?/g, "\n").replace(/\0/g, "\ufffd").split("\n").map(untabbed), document.links);
  const body = blocks(lines, document, 0);
  const html = title === undefined ? body : page(title, body);
  return { html, headings: document.headings };
}

function page(title, body) {
  const head = `<meta charset="utf-8">\n<title>${escaped(title)}</title>`;
  return `<!DOCTYPE html>\n<html>\n<head>\n${head}\n</head>\n<body>\n${body}</body>\n</html>\n`;
}

/** A line whose indentation is made of spaces only. */
function untabbed(line) {
  if (!line.includes("\t")) return line;
  let width = 0;
  let at = 0;
  for (; line[at] === " " || line[at] === "\t"; at++) width += line[at] === "\t" ? 4 - (width % 4) : 1;
  return " ".repeat(width) + line.slice(at);
}

/** Takes the definitions of links out of the lines: `[name]: target "title"`. */
function definitions(lines, links) {
  let fence = null;
  return lines.filter((line) => {
    const opens = fenceOf(line);
    if (fence) {
      if (closes(line, fence)) fence = null;
    } else if (opens) {
      fence = opens[1];
    } else {
      const found = marked(line, "[", DEFINITION);
      if (!found) return true;
      const name = found[1].trim().toLowerCase();
      if (!links.has(name)) links.set(name, { target: found[2], title: found[3] });
      return false;
    }
    return true;
  });
}

function closes(line, fence) {
  const end = marked(line, "`~", /^ {0,3}(`+|~+)[ \t]*$/);
  return end !== null && end[1][0] === fence[0] && end[1].length >= fence.length;
}

const blank = (line) => line.trim() === "";
const indentOf = (line) => line.length - line.trimStart().length;

/** Matches a pattern if the first mark of the line is one of these: most lines begin with none, and patterns are slow here. */
function marked(line, marks, pattern) {
  const mark = line[indentOf(line)];
  return mark !== undefined && marks.includes(mark) ? pattern.exec(line) : null;
}

const fenceOf = (line) => marked(line, "`~", FENCE);
const headingOf = (line) => marked(line, "#", HEADING);
const isRule = (line) => marked(line, "*-_", RULE) !== null;
const isQuote = (line) => marked(line, ">", QUOTE) !== null;
const itemOf = (line) => marked(line, "-*+0123456789", ITEM);

/** Whether a line begins a block of its own in the middle of a paragraph. */
function interrupts(line) {
  if (fenceOf(line) || headingOf(line) || isRule(line) || isQuote(line)) return true;
  const item = itemOf(line);
  return item !== null && item[3] !== "" && (/[-*+]/.test(item[2]) || parseInt(item[2], 10) === 1);
}

/** The HTML of some lines; `tight` leaves out the tags of paragraphs, as in lists without empty lines. */
function blocks(lines, document, depth, tight = false) {
  let html = "";
  let at = 0;
  while (at < lines.length) {
    const line = lines[at];
    if (blank(line)) {
      at += 1;
      continue;
    }
    const nests = depth < DEEPEST;
    const found =
      code(lines, at) ??
      fenced(lines, at) ??
      heading(lines, at, document) ??
      (isRule(line) ? { html: "<hr>\n", next: at + 1 } : null) ??
      (nests ? quote(lines, at, document, depth) ?? listing(lines, at, document, depth) : null) ??
      table(lines, at, document) ??
      paragraph(lines, at, document, tight);
    html += found.html;
    at = found.next;
  }
  return html;
}

function code(lines, at) {
  if (indentOf(lines[at]) < 4) return null;
  let next = at;
  while (next < lines.length && (blank(lines[next]) || indentOf(lines[next]) >= 4)) next += 1;
  while (blank(lines[next - 1])) next -= 1;
  const text = lines.slice(at, next).map((line) => line.slice(4)).join("\n");
  return { html: `<pre><code>${escaped(text)}\n</code></pre>\n`, next };
}

function fenced(lines, at) {
  const opens = fenceOf(lines[at]);
  if (!opens) return null;
  const indent = indentOf(lines[at]);
  let end = at + 1;
  while (end < lines.length && !closes(lines[end], opens[1])) end += 1;
  const text = lines.slice(at + 1, end).map((line) => line.slice(Math.min(indent, indentOf(line))) + "\n").join("");
  const language = opens[2] ? ` class="language-${escaped(opens[2])}"` : "";
  return { html: `<pre><code${language}>${escaped(text)}</code></pre>\n`, next: end + 1 };
}

function heading(lines, at, document) {
  const found = headingOf(lines[at]);
  return found ? { html: titled(found[1].length, found[2] ?? "", document), next: at + 1 } : null;
}

function titled(level, source, document) {
  const html = inline(source.trim(), document.links);
  const text = plain(html);
  const name = text.toLowerCase().replace(SIGNS, "-").replace(/^-|-$/g, "") || "section";
  const count = document.ids.get(name) ?? 0;
  document.ids.set(name, count + 1);
  // The prefix keeps names such as `forms` from hiding what scripts of a page look for.
  const id = `h-${name}${count > 0 ? `--${count + 1}` : ""}`;
  document.headings.push({ level, text, id });
  return `<h${level} id="${escaped(id)}">${html}</h${level}>\n`;
}

/** The lines of a quote or of an item, without its marks. */
class Inner {
  lines = [];
  /** What the last line opened or left open. */
  fence = null;
  /** Whether there is an empty line between parts of the item itself, not of an item within it. */
  apart = false;
  #empty = false;
  #items = false;

  push(line) {
    if (this.fence) {
      if (closes(line, this.fence)) this.fence = null;
    } else if (blank(line)) {
      this.#empty ||= this.lines.length > 0;
    } else {
      const item = itemOf(line) !== null;
      this.apart ||= this.#empty && indentOf(line) < 2 && !(item && this.#items);
      this.#empty = false;
      this.#items ||= item && this.lines.length > 0;
      this.fence = fenceOf(line)?.[1] ?? null;
    }
    this.lines.push(line);
  }

  /** Whether a line without the marks goes on with the paragraph before it. */
  continues(line) {
    const before = this.lines.at(-1);
    if (before === undefined || this.fence || blank(before) || blank(line)) return false;
    return !interrupts(line) && !headingOf(before);
  }
}

function quote(lines, at, document, depth) {
  if (!isQuote(lines[at])) return null;
  const inner = new Inner();
  let next = at;
  for (; next < lines.length; next++) {
    const line = lines[next];
    if (isQuote(line)) inner.push(line.replace(QUOTE, ""));
    else if (inner.continues(line)) inner.push(line);
    else break;
  }
  return { html: `<blockquote>\n${blocks(inner.lines, document, depth + 1)}</blockquote>\n`, next };
}

function listing(lines, at, document, depth) {
  const first = itemOf(lines[at]);
  if (!first) return null;
  const kind = first[2].at(-1);
  const items = [];
  let loose = false;
  let next = at;
  while (next < lines.length) {
    const item = itemOf(lines[next]);
    if (!item || item[2].at(-1) !== kind || isRule(lines[next])) break;
    const width = item[0].length + (item[3] === "" ? 1 : 0);
    const inner = new Inner();
    inner.push(lines[next].slice(item[0].length));
    let empty = false;
    for (next += 1; next < lines.length; next++) {
      const line = lines[next];
      if (blank(line)) inner.push("");
      else if (indentOf(line) >= width) inner.push(line.slice(width));
      else if (!itemOf(line) && inner.continues(line)) inner.push(line.trimStart());
      else break;
    }
    while (inner.lines.length > 1 && blank(inner.lines.at(-1))) {
      inner.lines.pop();
      empty = true;
    }
    const goesOn = next < lines.length && itemOf(lines[next])?.[2].at(-1) === kind;
    loose ||= (empty && goesOn) || inner.apart;
    items.push(inner.lines);
  }
  const html = items.map((inner) => entry(inner, document, depth, loose)).join("");
  if (/[-*+]/.test(kind)) return { html: `<ul>\n${html}</ul>\n`, next };
  const start = parseInt(first[2], 10);
  return { html: `<ol${start === 1 ? "" : ` start="${start}"`}>\n${html}</ol>\n`, next };
}

function entry(inner, document, depth, loose) {
  const tick = /^\[([ xX])\] /.exec(inner[0]);
  const box = tick ? `<input type="checkbox" disabled${tick[1] === " " ? "" : " checked"}> ` : "";
  const lines = tick ? [inner[0].slice(4), ...inner.slice(1)] : inner;
  const html = blocks(lines, document, depth + 1, !loose);
  return `<li>${box}${loose ? "\n" : ""}${loose ? html : html.trimEnd()}</li>\n`;
}

function table(lines, at, document) {
  const delimiters = lines[at + 1];
  if (!lines[at].includes("|") || delimiters === undefined || !DELIMITER_ROW.test(delimiters)) return null;
  const head = cells(lines[at]);
  const aligned = cells(delimiters).map((cell) => {
    const [left, right] = [cell.startsWith(":"), cell.endsWith(":")];
    return left && right ? "center" : right ? "right" : left ? "left" : null;
  });
  if (aligned.length !== head.length) return null;
  const row = (texts, tag) => {
    const made = aligned.map((align, column) => {
      const style = align ? ` style="text-align: ${align}"` : "";
      return `<${tag}${style}>${inline(texts[column] ?? "", document.links)}</${tag}>`;
    });
    return `<tr>${made.join("")}</tr>\n`;
  };
  let body = "";
  let next = at + 2;
  for (; next < lines.length && !blank(lines[next]) && !interrupts(lines[next]); next++) body += row(cells(lines[next]), "td");
  const rows = body ? `<tbody>\n${body}</tbody>\n` : "";
  return { html: `<table>\n<thead>\n${row(head, "th")}</thead>\n${rows}</table>\n`, next };
}

/** The cells of a row of a table; `\|` is no border. */
function cells(line) {
  const inner = line.trim().replace(/^\|/, "").replace(/(^|[^\\])\|$/, "$1");
  return inner.split(/(?<!\\)\|/).map((cell) => cell.trim().replaceAll("\\|", "|"));
}

function paragraph(lines, at, document, tight) {
  const text = [];
  let next = at;
  for (; next < lines.length && !blank(lines[next]); next++) {
    const under = text.length > 0 ? marked(lines[next], "=-", UNDERLINE) : null;
    if (under) return { html: titled(under[1][0] === "=" ? 1 : 2, text.join("\n"), document), next: next + 1 };
    if (text.length > 0 && interrupts(lines[next])) break;
    text.push(lines[next].trimStart());
  }
  const html = inline(text.join("\n").trimEnd(), document.links);
  return { html: tight ? `${html}\n` : `<p>${html}</p>\n`, next };
}
