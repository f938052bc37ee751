// {{id}}: adds a line to a file of notes, and takes it away again.

import { Failure, object, provide, textOf, writeText } from "../redress/redress-capability.js";

export const provider = provide({
  id: "{{id}}",
  title: "Add a note",
  summary: "Adds a line to a file of notes, which is made if there is none.",
  risk: "MEDIUM",
  effect: "reversible",
  idempotent: true,
  permissions: ["fs:read", "fs:write"],
  input: object({
    path: { type: "string", description: "Such as /workspace/notes.txt; its directory must exist." },
    line: { type: "string", minLength: 1 },
  }),
  output: object({ path: { type: "string" }, lines: { type: "integer", description: "How many lines the file has now." } }),

  execute(call) {
    const { path, line } = call.input;
    if (line.includes("\n")) throw new Failure("invalid-input", "`line` must be one line");

    // First how the file is, for the undo. After an attempt that was interrupted the file is brought back to how that one found it.
    const [before] = call.saveFiles(path);

    let text = textOf(before) ?? "";
    if (text !== "" && !text.endsWith("\n")) text += "\n";
    text += `${line}\n`;
    writeText(path, text);
    return { path, lines: text.split("\n").length - 1 };
  },

  compensate: (call) => call.restoreFiles(),
});
