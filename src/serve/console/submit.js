// Submitting a workflow, or one call.

import { get, post } from './api.js';
import { el, failure, field, quoted } from './page.js';

const object = (text, what) => {
    if (text.trim() === '') return {};
    try {
        return JSON.parse(text);
    } catch (error) {
        throw Object.assign(new Error(error.message), { title: `${what} must be a JSON object:` });
    }
};

export async function form({ title }) {
    title('Submit');
    const workflow = el('textarea', { rows: 14, spellcheck: 'false', class: 'code', required: true });
    const inputs = el('textarea', { rows: 3, spellcheck: 'false', class: 'code', placeholder: '{}' });
    const known = await get('/v1/capabilities');
    const capability = el('select', { required: true }, known.map(({ id }) => el('option', { value: id }, id)));
    const given = el('textarea', { rows: 5, spellcheck: 'false', class: 'code', placeholder: '{}' });
    const about = el('p', {});
    const say = () => {
        const one = known.find(({ id }) => id === capability.value);
        about.replaceChildren(...(one ? [quoted(one.title), ` Risk ${one.risk}, ${one.effect}. Input: `, ...Object.keys(one.input.properties ?? {}).map(quoted)] : []));
    };
    capability.addEventListener('change', say);
    say();
    const part = (legend, fields, body) => {
        const wrong = el('div', {});
        // One key for what is in the form: pressing twice is one run.
        const draw = () => Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, '0')).join('');
        let [key, sent] = [draw(), ''];
        const send = async (event) => {
            event.preventDefault();
            wrong.replaceChildren();
            try {
                const submission = body();
                const now = JSON.stringify(submission);
                if (now !== sent) [key, sent] = [draw(), now];
                const run = await post('/v1/runs?wait=1', submission, { 'Idempotency-Key': key });
                location.hash = `#/runs/${run.run}`;
            } catch (error) {
                wrong.replaceChildren(failure(error));
            }
        };
        return el('form', { onsubmit: send }, el('fieldset', {}, el('legend', {}, legend), fields, el('p', { class: 'buttons' }, el('button', { type: 'submit' }, legend)), wrong));
    };
    return [
        part('Run a workflow', [field('Workflow file', workflow), field('Inputs', inputs, 'A JSON object; what is not given is as the workflow says.')],
            () => ({ workflow: workflow.value, inputs: object(inputs.value, 'Inputs') })),
        part('Make one call', [field('Capability', capability), about, field('Input', given, 'A JSON object.')],
            () => ({ capability: capability.value, inputs: object(given.value, 'The input') })),
    ];
}
