// How the parts of a run are shown, wherever they are.

import { block, counted, el, facts, quoted, table, time, value, visible } from './page.js';

const KINDS = {
    COMPLETED: 'good', SUCCEEDED: 'good', ALLOW: 'good', UNDONE: 'undone', ROLLED_BACK: 'undone', UNDOING: 'undone', ROLLING_BACK: 'undone',
    PAUSED: 'waits', WAITS_FOR_A_PERSON: 'waits', REQUIRE_APPROVAL: 'waits', RUNNING: 'moves', FAILED: 'bad', DENY: 'bad', UNCLEAR: 'bad', STUCK: 'bad',
    REJECTED: 'bad', CANCELLED: 'undone', DENIED: 'bad', UNDO_FAILED: 'bad', RESIDUE: 'bad', KILLED: 'bad', ROLLED_BACK_WITH_RESIDUE: 'bad', HIGH: 'risk', CRITICAL: 'bad',
};
const SIGNS = { good: '✓', undone: '↩', waits: '…', moves: '▸', risk: '▲', bad: '!' };

/** How a step stands, in the words of who looks: what waits for its turn and what waits for a person are not the same, nor are what failed, what was
 * rejected and what was not reached. */
export function standing({ state, approval, error }) {
    if (state === 'WAITING' && approval) return 'WAITS_FOR_A_PERSON';
    const word = { skipped: 'NOT_REACHED', rejected: 'REJECTED', denied: 'DENIED', cancelled: 'CANCELLED' }[error?.code];
    return state === 'FAILED' && word ? word : state;
}

/** A word of the host's, with a sign and a colour for it. */
export const badge = (word) =>
    el('span', { class: `badge ${KINDS[word] ?? ''}` }, el('span', { 'aria-hidden': 'true' }, SIGNS[KINDS[word]] ?? '·'), ' ', word.replaceAll('_', ' '));

export const link = (to, text) => el('a', { href: to }, text);
export const runLink = (run) => link(`#/runs/${run}`, el('code', {}, run));
export const code = (text) => el('code', {}, visible(text));
export const list = (items) => (items.length ? el('ul', {}, items.map((item) => el('li', {}, item))) : 'none');

const target = ({ file, http }) => (file ? file.guest : `${http.method} ${http.url}`);

/** Which rule answered. */
export function rule({ rule, line, rule_name: name, reason, escalated, risk }) {
    const which = rule == null ? 'the default' : `rule ${rule}${line == null ? '' : `, line ${line}`}`;
    return [which, name && [' ', quoted(name)], escalated && `; made stricter by the risk ${risk}`, reason && [': ', quoted(reason)]];
}

/** What a grant opens. */
export const grant = (given) =>
    list([
        ...given.filesystem.map(({ guest, host, access }) => [code(guest), ` is ${host} on the host, ${access}`]),
        ...(given.network ?? []).map(({ url, methods }) => [`${methods.join(', ')} `, code(url)]),
        ...(given.secrets ?? []).map(({ name }) => ['the secret ', code(name)]),
        ...Object.keys(given.config ?? {}).map((name) => ['the setting ', code(name)]),
    ]);

function effect({ kind, target: on, to, status, bytes, exchange }) {
    const answer = exchange && `, answered ${exchange.status ?? 'not'} by ${exchange.address}`;
    const how = status === 'done' ? '' : ` (${status})`;
    return [el('strong', {}, kind), ' ', quoted(target(on)), to && [' to ', quoted(target(to))], bytes ? `, ${counted(bytes, 'byte')}` : '', answer, how];
}

/** Where something was read. */
export const read = ({ place, count, bytes }) =>
    count === 0 ? ['looked for names in ', quoted(place)] : ['read in ', quoted(place), `: ${counted(count, 'file or listing', 'files or listings')}, ${counted(bytes, 'byte')}`];

/** What an attempt did, or several did. */
export function did({ effects, egress, reads, unlisted }) {
    const all = [
        ...effects.map(effect),
        ...egress.map(effect),
        ...reads.map(read),
    ];
    if (unlisted) all.push(`and ${unlisted} more that are not listed`);
    return all.length ? list(all) : 'nothing';
}

const failed = ({ code: word, message, details }) => [code(word), ' ', quoted(message), details && block(details)];

const vote = ({ by, approve, reason }) => [by, approve ? ' approved: ' : ' rejected: ', quoted(reason)];

function undone({ attempt, outcome, checked, error, ...done }) {
    const check = checked ? 'the host compared every file with its state before' : 'nothing was compared';
    return [`attempt ${attempt}: `, badge(outcome.toUpperCase()), ` ${check}`, error && [' ', failed(error)], did(done)];
}

/** All that is known of a step. */
export function step(shown) {
    const { capability, agent, component, decision, approval, void_votes: voided = [], undos, targets, asks } = shown;
    const approved = approval && [
        `${approval.votes.filter((one) => one.approve).length} of ${approval.quorum} by ${approval.approvers.join(', ')}, until `, time(approval.expires),
        approval.votes.length > 0 && list(approval.votes.map(vote)),
    ];
    return facts([
        ['What', capability ? code(capability) : 'waits for a person'],
        ['Component', component && el('code', { class: 'digest' }, component)],
        ['Agent', agent],
        ['After', shown.depends_on.length > 0 ? shown.depends_on.join(', ') : null],
        ['Decision', decision && [badge(decision.action), ' by ', rule(decision)]],
        ['Risk', decision && badge(decision.risk)],
        ['Approval', approved],
        ['Votes that count no more', voided.length ? list(voided.map((one) => [vote(one), ` (${one.void})`])) : null],
        ['Asked for', asks && list(asks.map(code))],
        ['Granted', decision && grant(decision.grant)],
        ['Input', shown.input == null ? null : value(shown.input)],
        ['Attempts', shown.attempts],
        ['What it did', shown.attempts ? did(shown) : null],
        ['Output', shown.output == null ? null : value(shown.output)],
        ['Error', shown.error && failed(shown.error)],
        ['Targets', targets.length ? table('Targets, before and after', ['Target', 'Before', 'After'],
            targets.map((one) => [quoted(one.target), one.before, one.after ?? 'not known'])) : null],
        ['Undo', undos.length ? list(undos.map(undone)) : null],
        ['Undo was checked', shown.state === 'UNDONE' ? (shown.checked ? 'yes: every file is as it was before' : 'no file was there to compare') : null],
    ]);
}

/** What a call would change in a file. */
export function change({ target: at, link: leads, now, then: after, lines, why }) {
    const place = { absent_file: 'It would be made.', file_file: 'It would be written.', file_absent: 'It would be deleted.', absent_absent: 'It is not there.' }[`${now}_${after}`];
    const signs = { stays: ' ', added: '+', removed: '−', left_out: '⋯' };
    const words = { stays: '', added: 'added: ', removed: 'removed: ', left_out: 'lines are left out' };
    // What only looks like something written out is told from it, and blanks at the end are written out.
    const exact = (text) => visible(text.replace(/\\(?=u\{)/g, '\\u{5c}')).replace(/ +$/, (blanks) => '\\u{20}'.repeat(blanks.length));
    const row = ({ kind, now: before, then, text, no_end }) =>
        el('tr', { class: kind },
            el('td', { class: 'at' }, before ?? ''), el('td', { class: 'at' }, then ?? ''),
            el('td', { class: 'sign', 'aria-hidden': 'true' }, signs[kind]),
            el('td', { class: 'text' }, el('span', { class: 'unseen' }, words[kind]), exact(text), no_end && el('span', { class: 'unended' }, ' no end of line')));
    return el('section', { class: 'change' },
        el('h3', {}, 'What changes in ', quoted(at)), leads != null && el('p', {}, 'It is a link to ', quoted(leads), '.'), place && el('p', {}, place),
        lines.length > 0 && el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Lines that change' },
            el('table', {}, el('thead', { class: 'unseen' }, el('tr', {}, ['now', 'then', 'change', 'line'].map((head) => el('th', { scope: 'col' }, head)))), el('tbody', {}, lines.map(row)))),
        why ? el('p', {}, `It is not shown whole: ${why}.`) : lines.length === 0 && el('p', {}, 'No line changes.'));
}
