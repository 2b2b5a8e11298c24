//! Judges a recording by the checker's rules.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use annulus_checker::{History, Record, Report, Tolerance, check_all, json_lines};
use anyhow::{Context as _, Result, ensure};

use crate::plan::CLOCK_LEAP_MS;

/// What real processes under these faults may do.
///
/// Clocks: two nodes' may be 0.6 s apart, and stamps run ahead of a clock by up to 0.5 s. Deadlines: a request
/// may lie in a stopped process, or in a queue of the network, until the faults' segment ends.
pub const TOLERANCE: Tolerance = Tolerance {
    clock_skew_us: 1_500_000,
    deadline_us: 30_000_000,
    lost_answers: true,
    reap_age_us: 24 * 3_600 * 1_000_000,
};

/// The findings.
#[derive(Debug)]
pub struct Judgement {
    /// Violations with their operations, then counts, for people.
    pub report: String,
    /// How many violations there are.
    pub violations: usize,
}

/// Judges a recording in a file, of a run in which clocks [leaped](crate::fault::Kind::ClockLeap) or did not.
pub fn judge_file(path: &Path, clocks_leaped: bool) -> Result<Judgement> {
    let file = File::open(path).with_context(|| format!("open {}", path.display()))?;
    let records = json_lines::read(BufReader::new(file))
        .with_context(|| format!("read {}", path.display()))?;
    let mut tolerance = TOLERANCE;
    if clocks_leaped {
        tolerance.clock_skew_us += 1_000 * CLOCK_LEAP_MS.unsigned_abs();
    }
    judge(records, tolerance)
}

/// Judges a recording. One in which nothing succeeded proves nothing, and is an error.
pub fn judge(records: Vec<Record>, tolerance: Tolerance) -> Result<Judgement> {
    let history = History::new(records, tolerance).context("the recording is no history")?;
    ensure!(
        !history.operations().is_empty(),
        "no operation was recorded"
    );
    let violations = check_all(&history);
    Ok(Judgement {
        report: Report::new(&history, &violations).to_string(),
        violations: violations.len(),
    })
}
