// Is the record what was written? And what does it say that belongs to no run?

import { get, post } from './api.js';
import { el, facts, failure, quoted, table, time, value } from './page.js';
import { badge, list as items } from './shown.js';

const NEWEST = 200;

/** In a line, what is most of it. */
function summary({ kind, ...event }) {
    const by = event.by ? `${event.by}: ` : '';
    if (kind === 'REFUSED') return [by, quoted(event.request), ' ', el('code', {}, event.code), ' ', quoted(event.message)];
    if (kind === 'TOKEN_ADDED') return [by, `${event.id} for ${event.principal}`, event.acting_for && ` acting for ${event.acting_for}`, `, may ${event.scopes.join(', ')}: `, quoted(event.reason)];
    if (kind === 'TOKEN_REVOKED') return [by, `${event.id}: `, quoted(event.reason)];
    if (kind === 'POLICY_LOADED') return [quoted(event.name), ' ', el('code', { class: 'digest' }, event.digest)];
    return null;
}

function verified(report) {
    return [
        el('p', { class: report.whole ? 'verdict good' : 'verdict bad' }, report.whole ? 'The record is as it was written.' : 'The record was changed.'),
        facts([
            ['Found', report.findings.length ? items(report.findings.map((one) => [one.seq ? `event ${one.seq}` : 'the whole', ' of chain ', quoted(one.chain), ': ', quoted(one.message)])) : null],
            ['Verified', `${report.chains} chains, ${report.events} events, ${report.payloads} payloads, ${report.decisions} decisions decided again`],
            ['On record', report.erased + report.pruned ? `${report.erased} payloads redacted or expired, ${report.pruned} runs pruned` : null],
            ['Checkpoints', `${report.checkpoints}; ${report.since_checkpoint} events since the last one`],
            ['What this does not show', 'Whoever can write the whole file can write it anew: compare it with checkpoints that are kept elsewhere (redress audit verify --checkpoint FILE).'],
        ]),
    ];
}

export async function status({ title }) {
    title('Audit');
    const now = await get('/v1/audit');
    const answer = el('div', { 'aria-live': 'polite' });
    const button = el('button', { type: 'button' }, 'Verify all of the record');
    button.addEventListener('click', async () => {
        button.disabled = true;
        answer.replaceChildren(el('p', {}, 'Verifying…'));
        try {
            answer.replaceChildren(...verified(await post('/v1/audit/verify')));
        } catch (error) {
            answer.replaceChildren(failure(error));
        }
        button.disabled = false;
    });
    const head = now.head?.seq ?? 0;
    const { events } = await get(`/v1/system/events?after=${Math.max(0, head - NEWEST)}`);
    const rows = events.reverse().map(({ seq, at, event }) => [
        String(seq), time(at), el('strong', {}, event.kind.replaceAll('_', ' ')), [summary(event), el('details', {}, el('summary', {}, 'All of it'), value(event))],
    ]);
    return [
        facts([
            ['Runs', items(now.runs.filter(({ count }) => count).map(({ state, count }) => [badge(state), ` ${count}`]))],
            ['System chain', now.head ? [`event ${now.head.seq} `, el('code', { class: 'digest' }, now.head.hash)] : 'nothing yet'],
        ]),
        el('p', { class: 'buttons' }, button), answer,
        rows.length > 0 && table('The newest events of the system chain: refusals, tokens, policies, heads of runs', ['Event', 'When', 'Kind', 'What'], rows),
    ];
}
