//! Which answers are a success, and what the others mean: a code, whether trying again may help, and when.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use redress_guest::Failure;
use serde::{Deserialize, Serialize};

use crate::answer::Answer;

/// Statuses that count as success, as the caller names them: `[200, "2xx", "300-399"]`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
pub struct Statuses(Vec<Status>);

#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(untagged)]
enum Status {
    One(u16),
    Range(String),
}

impl Statuses {
    /// Statuses that stand for themselves, and a range.
    pub fn of(range: &str, ones: &[u16]) -> Statuses {
        let ones = ones.iter().copied().map(Status::One);
        Statuses([Status::Range(range.to_owned())].into_iter().chain(ones).collect())
    }

    /// Whether the status is among them.
    pub fn contain(&self, status: u16) -> bool {
        self.0.iter().any(|known| match known {
            Status::One(one) => *one == status,
            Status::Range(range) => bounds(range).is_some_and(|(from, to)| (from..=to).contains(&status)),
        })
    }

    /// Whether every range is one.
    pub fn check(&self) -> Result<(), Failure> {
        let bad = self.0.iter().find_map(|known| match known {
            Status::Range(range) if bounds(range).is_none_or(|(from, to)| from > to) => Some(range),
            _ => None,
        });
        bad.map_or(Ok(()), |range| {
            Err(Failure::invalid_input(format!("`{range}` is not a range of statuses: write `2xx` or `200-299`")))
        })
    }
}

fn bounds(range: &str) -> Option<(u16, u16)> {
    match range.strip_suffix("xx") {
        Some(class) => {
            class.parse::<u16>().ok().filter(|class| (1..=5).contains(class)).map(|c| (c * 100, c * 100 + 99))
        }
        None => range.split_once('-').and_then(|(from, to)| Some((from.parse().ok()?, to.parse().ok()?))),
    }
}

/// Whether the target refused the request, so that it changed nothing, and will refuse it again.
pub fn is_refusal(status: u16) -> bool {
    (400..500).contains(&status) && !is_retryable(status)
}

fn is_retryable(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500..=599)
}

/// The failure of an answer that was not expected; `what` was asked, such as `GET https://host/path`.
pub fn unexpected(what: &str, answer: &Answer) -> Failure {
    let status = answer.status;
    let code = match status {
        401 | 403 => "unauthorized",
        404 | 410 => "not-found",
        409 | 412 => "conflict",
        429 => "rate-limited",
        _ if is_retryable(status) => "unavailable",
        _ => "unexpected-status",
    };
    let retryable = is_retryable(status);
    let after = answer.headers.get("retry-after").filter(|_| retryable);
    Failure {
        retryable,
        retry_after_ms: after.and_then(|after| retry_after(after, answer.headers.get("date").map(String::as_str))),
        details: answer.excerpt(),
        ..Failure::new(code, format!("`{what}` was answered with status {status}"))
    }
}

/// The wait that `Retry-After` asks for, in milliseconds: seconds, or a date, which is compared with the `Date` of the same
/// answer, so that the clocks need not agree; without one with the clock here.
fn retry_after(value: &str, date: Option<&str>) -> Option<u64> {
    let value = value.trim();
    if let Ok(seconds) = value.parse::<u64>() {
        return Some(seconds.saturating_mul(1_000));
    }
    let at = httpdate::parse_http_date(value).ok()?;
    let now = date.and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(SystemTime::now);
    u64::try_from(at.duration_since(now).unwrap_or(Duration::ZERO).as_millis()).ok()
}

/// Seconds since 1970.
pub fn seconds_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_named_one_by_one_or_in_ranges() {
        let statuses: Statuses = redress_guest::serde_json::from_str(r#"[204, "3xx", "400-404"]"#).unwrap();
        let contained: Vec<u16> =
            [200, 204, 299, 300, 399, 400, 404, 405].into_iter().filter(|s| statuses.contain(*s)).collect();
        assert_eq!(contained, [204, 300, 399, 400, 404]);
        assert!(statuses.check().is_ok());
        for bad in [r#"["6xx"]"#, r#"["299-200"]"#, r#"["ok"]"#] {
            let statuses: Statuses = redress_guest::serde_json::from_str(bad).unwrap();
            assert_eq!(statuses.check().unwrap_err().code, "invalid-input", "{bad}");
        }
    }

    #[test]
    fn each_status_has_its_code_and_only_what_may_pass_is_retryable() {
        for (status, code, retryable) in [
            (302, "unexpected-status", false),
            (400, "unexpected-status", false),
            (401, "unauthorized", false),
            (403, "unauthorized", false),
            (404, "not-found", false),
            (408, "unavailable", true),
            (409, "conflict", false),
            (410, "not-found", false),
            (422, "unexpected-status", false),
            (425, "unavailable", true),
            (429, "rate-limited", true),
            (500, "unavailable", true),
            (503, "unavailable", true),
        ] {
            let failure = unexpected("GET https://h/", &Answer::new(status, [], b"why".to_vec()));
            assert_eq!((failure.code.as_str(), failure.retryable), (code, retryable), "{status}");
            assert_eq!(failure.details.as_deref(), Some("why"));
            assert_eq!(is_refusal(status), (400..500).contains(&status) && !retryable, "{status}");
        }
    }

    #[test]
    fn retry_after_is_seconds_or_a_date_compared_with_the_date_of_the_answer() {
        let date = Some("Sun, 06 Nov 1994 08:49:37 GMT");
        assert_eq!(retry_after("120", None), Some(120_000));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", date), Some(30_000));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:00:00 GMT", date), Some(0));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:50:07 GMT", None), Some(0));
        assert_eq!(retry_after("soon", date), None);
        assert_eq!(retry_after("-1", date), None);
        let headers = [("Retry-After", "2")];
        assert_eq!(unexpected("x", &Answer::new(503, headers, Vec::new())).retry_after_ms, Some(2_000));
        assert_eq!(unexpected("x", &Answer::new(404, headers, Vec::new())).retry_after_ms, None);
    }
}
