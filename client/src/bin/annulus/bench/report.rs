//! What a benchmark found, as figures. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::worker::{Latencies, Tally};
use super::{Bench, Mix};
use crate::output;

/// All runs.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    mix: &'static str,
    value_bytes: usize,
    keys: u32,
    duration_seconds: f64,
    read_consistency: Option<String>,
    write_consistency: Option<String>,
    pub(crate) runs: Vec<Run>,
}

/// One kind of request in one run.
#[derive(Debug, Serialize)]
pub(crate) struct Run {
    concurrency: u16,
    operation: &'static str,
    /// Those that succeeded.
    pub(crate) operations: u64,
    errors: BTreeMap<&'static str, u64>,
    operations_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    max_ms: f64,
    /// CPU time of all nodes per request of the run, of either kind; null when a node doesn't say.
    server_cpu_us_per_operation: Option<f64>,
}

/// The figures of one run: a row for each kind of request that it had.
pub(crate) fn runs(
    concurrency: u16,
    tally: &Tally,
    took: Duration,
    cpu_seconds: Option<f64>,
) -> Vec<Run> {
    let all = tally.gets.micros.len() + tally.puts.micros.len();
    let cpu = cpu_seconds
        .filter(|_| all > 0)
        .map(|seconds| seconds * 1e6 / all as f64);
    [("get", &tally.gets), ("put", &tally.puts)]
        .into_iter()
        .filter(|(_, latencies)| !latencies.micros.is_empty() || !latencies.errors.is_empty())
        .map(|(operation, latencies)| run(concurrency, operation, latencies, took, cpu))
        .collect()
}

fn run(
    concurrency: u16,
    operation: &'static str,
    latencies: &Latencies,
    took: Duration,
    cpu: Option<f64>,
) -> Run {
    let micros = &latencies.micros;
    let quantile = |quantile| micros.value_at_quantile(quantile) as f64 / 1e3;
    Run {
        concurrency,
        operation,
        operations: micros.len(),
        errors: latencies.errors.clone(),
        operations_per_second: micros.len() as f64 / took.as_secs_f64().max(f64::MIN_POSITIVE),
        p50_ms: quantile(0.5),
        p99_ms: quantile(0.99),
        p999_ms: quantile(0.999),
        max_ms: micros.max() as f64 / 1e3,
        server_cpu_us_per_operation: cpu,
    }
}

impl Report {
    /// No runs yet.
    pub(crate) fn new(command: &Bench) -> Self {
        Self {
            mix: match command.mix {
                Mix::Put => "put",
                Mix::Get => "get",
                Mix::Mixed => "mixed",
            },
            value_bytes: command.value_size,
            keys: command.keys,
            duration_seconds: command.duration.as_secs_f64(),
            read_consistency: command.read_consistency.map(|level| level.to_string()),
            write_consistency: command.write_consistency.map(|level| level.to_string()),
            runs: Vec::new(),
        }
    }

    /// For people.
    pub(crate) fn table(&self) -> String {
        let header = [
            "concurrency",
            "op",
            "ops/s",
            "p50 ms",
            "p99 ms",
            "p99.9 ms",
            "max ms",
            "server cpu us/op",
            "errors",
        ];
        output::table(
            header,
            &[0, 2, 3, 4, 5, 6, 7],
            self.runs.iter().map(Run::row),
        )
    }
}

impl Run {
    fn row(&self) -> [String; 9] {
        let errors: Vec<String> = self
            .errors
            .iter()
            .map(|(code, count)| format!("{count} {code}"))
            .collect();
        [
            self.concurrency.to_string(),
            self.operation.to_owned(),
            format!("{:.0}", self.operations_per_second),
            format!("{:.2}", self.p50_ms),
            format!("{:.2}", self.p99_ms),
            format!("{:.2}", self.p999_ms),
            format!("{:.2}", self.max_ms),
            self.server_cpu_us_per_operation
                .map_or_else(|| "n/a".to_owned(), |micros| format!("{micros:.0}")),
            if errors.is_empty() {
                "0".to_owned()
            } else {
                errors.join(", ")
            },
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_per_second_and_per_operation() {
        let mut tally = Tally::new();
        for micros in 1..=1000 {
            tally.puts.micros.record(micros * 10).unwrap();
        }
        tally.puts.errors.insert("timeout", 2);
        let runs = runs(8, &tally, Duration::from_secs(2), Some(0.1));
        let [run] = &runs[..] else {
            panic!("only puts ran: {runs:?}")
        };
        assert_eq!(
            (run.operation, run.operations, run.concurrency),
            ("put", 1000, 8)
        );
        assert!((run.operations_per_second - 500.0).abs() < 0.1);
        assert!((run.p50_ms - 5.0).abs() < 0.05, "{}", run.p50_ms);
        assert!((run.p99_ms - 9.9).abs() < 0.05, "{}", run.p99_ms);
        assert!((run.server_cpu_us_per_operation.unwrap() - 100.0).abs() < 0.1);
        assert_eq!(run.row()[8], "2 timeout");
    }

    #[test]
    fn a_run_without_cpu_figures_says_so() {
        let mut tally = Tally::new();
        tally.gets.micros.record(1).unwrap();
        assert_eq!(
            runs(1, &tally, Duration::from_secs(1), None)[0].row()[7],
            "n/a"
        );
    }
}
