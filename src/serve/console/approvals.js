// What waits for a person, and the page on which one decides. A vote names the request that is shown, and a yes also what stands in
// the file that the call changes: if something else takes the place of either, the vote does not count for that.

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
        const on = document.activeElement;
        first.hidden = !cursor;
        later.hidden = !next;
        later.onclick = pressed(() => { cursor = next; return read(); });
        if (on === later && !next) first.focus();
        if (on === first && !cursor) later.focus();
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
            ? el('p', { class: 'empty' }, next ? 'Nothing of these runs waits; there may be later ones.' : asked ? 'Nothing of these runs waits.' : 'Nothing waits for a person.')
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
    const path = `/v1/runs/${run}/steps/${encodeURIComponent(step)}`;
    // Who may not answer is not shown it; to ask would be refused, and recorded.
    const look = () => (waiting.refused ? null : get(`${path}/change`).catch((error) => error));
    let changes = await look();
    const shown = el('div', {});
    const show = () => redraw(shown, changes instanceof Error ? failure(changes) : changes ? change(changes) : '');
    show();
    const notice = el('div', { role: 'status' });
    const vote = async (reason, what) => {
        // A yes is for what is shown; a no, whatever stands there by now.
        const seen = what === 'approve' ? changes?.seen : null;
        const body = { request: waiting.request, seen, approve: what === 'approve', reason };
        const after = await post(`${path}/votes`, body);
        // The policy may have changed between the look and the vote.
        const void_ = after.steps.find(({ name }) => name === step)?.void_votes?.some(({ request }) => request === waiting.request);
        if (void_) tell('Your vote counts no more: the step was decided again, and is asked about anew.');
        else tell(`${what === 'approve' ? 'Approved' : 'Rejected'}. The run is ${after.state}.`);
        location.hash = `#/runs/${run}`;
    };
    const form = el('div', {}, waiting.refused
        ? el('p', { class: 'notice' }, `You cannot decide this: ${visible(waiting.refused)}.`)
        : reasoned('Your decision', [['Approve', 'good', 'approve'], ['Reject', 'bad', 'reject']], vote));
    const again = (text, act) => el('p', { class: 'notice' }, text, ' ', el('button', { type: 'button', onclick: pressed(act) }, 'Look at it again'));
    let said = '';
    const say = (what, ...content) => {
        if (said !== what) redraw(notice, ...content);
        said = what;
        // Who was about to decide is on what can be done instead.
        if (document.activeElement === form) notice.querySelector('a, button')?.focus();
    };
    every(3000, async () => {
        const now = await find();
        if (!now || now.expired || now.request !== waiting.request) {
            // What was typed was for something that nobody asks any more.
            redraw(form);
            if (!now || now.expired) say('over', el('p', { class: 'notice' }, 'It does not wait any more. ', runLink(run)));
            else say('replaced', again('The request was replaced by another one.', () => window.dispatchEvent(new Event('hashchange'))));
            return;
        }
        // Nothing to be seen: it cannot be told, or was decided just now, which the next look tells.
        const fresh = changes && await look();
        if (!fresh || fresh instanceof Error) return;
        if (fresh.seen === changes?.seen) say('');
        else say('changed', again(fresh.seen ? 'What the call would change is not what is shown here any more.' : 'What the call would change is hidden now.', async () => {
            changes = await look();
            show();
            say('');
        }));
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
        shown,
        notice,
        form,
    ];
}
