//! Inputs that nobody wrote: those of the author's cases, changed in one place, by what the schema allows there. Whatever they
//! make of it, the component answers, changes nothing that it does not declare, and its undo makes the world as it was.

use fastrand::Rng;
use serde_json::{Map, Value, json};

use super::case::Case;
use super::checks::Finder;
use super::expected::Expected;
use super::report::{Promise, Report};
use super::trial::Plan;
use super::{Kit, KitError, Options};
use crate::types::{CapabilityInfo, EffectKind, MAX_SAFE_INTEGER};

/// How deep a value is made up.
const DEPTH: u32 = 6;

/// How often a smaller input is tried for one that broke a promise.
const SHRINKS: u32 = 60;

/// Tries made-up inputs of one capability.
pub(super) async fn check(
    kit: &Kit,
    info: &CapabilityInfo,
    cases: &[&Case],
    options: &Options,
    report: &mut Report,
) -> Result<(), KitError> {
    if cases.is_empty() {
        return Ok(());
    }
    let mut rng = Rng::with_seed(options.seed);
    let words: Vec<String> = cases.iter().flat_map(|case| strings(&case.input)).collect();
    let maker = Maker { schema: &info.input, words: &words };
    for number in 0..options.made_up {
        let Some(case) = cases.get(number as usize % cases.len()) else { break };
        let input = maker.change(&case.input, &mut rng);
        if kit.component.validate_input(&info.id, &input).is_err() {
            continue;
        }
        let made = Case { input, varies: true, expected: Expected::default(), ..(*case).clone() };
        let mut found = Report::default();
        one(kit, info, &made, &mut found).await?;
        report.checks += found.checks;
        for broken in &found.broken {
            let smallest = shrink(kit, info, &made, broken.promise).await?;
            let mut found = Report::default();
            one(kit, info, &smallest, &mut found).await?;
            let same = found.broken.into_iter().find(|other| other.promise == broken.promise);
            report.add(same.unwrap_or_else(|| broken.clone()));
        }
    }
    Ok(())
}

async fn one(kit: &Kit, info: &CapabilityInfo, case: &Case, report: &mut Report) -> Result<(), KitError> {
    let finder = Finder { kit, case, authors: false };
    let mut trial = finder.trial()?;
    let before = trial.snapshot()?;
    report.count();
    let done = trial.execute(Plan::Whole).await;
    if finder.of_code(&trial, &done, report) || info.effect != EffectKind::Reversible {
        return Ok(());
    }
    match &done.result {
        Ok(output) if !done.let_out.is_empty() => {
            finder.undone(Promise::UndoRestores, &mut trial, Some(output), &before, report).await?;
        }
        Err(_) if done.unclear => {
            finder.undone(Promise::UndoAfterFailure, &mut trial, None, &before, report).await?;
        }
        Ok(_) | Err(_) => {}
    }
    Ok(())
}

/// A smaller input that breaks the same promise.
async fn shrink(kit: &Kit, info: &CapabilityInfo, case: &Case, promise: Promise) -> Result<Case, KitError> {
    let mut smallest = case.clone();
    let mut left = SHRINKS;
    'smaller: loop {
        for input in smaller(&smallest.input) {
            if left == 0 {
                return Ok(smallest);
            }
            left -= 1;
            if kit.component.validate_input(&info.id, &input).is_err() {
                continue;
            }
            let candidate = Case { input, ..smallest.clone() };
            let mut found = Report::default();
            one(kit, info, &candidate, &mut found).await?;
            if found.broken.iter().any(|broken| broken.promise == promise) {
                smallest = candidate;
                continue 'smaller;
            }
        }
        return Ok(smallest);
    }
}

/// Values that are a little smaller, the smallest first.
fn smaller(value: &Value) -> Vec<Value> {
    match value {
        Value::Object(fields) => {
            let without = fields.keys().map(|name| {
                Value::Object(
                    fields.iter().filter(|(other, _)| *other != name).map(|(n, v)| (n.clone(), v.clone())).collect(),
                )
            });
            let within = fields.iter().flat_map(|(name, value)| {
                smaller(value).into_iter().map(move |value| {
                    let mut fields = fields.clone();
                    fields.insert(name.clone(), value);
                    Value::Object(fields)
                })
            });
            without.chain(within).collect()
        }
        Value::Array(items) if !items.is_empty() => {
            let half = items.iter().take(items.len() / 2).cloned().collect();
            vec![json!([]), Value::Array(half)]
        }
        Value::String(text) if !text.is_empty() => {
            let half: String = text.chars().take(text.chars().count() / 2).collect();
            vec![json!(""), Value::String(half)]
        }
        Value::Number(number) if number.as_f64() != Some(0.0) => vec![json!(0), json!(1)],
        _ => Vec::new(),
    }
}

/// Every string in a value.
fn strings(value: &Value) -> Vec<String> {
    match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items.iter().flat_map(strings).collect(),
        Value::Object(fields) => fields.values().flat_map(strings).collect(),
        _ => Vec::new(),
    }
}

struct Maker<'a> {
    schema: &'a Value,
    /// Strings that mean something to this capability.
    words: &'a [String],
}

impl Maker<'_> {
    /// An author's input with one field made anew, taken out or put in; or an input made up as a whole.
    fn change(&self, input: &Value, rng: &mut Rng) -> Value {
        let Value::Object(fields) = input else { return self.make(self.schema, DEPTH, rng) };
        let Some(Value::Object(properties)) = self.schema.get("properties") else { return input.clone() };
        if rng.u8(..8) == 0 {
            return self.make(self.schema, DEPTH, rng);
        }
        let mut fields = fields.clone();
        let names: Vec<&String> = properties.keys().collect();
        let Some(name) = rng.choice(&names).copied() else { return input.clone() };
        if fields.contains_key(name) && rng.u8(..6) == 0 {
            fields.remove(name);
        } else if let Some(schema) = properties.get(name) {
            fields.insert(name.clone(), self.make(schema, DEPTH, rng));
        }
        Value::Object(fields)
    }

    fn make(&self, schema: &Value, depth: u32, rng: &mut Rng) -> Value {
        let Value::Object(keywords) = schema else { return json!(null) };
        if depth == 0 {
            return json!(null);
        }
        if let Some(target) = keywords.get("$ref").and_then(Value::as_str) {
            let place = target.strip_prefix('#').and_then(|pointer| self.schema.pointer(pointer));
            return place.map_or(json!(null), |schema| self.make(schema, depth - 1, rng));
        }
        if let Some(only) = keywords.get("const") {
            return only.clone();
        }
        if let Some(Value::Array(choices)) = keywords.get("enum") {
            return rng.choice(choices).cloned().unwrap_or_default();
        }
        for alternatives in ["oneOf", "anyOf"].iter().filter_map(|key| keywords.get(*key)?.as_array()) {
            // Alternatives that are no values of their own only say which fields there are.
            let values: Vec<&Value> = alternatives.iter().filter(|one| one.get("required").is_none()).collect();
            if let Some(one) = rng.choice(&values) {
                return self.make(one, depth - 1, rng);
            }
        }
        let kinds: Vec<&str> = match keywords.get("type") {
            Some(Value::String(kind)) => vec![kind],
            Some(Value::Array(kinds)) => kinds.iter().filter_map(Value::as_str).collect(),
            _ if keywords.contains_key("properties") => vec!["object"],
            _ => vec!["null", "boolean", "integer", "string", "array", "object"],
        };
        match rng.choice(&kinds).copied().unwrap_or("null") {
            "boolean" => json!(rng.bool()),
            "integer" => json!(self.integer(keywords, rng)),
            "number" => json!(self.integer(keywords, rng) as f64 / 2.0),
            "string" => Value::String(self.string(keywords, rng)),
            "array" => {
                let least = keywords.get("minItems").and_then(Value::as_u64).unwrap_or(0);
                let item = keywords.get("items").cloned().unwrap_or_else(|| json!({}));
                let count = least + rng.u64(..4);
                Value::Array((0..count).map(|_| self.make(&item, depth - 1, rng)).collect())
            }
            "object" => {
                let required: Vec<&str> = keywords
                    .get("required")
                    .and_then(Value::as_array)
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .collect();
                let mut fields = Map::new();
                for (name, schema) in keywords.get("properties").and_then(Value::as_object).into_iter().flatten() {
                    if required.contains(&name.as_str()) || rng.bool() {
                        fields.insert(name.clone(), self.make(schema, depth - 1, rng));
                    }
                }
                Value::Object(fields)
            }
            _ => json!(null),
        }
    }

    fn integer(&self, keywords: &Map<String, Value>, rng: &mut Rng) -> i64 {
        let most = i64::try_from(MAX_SAFE_INTEGER).unwrap_or(i64::MAX);
        let bound =
            |key: &str, usual: i64| keywords.get(key).and_then(Value::as_i64).unwrap_or(usual).clamp(-most, most);
        let (least, greatest) = (bound("minimum", -most), bound("maximum", most));
        let tried = [least, greatest, 0, 1, 2, 7, rng.i64(-1_000..1_000)];
        let fitting: Vec<i64> = tried.into_iter().filter(|number| (least..=greatest).contains(number)).collect();
        rng.choice(&fitting).copied().unwrap_or(least)
    }

    fn string(&self, keywords: &Map<String, Value>, rng: &mut Rng) -> String {
        if let Some(Value::Array(examples)) = keywords.get("examples")
            && let Some(Value::String(example)) = rng.choice(examples).filter(|_| rng.bool())
        {
            return example.clone();
        }
        let odd = [
            "",
            " ",
            "a",
            "made-up",
            "ä€😀",
            "a\nb",
            "a\u{0}b",
            "\u{202e}",
            "0",
            "-1",
            "null",
            "{{ x }}",
            "/",
            "..",
            "../x",
            "/workspace",
            "/workspace/",
            "/workspace/made-up",
            "/workspace/new/made-up",
            "/workspace/../x",
            "//workspace/a",
            "https://example.com/",
            "http://127.0.0.1/",
        ];
        match rng.u8(..10) {
            0 => "x".repeat(rng.usize(1..5_000)),
            1..=4 if !self.words.is_empty() => rng.choice(self.words).cloned().unwrap_or_default(),
            _ => rng.choice(odd).unwrap_or_default().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn made_up_values_are_of_the_type_that_the_schema_asks_for() {
        let schema = json!({
            "type": "object", "required": ["n", "kind"],
            "properties": {
                "n": { "type": "integer", "minimum": 3, "maximum": 9 }, "kind": { "enum": ["a", "b"] },
                "list": { "type": "array", "minItems": 2, "items": { "$ref": "#/$defs/flag" } }, "text": { "type": "string" },
            },
            "$defs": { "flag": { "type": "boolean" } },
        });
        let maker = Maker { schema: &schema, words: &[] };
        let validator = jsonschema::validator_for(&schema).unwrap();
        let mut rng = Rng::with_seed(7);
        for _ in 0..200 {
            let value = maker.make(&schema, DEPTH, &mut rng);
            assert!(validator.is_valid(&value), "{value}");
        }
    }

    #[test]
    fn the_same_seed_makes_the_same_inputs() {
        let schema = json!({ "type": "object", "properties": { "a": { "type": "string" } } });
        let maker = Maker { schema: &schema, words: &[] };
        let make = || {
            let mut rng = Rng::with_seed(3);
            (0..20).map(|_| maker.change(&json!({"a": "x"}), &mut rng)).collect::<Vec<_>>()
        };
        assert_eq!(make(), make());
    }
}
