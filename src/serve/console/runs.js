// Runs: all that one may see, and each as it goes on.

import { follow, get, post } from './api.js';
import { el, facts, field, pressed, quoted, reasoned, redraw, table, tell, time, value, visible } from './page.js';
import { graph } from './graph.js';
import { badge, link, list as items, standing, step as shownStep } from './shown.js';

const STATES = ['RUNNING', 'PAUSED', 'ROLLING_BACK', 'STUCK', 'COMPLETED', 'ROLLED_BACK', 'ROLLED_BACK_WITH_RESIDUE', 'KILLED'];

export function list({ every, title }) {
    title('Runs');
    const state = el('select', {}, el('option', { value: '' }, 'all'), STATES.map((word) => el('option', { value: word }, word.replaceAll('_', ' '))));
    const shown = el('div', {}, el('p', {}, 'Loading…'));
    const older = el('button', { type: 'button', hidden: true }, 'Older runs');
    let [cursor, last, paging] = [null, '', false];
    const wanted = () => String(new URLSearchParams([['state', state.value], ['cursor', cursor ?? '']].filter(([, text]) => text)));
    const read = async (signal) => {
        const asked = wanted();
        const page = await get(`/v1/runs?${asked}`, signal);
        // Somebody has asked for something else meanwhile.
        if (asked !== wanted()) return;
        const now = JSON.stringify(page);
        if (now === last) return;
        last = now;
        const rows = page.runs.map((run) => [link(`#/runs/${run.run}`, quoted(run.workflow)), badge(run.state), run.principal, time(run.submitted), el('code', {}, run.run)]);
        redraw(shown, rows.length ? table('Runs, newest first', ['Workflow', 'State', 'On behalf of', 'Submitted', 'Id'], rows) : el('p', { class: 'empty' }, page.cursor ? 'There is none among these; there may be older ones.' : 'There are no such runs.'));
        older.hidden = !page.cursor;
        older.onclick = pressed(() => { [cursor, paging] = [page.cursor, true]; return read(); });
    };
    state.addEventListener('change', pressed(() => { [cursor, paging] = [null, false]; return read(); }));
    every(2000, (signal) => (paging ? undefined : read(signal)));
    return [field('State', state), shown, el('p', {}, older)];
}

const DONE = ['COMPLETED', 'ROLLED_BACK', 'ROLLED_BACK_WITH_RESIDUE', 'KILLED'];

export async function one({ title, signal, who }, id) {
    title('Run');
    document.getElementById('main').dataset.run = id;
    const picture = el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'Graph of the steps' });
    const [head, steps, actions] = [el('div', {}), el('div', {}), el('div', {})];
    const timeline = el('ol', { class: 'timeline' });
    let acting;
    const show = (run) => {
        const { reason, residue } = run;
        redraw(head,
            el('h2', {}, quoted(run.workflow), ' ', badge(run.state)),
            facts([
                ['On behalf of', run.agent ? `${run.principal}, by ${run.agent}` : run.principal],
                ['Submitted', time(run.submitted)],
                ['Closed', run.closed && time(run.closed)],
                ['Turned back', reason && [reason.code.replaceAll('_', ' '), reason.step && [' in ', quoted(reason.step)], ': ', quoted(reason.message)]],
                ['Remains', residue.length ? items(residue.map((one) => [quoted(one.step), ` ${one.what.replaceAll('_', ' ')} `, (one.targets ?? []).map(quoted)])) : null],
                ['Id', el('code', {}, run.run)],
                ['Host', `Redress ${run.host.version}`],
            ]),
            ...run.steps.filter((step) => step.state === 'UNDO_FAILED').map(({ name, error }) => el('p', { class: 'notice bad' },
                'The undo of ', quoted(name), ' failed for good', error && [': ', quoted(error.message)],
                `. Mend the cause, then: redress repair ${run.run} ${name} retry --reason REASON`)),
            ...run.steps.filter((step) => step.state === 'WAITING' && step.approval && !DONE.includes(run.state)).map(({ name, approval }) => el('p', { class: 'notice' },
                quoted(name), ` waits for ${approval.approvers.join(', ')}, until `, time(approval.expires), '. ',
                who.scopes.includes('vote') && link(`#/approvals/${run.run}/${encodeURIComponent(name)}`, 'Look and decide'))));
        redraw(picture, run.steps.length ? graph(run.steps) : el('p', { class: 'empty' }, 'It has no steps yet.'));
        const open = new Set([...steps.querySelectorAll('details[open]')].map((details) => details.id));
        redraw(steps, ...run.steps.map((step) => {
            const id = `step:${encodeURIComponent(step.name)}`;
            return el('details', { id, open: open.has(id) },
                el('summary', {}, quoted(step.name), ' ', badge(standing(step))),
                shownStep(step));
        }));
        offer(run);
    };
    const act = (verb, legend, name) => reasoned(legend, [[name, 'bad', verb]], async (reason) => {
        const after = await post(`/v1/runs/${id}/${verb}`, { reason });
        tell(`The run is ${after.state}.`);
        show(after);
    });
    const offer = (run) => {
        const may = who.scopes.includes('operate') || (who.scopes.includes('submit') && run.principal === (who.acting_for ?? who.principal));
        const verb = !may ? '' : run.state === 'COMPLETED' ? 'undo' : DONE.includes(run.state) || run.state === 'ROLLING_BACK' || run.state === 'STUCK' ? '' : 'cancel';
        if (acting === verb) return;
        acting = verb;
        actions.replaceChildren(...{
            '': [], cancel: [act('cancel', 'Cancel it: what was done is undone', 'Cancel and undo')], undo: [act('undo', 'Undo everything that it did', 'Undo')],
        }[verb]);
    };
    const again = async () => show(await get(`/v1/runs/${id}`, signal));
    await again();
    let due;
    const soon = () => { due ??= setTimeout(() => { due = undefined; pressed(again)(); }, 100); };
    follow(id, 0, ({ seq, at, event }) => {
        const { kind, step, ...rest } = event;
        timeline.append(el('li', {},
            el('details', {}, el('summary', {}, time(at), ' ', el('strong', {}, kind.replaceAll('_', ' ')), step && typeof step === 'string' && [' ', quoted(step)], ` (event ${seq})`), value(rest))));
        soon();
    }, signal);
    return [head, picture, el('h3', {}, 'Steps'), steps, actions, el('h3', {}, 'Timeline'), timeline, logs(id)];
}

/** What components printed, read when somebody wants to see it. */
function logs(id) {
    const shown = el('div', {});
    const read = pressed(async (event) => {
        if (!event.target.open) return;
        const all = await get(`/v1/runs/${id}/logs`);
        shown.replaceChildren(...(all.length ? all.map(({ step, attempt, undo, text }) =>
            el('section', {}, el('h4', {}, quoted(step), `, attempt ${attempt}${undo ? ' to undo it' : ''}`), el('pre', { class: 'foreign', tabindex: 0 }, visible(text, true)))) : [el('p', {}, 'They printed nothing.')]));
    });
    return el('details', { ontoggle: read }, el('summary', {}, 'What its components printed'), shown);
}
