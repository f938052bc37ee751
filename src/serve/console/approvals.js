// What waits for a person, and the page on which one decides. A vote names the request that is shown: if another one takes its place
// meanwhile, the vote does not count for that.

import { get, post } from './api.js';
import { el, facts, failure, pressed, quoted, reasoned, redraw, table, tell, time, until, value, visible } from './page.js';
import { badge, change, code, grant, link, rule, runLink } from './shown.js';

/** What is short of an input, by which one tells one request from another. */
const brief = (input) =>
    Object.entries(input ?? {}).filter(([, given]) => ['string', 'number', 'boolean'].includes(typeof given) && /^.{0,80}$/u.test(String(given))).slice(0, 2)
        .map(([name, given]) => el('div', {}, quoted(name), ' ', value(given)));

const place = ({ run, step }) => `#/approvals/${run}/${encodeURIComponent(step)}`;

export function list({ every, title }) {
    title('Approvals');
    const shown = el('div', {}, el('p', {}, 'Loading…'));
    const later = el('button', { type: 'button', hidden: true }, 'Those of later runs');
    const first = el('button', { type: 'button', hidden: true, onclick: pressed(() => { cursor = null; return read(); }) }, 'Those of the first runs');
    let [cursor, last] = [null, ''];
    const read = async (signal) => {
        const asked = cursor;
        const { waiting, cursor: next } = await get(`/v1/approvals${asked ? `?cursor=${asked}` : ''}`, signal);
        if (asked !== cursor) return;
        later.hidden = !next;
        later.onclick = pressed(() => { cursor = next; return read(); });
        first.hidden = !cursor;
        // What is said of the time that is left changes by itself.
        const now = JSON.stringify([waiting, waiting.map(({ expires }) => until(expires))]);
        if (now === last) return;
        last = now;
        const rows = waiting.map((one) => [
            link(place(one), [quoted(one.step), ' of ', quoted(one.workflow)]),
            [one.capability ? code(one.capability) : 'waits for a person', ...brief(one.input)],
            badge(one.risk), one.requesters.join(' for '), `${one.approvals} of ${one.quorum}`, [time(one.expires), ` (${until(one.expires)})`],
        ]);
        redraw(shown, rows.length === 0
            ? el('p', { class: 'empty' }, next ? 'Nothing of these runs waits; there may be later ones.' : 'Nothing waits for a person.')
            : table('Waiting for a person', ['Step', 'What', 'Risk', 'Who asks', 'Approvals', 'Until'], rows));
    };
    every(2000, read);
    return [shown, el('p', { class: 'buttons' }, first, later)];
}

export async function one({ title, every }, run, step) {
    title('Approval');
    const find = async () => (await get(`/v1/approvals?run=${run}`)).waiting.find((waiting) => waiting.step === step);
    const waiting = await find();
    const gone = () => el('p', { class: 'empty' }, 'This step does not wait for a person (any more). ', runLink(run));
    if (!waiting) return gone();
    const look = () => get(`/v1/runs/${run}/steps/${encodeURIComponent(step)}/change`).catch((error) => error);
    const changes = await look();
    const notice = el('div', { role: 'status' });
    const vote = async (reason, what) => {
        // A yes is for what is shown; a no, whatever stands there by now.
        const seen = what === 'approve' ? changes?.seen : null;
        const body = { request: waiting.request, seen, approve: what === 'approve', reason };
        const after = await post(`/v1/runs/${run}/steps/${encodeURIComponent(step)}/votes`, body);
        // The policy may have changed between the look and the vote.
        const void_ = after.steps.find(({ name }) => name === step)?.void_votes?.some(({ request }) => request === waiting.request);
        if (void_) tell('Your vote counts no more: the step was decided again, and is asked about anew.');
        else tell(`${what === 'approve' ? 'Approved' : 'Rejected'}. The run is ${after.state}.`);
        location.hash = `#/runs/${run}`;
    };
    const form = waiting.refused
        ? el('p', { class: 'notice' }, `You cannot decide this: ${visible(waiting.refused)}.`)
        : reasoned('Your decision', [['Approve', 'good', 'approve'], ['Reject', 'bad', 'reject']], vote);
    every(3000, async () => {
        const now = await find();
        const waits = now && !now.expired;
        const replaced = now?.request !== waiting.request;
        if (waits && !replaced) {
            const again = changes?.seen ? await look() : changes;
            if (again instanceof Error || again?.seen === changes?.seen) return;
        }
        const again = el('button', { type: 'button', onclick: () => window.dispatchEvent(new Event('hashchange')) }, 'Look at it again');
        const what = replaced ? 'The request was replaced by another one. ' : 'What the call would change is not what is shown here any more. ';
        form.replaceWith(notice);
        redraw(notice, el('p', { class: 'notice' }, waits ? [what, again] : ['It does not wait any more. ', runLink(run)]));
    });
    const also = (waiting.also ?? []).map((names) => `and one of ${names.join(', ')}`);
    return [
        el('h2', {}, quoted(waiting.step), ' of ', quoted(waiting.workflow)),
        facts([
            ['Asks', waiting.requesters.join(', for ')],
            ['To do', waiting.capability ? code(waiting.capability) : 'nothing: the run waits here'],
            ['Risk', [badge(waiting.risk), waiting.escalated && ' (which is why a person is asked)']],
            ['Rule', rule(waiting)],
            ['Undo', waiting.undo],
            ['May decide', [waiting.approvers.join(', '), ...also].join(' ')],
            ['Approvals', `${waiting.approvals} of ${waiting.quorum}`],
            ['Until', [time(waiting.expires), ` (${until(waiting.expires)})`]],
            ['Run', runLink(waiting.run)],
            ['Opens', grant(waiting.grant)],
            ['Component', waiting.component && el('code', { class: 'digest' }, waiting.component)],
            ['Policy', el('code', { class: 'digest' }, waiting.policy)],
            ['Request', el('code', { class: 'digest' }, waiting.request)],
        ]),
        el('h3', {}, 'Exact input'),
        waiting.masked && el('p', {}, 'Values that the policy or the component calls sensitive are masked.'),
        waiting.input == null ? el('p', {}, 'It was erased.') : value(waiting.input),
        changes instanceof Error ? (waiting.refused ? null : failure(changes)) : changes && change(changes),
        form,
    ];
}
