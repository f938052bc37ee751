//! Uses up whatever it can: each capability runs into one limit.

use std::fs::File;
use std::hint::black_box;
use std::io::{self, Write};
use std::process;
use std::thread::sleep;
use std::time::{Duration, SystemTime};

use redress_guest::serde_json::{Value, json};
use redress_guest::{Call, Capability, Failure, context, undo};
use test_guests::{Input, prepare, pure, reversible, write};
use wasip2::random::random::get_random_bytes;

fn capabilities() -> Vec<Capability> {
    vec![
        pure("test.loop", |_| endless()),
        pure("test.memory", memory),
        pure("test.recursion", |_| Ok(json!({ "depth": recurse(0) }))),
        pure("test.sleep", |call| {
            sleep(Duration::from_millis(Input::of(&call.input).number("ms")));
            Ok(json!({}))
        }),
        pure("test.stdout_flood", stdout_flood),
        pure("test.exit", |call| process::exit(Input::of(&call.input).number("code") as i32)),
        pure("test.panic", |_| panic!("the component panics")),
        pure("test.big_output", |call| {
            Ok(json!({ "text": "x".repeat(Input::of(&call.input).number("bytes") as usize) }))
        }),
        pure("test.host_call_flood", host_call_flood),
        pure("test.random_big", random_big),
        pure("test.many_handles", many_handles),
        pure("test.across", across),
        pure("test.long_failure", |_| Err(Failure::new("x".repeat(1000).as_str(), "m".repeat(1 << 20)))),
        reversible("test.write_then", write_then),
        reversible("test.many_targets", many_targets),
        reversible("test.many_records", many_records),
    ]
}

fn endless() -> Result<Value, Failure> {
    let mut count = 0_u64;
    loop {
        count = black_box(count.wrapping_add(1));
    }
}

/// `{how: "vec" | "page" | "huge" | "trap", bytes}`: allocates and touches so much in blocks of 1 MiB, of one page, or at
/// once. An allocation that the host refused is the failure `no-memory`, or a trap.
fn memory(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    let bytes = input.number("bytes") as usize;
    let block = match input.text("how") {
        "huge" => bytes,
        "page" => 64 << 10,
        _ => 1 << 20,
    };
    let mut blocks = Vec::new();
    for _ in 0..bytes.div_ceil(block.max(1)) {
        let mut memory = Vec::new();
        match memory.try_reserve_exact(block) {
            Err(_) if input.text("how") == "trap" => panic!("the host gives no more"),
            reserved => reserved.map_err(|error| Failure::new("no-memory", error.to_string()))?,
        }
        memory.resize(block, 1_u8);
        blocks.push(black_box(memory));
    }
    Ok(json!({ "blocks": blocks.len() }))
}

#[expect(unconditional_recursion, reason = "it is the point")]
fn recurse(depth: u64) -> u64 {
    let frame = black_box([depth; 64]);
    recurse(depth + 1) + black_box(frame)[0]
}

/// `{how: "lines" | "bytes" | "empty", count, stream?: "stderr"}`: writes so many lines, 64 KiB blocks without newline, or
/// nothings.
fn stdout_flood(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    let block = vec![b'x'; 64 << 10];
    let mut stream: Box<dyn Write> = match input.text("stream") {
        "stderr" => Box::new(io::stderr()),
        _ => Box::new(io::stdout()),
    };
    let mut write = |bytes: &[u8]| stream.write_all(bytes).and_then(|()| stream.flush());
    let failure = |error: io::Error| Failure::new("io-error", error.to_string());
    for number in 0..input.number("count") {
        match input.text("how") {
            "bytes" => write(&block).map_err(failure)?,
            "empty" => raw_empty_write().map_err(|reason| Failure::new("io-error", reason))?,
            _ => write(format!("line {number}\n").as_bytes()).map_err(failure)?,
        }
    }
    Ok(json!({ "written": input.number("count") }))
}

/// An empty write that reaches the host: the standard library would swallow it.
fn raw_empty_write() -> Result<(), String> {
    let stream = wasip2::cli::stdout::get_stdout();
    stream.write(&[]).and_then(|()| stream.flush()).map_err(|error| error.to_string())
}

/// `{count}`: calls the host so many times; for ever if there is no count.
fn host_call_flood(call: &Call) -> Result<Value, Failure> {
    let count = Input::of(&call.input).0["count"].as_u64().unwrap_or(u64::MAX);
    for _ in 0..count {
        black_box((SystemTime::now(), context::get("run")));
    }
    Ok(json!({ "count": count }))
}

/// `{how: "secure" | "insecure", bytes}`: asks for so much randomness at once.
fn random_big(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    let bytes = input.number("bytes");
    let random = match input.text("how") {
        "insecure" => wasip2::random::insecure::get_insecure_random_bytes(bytes),
        _ => get_random_bytes(bytes),
    };
    Ok(json!({ "bytes": random.len() }))
}

/// `{how: "text" | "bytes" | "handles" | "zeroes", count}`: one call of the host with so much.
fn across(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    let count = input.number("count") as usize;
    match input.text("how") {
        "text" => drop(context::get(&"x".repeat(count))),
        "bytes" => drop(undo::save(&vec![0; count])),
        "handles" => {
            let now = wasip2::clocks::monotonic_clock::subscribe_duration(0);
            black_box(wasip2::io::poll::poll(&vec![&now; count]));
        }
        _ => drop(wasip2::cli::stdout::get_stdout().write_zeroes(count as u64)),
    }
    Ok(json!({ "count": count }))
}

/// `{path, count}`: makes so many files in a directory.
fn many_targets(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    prepare(&[])?;
    for number in 0..input.number("count") {
        write(&format!("{}/{number}", input.text("path")), "")?;
    }
    Ok(json!({ "made": input.number("count") }))
}

/// `{path, count}`: writes a file and appends so many empty records.
fn many_records(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    prepare(&[input.text("path")])?;
    write(input.text("path"), "x")?;
    for _ in 0..input.number("count") {
        undo::append(b"").map_err(|reason| Failure::new("not-appended", reason))?;
    }
    Ok(json!({ "appended": input.number("count") }))
}

/// `{path, count, hold?}`: holds so many open files; for ever, if it gets no more of them.
fn many_handles(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    let mut files = Vec::new();
    for _ in 0..input.number("count") {
        match File::open(input.text("path")) {
            Ok(file) => files.push(file),
            Err(_) if input.flag("hold") => return endless(),
            Err(error) => return Err(Failure::io("open", input.text("path"), &error)),
        }
    }
    Ok(json!({ "open": files.len() }))
}

/// `{path, content, then: "loop" | "sleep" | "exit" | "panic" | "recurse", ms?}`: writes a file and then goes wrong.
fn write_then(call: &Call) -> Result<Value, Failure> {
    let input = Input::of(&call.input);
    prepare(&[input.text("path")])?;
    write(input.text("path"), input.text("content"))?;
    match input.text("then") {
        "loop" => endless(),
        "sleep" => {
            sleep(Duration::from_millis(input.number("ms")));
            Ok(json!({}))
        }
        "exit" => process::exit(3),
        "panic" => panic!("the component panics"),
        "recurse" => Ok(json!({ "depth": recurse(0) })),
        _ => Ok(json!({ "path": input.text("path") })),
    }
}

redress_guest::component!(capabilities);
