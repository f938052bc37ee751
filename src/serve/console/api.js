// Asks the service. The token is kept for as long as this tab is open, and sent with each request by this script alone: there is no cookie
// that a page of somebody else could use.

const KEY = 'redress-token';

export class Problem extends Error {
    constructor({ detail, title, code, status }) {
        super(detail);
        Object.assign(this, { title, code, status });
    }
}

export const token = () => sessionStorage.getItem(KEY);
export const signIn = (secret) => sessionStorage.setItem(KEY, secret);
export const signOut = () => sessionStorage.removeItem(KEY);

const unreachable = () => new Problem({ title: 'No answer', detail: 'the service cannot be reached' });

async function send(path, { method = 'GET', body, headers, signal } = {}) {
    const all = { Authorization: `Bearer ${token()}`, ...headers };
    if (body !== undefined) all['Content-Type'] = 'application/json';
    const options = { method, headers: all, signal, body: body === undefined ? undefined : JSON.stringify(body), credentials: 'omit' };
    const answer = await fetch(path, options).catch((error) => { throw error.name === 'AbortError' ? error : unreachable(); });
    if (answer.ok) return answer;
    const problem = new Problem(await answer.json().catch(() => ({ title: answer.statusText, detail: `status ${answer.status}` })));
    if (answer.status === 401) window.dispatchEvent(new Event('unauthorized'));
    throw problem;
}

/** What the service says at a path. */
export const get = async (path, signal) => (await send(path, { signal })).json();
/** What comes of asking for something. */
export const post = async (path, body = {}, headers) => (await send(path, { method: 'POST', body, headers })).json();

/** Hands over each event of a run after one as it comes, until `signal` says so. What is cut off is taken up again; a run that is closed can be undone,
 * so it is looked at again. */
export async function follow(run, after, take, signal) {
    for (let [last, closed] = [after, false]; !signal.aborted;) {
        let any = false;
        try {
            const headers = { Accept: 'text/event-stream', 'Last-Event-ID': String(last) };
            const answer = await send(`/v1/runs/${run}/events`, { headers, signal });
            for await (const event of events(answer.body)) {
                any = true;
                last = event.seq;
                closed = event.event.kind === 'RUN_CLOSED';
                take(event);
            }
        } catch (error) {
            if (error.name === 'AbortError' || error.status === 401 || error.status === 404) return;
        }
        if (!any || closed) await new Promise((resolve) => { setTimeout(resolve, 2000); });
    }
}

async function* events(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    try {
        for (let text = ''; ;) {
            const { value, done } = await reader.read();
            if (done) return;
            text += value;
            const parts = text.split('\n\n');
            text = parts.pop();
            for (const part of parts) {
                const data = part.split('\n').filter((line) => line.startsWith('data:')).map((line) => line.slice(5)).join('\n');
                if (data) yield JSON.parse(data);
            }
        }
    } finally {
        reader.cancel().catch(() => {});
    }
}
