// Builds document-js.wasm from src/capability.js. The helper and the contract are those of this repository; a project of its own has
// copies in redress/ and wit/, as `redress capability new NAME --lang js` puts them there.

import { cp, mkdir, writeFile } from "node:fs/promises";
import { chdir } from "node:process";
import { fileURLToPath } from "node:url";

import { componentize } from "@bytecodealliance/componentize-js";

// Source files are found below the working directory, and are named in traces as seen from there.
chdir(fileURLToPath(new URL(".", import.meta.url)));

const repository = "../../..";
await mkdir("redress", { recursive: true });
await cp(`${repository}/sdk/js/redress-capability.js`, "redress/redress-capability.js");
await cp(`${repository}/sdk/js/template/wit`, "wit", { recursive: true });
await cp(`${repository}/wit/capability.wit`, "wit/capability.wit");

const { component } = await componentize({
  sourcePath: "src/capability.js",
  witPath: "wit",
  worldName: "capability-js",
  disableFeatures: ["http", "fetch-event"],
});
await writeFile("document-js.wasm", component);
console.log(`document-js.wasm: ${(component.length / 1e6).toFixed(1)} MB`);
