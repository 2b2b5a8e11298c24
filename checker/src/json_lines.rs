//! Recordings as JSON lines: a header with the format's version, then one [`Record`] a line.
//!
//! Real processes' recordings and simulated ones have the same form. A line that isn't understood is refused
//! with its number: a history with holes would be judged wrongly.

use std::io::{self, BufRead, Write};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::record::Record;

/// Version of the form that [`Writer`] writes and [`read`] takes.
pub const FORMAT_VERSION: u32 = 1;

/// The longest line that is read, in bytes: a placement of 16,384 partitions has its place in it.
pub const LINE_BYTES_MAX: usize = 16 << 20;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    annulus_history: u32,
}

/// Why a recording is not read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Reading failed.
    #[error("line {line}: {source}")]
    Io {
        /// Where, from 1.
        line: usize,
        /// Why.
        source: io::Error,
    },
    /// The recording is empty, or begins otherwise.
    #[error(
        "line 1: no header like {{\"annulus_history\":{FORMAT_VERSION}}}: this is no recording"
    )]
    NoHeader,
    /// Another version's recording.
    #[error("line 1: format version {found}, this program reads {FORMAT_VERSION}")]
    Version {
        /// The recording's.
        found: u32,
    },
    /// A line that is no record.
    #[error("line {line}: {source}")]
    Malformed {
        /// Where, from 1.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// A line that is too long.
    #[error("line {line}: longer than {LINE_BYTES_MAX} bytes")]
    TooLong {
        /// Where, from 1.
        line: usize,
    },
}

/// Reads a recording whole. Empty lines are passed over.
pub fn read(mut from: impl BufRead) -> Result<Vec<Record>, ReadError> {
    let mut records = Vec::new();
    let mut text = Vec::new();
    for line in 1.. {
        if !next_line(&mut from, &mut text, line)? {
            if line == 1 {
                return Err(ReadError::NoHeader);
            }
            break;
        }
        if line == 1 {
            let header: Header = serde_json::from_slice(&text).map_err(|_| ReadError::NoHeader)?;
            if header.annulus_history != FORMAT_VERSION {
                let found = header.annulus_history;
                return Err(ReadError::Version { found });
            }
        } else if !text.trim_ascii().is_empty() {
            let record = serde_json::from_slice(&text);
            records.push(record.map_err(|source| ReadError::Malformed { line, source })?);
        }
    }
    Ok(records)
}

/// The next line into `text`; false at the end.
fn next_line(from: &mut impl BufRead, text: &mut Vec<u8>, line: usize) -> Result<bool, ReadError> {
    text.clear();
    let mut limited = io::Read::take(&mut *from, LINE_BYTES_MAX as u64 + 1);
    let length = limited
        .read_until(b'\n', text)
        .map_err(|source| ReadError::Io { line, source })?;
    if length > LINE_BYTES_MAX {
        return Err(ReadError::TooLong { line });
    }
    Ok(length > 0)
}

/// Writes a recording.
#[derive(Debug)]
pub struct Writer<W: Write> {
    to: W,
}

impl<W: Write> Writer<W> {
    /// Begins a recording: writes its header.
    pub fn new(mut to: W) -> io::Result<Self> {
        let annulus_history = FORMAT_VERSION;
        write_line(&mut to, &Header { annulus_history })?;
        Ok(Self { to })
    }

    /// Adds a record.
    pub fn write(&mut self, record: &Record) -> io::Result<()> {
        write_line(&mut self.to, record)
    }

    /// Brings what was added so far to where it is written to.
    pub fn flush(&mut self) -> io::Result<()> {
        self.to.flush()
    }

    /// Flushes, and gives back what was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.to.flush()?;
        Ok(self.to)
    }
}

fn write_line(to: &mut impl Write, line: &impl Serialize) -> io::Result<()> {
    serde_json::to_writer(&mut *to, line)?;
    to.write_all(b"\n")
}
