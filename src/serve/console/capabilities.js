// Capabilities: what each asks for, what the policy grants it, and what it used.

import { get } from './api.js';
import { block, counted, el, facts, failure, quoted } from './page.js';
import { badge, code, list as items, read as shownRead, runLink } from './shown.js';

const used = (was) => (was == null ? ' (whether it was used is not recorded)' : was ? ' (used)' : ' (never used)');

function opening(one) {
    if (one.directory) return [code(one.directory.guest), ` is ${one.directory.host} on the host, ${one.directory.access}`];
    if (one.url) return [one.url.methods.join(', '), ' ', code(one.url.url)];
    return one.secret ? ['the secret ', code(one.secret.name)] : ['the setting ', code(one.config)];
}

const granted = (one) => [opening(one), one.principals && ` for ${one.principals.join(', ')}`, used(one.used), one.unused.length > 0 && [', never: ', one.unused.map(code)]];

function usage(review) {
    const [one] = review.capabilities;
    const { read, changed, requests, secrets, principals } = one.used;
    const uses = [
        ...read.map(({ guest: place, opened: count, bytes }) => shownRead({ place, count, bytes })),
        ...changed.map((dir) => ['changed in ', quoted(dir.guest), `: ${counted(dir.targets, 'file or directory', 'files or directories')}`]),
        ...requests.map((request) => [`${request.count} × ${request.method} `, quoted(request.url)]),
        ...secrets.map((name) => ['the secret ', code(name)]),
    ];
    return facts([
        ['Asked for', items(one.asked.map(({ permission, used: was }) => [code(permission), used(was)]))],
        ['Granted', items(one.granted.map(granted))],
        ['Used', [`${counted(one.used.executed, 'call')} and ${counted(one.used.undone, 'undo')} in ${one.used.runs} of the ${counted(review.runs, 'run')} of the last 30 days`, items(uses)]],
        ['By', principals.length ? principals.join(', ') : null],
        ['Refused', one.refused.length ? items(one.refused.map((no) => [`${no.count} × `, code(no.code), ' ', quoted(no.message), ', first in ', runLink(no.run)])) : null],
    ]);
}

export async function list({ title, who, signal }) {
    title('Capabilities');
    const may = who.scopes.includes('read-all');
    const all = await get(`/v1/capabilities${may ? '?all=true' : ''}`);
    // One after the other: each of them reads all runs of a month.
    let turn = Promise.resolve();
    return [
        el('p', {}, may ? 'All that components provide.' : 'Those that the policy does not deny you altogether.'),
        all.map((one) => {
            const review = el('div', {});
            const read = async () => {
                try {
                    review.replaceChildren(usage(await get(`/v1/capabilities/${one.id}/review`, signal)));
                } catch (error) {
                    // It is asked for again when it is opened again.
                    review.replaceChildren(failure(error));
                    review.dataset.failed = '';
                }
            };
            const opened = (event) => {
                if (!event.target.open || !may || (review.childElementCount && !('failed' in review.dataset))) return;
                delete review.dataset.failed;
                review.replaceChildren(el('p', {}, 'Looking at the runs…'));
                turn = turn.then(read);
            };
            return el('details', { ontoggle: opened },
                el('summary', {}, code(one.id), ' ', badge(one.risk), ' ', quoted(one.title)),
                facts([
                    ['Summary', quoted(one.summary)],
                    ['May change', one.effect],
                    ['Again after an unclear outcome', one.idempotent ? 'yes' : 'no'],
                    ['Component', el('code', { class: 'digest' }, one.component)],
                    ['Asks for', may ? null : items(one.asks.map(code))],
                ]),
                review,
                el('details', {}, el('summary', {}, 'Input and output'), el('h4', {}, 'Input'), block(JSON.stringify(one.input, null, 2)), el('h4', {}, 'Output'), block(JSON.stringify(one.output, null, 2))));
        }),
        all.length === 0 && el('p', { class: 'empty' }, 'There are none.'),
    ];
}
