//! `cargo xtask check-history`: judges a recorded history by the rules of the checker.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use annulus_checker::{History, Report, Tolerance, check_all, json_lines};
use anyhow::{Context, Result, bail};

/// What to judge, and what the recording's circumstances allow for.
#[derive(clap::Args)]
pub(crate) struct Asked {
    /// The recording, as JSON lines.
    file: PathBuf,
    /// How far nodes' clocks may be off the recorder's, in milliseconds.
    #[arg(long, default_value_t = 1_000)]
    clock_skew_ms: u64,
    /// How long after an attempt began a node may still begin to carry it out, in milliseconds: its deadline, and the
    /// longest that anything was held up.
    #[arg(long, default_value_t = 30_000)]
    deadline_ms: u64,
    /// No answer between client, coordinator and owner got lost: there were no faults.
    #[arg(long)]
    no_lost_answers: bool,
}

/// Prints what was found; fails if a rule is broken.
pub(crate) fn run(asked: &Asked) -> Result<()> {
    let shown = asked.file.display();
    let file = File::open(&asked.file).with_context(|| format!("open {shown}"))?;
    let records = json_lines::read(BufReader::new(file));
    let records = records.with_context(|| format!("read {shown}"))?;
    let tolerance = Tolerance {
        clock_skew_us: asked.clock_skew_ms.saturating_mul(1_000),
        deadline_us: asked.deadline_ms.saturating_mul(1_000),
        lost_answers: !asked.no_lost_answers,
        ..Tolerance::default()
    };
    let history = History::new(records, tolerance).with_context(|| format!("judge {shown}"))?;
    let found = check_all(&history);
    print!("{}", Report::new(&history, &found));
    if !found.is_empty() {
        bail!("{shown} breaks {} promises", found.len());
    }
    Ok(())
}
