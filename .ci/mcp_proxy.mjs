// Shows a token of the service for clients that cannot, on loopback. Its port is the first line of what it prints.
//
//   node mcp_proxy.mjs URL TOKEN
import http from 'node:http';

const [url, token] = process.argv.slice(2);
const { hostname, port, host } = new URL(url);
const proxy = http.createServer((request, response) => {
    const headers = { ...request.headers, authorization: `Bearer ${token}` };
    // What is meant for this place is meant for the service. A name of others goes on as it is: to refuse it is the service's part.
    const here = `127.0.0.1:${proxy.address().port}`;
    for (const name of ['host', 'origin']) headers[name] = headers[name]?.replace(here, host);
    for (const name of Object.keys(headers)) if (headers[name] === undefined) delete headers[name];
    const { method, url: path } = request;
    const forwarded = http.request({ hostname, port, method, path, headers }, (answer) => {
        response.writeHead(answer.statusCode, answer.headers);
        answer.pipe(response);
    });
    forwarded.on('error', () => response.destroy());
    response.on('close', () => forwarded.destroy());
    request.pipe(forwarded);
});
proxy.listen(0, '127.0.0.1', () => console.log(proxy.address().port));
