// Many agents at once on a service that is killed again and again: no run is lost, none is there twice, no effect happens twice, and nobody's
// vote is lost or counted twice.
//
//   node load.mjs BINARY SECONDS [AGENTS] [KILLS] [SEED]     in an empty folder
//
// Every agent notes in a book what it asked for before it asks. Whatever got no answer, or 429 or 503, is asked again with the same key. At the end
// the record, the files and the messages are held against the book: each line in a file was appended by one step, so that a second one shows.
import { execFile, spawn } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { mkdirSync, openSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { Agent, createServer, request as send } from 'node:http';
import { promisify } from 'node:util';

const [binary, seconds, agents = '200', kills = '3', seed = String(Date.now() % 1e9)] = process.argv.slice(2);
const [SECONDS, AGENTS, KILLS] = [seconds, agents, kills].map(Number);
const TOKENS = 10;
/** How long anything may take that must come to an end, in milliseconds. */
const PATIENCE = 60_000;
console.log(`${AGENTS} agents for ${SECONDS} seconds, ${KILLS} kills, seed ${seed}`);

let drawn = (Number(seed) % 2147483646) + 1;
const random = () => { drawn = (drawn * 48271) % 2147483647; return drawn / 2147483647; };
for (let i = 0; i < 10; i += 1) random();
const chance = (share) => random() < share;
const one = (list) => list[Math.floor(random() * list.length)];
const pause = (milliseconds) => new Promise((over) => { setTimeout(over, milliseconds); });
const moments = Array.from({ length: KILLS }, (_, i) => ((i + 0.1 + 0.8 * random()) / KILLS) * SECONDS * 1000);

const wrong = [];
const violation = (text) => { wrong.push(text); console.log(`VIOLATION: ${text}`); };
class Violation extends Error {}

// Where messages for people arrive: by the id of the message, its body, and whether it was ever taken.
const messages = new Map();
const key = Buffer.alloc(32, 7);
process.env.HOOK = `whsec_${key.toString('base64')}`;
const receiver = createServer((asked, answer) => {
    const parts = [];
    asked.on('data', (part) => parts.push(part)).on('end', () => {
        const body = Buffer.concat(parts).toString();
        const { 'webhook-id': id, 'webhook-timestamp': at, 'webhook-signature': signature } = asked.headers;
        if (signature !== `v1,${createHmac('sha256', key).update(`${id}.${at}.${body}`).digest('base64')}`) violation(`the message ${id} is not signed as it should be`);
        const known = messages.get(id) ?? { id, body, arrived: 0, taken: 0 };
        messages.set(id, known);
        if (known.body !== body) violation(`the message ${id} arrived once more with another body`);
        // Never three times the same: then the next try is two minutes away, and nobody waits for so long here.
        const takes = known.arrived >= 2 || !chance(0.05);
        known.arrived += 1;
        known.taken += Number(takes);
        answer.writeHead(takes ? 204 : 503).end();
    });
});
await new Promise((ready) => { receiver.listen(0, '127.0.0.1', ready); });
const free = createServer();
const port = await new Promise((found) => { free.listen(0, '127.0.0.1', () => found(free.address().port)); });
await new Promise((closed) => { free.close(closed); });

mkdirSync('workspace');
writeFileSync('redress.yaml', `policy: policy.yaml
principal: user:operator
listen: 127.0.0.1:${port}
idle_timeout: 5m
webhook:
  url: "http://127.0.0.1:${receiver.address().port}/"
  secret: { env: HOOK }
`);
writeFileSync('policy.yaml', `rules:
  - { principal: "agent:*", capabilities: ["io.fs.move"], action: REQUIRE_APPROVAL, approval: { approvers: ["user:*"], quorum: 2, expires: 4h } }
  - { principal: "agent:*", capabilities: ["io.fs.*"], action: ALLOW }
grants:
  - capabilities: ["io.fs.*"]
    filesystem: [{ host: ./workspace, guest: /workspace, access: read-write }]
`);
const redress = async (...verb) => (await promisify(execFile)(binary, verb, { maxBuffer: 1 << 30 })).stdout;
const token = async (who, ...may) =>
    ({ who, secret: (await redress('token', 'add', who, '--reason', 'a check', ...may.flatMap((scope) => ['--may', scope]))).trim() });

// The service, when it was down, and what it took.
const [log, downs, restarts, memory] = [openSync('log', 'a'), [], [], []];
let [service, up, ending] = [null, null, false];
async function start() {
    const begun = performance.now();
    service = spawn(binary, ['serve'], { stdio: ['ignore', log, log] });
    service.gone = new Promise((ended) => { service.on('exit', (code, signal) => ended(code ?? signal)); });
    service.gone.then((how) => {
        if (!ending && how !== 'SIGKILL') { violation(`the service ended by itself: ${how}`); process.exit(1); }
    });
    while ((await attempt('GET', '/readyz').catch(() => ({}))).status !== 200) {
        if (performance.now() - begun > PATIENCE) throw new Violation('the service does not start');
        await pause(10);
    }
    return performance.now() - begun;
}
const grown = () => Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${service.pid}/status`, 'utf8'))[1]) / 1024;
async function killAndStart() {
    let again;
    up = new Promise((ready) => { again = ready; });
    memory.push(grown());
    const down = { from: performance.now(), to: Infinity };
    downs.push(down);
    service.kill('SIGKILL');
    await service.gone;
    restarts.push(await start());
    down.to = performance.now();
    console.log(`killed after ${((down.from - began) / 1000).toFixed(1)} s, answers again ${(restarts.at(-1) / 1000).toFixed(2)} s after the next start`);
    again();
}

// Requests: one try, and as many as it takes.
const connections = new Agent({ keepAlive: true });
const [latencies, counts] = [new Map(), { requests: 0, lost: 0, cut: 0, dropped: 0, busy: 0 }];
process.on('exit', () => service?.kill('SIGKILL'));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => process.exit(1));
function attempt(method, path, who, { headers, body, drop } = {}) {
    return new Promise((answered, failed) => {
        const text = body && JSON.stringify(body);
        const about = { ...headers, ...(who && { authorization: `Bearer ${who.secret}` }), ...(text && { 'content-type': 'application/json' }) };
        const asked = send({ host: '127.0.0.1', port, method, path, headers: about, agent: connections, timeout: PATIENCE }, (answer) => {
            const parts = [];
            answer.on('data', (part) => parts.push(part)).on('error', failed).on('end', () => {
                const [whole, { 'content-type': type, 'retry-after': retry = 1 }] = [Buffer.concat(parts).toString(), answer.headers];
                answered({ status: answer.statusCode, retry: Number(retry), body: type?.includes('json') ? JSON.parse(whole) : whole });
            });
        });
        asked.on('error', failed).on('timeout', () => asked.destroy(new Violation(`no answer to ${method} ${path} within ${PATIENCE / 1000} s`)));
        if (drop !== undefined) setTimeout(() => asked.destroy(new Error('dropped')), drop);
        asked.end(text);
    });
}
/** Asks until there is an answer. `repeated` are statuses that are right as well if it was asked before and the answer was lost. */
async function ask(kind, who, method, path, { headers, body, right = [200], repeated = [] } = {}) {
    let before = false;
    for (;;) {
        await up;
        const from = performance.now();
        const drop = method === 'POST' && chance(0.01) ? 200 * random() ** 3 : undefined;
        const isDown = () => downs.some((down) => down.to >= from && down.from <= performance.now());
        counts.requests += 1;
        const answer = await attempt(method, path, who, { headers, body, drop }).catch((error) => error);
        if (answer instanceof Violation) throw answer;
        if (answer instanceof Error) {
            before = true;
            counts[answer.message === 'dropped' ? 'dropped' : isDown() ? 'lost' : 'cut'] += 1;
            if (!isDown()) await pause(20);
            continue;
        }
        if ([429, 503].includes(answer.status)) {
            counts.busy += 1;
            await pause(answer.retry * 1000 * (1 + random()));
            continue;
        }
        if (!latencies.has(kind)) latencies.set(kind, []);
        if (!isDown()) latencies.get(kind).push(performance.now() - from);
        if (right.includes(answer.status) || (before && repeated.includes(answer.status))) return answer;
        throw new Violation(`${method} ${path} as ${who.who} was answered with ${answer.status}: ${JSON.stringify(answer.body)}`);
    }
}

await start();
const submitters = [];
for (let i = 0; i < TOKENS; i += 1) submitters.push(await token(`agent:a${i}`, 'submit'));
const voters = [await token('user:alice', 'vote'), await token('user:bob', 'vote')];
const [reader, operator] = [await token('user:reader', 'read-all'), await token('user:operator', 'operate')];

// The book: by its key, what a run was asked for, its id once it is known, and what must have come of it.
const book = new Map();
const at = (name) => `/workspace/${name}`;
const append = (name, line) => ({ capability: 'io.fs.append_file', inputs: { path: at(name), content: `${line}\n` } });
const flow = (name, s0, s1) => ({ workflow: JSON.stringify({ name, steps: [{ name: 's0', ...s0 }, { name: 's1', depends_on: ['s0'], ...s1 }] }) });

async function submit(entry, body) {
    for (const right of chance(0.05) ? [201, 200] : [201]) {
        const how = { headers: { 'idempotency-key': entry.key }, body, right: [right], repeated: [200] };
        const { run } = (await ask(`submit ${entry.kind}`, entry.who, 'POST', '/v1/runs?wait=20', how)).body;
        if (entry.run && entry.run !== run) throw new Violation(`the key is two runs: ${entry.run} and ${run}`);
        entry.run = run;
    }
}
/** Waits until a run is as it is wanted. */
async function until(entry, wanted) {
    const late = performance.now() + PATIENCE;
    for (let wait = 50; ; wait = Math.min(wait * 2, 1000)) {
        const run = (await ask('show', entry.who, 'GET', `/v1/runs/${entry.run}`)).body;
        if (wanted(run)) return run;
        if (!['RUNNING', 'ROLLING_BACK', 'PAUSED'].includes(run.state) || performance.now() > late) {
            throw new Violation(`${entry.kind} ${entry.run} (${entry.key}) is ${run.state}, with ${run.steps.map((step) => step.state)}: ${JSON.stringify(run.reason)}`);
        }
        await pause(wait);
    }
}
const state = (word) => (run) => run.state === word;
const vote = (entry, voter, kind = 'vote', statuses = { repeated: [409] }) =>
    ask(kind, voter, 'POST', `/v1/runs/${entry.run}/steps/s1/votes`, { body: { request: entry.request, approve: true, reason: 'it was agreed' }, ...statuses });
async function waiting(entry) {
    const { key, a, b } = entry;
    await submit(entry, flow(key, append(a, key), { capability: 'io.fs.move', inputs: { from: at(a), to: at(b) } }));
    entry.request = (await until(entry, state('PAUSED'))).steps[1].approval.id;
}
const verb = (entry, who, name, body) => ask(name, who, 'POST', `/v1/runs/${entry.run}/${name}`, { body, repeated: [409] });
async function opened(entry) {
    await submit(entry, { open: entry.key });
    for (const [name, file] of [['s0', entry.a], ['s1', entry.b]]) {
        const body = { name, ...append(file, entry.key) };
        await ask('add step', entry.who, 'POST', `/v1/runs/${entry.run}/steps`, { body, right: [201], repeated: [409] });
        await until(entry, (run) => run.steps.some((step) => step.name === name && step.state === 'SUCCEEDED'));
    }
}

// What an agent asks for, and what must be there at the end: files, votes, the state.
const kinds = {
    call: { files: ['a'], run: (entry) => submit(entry, append(entry.a, entry.key)) },
    flow: { files: ['a', 'b'], run: (entry) => submit(entry, flow(entry.key, append(entry.a, entry.key), append(entry.b, entry.key))) },
    open: { files: ['a', 'b'], run: (entry) => opened(entry).then(() => verb(entry, entry.who, 'commit')) },
    back: { end: 'ROLLED_BACK', run: (entry) => opened(entry).then(() => verb(entry, entry.who, 'rollback', { reason: 'a change of mind' })) },
    approval: { files: ['b'], votes: 2, async run(entry) {
        await waiting(entry);
        if (chance(0.3)) return void await Promise.all(voters.map((voter) => vote(entry, voter)));
        const [first, second] = chance(0.5) ? voters : [...voters].reverse();
        await vote(entry, first);
        if (chance(0.3)) await vote(entry, first, 'vote once more', { right: [409] });
        await vote(entry, second);
    } },
    cancel: { end: 'ROLLED_BACK', votes: 1, async run(entry) {
        await waiting(entry);
        await vote(entry, one(voters));
        await verb(entry, operator, 'cancel', { reason: 'not any more' });
    } },
};
const often = ['call', 'call', 'flow', 'flow', 'open', 'back', 'approval', 'approval', 'cancel'];
const reads = [
    (entry) => ask('show', reader, 'GET', `/v1/runs/${entry.run}`),
    (entry) => ask('events', entry.who, 'GET', `/v1/runs/${entry.run}/events`),
    () => ask('list', reader, 'GET', `/v1/runs?state=${one(['COMPLETED', 'PAUSED', 'ROLLED_BACK'])}`),
    (entry) => ask('approvals', one(voters), 'GET', `/v1/approvals?run=${entry.run}`),
    (entry) => ask('capabilities', entry.who, 'GET', '/v1/capabilities'),
];
/** Asks for one thing after another, and sees each to its end. */
async function agent(number) {
    for (let i = 0; performance.now() - began < SECONDS * 1000; i += 1) {
        const [key, kind] = [`${number}-${i}`, one(often)];
        const { run, files = [], votes = 0, end = 'COMPLETED' } = kinds[kind];
        const entry = { key, kind, who: submitters[number % TOKENS], a: `${key}.a`, b: `${key}.b`, files: files.map((file) => `${key}.${file}`), votes, end };
        book.set(key, entry);
        try {
            await run(entry);
            await until(entry, state(entry.end));
            entry.done = performance.now();
            await one(reads)(entry);
        } catch (error) {
            violation(`${key}: ${error instanceof Violation ? error.message : error.stack}`);
        }
    }
}

const began = performance.now();
const asking = Array.from({ length: AGENTS }, (_, number) => agent(number));
for (const moment of moments) {
    await pause(Math.max(0, began + moment - performance.now()));
    await killAndStart();
}
await Promise.all(asking);
const done = [...book.values()].filter((entry) => entry.done);
const lasted = (done.reduce((last, entry) => Math.max(last, entry.done), began) - began) / 1000;
const own = process.cpuUsage();

// Rest: nothing moves, nothing is kept, and nothing waits to be told.
const late = performance.now() + PATIENCE;
async function rests(what, check) {
    for (let left = await check(); left > 0; left = await check()) {
        if (performance.now() > late) return violation(`${left} ${what} after ${PATIENCE / 1000} s`);
        await pause(500);
    }
}
for (const word of ['RUNNING', 'ROLLING_BACK', 'PAUSED', 'STUCK']) {
    await rests(`runs are ${word}`, async () => (await ask('list', reader, 'GET', `/v1/runs?state=${word}`)).body.runs.length);
}
await rests('runs are kept', async () => Number(/^redress_runs_kept (\d+)$/m.exec((await ask('metrics', reader, 'GET', '/metrics')).body)[1]));
await rests('messages wait', async () => JSON.parse(await redress('webhook', 'list', '--waiting', '--json')).length);

// What the record says of each run: every step once, every vote once.
async function checkRecord(entry) {
    const fail = (what) => violation(`${entry.kind} ${entry.run} (${entry.key}): ${what}`);
    const run = (await attempt('GET', `/v1/runs/${entry.run}`, reader)).body;
    const events = (await attempt('GET', `/v1/runs/${entry.run}/events`, reader)).body.events.map(({ event }) => event);
    const of = (kind) => events.filter((event) => event.kind === kind);
    if (run.state !== entry.end) return fail(`it is ${run.state}, not ${entry.end}`);
    for (const { name } of run.steps) {
        const succeeded = of('RESULT').filter((event) => event.step === name && event.outcome === 'succeeded').length;
        const wanted = entry.kind === 'cancel' && name === 's1' ? 0 : 1;
        if (succeeded !== wanted) fail(`step ${name} succeeded ${succeeded} times, not ${wanted}`);
    }
    if (of('VOTE').length !== entry.votes) return fail(`it has ${of('VOTE').length} votes, not ${entry.votes}`);
    if (entry.votes > 0) {
        const { approval, void_votes: void_ = [] } = run.steps[1];
        const by = new Set(approval.votes.filter(({ approve }) => approve).map((vote) => vote.by));
        if (approval.id !== entry.request) fail(`it asked anew: ${approval.id} after ${entry.request}`);
        if (by.size !== entry.votes || void_.length) fail(`its votes are ${JSON.stringify([approval.votes, void_])}`);
    }
}
const known = [...book.values()].filter((entry) => entry.run);
for (let i = 0; i < known.length; i += 50) await Promise.all(known.slice(i, i + 50).map(checkRecord));

memory.push(grown());
ending = true;
service.kill('SIGTERM');
const how = await service.gone;
if (how !== 0) violation(`the service ended with ${how} after SIGTERM`);
await redress('audit', 'verify').catch((error) => violation(`audit verify: ${error.stdout}${error.stderr}`));

// Each key is one run, and there is no other.
const byRun = new Map();
for (const { key, kind, run } of book.values()) {
    if (!run) violation(`${kind} ${key} never became a run`);
    else if (byRun.has(run)) violation(`the run ${run} has two keys: ${key} and ${byRun.get(run)}`);
    else byRun.set(run, key);
}
for (const { run } of JSON.parse(await redress('runs', '--json', '--limit', '100000000'))) if (!byRun.delete(run)) violation(`nobody asked for the run ${run}`);
for (const [run, key] of byRun) violation(`the run ${run} (${key}) is lost`);

// Each file was written once, and there is no other.
const files = new Map([...book.values()].flatMap((entry) => entry.files.map((name) => [name, entry])));
for (const name of readdirSync('workspace')) {
    const [entry, found] = [files.get(name), readFileSync(`workspace/${name}`, 'utf8')];
    if (!entry) violation(`${name} is left of ${book.get(name.replace(/\.[ab]$/, ''))?.run}, which should not have it`);
    else if (found !== `${entry.key}\n`) violation(`${name} of ${entry.kind} ${entry.run} is ${JSON.stringify(found)}`);
    files.delete(name);
}
for (const [name, entry] of files) violation(`${name} of ${entry.kind} ${entry.run} is not there`);

// Each request was told, under one id.
const told = [...messages.values()].map((message) => ({ ...message, request: JSON.parse(message.body).data.request }));
const byRequest = new Map(told.map((message) => [message.request, message]));
const requests = known.filter((entry) => entry.request);
const asked = new Set(requests.map((entry) => entry.request));
for (const { run, request } of requests) if (!byRequest.get(request)?.taken) violation(`nobody was told of the request ${request} of ${run}`);
for (const { id, request } of told) {
    if (byRequest.get(request).id !== id) violation(`the request ${request} was told under two ids: ${id} and ${byRequest.get(request).id}`);
    if (!asked.has(request)) violation(`the message ${id} is of the request ${request}, which nobody made`);
}
for (const row of JSON.parse(await redress('webhook', 'list', '--json'))) if (row.state !== 'delivered') violation(`the message ${row.id} of ${row.run} is ${row.state}`);

const said = readFileSync('log', 'utf8').split('\n');
for (const line of said.filter((text) => /panick|\bERROR\b/.test(text))) violation(`the log of the service: ${line}`);
const warned = said.filter((line) => /\bWARN\b/.test(line)).length;

// What it took.
const ms = (value) => `${value.toFixed(value < 10 ? 1 : 0)} ms`;
console.log(`\n| requests | number | p50 | p90 | p99 | longest |\n|---|---|---|---|---|---|`);
const row = (kind, list) => {
    const sorted = Float64Array.from(list).sort();
    const part = (share) => ms(sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))]);
    console.log(`| ${kind} | ${sorted.length} | ${part(0.5)} | ${part(0.9)} | ${part(0.99)} | ${part(1)} |`);
};
for (const [kind, list] of [...latencies].sort()) row(kind, list);
row('all', [...latencies.values()].flat());
const arrived = told.reduce((sum, message) => sum + message.arrived, 0);
console.log(`
${done.length} runs in ${lasted.toFixed(0)} s, ${(done.length / lasted).toFixed(1)} a second; ${counts.requests} requests, of which ${counts.lost} were lost with the service,
${counts.dropped} given up by the client, ${counts.cut} cut while it was up, ${counts.busy} answered with 429 or 503
${requests.length} requests for approval, told ${arrived} times; ${moments.length} kills; first good answer after ${restarts.map((time) => ms(time)).join(', ')}
memory at its highest, of each process: ${memory.map((size) => `${size.toFixed(0)} MiB`).join(', ')}
the driver took ${((own.user + own.system) / 10000 / lasted).toFixed(0)} % of a processor; the log of the service has ${warned} warnings
${wrong.length === 0 ? 'nothing was lost, and nothing happened twice' : `${wrong.length} violations`}`);
process.exit(wrong.length === 0 ? 0 : 1);
