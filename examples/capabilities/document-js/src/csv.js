// CSV as in RFC 4180: quoted fields may hold the delimiter, line ends and doubled quotes.

import { Failure } from "../redress/redress-capability.js";

/**
 * The rows of a CSV text as objects, by the names in the header.
 *
 * @param {string} text
 * @param {string} delimiter
 * @param {boolean} types whether fields that are numbers, `true`, `false` or empty become JSON values
 */
export function parseCsv(text, delimiter, types) {
  if (/["\r\n]/.test(delimiter)) throw new Failure("invalid-input", "`delimiter` can be neither a quote nor a line end");
  const records = recordsOf(text.replace(/^\ufeff/, ""), delimiter);
  if (records.length === 0) throw new Failure("invalid-input", "the text has no header");
  const columns = records[0].fields.map(({ value }) => value);
  const names = new Set();
  const twice = columns.find((name) => names.size === names.add(name).size);
  if (twice !== undefined) throw new Failure("invalid-input", `the header has the column \`${twice}\` more than once`);
  const rows = records.slice(1).map(({ line, fields }) => {
    if (fields.length !== columns.length) {
      throw new Failure("invalid-input", `line ${line} has ${fields.length} fields, the header ${columns.length}`);
    }
    // Without a prototype, so that a column may have any name, `__proto__` included.
    const row = Object.create(null);
    for (let index = 0; index < fields.length; index++) row[columns[index]] = types ? typed(fields[index]) : fields[index].value;
    return row;
  });
  return { columns, rows };
}

/** Each record with the line on which it begins; empty lines are none. */
function recordsOf(text, delimiter) {
  // A field that is not quoted ends at the delimiter, at the end of the line or of the text. One pattern finds it: a loop over the
  // characters would be many times slower here.
  const plain = new RegExp(`[^\\r\\n"${delimiter.replace(/[\\\]^-]/, "\\$&")}]*`, "y");
  const records = [];
  let at = 0;
  let line = 1;
  while (at < text.length) {
    const begins = line;
    const fields = [];
    for (let more = true; more; ) {
      let value = "";
      const quoted = text[at] === '"';
      if (quoted) {
        for (at += 1; ; ) {
          const quote = text.indexOf('"', at);
          if (quote < 0) throw new Failure("invalid-input", `line ${line} opens a quote that is not closed`);
          value += text.slice(at, quote);
          at = quote + 1;
          if (text[at] !== '"') break;
          value += '"';
          at += 1;
        }
        line += value.match(/\r\n|\r|\n/g)?.length ?? 0;
      } else {
        plain.lastIndex = at;
        [value] = plain.exec(text);
        at += value.length;
        if (text[at] === '"') throw new Failure("invalid-input", `line ${line} has a quote inside of a field that is not quoted`);
      }
      fields.push({ value, quoted });
      more = text[at] === delimiter;
      if (more) at += 1;
    }
    if (at < text.length) {
      if (text[at] !== "\r" && text[at] !== "\n") throw new Failure("invalid-input", `line ${line} goes on after a closing quote`);
      at += text.startsWith("\r\n", at) ? 2 : 1;
      line += 1;
    }
    if (fields.length > 1 || fields[0].value !== "" || fields[0].quoted) records.push({ line: begins, fields });
  }
  return records;
}

const NUMBER = /^-?(0|[1-9]\d*)(\.\d+)?([eE][+-]?\d+)?$/;

/** What a field stands for. A quoted field is text; so is a number that JSON readers would not keep exactly, or one such as 007. */
function typed({ value, quoted }) {
  if (quoted) return value;
  if (value === "") return null;
  if (value === "true" || value === "false") return value === "true";
  if (!NUMBER.test(value)) return value;
  const number = Number(value);
  const exact = Number.isFinite(number) && (!Number.isInteger(number) || Number.isSafeInteger(number));
  return exact ? number : value;
}
