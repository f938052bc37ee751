// Builds {{name}}.wasm from src/capability.js.
//
//   redress/redress-capability.js   the helper that src/capability.js imports
//   wit/capability.wit              the contract
//   wit/world.wit, wit/deps/        the world of a capability in JavaScript: the contract and files

import { writeFile } from "node:fs/promises";
import { chdir } from "node:process";
import { fileURLToPath } from "node:url";

import { componentize } from "@bytecodealliance/componentize-js";

// Source files are found below the working directory, and are named in traces as seen from there.
chdir(fileURLToPath(new URL(".", import.meta.url)));

const { component } = await componentize({
  sourcePath: "src/capability.js",
  witPath: "wit",
  worldName: "capability-js",
  // What the component has no need of. Take `http` out of this list to send requests: without it `fetch` traps. Leave the others on:
  // without `stdio` nothing is logged, without `clocks` timers trap, without `random` each run gets the same numbers.
  disableFeatures: ["http", "fetch-event"],
});
await writeFile("{{name}}.wasm", component);
console.log(`{{name}}.wasm: ${(component.length / 1e6).toFixed(1)} MB`);
