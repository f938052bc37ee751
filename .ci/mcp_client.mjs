// The client of the official TypeScript SDK against `redress mcp`: tools, structured results, transactions, a denial, a call that waits.
//
//   node mcp_client.mjs BINARY                in a folder with the settings and the policy of `.ci/long mcp`
//   node mcp_client.mjs BINARY URL TOKEN      the same of a service that runs there
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { existsSync, readFileSync } from 'node:fs';
import { Client } from '@modelcontextprotocol/sdk/client/index.js';
import { StdioClientTransport } from '@modelcontextprotocol/sdk/client/stdio.js';
import { StreamableHTTPClientTransport } from '@modelcontextprotocol/sdk/client/streamableHttp.js';

const [binary, url, token] = process.argv.slice(2);
const transport = url
    ? new StreamableHTTPClientTransport(new URL(url), { requestInit: { headers: { Authorization: `Bearer ${token}` } } })
    : new StdioClientTransport({ command: binary, args: ['mcp'], cwd: process.cwd(), stderr: 'inherit' });
const client = new Client({ name: 'check', version: '1.0.0' });
await client.connect(transport);
const call = (name, args) => client.callTool({ name, arguments: args });
const write = (name) => ({ path: `/workspace/${name}`, content: name });

const { tools } = await client.listTools();
const names = tools.map((tool) => tool.name);
assert(names.includes('io-fs-write_file') && names.includes('transaction_begin') && !names.includes('io-fs-delete'), `${names}`);
assert(tools.every((tool) => tool.inputSchema.type === 'object'));

const written = await call('io-fs-write_file', write('a'));
assert.equal(written.structuredContent.state, 'COMPLETED');
assert.equal(readFileSync('workspace/a', 'utf8'), 'a');

const none = await call('io-fs-read_file', { path: '/workspace/none' });
assert(none.isError && none.structuredContent.state === 'ROLLED_BACK');

const denied = await call('data-hash', { content: 'too long for the rule' });
assert(denied.isError && denied.structuredContent.denied, JSON.stringify(denied));

const begin = async () => (await call('transaction_begin', {})).structuredContent.run;
const kept = await begin();
for (const name of ['b', 'c']) {
    const added = await call('transaction_call', { run: kept, tool: 'io-fs-write_file', arguments: write(name) });
    assert.equal(added.structuredContent.step_state, 'SUCCEEDED');
}
assert.equal((await call('transaction_commit', { run: kept })).structuredContent.state, 'COMPLETED');
assert(existsSync('workspace/b') && existsSync('workspace/c'));

const undone = await begin();
await call('transaction_call', { run: undone, tool: 'io-fs-write_file', arguments: write('d') });
assert(existsSync('workspace/d'));
assert.equal((await call('transaction_rollback', { run: undone })).structuredContent.state, 'ROLLED_BACK');
assert(!existsSync('workspace/d'));

const waiting = (await call('io-fs-move', { from: '/workspace/a', to: '/workspace/z' })).structuredContent;
assert.equal(waiting.state, 'PAUSED');
assert.deepEqual(waiting.waiting[0].approvers, ['user:*']);
execFileSync(binary, ['approve', waiting.run, 'call', '--reason', 'checked', '--as', 'user:alice']);
const approved = (await call('transaction_status', { run: waiting.run })).structuredContent;
assert.equal(approved.state, 'COMPLETED');
assert(existsSync('workspace/z'));

const { resources } = await client.listResources();
assert.equal(resources.length, 6);
const { contents } = await client.readResource({ uri: resources[0].uri });
assert.equal(JSON.parse(contents[0].text).run, waiting.run);

const open = await begin();
await call('transaction_call', { run: open, tool: 'io-fs-write_file', arguments: write('e') });
await client.close();
const state = () => JSON.parse(execFileSync(binary, ['runs', '--json'])).find((run) => run.run === open).state;
while (state() === 'RUNNING' || state() === 'ROLLING_BACK');
assert.equal(state(), 'ROLLED_BACK');
assert(!existsSync('workspace/e'));
console.log(`${names.length} tools listed, all as it should be`);
