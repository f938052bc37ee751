// `docs.markdown.to_html` and `docs.csv.to_json`: conversions of documents. They change nothing and ask for nothing.

import { object, provide } from "../redress/redress-capability.js";
import { parseCsv } from "./csv.js";
import { toHtml } from "./markdown.js";

const text = { type: "string" };

export const provider = provide(
  {
    id: "docs.markdown.to_html",
    title: "Convert Markdown to HTML",
    summary: "Makes HTML of Markdown. HTML in the source is shown as text, and links lead only to the web, to mail or to relative places.",
    risk: "LOW",
    effect: "none",
    idempotent: true,
    permissions: [],
    input: object({
      markdown: text,
      title: { type: "string", description: "Makes a whole page with this title; without it the HTML is a fragment." },
    }, { optional: ["title"] }),
    output: object({
      html: text,
      headings: { type: "array", items: object({ level: { type: "integer" }, text, id: text }) },
    }),
    execute: ({ input }) => toHtml(input.markdown, input.title),
  },
  {
    id: "docs.csv.to_json",
    title: "Convert CSV to JSON",
    summary: "Makes one object of each row of a CSV text, by the names in its header.",
    risk: "LOW",
    effect: "none",
    idempotent: true,
    permissions: [],
    input: object({
      csv: text,
      delimiter: { type: "string", minLength: 1, maxLength: 1, description: "A comma if left out." },
      types: { type: "boolean", description: "Whether numbers, true, false and empty fields become JSON values; else all are text." },
    }, { optional: ["delimiter", "types"] }),
    output: object({
      columns: { type: "array", items: text },
      rows: { type: "array", items: { type: "object", additionalProperties: { type: ["string", "number", "boolean", "null"] } } },
    }),
    execute: ({ input }) => parseCsv(input.csv, input.delimiter ?? ",", input.types ?? false),
  },
);
