//! Hands the recording to the checker.

use std::fs::File;
use std::io::BufWriter;
use std::path::Path;

use annulus_checker::{History, KeyspacePromise, Record, Tolerance, json_lines};
use annulus_node::simulation::{REAP_AGE, UNSYNCED_KEYSPACE};

use crate::broken::Broken;
use crate::faults::JUMP_MS;

/// The first rule that the history breaks. `kills`: processes end without writing out what they have.
pub(crate) fn judge(mut records: Vec<Record>, kills: bool) -> Result<(), Broken> {
    records.push(Record::Keyspace(KeyspacePromise {
        keyspace: UNSYNCED_KEYSPACE.to_owned(),
        may_lose_acknowledged: kills,
    }));
    if let Some(path) = std::env::var_os("ANNULUS_RECORD") {
        write(&records, Path::new(&path)).expect("the recording is written");
    }
    let tolerance = Tolerance {
        clock_skew_us: u64::try_from(2 * JUMP_MS).expect("positive") * 1000,
        deadline_us: 10_000_000,
        lost_answers: true,
        reap_age_us: u64::try_from(REAP_AGE.as_micros()).expect("seconds"),
    };
    let history = History::new(records, tolerance).expect("the recording is sound");
    let found = annulus_checker::check_all(&history);
    match found.into_iter().next() {
        None => Ok(()),
        Some(violation) => Err(Broken {
            rule: violation.rule.to_string(),
            key: violation.key.as_ref().map(ToString::to_string),
            what: describe(&history, &violation),
        }),
    }
}

fn write(records: &[Record], path: &Path) -> std::io::Result<()> {
    let mut writer = json_lines::Writer::new(BufWriter::new(File::create(path)?))?;
    for record in records {
        writer.write(record)?;
    }
    writer.finish().map(drop)
}

fn describe(history: &History, violation: &annulus_checker::Violation) -> String {
    let mut text = violation.to_string();
    for operation in violation
        .operations
        .iter()
        .filter_map(|id| history.operation(*id))
    {
        text.extend(["\n  ".to_owned(), operation.to_string()]);
    }
    text
}
