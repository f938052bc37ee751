// Puts things into the page. Text goes in as text, always: nothing here makes markup of anything.

const NOT_SEEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}\p{Co}\p{Default_Ignorable_Code_Point}\u2800]|(?! )\p{Zs}/gu;

/** Text in which what cannot be seen, or changes how other text is seen, is written out. */
export function visible(text, lines = false) {
    return String(text).replace(NOT_SEEN, (char) =>
        lines && (char === '\n' || char === '\t') ? char : `\\u{${char.codePointAt(0).toString(16)}}`);
}

function fill(element, properties, children) {
    for (const [name, value] of Object.entries(properties ?? {})) {
        if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
        else if (value === true) element.setAttribute(name, '');
        else if (value !== false && value != null) element.setAttribute(name, value);
    }
    element.append(...children.flat(Infinity).filter((child) => child != null && child !== false));
    return element;
}

/** An element; a text among its children is text. */
export const el = (name, properties, ...children) => fill(document.createElement(name), properties, children);
export const svg = (name, properties, ...children) =>
    fill(document.createElementNS('http://www.w3.org/2000/svg', name), properties, children);

/** What a component, an agent, a workflow or a person wrote: quoted, apart from what the host says. */
export const quoted = (text) => el('q', { class: 'foreign' }, visible(text));
export const block = (text) => el('pre', { class: 'foreign', tabindex: 0 }, visible(text, true));

const LONG = 300;
const MANY = 40;
const size = (given) => (given === null || typeof given !== 'object' ? String(given).length : LONG);
const fields = (entries) => el('dl', { class: 'fields' }, entries.map(([name, inner]) => [el('dt', {}, quoted(name)), el('dd', {}, value(inner))]));

/** A value of theirs. A text stands in quotation marks, or in a box if it is long; what is no text stands as JSON has it. What is short comes
 * before what is long, so that nothing hides behind it. */
export function value(given) {
    if (typeof given === 'string') return given.includes('\n') || given.length > LONG ? block(given) : quoted(given);
    if (given === null || typeof given !== 'object') return el('code', { class: 'foreign' }, JSON.stringify(given));
    if (Array.isArray(given)) return block(JSON.stringify(given, null, 2));
    const entries = Object.entries(given).sort(([, one], [, other]) => (size(one) >= LONG) - (size(other) >= LONG));
    if (entries.length === 0) return el('code', { class: 'foreign' }, '{}');
    if (entries.length <= MANY) return fields(entries);
    return [fields(entries.slice(0, MANY)), el('details', {}, el('summary', {}, `${entries.length - MANY} more fields`), fields(entries.slice(MANY)))];
}

/** Puts something in the place of what was there. Who was on something in it stays on that, or on the place itself if it is gone. */
export function redraw(place, ...content) {
    const on = place !== document.activeElement && place.contains(document.activeElement) ? document.activeElement : null;
    if (!on) return place.replaceChildren(...content);
    const name = (one) => JSON.stringify([one.closest('[id]')?.id, one.getAttribute('href'), one.getAttribute('aria-label'), one.localName === 'button' && one.textContent]);
    const alike = (wanted) => [...place.querySelectorAll(on.localName)].filter((one) => name(one) === wanted);
    const [named, at] = [name(on), alike(name(on)).indexOf(on)];
    const { scrollTop, scrollLeft } = on;
    place.replaceChildren(...content);
    const same = alike(named)[at];
    if (!same && !place.hasAttribute('tabindex')) place.tabIndex = -1;
    (same ?? place).focus({ preventScroll: true });
    if (same) Object.assign(same, { scrollTop, scrollLeft });
}

/** A moment, as the clock of whoever looks shows it. */
export function time(text) {
    const at = new Date(text);
    const shown = Number.isNaN(at.valueOf()) ? text : at.toLocaleString(undefined, { dateStyle: 'medium', timeStyle: 'medium' });
    return el('time', { datetime: text, title: text }, shown);
}

/** How many there are of something. */
export const counted = (count, what, many = `${what}s`) => `${count} ${count === 1 ? what : many}`;

/** How long it is until then. */
export function until(text) {
    const seconds = Math.round((new Date(text) - Date.now()) / 1000);
    if (seconds <= 0) return 'over';
    const [unit, size] = [['day', 86400], ['hour', 3600], ['minute', 60], ['second', 1]].find(([, size]) => seconds >= size);
    const count = Math.floor(seconds / size);
    return `in ${counted(count, unit)}`;
}

/** Names and what stands for them; what is null is left out. */
export const facts = (rows) =>
    el('dl', { class: 'facts' }, rows.filter(([, shown]) => shown != null).map(([name, shown]) => [el('dt', {}, name), el('dd', {}, shown)]));

export const table = (caption, heads, rows) =>
    el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': caption },
        // On a narrow page each row is a card; it stays a table for whoever is read to.
        el('table', { role: 'table', class: 'cards' }, el('caption', {}, caption),
            el('thead', { role: 'rowgroup' }, el('tr', { role: 'row' }, heads.map((head) => el('th', { scope: 'col', role: 'columnheader' }, head)))),
            el('tbody', { role: 'rowgroup' }, rows.map((cells) => el('tr', { role: 'row' }, cells.map((cell, at) => el('td', { role: 'cell', 'data-head': heads[at] }, cell)))))));

/** A field with its label, and what is said of it. */
export function field(label, input, help) {
    const id = `f${(field.count = (field.count ?? 0) + 1)}`;
    input.id = id;
    if (help) input.setAttribute('aria-describedby', `${id}-help`);
    return el('p', { class: 'field' }, el('label', { for: id }, label), input, help && el('small', { id: `${id}-help` }, help));
}

/** Says something to whoever looks, and to whoever listens. */
export function tell(text) {
    const told = document.getElementById('told');
    told.replaceChildren(el('p', {}, text));
    clearTimeout(tell.timer);
    tell.timer = setTimeout(() => told.replaceChildren(), 8000);
}

/** Does something that somebody pressed for, and tells what goes wrong. */
export const pressed = (act) => async (...given) => {
    try {
        await act(...given);
    } catch (error) {
        if (error.name !== 'AbortError') tell(visible(error.message));
    }
};

/** What went wrong, with the words of the service. */
export const failure = (error) =>
    el('div', { class: 'failure', role: 'alert' }, error.status ? null : [el('strong', {}, error.title ?? 'It did not work:'), ' '], visible(error.message, true));

/** A form that asks why; `act` is given the reason, and what it throws is shown. */
export function reasoned(legend, buttons, act) {
    const reason = el('textarea', { rows: 2, required: true, maxlength: 4096 });
    const wrong = el('div', {});
    const all = buttons.map(([text, kind, what]) => el('button', { type: 'submit', class: kind, value: what }, text));
    const send = async (event) => {
        event.preventDefault();
        wrong.replaceChildren();
        all.forEach((button) => { button.disabled = true; });
        try {
            await act(reason.value, event.submitter?.value ?? buttons[0][2]);
        } catch (error) {
            wrong.replaceChildren(failure(error));
        }
        all.forEach((button) => { button.disabled = false; });
    };
    return el('form', { class: 'reasoned', onsubmit: send },
        el('fieldset', {}, el('legend', {}, legend), field('Reason', reason, 'It is recorded with your name.'), el('p', { class: 'buttons' }, all), wrong));
}
