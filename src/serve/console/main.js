// Which part of the console is shown, and to whom.

import { get, signIn, signOut, token } from './api.js';
import { el, failure, field } from './page.js';
import * as approvals from './approvals.js';
import * as audit from './audit.js';
import * as capabilities from './capabilities.js';
import * as policy from './policy.js';
import * as runs from './runs.js';
import * as submit from './submit.js';

/** Each part: where it is, what it is called, which scope it needs, and what shows it. */
const PARTS = [
    ['approvals', 'Approvals', 'vote', approvals.list, approvals.one],
    ['runs', 'Runs', null, runs.list, runs.one],
    ['submit', 'Submit', 'submit', submit.form],
    ['capabilities', 'Capabilities', null, capabilities.list],
    ['policy', 'Policy', 'read-all', policy.show],
    ['audit', 'Audit', 'read-all', audit.status],
];

const main = document.getElementById('main');
const nav = document.getElementById('nav');
const named = document.getElementById('who');
let [who, leaving] = [null, new AbortController()];

function title(text) {
    document.title = `${text} · Redress`;
    main.querySelector('h1').replaceChildren(text);
}

function frame(...content) {
    main.replaceChildren(el('h1', { tabindex: -1 }), el('div', { class: 'content' }, ...content));
    return main.querySelector('.content');
}

function askForToken(error) {
    nav.replaceChildren();
    named.replaceChildren();
    const secret = el('input', { type: 'password', required: true, autocomplete: 'off', spellcheck: 'false' });
    const enter = async (event) => {
        event.preventDefault();
        signIn(secret.value.trim());
        await begin();
    };
    frame(
        error && failure(error),
        el('form', { onsubmit: enter }, el('fieldset', {}, el('legend', {}, 'Who are you?'),
            field('Token', secret, 'An operator makes one: redress token add user:NAME --may vote --reason WHY. It is kept until this tab is closed.'),
            el('p', { class: 'buttons' }, el('button', { type: 'submit' }, 'Sign in')))));
    title('Sign in');
    secret.focus();
}

function showNav(current) {
    const may = ([, , scope]) => !scope || who.scopes.includes(scope);
    nav.replaceChildren(el('ul', {}, PARTS.filter(may).map(([path, text]) =>
        el('li', {}, el('a', { href: `#/${path}`, 'aria-current': path === current ? 'page' : null }, text)))));
}

/** Does something now and every so often, as long as this part is shown and can be seen. */
function every(period, act, signal, wrong) {
    const once = async () => {
        if (signal.aborted) return;
        try {
            if (document.hidden) return setTimeout(once, period);
            await act(signal);
            wrong.replaceChildren();
            delete wrong.dataset.said;
        } catch (error) {
            if (error.name === 'AbortError') return;
            if (wrong.dataset.said !== error.message) wrong.replaceChildren(failure(error));
            wrong.dataset.said = error.message;
        }
        if (!signal.aborted) setTimeout(once, period);
    };
    once();
}

async function show() {
    if (location.hash.startsWith('#step:')) return openStep();
    leaving.abort();
    leaving = new AbortController();
    const { signal } = leaving;
    const [path, ...rest] = location.hash.replace(/^#\/?/, '').split('/').map(decoded);
    const first = PARTS.find(([, , scope]) => !scope || who.scopes.includes(scope));
    const [name, , scope, list, one] = PARTS.find(([known]) => known === path) ?? first;
    showNav(name);
    const content = frame(el('p', {}, 'Loading…'));
    const wrong = el('div', {});
    const context = { who, title, signal, every: (period, act) => every(period, act, signal, wrong) };
    try {
        if (scope && !who.scopes.includes(scope)) throw Object.assign(new Error(`it takes a token that may ${scope}`), { title: 'Not with this token:' });
        const shown = await (one && rest.length ? one(context, ...rest) : list(context));
        if (!signal.aborted) content.replaceChildren(wrong, ...[shown].flat(Infinity).filter(Boolean));
    } catch (error) {
        if (error.name === 'AbortError' || error.status === 401) return;
        title(main.querySelector('h1').textContent || 'Redress');
        content.replaceChildren(failure(error));
    }
    if (!signal.aborted) main.querySelector('h1').focus();
}

function decoded(text) {
    try {
        return decodeURIComponent(text);
    } catch {
        return text;
    }
}

/** A step of the run that is shown. */
function openStep() {
    const step = document.getElementById(location.hash.slice(1));
    if (!step) return;
    step.open = true;
    step.scrollIntoView({ block: 'start' });
    step.querySelector('summary').focus();
    history.replaceState(null, '', `#/runs/${main.dataset.run ?? ''}`);
}

async function begin() {
    if (!token()) return askForToken();
    try {
        who = await get('/v1/whoami');
    } catch (error) {
        if (error.status === 401) signOut();
        return askForToken(error.status === 401 ? Object.assign(new Error('it does not exist, has expired or was revoked'), { title: 'This token does not count:' }) : error);
    }
    const out = el('button', { type: 'button', class: 'plain' }, 'Sign out');
    out.addEventListener('click', () => { signOut(); location.reload(); });
    named.replaceChildren(el('span', { title: `token ${who.token}, may ${who.scopes.join(', ')}` }, who.acting_for ? `${who.principal} for ${who.acting_for}` : who.principal), ' ', out);
    await show();
}

// Not a place, as all others: it leads to what is shown.
document.querySelector('.skip').addEventListener('click', (event) => { event.preventDefault(); main.focus(); });
window.addEventListener('hashchange', () => { if (who) show(); });
window.addEventListener('unauthorized', () => { if (who) { who = null; leaving.abort(); begin(); } });
begin();
