// Steps as a graph: each below those that it waits for.

import { svg, visible } from './page.js';
import { badge, standing } from './shown.js';

const [WIDTH, HEIGHT, ACROSS, DOWN] = [210, 52, 20, 34];

/** In which row each step stands: below all that it waits for. */
function rows(steps) {
    const at = new Map();
    for (const { name, depends_on: after } of steps) {
        const row = Math.max(-1, ...after.map((other) => at.get(other) ?? -1)) + 1;
        at.set(name, row);
    }
    return at;
}

/** The picture; each step leads to what is said of it. */
export function graph(steps) {
    const row = rows(steps);
    const place = new Map();
    const filled = [];
    for (const { name } of steps) {
        const y = row.get(name);
        filled[y] = (filled[y] ?? 0) + 1;
        place.set(name, { column: filled[y] - 1, y });
    }
    const most = Math.max(1, ...filled);
    const width = most * (WIDTH + ACROSS) + ACROSS;
    const height = filled.length * (HEIGHT + DOWN) - DOWN + ACROSS;
    const corner = (name) => {
        const { column, y } = place.get(name);
        const free = (most - filled[y]) * (WIDTH + ACROSS) / 2;
        return [ACROSS + free + column * (WIDTH + ACROSS), ACROSS / 2 + y * (HEIGHT + DOWN)];
    };
    const edge = (from, to) => {
        const [x1, y1] = corner(from);
        const [x2, y2] = corner(to);
        const [a, b, c, d] = [x1 + WIDTH / 2, y1 + HEIGHT, x2 + WIDTH / 2, y2];
        return svg('path', { class: 'edge', d: `M${a} ${b} C${a} ${b + DOWN / 2} ${c} ${d - DOWN / 2} ${c} ${d}` });
    };
    const short = (text, most) => { const all = visible(text); return all.length > most ? `${all.slice(0, most - 1)}…` : all; };
    const node = (step) => {
        const { name, capability } = step;
        const [x, y] = corner(name);
        const mark = badge(standing(step));
        return svg('a', { href: `#step:${encodeURIComponent(name)}`, class: `node ${mark.className}` },
            svg('rect', { x, y, width: WIDTH, height: HEIGHT, rx: 6 }),
            svg('text', { x: x + 10, y: y + 21, class: 'title' }, short(name, 22)),
            svg('text', { x: x + 10, y: y + 40 }, short(`${mark.textContent}${capability ? ` · ${capability}` : ''}`, 28)));
    };
    const edges = steps.flatMap(({ name, depends_on: after }) => after.filter((other) => place.has(other)).map((other) => edge(other, name)));
    return svg('svg', { class: 'graph', viewBox: `0 0 ${width} ${height}`, width, height, role: 'group', 'aria-label': 'The steps, each below those that it waits for' },
        edges, steps.map(node));
}
