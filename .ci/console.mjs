// The console in a real browser: submitting, pausing, approving as somebody else, rejecting, undoing; by mouse and by keyboard, wide and narrow,
// light and dark, with what is hostile, and under the rules of axe.
//
//   node console.mjs BINARY CHROMIUM [PICTURES]     in a folder with the settings and the policy of `.ci/long console`
import assert from 'node:assert/strict';
import { execFileSync, spawn, spawnSync } from 'node:child_process';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import { chromium } from 'playwright-core';

const [binary, executablePath, pictures] = process.argv.slice(2);
const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

// Where messages for people arrive.
const arrived = [];
const receiver = createServer((request, response) => {
    let body = '';
    request.on('data', (part) => { body += part; });
    request.on('end', () => { arrived.push(JSON.parse(body)); response.writeHead(204).end(); });
});
await new Promise((ready) => { receiver.listen(0, '127.0.0.1', ready); });

const settings = (console_) => writeFileSync('redress.yaml',
    `policy: policy.yaml\nprincipal: user:operator\nlisten: 127.0.0.1:${console_}\nwebhook:\n  url: "http://127.0.0.1:${receiver.address().port}/"\n  secret: { env: HOOK }\n  console: "http://127.0.0.1:${console_}"\n`);
process.env.HOOK = `whsec_${Buffer.alloc(32, 7).toString('base64')}`;

// A port that is free, since the links must name it.
const free = createServer();
const port = await new Promise((found) => { free.listen(0, '127.0.0.1', () => found(free.address().port)); });
await new Promise((closed) => { free.close(closed); });
settings(port);
const service = spawn(binary, ['serve'], { stdio: ['ignore', 'pipe', 'inherit'] });
process.on('exit', () => service.kill('SIGKILL'));
const url = await new Promise((found) => {
    createInterface(service.stdout).on('line', (line) => found(line.split(' ').at(-1)));
});
const token = (who, ...may) =>
    execFileSync(binary, ['token', 'add', who, '--reason', 'a check', ...may.flatMap((scope) => ['--may', scope])], { encoding: 'utf8' }).trim();
const agent = token('agent:demo', 'submit');
const alice = token('user:alice', 'vote', 'read-all', 'operate');

const browser = await chromium.launch({ executablePath, args: ['--no-sandbox'] });
const wrong = [];
/** A window of somebody. What its console calls an error is one. */
async function open(options = {}) {
    const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
    const page = await context.newPage();
    page.on('pageerror', (error) => wrong.push(`${page.url()}: ${error.stack}`));
    page.on('console', (message) => { if (message.type() === 'error' && !message.text().includes('status of 401')) wrong.push(`${page.url()}: ${message.text()}`); });
    page.on('dialog', (dialog) => { wrong.push(`a dialog: ${dialog.message()}`); dialog.dismiss(); });
    return page;
}
async function signIn(page, secret, at = url) {
    await page.goto(at);
    await page.getByLabel('Token').fill(secret);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('button', { name: 'Sign out' }).waitFor();
}
const picture = async (page, name) => pictures && page.screenshot({ path: `${pictures}/${name}.png`, fullPage: true });
const state = (page, word) => page.locator('h2 .badge', { hasText: word }).waitFor({ timeout: 20000 });
const go = (page, part) => page.getByRole('navigation').getByRole('link', { name: part }).click();

// A token that does not count lets nobody in.
const stranger = await open();
await stranger.goto(url);
await stranger.getByLabel('Token').fill(`redress_${'0'.repeat(64)}`);
await stranger.getByRole('button', { name: 'Sign in' }).click();
await stranger.getByText('This token does not count').waitFor();
assert.equal(await stranger.getByRole('link', { name: 'Runs' }).count(), 0);
await stranger.context().close();

// The agent asks, and sees that it waits.
writeFileSync('workspace/page.txt', 'one\ntwo\nthree\n');
const asking = await open();
await signIn(asking, agent);
await go(asking, 'Submit');
await asking.getByLabel('Capability').selectOption('io.fs.write_file');
await asking.getByRole('textbox', { name: 'Input', exact: true }).fill('{"path": "/workspace/page.txt", "content": "one\\n2\\nthree\\n"}');
await picture(asking, 'submit');
await asking.getByRole('button', { name: 'Make one call' }).click();
await state(asking, 'PAUSED');
assert.equal(await asking.getByRole('link', { name: 'Approvals' }).count(), 0, 'it has no token for that');

// Another person follows the link of the message: it decides nothing, and leads to the request, after asking who they are.
while (arrived.length === 0) await new Promise((later) => { setTimeout(later, 20); });
const link = arrived[0].data.console;
assert(link.startsWith(`${url}/console#/approvals/`), link);
const deciding = await open();
await signIn(deciding, alice, link);
const change = deciding.getByRole('region', { name: 'Lines that change' });
await change.waitFor();
assert.deepEqual((await change.locator('tr.removed .text').allTextContents()).concat(await change.locator('tr.added .text').allTextContents()), ['removed: two', 'added: 2']);
assert.equal(readFileSync('workspace/page.txt', 'utf8'), 'one\ntwo\nthree\n');
await picture(deciding, 'approval');
// No vote without a reason.
await deciding.getByRole('button', { name: 'Approve' }).click();
assert(deciding.url().includes('#/approvals/'));
await deciding.getByLabel('Reason').fill('it was agreed');
await deciding.getByRole('button', { name: 'Approve' }).click();
await state(deciding, 'COMPLETED');
assert.equal(readFileSync('workspace/page.txt', 'utf8'), 'one\n2\nthree\n');
await state(asking, 'COMPLETED');
await asking.getByText('“it was agreed”').or(asking.locator('.timeline', { hasText: 'VOTE' })).first().waitFor();

// A workflow whose second step is rejected, by keyboard alone: what its first step did is undone, and the agent sees that and the check.
await go(asking, 'Submit');
await asking.getByLabel('Workflow file').fill(`name: two\nsteps:
  - { name: note, capability: io.fs.make_dir, inputs: { path: /workspace/made } }
  - { name: page, capability: io.fs.write_file, inputs: { path: /workspace/made/page.txt, content: hello } }
`);
await asking.getByRole('button', { name: 'Run a workflow' }).click();
await state(asking, 'PAUSED');
assert(existsSync('workspace/made'));
await picture(asking, 'paused');
assert(!(await asking.locator('main').innerText()).includes('[object'));
await asking.getByText('waits for user:*, until').waitFor();
await go(deciding, 'Approvals');
await deciding.getByRole('link', { name: /page.*two/ }).waitFor();
await picture(deciding, 'approvals');
const focus = async (page, name) => {
    for (let presses = 0; presses < 60; presses += 1) {
        await page.keyboard.press('Tab');
        const at = await page.evaluate(() => {
            const element = document.activeElement;
            return element?.getAttribute('aria-label') ?? (element?.labels?.[0] ?? element)?.textContent ?? '';
        });
        if (name.test(at)) return;
    }
    assert.fail(`the keyboard does not lead to ${name}`);
};
await deciding.reload();
await deciding.getByRole('link', { name: /page.*two/ }).waitFor();
await focus(deciding, /page.*two/);
await deciding.keyboard.press('Enter');
await deciding.getByLabel('Reason').waitFor();
await focus(deciding, /^Reason$/);
await deciding.keyboard.type('not this page');
await focus(deciding, /^Reject$/);
await deciding.keyboard.press('Enter');
await state(deciding, 'ROLLED BACK');
await state(asking, 'ROLLED BACK');
assert(!existsSync('workspace/made'));
await asking.locator('summary', { hasText: 'note' }).first().click();
await asking.getByText('yes: every file is as it was before').waitFor();
await picture(asking, 'undone');

// What is hostile is text, and cannot hide.
const hostile = '<img src=x onerror="alert(1)"><script>alert(2)</script>\u202egpj.exe\u0007\u200b';
await go(asking, 'Submit');
await asking.getByLabel('Workflow file').fill(`name: "<script>alert(0)</script>"\nsteps:\n  - { name: a, capability: io.fs.write_file, inputs: ${JSON.stringify({ path: '/workspace/h', content: hostile })} }\n`);
await asking.getByRole('button', { name: 'Run a workflow' }).click();
await state(asking, 'PAUSED');
await go(deciding, 'Approvals');
await deciding.getByRole('link', { name: /alert\(0\)/ }).click();
await deciding.getByLabel('Reason').waitFor();
const shown = await deciding.locator('main').innerText();
assert(shown.includes('<img src=x onerror="alert(1)"><script>alert(2)</script>\\u{202e}gpj.exe\\u{7}\\u{200b}'), shown);
assert.equal(await deciding.locator('main img, main script').count(), 0);
await picture(deciding, 'hostile');

// Whoever operates cancels it.
await deciding.getByRole('link', { name: /^[0-9a-f-]{36}$/ }).click();
await deciding.getByRole('button', { name: 'Cancel and undo' }).waitFor();
await deciding.getByLabel('Reason').fill('enough');
await deciding.getByRole('button', { name: 'Cancel and undo' }).click();
await state(deciding, 'ROLLED BACK');

// A request that another one takes the place of cannot be answered unseen.
await go(asking, 'Submit');
await asking.getByLabel('Capability').selectOption('io.fs.write_file');
await asking.getByRole('textbox', { name: 'Input', exact: true }).fill('{"path": "/workspace/page.txt", "content": "three"}');
await asking.getByRole('button', { name: 'Make one call' }).click();
await state(asking, 'PAUSED');
const gone = asking.url().split('/').at(-1);
await go(deciding, 'Approvals');
// Whoever is on a request stays on it while others come.
await deciding.getByRole('link', { name: /call/ }).focus();
await go(asking, 'Submit');
await asking.getByLabel('Workflow file').fill('name: other\nsteps: [{ name: later, capability: io.fs.write_file, inputs: { path: /workspace/o, content: o } }]\n');
await asking.getByRole('button', { name: 'Run a workflow' }).click();
await state(asking, 'PAUSED');
const other = asking.url().split('/').at(-1);
await deciding.getByRole('link', { name: /later.*other/ }).waitFor();
assert(await deciding.evaluate((run) => document.activeElement.getAttribute('href')?.includes(run), gone), 'the focus is lost');
assert.equal(spawnSync(binary, ['cancel', other, '--reason', 'it was only in the way']).status, 3);
await deciding.keyboard.press('Enter');
await deciding.getByLabel('Reason').waitFor();
// What stands in the file changes under whoever decides: a yes is only for what is shown, and what was typed stays.
const stale = deciding.getByText('What the call would change is not what is shown here any more.');
await deciding.getByLabel('Reason').fill('half a sen');
writeFileSync('workspace/page.txt', 'somebody else\n');
await stale.waitFor();
assert.equal(await deciding.evaluate(() => document.activeElement.localName), 'textarea');
await deciding.getByRole('button', { name: 'Approve' }).click();
await deciding.getByText('is not as it was seen: look at it again').waitFor();
// The browser calls an answer that is a refusal an error.
assert.match(wrong.pop(), /status of 409/);
await deciding.getByRole('button', { name: 'Look at it again' }).click();
await deciding.locator('tr.removed .text', { hasText: /^removed: somebody else$/ }).waitFor();
await stale.waitFor({ state: 'detached' });
assert.equal(await deciding.getByLabel('Reason').inputValue(), 'half a sen');
writeFileSync('workspace/page.txt', 'one\n2\nthree\n');
await stale.waitFor();
await deciding.getByRole('button', { name: 'Look at it again' }).click();
await deciding.locator('tr.removed .text', { hasText: /^removed: 2$/ }).waitFor();
// Whoever looks at the graph stays on it, and can come back to it.
await asking.goto(`${url}/console#/runs/${gone}`);
await state(asking, 'PAUSED');
const graph = asking.getByRole('region', { name: 'Graph of the steps' });
await graph.focus();
assert.equal(spawnSync(binary, ['cancel', gone, '--reason', 'somebody else was faster']).status, 3);
await deciding.getByText('It does not wait any more.').waitFor();
await state(asking, 'ROLLED BACK');
assert.deepEqual(await graph.evaluate((it) => [it.tabIndex, it === document.activeElement]), [0, true]);

// The other parts.
await go(deciding, 'Capabilities');
await deciding.locator('summary', { hasText: 'io.fs.write_file' }).click();
await deciding.getByText('of the last 30 days').waitFor();
assert(await deciding.locator('summary', { hasText: 'net.http.request' }).count(), 'a reviewer sees all');
await picture(deciding, 'capabilities');
await go(deciding, 'Policy');
await deciding.getByLabel('Who', { exact: true }).fill('agent:demo');
await deciding.getByLabel('Capability').fill('io.fs.write_file');
await deciding.getByRole('button', { name: 'Explain' }).click();
await deciding.getByText('it decides').waitFor();
await picture(deciding, 'policy');
await go(deciding, 'Audit');
await deciding.getByRole('button', { name: 'Verify all of the record' }).click();
await deciding.getByText('The record is as it was written.').waitFor();
await picture(deciding, 'audit');
await go(deciding, 'Runs');
await deciding.getByLabel('State').selectOption('COMPLETED');
await deciding.getByRole('link', { name: /two/ }).waitFor({ state: 'detached' });
assert.equal(await deciding.getByRole('link', { name: /io\.fs\.write_file/ }).count(), 1);
await deciding.getByLabel('State').selectOption('');

// Rules of accessibility, wide and narrow, light and dark. axe is put into the page from outside, past the page's own policy.
await go(asking, 'Submit');
await asking.getByLabel('Capability').selectOption('io.fs.write_file');
await asking.getByRole('textbox', { name: 'Input', exact: true }).fill('{"path": "/workspace/page.txt", "content": "last\\n"}');
await asking.getByRole('button', { name: 'Make one call' }).click();
await state(asking, 'PAUSED');
const paused = asking.url().split('/').at(-1);
let checked = 0;
for (const colorScheme of ['light', 'dark']) {
    for (const [kind, viewport] of [['wide', { width: 1280, height: 900 }], ['phone', { width: 390, height: 844 }]]) {
        const page = await open({ viewport, colorScheme, bypassCSP: true });
        await page.goto(url);
        await page.getByLabel('Token').waitFor();
        const places = ['', `#/approvals`, `#/approvals/${paused}/call`, '#/runs', `#/runs/${paused}`, '#/capabilities', '#/policy', '#/audit'];
        for (const place of places) {
            if (place) await page.goto(`${url}/console${place}`);
            if (place === '#/approvals') await signIn(page, alice, `${url}/console${place}`);
            await page.waitForLoadState('networkidle');
            await page.locator('h1').waitFor();
            for (const details of await page.locator('main > .content > details, main > .content > div > details').all()) await details.evaluate((it) => { it.open = true; });
            await page.evaluate(axe);
            const { violations } = await page.evaluate(() => globalThis.axe.run());
            const serious = violations.filter(({ impact }) => ['serious', 'critical'].includes(impact));
            assert.deepEqual(serious.map(({ id, nodes }) => [id, nodes.map(({ html, failureSummary }) => `${html}: ${failureSummary}`)]), [], `${place} ${kind} ${colorScheme}`);
            const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
            assert(overflow <= 0, `${place} is ${overflow} pixels too wide (${kind})`);
            await picture(page, `${kind}-${colorScheme}${place.replace(paused, 'run').replaceAll(/[#/]+/g, '-') || '-sign-in'}`);
            checked += 1;
        }
        await page.context().close();
    }
}

// What was done can be undone by whoever operates, and the page goes on to tell what happens.
await go(deciding, 'Runs');
await deciding.getByLabel('State').selectOption('COMPLETED');
await deciding.getByRole('link', { name: /two/ }).waitFor({ state: 'detached' });
await deciding.getByRole('link', { name: /io\.fs\.write_file/ }).first().click();
await state(deciding, 'COMPLETED');
await deciding.getByRole('button', { name: 'Undo', exact: true }).waitFor();
await deciding.getByLabel('Reason').fill('it was not needed');
await deciding.getByRole('button', { name: 'Undo', exact: true }).click();
await state(deciding, 'ROLLED BACK');
await deciding.locator('.timeline > li', { hasText: 'ROLLBACK STARTED' }).waitFor();
await deciding.locator('.timeline > li', { hasText: 'RUN CLOSED' }).nth(1).waitFor();
assert.equal(readFileSync('workspace/page.txt', 'utf8'), 'one\ntwo\nthree\n');
// The way past what is always there leads to what is shown.
const before = deciding.url();
await deciding.locator('.skip').focus();
await deciding.keyboard.press('Enter');
assert.equal(deciding.url(), before);
assert.equal(await deciding.evaluate(() => document.activeElement.id), 'main');

// A token that is revoked ends what is shown with it.
const { id } = JSON.parse(execFileSync(binary, ['token', 'list', '--json'])).find(({ principal }) => principal === 'user:alice');
execFileSync(binary, ['token', 'revoke', id, '--reason', 'the end']);
await deciding.getByText('This token does not count').or(deciding.getByLabel('Token')).first().waitFor();

assert.deepEqual(wrong, []);
await browser.close();
receiver.close();
receiver.closeAllConnections();
service.kill('SIGTERM');
await new Promise((ended) => { service.on('exit', ended); });
console.log(`the console: ${checked} pages under the rules of axe, all as it should be`);
process.exit(0);
