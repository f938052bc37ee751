//! Sends whatever requests the input says, well or badly.
//!
//! `{requests: [{method, url, headers?, body?, then?}], undo?: [the same], together?, fail?}`. `then` says what becomes of a
//! request: `read` (unless said) waits for its answer and reads it, `ignore` waits for its answer only, `leave` sends it and
//! returns without an answer, `drop` gives it up at once, `unfinished` never ends its body. `together` sends all before the
//! first answer is awaited. The output is `{answers: [{status, headers, body} | {error}]}`.

use redress_guest::serde_json::{Map, Value, json};
use redress_guest::{Call, Capability, Compensation, Effect, Failure, undo};
use test_guests::{Input, capability, nothing, retryable};
use wasip2::http::outgoing_handler::handle;
use wasip2::http::types::{
    Fields, FutureIncomingResponse, IncomingBody, Method, OutgoingBody, OutgoingRequest, Scheme,
};
use wasip2::io::streams::StreamError;

fn capabilities() -> Vec<Capability> {
    vec![
        Capability {
            permissions: &["http:GET,HEAD,OPTIONS https://*", "http:GET,HEAD,OPTIONS http://*", "secret:*"],
            ..capability("test.http.read", Effect::None, send, nothing)
        },
        Capability { permissions: EVERYTHING, ..capability("test.http.change", Effect::Reversible, save_and_send, undo_it) },
        Capability { permissions: EVERYTHING, ..capability("test.http.no_save", Effect::Reversible, send, nothing) },
        Capability {
            permissions: &["http:POST http://127.0.0.1:1/only"],
            ..capability("test.http.careless", Effect::Reversible, save_and_send, nothing)
        },
    ]
}

const EVERYTHING: &[&str] = &["http:* https://*", "http:* http://*", "secret:*"];

fn save_and_send(call: &Call) -> Result<Value, Failure> {
    undo::save(call.key.as_bytes()).map_err(|reason| Failure::new("undo-refused", reason))?;
    send(call)
}

fn send(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    let answers = send_all(&input.0["requests"], input.flag("together"))?;
    if input.flag("fail") {
        return Err(retryable("failed", json!(answers).to_string()));
    }
    Ok(json!({ "answers": answers }))
}

fn undo_it(call: &Compensation) -> Result<(), Failure> {
    let answers = send_all(&Input::of(&call.input).0["undo"], false)?;
    match answers.iter().find(|answer| !answer["error"].is_null()) {
        Some(failed) => Err(Failure::new("failed", failed.to_string())),
        None => Ok(()),
    }
}

fn send_all(requests: &Value, together: bool) -> Result<Vec<Value>, Failure> {
    let requests = requests.as_array().cloned().unwrap_or_default();
    if together {
        let sent: Vec<_> = requests.iter().map(|request| (request, begin(request))).collect();
        return Ok(sent.into_iter().map(|(request, begun)| finish(request, begun)).collect());
    }
    Ok(requests.iter().map(|request| finish(request, begin(request))).collect())
}

type Begun = Result<(FutureIncomingResponse, Option<OutgoingBody>), String>;

fn begin(request: &Value) -> Begun {
    let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned();
    let fields = Fields::new();
    for (name, value) in request["headers"].as_object().unwrap_or(&Map::new()) {
        let value = value.as_str().unwrap_or_default().as_bytes().to_vec();
        fields.append(name, &value).map_err(|error| format!("header: {error:?}"))?;
    }
    let outgoing = OutgoingRequest::new(fields);
    let method = match text("method").as_str() {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "OPTIONS" => Method::Options,
        "POST" => Method::Post,
        "PUT" => Method::Put,
        "PATCH" => Method::Patch,
        "DELETE" => Method::Delete,
        "CONNECT" => Method::Connect,
        other => Method::Other(other.to_owned()),
    };
    let url = text("url");
    let (scheme, rest) = url.split_once("://").unwrap_or(("", &url));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let scheme = if scheme == "https" { Scheme::Https } else { Scheme::Http };
    let wrong = |what: &str| format!("{what} cannot be set");
    outgoing.set_method(&method).map_err(|()| wrong("method"))?;
    outgoing.set_scheme(Some(&scheme)).map_err(|()| wrong("scheme"))?;
    outgoing.set_authority(Some(authority)).map_err(|()| wrong("authority"))?;
    outgoing.set_path_with_query(Some(path)).map_err(|()| wrong("path"))?;
    let body = outgoing.body().map_err(|()| wrong("body"))?;
    let sent = handle(outgoing, None).map_err(|error| format!("{error:?}"))?;
    let content = match request["body_bytes"].as_u64() {
        Some(bytes) => vec![b'x'; usize::try_from(bytes).unwrap_or_default()],
        None => text("body").into_bytes(),
    };
    let stream = body.write().map_err(|()| wrong("body"))?;
    for chunk in content.chunks(4096) {
        if let Err(error) = stream.blocking_write_and_flush(chunk) {
            // The answer says why.
            eprintln!("the body was not taken: {error:?}");
            break;
        }
    }
    drop(stream);
    if request["then"] == "unfinished" {
        return Ok((sent, Some(body)));
    }
    if let Err(error) = OutgoingBody::finish(body, None) {
        eprintln!("the body was not finished: {error:?}");
    }
    Ok((sent, None))
}

fn finish(request: &Value, begun: Begun) -> Value {
    let (sent, unfinished) = match begun {
        Ok(begun) => begun,
        Err(error) => return json!({ "error": error }),
    };
    match request["then"].as_str() {
        Some("drop") => {
            drop((sent, unfinished));
            return json!({ "dropped": true });
        }
        Some("leave") => {
            std::mem::forget((sent, unfinished));
            return json!({ "left": true });
        }
        _ => {}
    }
    sent.subscribe().block();
    let response = match sent.get() {
        Some(Ok(Ok(response))) => response,
        Some(Ok(Err(error))) => return json!({ "error": format!("{error:?}") }),
        other => return json!({ "error": format!("no answer: {other:?}") }),
    };
    let headers: Vec<Value> = response
        .headers()
        .entries()
        .into_iter()
        .map(|(name, value)| json!([name, String::from_utf8_lossy(&value)]))
        .collect();
    let status = response.status();
    if request["then"] == "ignore" {
        return json!({ "status": status, "headers": headers });
    }
    match response.consume().map_err(|()| "the body was taken".to_owned()).and_then(|body| read(&body)) {
        Ok(body) if body.len() > 10_000 => json!({ "status": status, "headers": headers, "length": body.len() }),
        Ok(body) => json!({ "status": status, "headers": headers, "body": String::from_utf8_lossy(&body) }),
        Err(error) => json!({ "status": status, "headers": headers, "error": error }),
    }
}

fn read(body: &IncomingBody) -> Result<Vec<u8>, String> {
    let stream = body.stream().map_err(|()| "the stream was taken".to_owned())?;
    let mut all = Vec::new();
    loop {
        match stream.blocking_read(64 << 10) {
            Ok(bytes) => all.extend(bytes),
            Err(StreamError::Closed) => return Ok(all),
            Err(StreamError::LastOperationFailed(error)) => return Err(error.to_debug_string()),
        }
    }
}

redress_guest::component!(capabilities);
