// The policy in force, and why it answers as it does.

import { get, post } from './api.js';
import { el, facts, failure, field, quoted, table, visible } from './page.js';
import { badge, grant } from './shown.js';

const named = ({ index, line, name }) => [`rule ${index}, line ${line}`, name && [' ', quoted(name)]];
const outcome = (given) => {
    if (typeof given === 'object') return Object.entries(given).map(([kind, why]) => [kind === 'when' ? 'its condition does not hold: ' : 'its condition cannot be evaluated: ', quoted(why)]);
    return { matches: 'it decides', principal: 'its principals are others', capability: 'its capabilities are others', 'not-reached': 'an earlier rule decided' }[given];
};

function explanation(said) {
    const { decision } = said;
    return [
        facts([
            ['Answer', badge(decision.action)],
            ['Risk', badge(decision.risk)],
            ['Why', decision.reason && quoted(decision.reason)],
            ['Provided', said.installed ? null : 'no installed component provides it'],
            ['What would change the answer', el('span', { class: 'foreign' }, visible(said.help))],
            ['Opens', said.grant && grant(said.grant)],
        ]),
        said.principals.map((one) => table(`The rules, in order, for ${one.principal}`, ['Rule', 'It says', 'What came of it'],
            one.rules.map((asked) => [named(asked.rule), badge(asked.action), outcome(asked.outcome)]))),
    ];
}

export async function show({ title }) {
    title('Policy');
    const policy = await get('/v1/policy');
    const known = (await get('/v1/capabilities?all=true')).map(({ id }) => el('option', { value: id }));
    const behalf = el('input', { placeholder: 'user:alice' });
    const [principal, capability] = [el('input', { required: true, placeholder: 'agent:assistant' }), el('input', { required: true, list: 'known', placeholder: 'io.fs.write_file' })];
    const inputs = el('textarea', { rows: 3, class: 'code', spellcheck: 'false', placeholder: '{"path": "/workspace/a.txt"}' });
    const answer = el('div', { 'aria-live': 'polite' });
    const ask = async (event) => {
        event.preventDefault();
        try {
            const question = { principal: principal.value, capability: capability.value };
            if (behalf.value) question.acting_for = behalf.value;
            if (inputs.value.trim()) question.inputs = JSON.parse(inputs.value);
            answer.replaceChildren(...explanation(await post('/v1/policy/explain', question)).flat());
        } catch (error) {
            answer.replaceChildren(failure(error));
        }
    };
    const lines = policy.text.replace(/\n$/, '').split('\n').map((line) => el('li', {}, visible(line, true) || ' '));
    return [
        el('form', { onsubmit: ask }, el('fieldset', {}, el('legend', {}, 'What would it say?'),
            field('Who', principal), field('For whom', behalf, 'If an agent acts for somebody: the stricter answer holds.'), field('Capability', capability), el('datalist', { id: 'known' }, known), field('Input', inputs, 'A JSON object; without it the input is empty.'),
            el('p', { class: 'buttons' }, el('button', { type: 'submit' }, 'Explain')))),
        answer,
        el('h2', {}, 'In force'),
        facts([['File', quoted(policy.name)], ['Digest', el('code', { class: 'digest' }, policy.policy)], ['Shadow', policy.shadow && el('code', { class: 'digest' }, policy.shadow)]]),
        el('div', { class: 'wide', tabindex: 0, role: 'region', 'aria-label': 'The text of the policy' }, el('ol', { class: 'text' }, lines)),
    ];
}
