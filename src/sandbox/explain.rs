//! Why a call failed, in the words of the host.
//!
//! A trap becomes the limit that was passed, where it was one. A failure that the guest returned is its own, save that it
//! cannot use the codes that only the host gives; if the host refused it an effect, that reason comes first; and if the host
//! knows more of why a request could not be sent than it has told the guest, that stands in place of the guest's words.

use std::collections::BTreeMap;

use wasmtime::component::ResourceTableError;
use wasmtime::{Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;
use wasmtime_wasi_http::FieldMapError;

use super::attempt::{Reasons, Stopped};
use super::limits::Refused;
use super::undo::bindings::exports::redress::capability::provider;
use crate::types::{Failure, Limits, MAX_MESSAGE, code, cut};

/// The host's reason comes first where there is one; what the guest or the engine said stands in the details.
pub(super) fn explained(failure: Failure, reasons: Reasons) -> Failure {
    let by_limit = !matches!(failure.code.as_str(), code::TRAP | code::EXITED) && code::HOST.contains(&&*failure.code);
    let reason = match reasons {
        Reasons { refusal: Some(refusal), .. } if !by_limit => refusal,
        Reasons { refusal: None, hint: Some(hint), .. } if !failure.retryable => hint,
        Reasons { refusal: None, cause: Some(cause), .. } => {
            Failure { message: cut(cause, MAX_MESSAGE), ..failure.clone() }
        }
        _ => return failure,
    };
    let details = match failure.details {
        Some(details) => format!("the component ended with {}: {}\n{details}", failure.code, failure.message),
        None => format!("the component ended with {}: {}", failure.code, failure.message),
    };
    Failure { details: Some(details), ..reason }
}

/// The longest wait that a component can ask for: a day.
const LONGEST_WAIT_MS: u64 = 86_400_000;

/// A component's failure, cut to size: its code is a word, or `failed`.
pub(super) fn from_guest(said: provider::Failure) -> Failure {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
    let good = !said.code.is_empty() && said.code.len() <= 64 && said.code.bytes().all(is_word);
    let word = if good { said.code } else { code::FAILED.to_owned() };
    Failure {
        code: if code::HOST.contains(&word.as_str()) { format!("component-{word}") } else { word },
        message: cut(said.message, MAX_MESSAGE),
        retryable: said.retryable,
        // Nobody waits longer than the retry rule allows; beyond 2^53 it would have no place in the journal.
        retry_after_ms: said.retry_after_ms.map(|wait| wait.min(LONGEST_WAIT_MS)),
        details: said.details.map(|details| cut(details, 64 << 10)),
    }
}

pub(super) fn limit(name: &str, value: u64) -> Failure {
    Failure::new(code::LIMIT, format!("the limit `{name}` ({value}) was passed"))
}

/// What a trap means; none if the guest was stopped.
pub(super) fn failure(error: &wasmtime::Error, refused: Option<Refused>, limits: &Limits) -> Option<Failure> {
    if error.is::<Stopped>() {
        return None;
    }
    if let Some(I32Exit(status)) = error.downcast_ref() {
        return Some(Failure::new(code::EXITED, format!("the component called `exit({status})`")));
    }
    if let Some(ResourceTableError::Full) = error.downcast_ref() {
        return Some(limit("resources", limits.resources));
    }
    if let Some(FieldMapError::TotalSizeTooBig | FieldMapError::TooManyFields) = error.downcast_ref() {
        return Some(limit("header_bytes", limits.header_bytes));
    }
    match error.downcast_ref::<Trap>() {
        Some(Trap::Interrupt) => return None,
        Some(Trap::OutOfFuel) => {
            return Some(Failure::new(code::OUT_OF_FUEL, format!("the limit `fuel` ({}) was passed", limits.fuel)));
        }
        Some(Trap::StackOverflow) => return Some(stack_used_up()),
        Some(Trap::MemoryOutOfBounds) if recurses(error) => return Some(stack_used_up()),
        _ => {}
    }
    match refused {
        Some(Refused::Memory) => {
            let message = format!("the limit `memory` ({} bytes) was passed", limits.memory);
            return Some(Failure::new(code::OUT_OF_MEMORY, message));
        }
        Some(Refused::Tables) => return Some(limit("table_elements", limits.table_elements)),
        None => {}
    }
    // These errors of the engine have no type of their own. Only the cause itself is looked at: what stands around it holds
    // names of functions, which the component has chosen.
    let cause = error.root_cause().to_string();
    for (part, name, value) in [
        ("fuel allocated for hostcalls has been exhausted", "hostcall_bytes", limits.hostcall_bytes),
        ("store handle limit exceeded", "handles", limits.handles),
        ("instance count too high", "instances", limits.instances),
        ("memory count too high", "memories", limits.memories),
        ("table count too high", "table_elements", limits.table_elements),
        ("requested len", "random_bytes", limits.random_bytes),
    ] {
        if cause.contains(part) {
            return Some(limit(name, value));
        }
    }
    let message = match error.downcast_ref::<Trap>() {
        Some(trap) => format!("the component trapped: {trap}"),
        None => format!("the component was stopped: {cause}"),
    };
    let details: String = format!("{error:#}").chars().take(4 << 10).collect();
    Some(Failure { details: Some(details), ..Failure::new(code::TRAP, message) })
}

fn stack_used_up() -> Failure {
    Failure::new(code::STACK_OVERFLOW, "the component's stack was used up: it recurses too deeply")
}

/// Whether the innermost calls are mostly of one function. Languages that keep a stack of their own in linear memory run out
/// of its lower end, and only this tells a stack that is used up from a stray pointer.
fn recurses(error: &wasmtime::Error) -> bool {
    let Some(backtrace) = error.downcast_ref::<WasmBacktrace>() else { return false };
    let mut calls: BTreeMap<u32, usize> = BTreeMap::new();
    for frame in backtrace.frames() {
        *calls.entry(frame.func_index()).or_default() += 1;
    }
    let most = calls.into_values().max().unwrap_or_default();
    most >= 10 && most * 2 > backtrace.frames().len()
}
