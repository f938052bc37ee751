// Restate's contestant: a service whose handler makes STEPS durable steps that do nothing, and returns what each cost.
//
// node restate.mjs serve PORT               serves it
// node restate.mjs drive INGRESS STEPS RUNS drives RUNS handlers at once, prints one line of JSON

// The SDK asks for it, and Node has it from version 22 on.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new this((yes, no) => ([resolve, reject] = [yes, no]));
  return { promise, resolve, reject };
};

const [verb, ...rest] = process.argv.slice(2);

if (verb === "serve") {
  const restate = await import("@restatedev/restate-sdk");
  const bench = restate.service({
    name: "bench",
    handlers: {
      steps: async (ctx, steps) => {
        const costs = [];
        let last = performance.now();
        for (let i = 0; i < steps; i++) {
          await ctx.run("step", () => null);
          const now = performance.now();
          costs.push((now - last) * 1000);
          last = now;
        }
        return costs;
      },
    },
  });
  await restate.serve({ services: [bench], port: Number(rest[0]) });
} else {
  const [ingress, steps, runs] = [rest[0], Number(rest[1]), Number(rest[2])];
  const call = async (steps) => {
    const options = { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(steps) };
    const answer = await fetch(`${ingress}/bench/steps`, options);
    if (!answer.ok) throw new Error(`${answer.status} ${await answer.text()}`);
    return answer.json();
  };
  await Promise.all([call(20), call(20)]);
  const begun = performance.now();
  const costs = (await Promise.all(Array.from({ length: runs }, () => call(steps)))).flat();
  const seconds = (performance.now() - begun) / 1000;
  costs.sort((a, b) => a - b);
  const at = (share) => costs[Math.min(Math.floor(share * costs.length), costs.length - 1)];
  console.log(JSON.stringify({ steps: costs.length, seconds, p50_us: at(0.5), p99_us: at(0.99) }));
}
