//! What is measured, and how it is printed: one row of a Markdown table for each figure.
//!
//! A row gives the fastest, the median and the slowest but one in a hundred of its samples, the median as a rate, the ratio of
//! its median to that of a baseline measured in the same run, and its target. A ratio says what the machine does not change.

use std::time::{Duration, Instant};

/// Costs of the same thing, in microseconds each.
#[derive(Clone, Default)]
pub struct Samples(Vec<f64>);

impl Samples {
    pub fn add(&mut self, cost: Duration) {
        self.add_shared(cost, 1);
    }

    /// `cost` is that of `n` things.
    pub fn add_shared(&mut self, cost: Duration, n: usize) {
        self.0.push(cost.as_secs_f64() * 1e6 / n as f64);
    }

    /// The times between one moment and the next.
    pub fn add_between(&mut self, moments: &[Instant]) {
        for pair in moments.windows(2) {
            self.add(pair[1] - pair[0]);
        }
    }

    /// The cost below which this share of the samples lies.
    pub fn quantile(&self, share: f64) -> f64 {
        let mut sorted = self.0.clone();
        sorted.sort_by(f64::total_cmp);
        let place = (share * sorted.len() as f64) as usize;
        sorted.get(place.min(sorted.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5)
    }

    /// Prints them for [`Samples::parse`].
    pub fn print(&self, name: &str) {
        self.0.iter().for_each(|cost| println!("{name} {cost}"));
    }

    /// What was printed under this name.
    pub fn parse(name: &str, text: &str) -> Samples {
        let of_name = text.lines().filter_map(|line| line.strip_prefix(name)?.trim().parse().ok());
        Samples(of_name.collect())
    }

    /// How many of them fit into a second.
    pub fn per_second(&self) -> f64 {
        1e6 / self.median()
    }
}

/// What a figure is to be.
pub enum Target {
    /// No more than so many microseconds.
    Within(f64),
    /// At least so many in a second.
    PerSecond(f64),
    /// The baseline's median divided by this one's is at least this.
    OfBaseline(f64),
    /// This median divided by the baseline's is at most this.
    Flat(f64),
    /// Nothing is asked of it; it stands beside another figure.
    Beside,
}

pub struct Report {
    wanted: Vec<String>,
}

impl Report {
    /// Of the arguments, those that are no options name the groups that are wanted; all of them if none is named.
    pub fn new() -> Report {
        Report { wanted: std::env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect() }
    }

    /// Measures a group and prints its table, if it is wanted.
    pub fn group(&mut self, name: &str, about: &str, measure: impl FnOnce(&mut Report)) {
        if !self.wanted.is_empty() && !self.wanted.iter().any(|wanted| wanted == name) {
            return;
        }
        println!("\n### {name}: {about}\n");
        println!("| what | min | median | p99 | a second | to its baseline | target | |");
        println!("|---|---|---|---|---|---|---|---|");
        measure(self);
    }

    pub fn row(&mut self, what: &str, samples: &Samples, baseline: Option<(&str, &Samples)>, target: Target) {
        let ratio = baseline.map(|(_, base)| samples.median() / base.median());
        let beside = match (baseline, ratio) {
            (Some((name, _)), Some(ratio)) => format!("{ratio:.2} x {name}"),
            _ => "-".to_owned(),
        };
        let share = ratio.map_or(f64::NAN, f64::recip);
        let (wanted, met) = match target {
            Target::Within(most) => (format!("<= {}", time(most)), samples.median() <= most),
            Target::PerSecond(least) => (format!(">= {}/s", count(least)), samples.per_second() >= least),
            Target::OfBaseline(least) => {
                (format!(">= {:.0} % of its rate: {:.0} %", least * 100.0, share * 100.0), share >= least)
            }
            Target::Flat(most) => (format!("within {most} x"), ratio.is_some_and(|ratio| ratio <= most)),
            Target::Beside => return self.line(what, samples, &beside, "", ""),
        };
        self.line(what, samples, &beside, &wanted, verdict(met));
    }

    fn line(&mut self, what: &str, samples: &Samples, beside: &str, wanted: &str, met: &str) {
        let [min, median, p99] = [0.0, 0.5, 0.99].map(|share| time(samples.quantile(share)));
        let rate = count(samples.per_second());
        println!("| {what} | {min} | {median} | {p99} | {rate} | {beside} | {wanted} | {met} |");
    }

    /// A figure that is no time; `most` is its target.
    pub fn figure(&mut self, what: &str, value: f64, unit: &str, most: Option<f64>) {
        let wanted = most.map_or_else(String::new, |most| format!("<= {most} {unit}"));
        let met = most.map_or("", |most| verdict(value <= most));
        println!("| {what} | | {value:.2} {unit} | | | | {wanted} | {met} |");
    }
}

fn verdict(met: bool) -> &'static str {
    if met { "met" } else { "**missed**" }
}

fn time(us: f64) -> String {
    match us {
        us if us < 1.0 => format!("{us:.3} us"),
        us if us < 100.0 => format!("{us:.1} us"),
        us if us < 10_000.0 => format!("{us:.0} us"),
        us if us < 1e6 => format!("{:.0} ms", us / 1e3),
        us => format!("{:.1} s", us / 1e6),
    }
}

fn count(rate: f64) -> String {
    match rate {
        rate if rate < 10.0 => format!("{rate:.2}"),
        rate if rate < 10_000.0 => format!("{rate:.0}"),
        rate => format!("{:.0} k", rate / 1e3),
    }
}
