//! Findings for people: each violation with its operations, then a summary.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use crate::history::History;
use crate::operation::{Kind, Verdict};
use crate::violation::Violation;

/// Violations that are printed in full; the rest are counted.
pub const VIOLATIONS_SHOWN_MAX: usize = 20;

/// Prints what was found in a history.
#[derive(Clone, Copy, Debug)]
pub struct Report<'h> {
    history: &'h History,
    violations: &'h [Violation],
}

impl<'h> Report<'h> {
    /// The report of these findings in that history.
    pub fn new(history: &'h History, violations: &'h [Violation]) -> Self {
        Self {
            history,
            violations,
        }
    }

    fn summary(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut counts: BTreeMap<&str, [usize; 3]> = BTreeMap::new();
        for operation in self.history.operations() {
            let kind = match operation.kind {
                Kind::Put { .. } => "put",
                Kind::Delete { .. } => "delete",
                Kind::Get { .. } => "get",
            };
            let column = match operation.verdict() {
                Verdict::Ok => 0,
                Verdict::Rejected => 1,
                Verdict::Unknown => 2,
            };
            counts.entry(kind).or_default()[column] += 1;
        }
        writeln!(f, "{:8} {:>8} {:>8} {:>8}", "", "ok", "rejected", "unknown")?;
        for (kind, [ok, rejected, unknown]) in counts {
            writeln!(f, "{kind:8} {ok:8} {rejected:8} {unknown:8}")?;
        }
        let (states, placements) = (self.history.final_states(), self.history.placements());
        writeln!(
            f,
            "{} final states, {} placements",
            states.len(),
            placements.len()
        )
    }
}

impl Display for Report<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for violation in self.violations.iter().take(VIOLATIONS_SHOWN_MAX) {
            writeln!(f, "{violation}")?;
            let operations = violation.operations.iter();
            for operation in operations.filter_map(|id| self.history.operation(*id)) {
                writeln!(f, "    {operation}")?;
            }
        }
        let more = self.violations.len().saturating_sub(VIOLATIONS_SHOWN_MAX);
        if more > 0 {
            writeln!(f, "and {more} more")?;
        }
        self.summary(f)?;
        if self.violations.is_empty() {
            return writeln!(f, "no violation");
        }
        let mut by_rule: BTreeMap<_, usize> = BTreeMap::new();
        for violation in self.violations {
            *by_rule.entry(violation.rule).or_default() += 1;
        }
        for (rule, count) in by_rule {
            writeln!(f, "{count} x {rule}")?;
        }
        Ok(())
    }
}
