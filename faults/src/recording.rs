//! Writes down what happens, as JSON lines that the checker reads: now, or again later.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use annulus_checker::{KeyName, OperationId, Record, json_lines};
use anyhow::{Context as _, Result};
use parking_lot::Mutex;

/// A recording in the making.
#[derive(Debug)]
pub(crate) struct Recording {
    path: PathBuf,
    inner: Mutex<Inner>,
}

#[derive(Debug)]
struct Inner {
    writer: json_lines::Writer<BufWriter<File>>,
    /// Why writing failed, the first time.
    failed: Option<std::io::Error>,
    operations: u64,
    keys: BTreeSet<KeyName>,
}

impl Recording {
    /// A new file in `dir`.
    pub(crate) fn begin(dir: &Path) -> Result<Self> {
        let path = dir.join("history.jsonl");
        let file = File::create(&path).with_context(|| format!("make {}", path.display()))?;
        let writer = json_lines::Writer::new(BufWriter::new(file)).context("write the history")?;
        Ok(Self {
            path,
            inner: Mutex::new(Inner {
                writer,
                failed: None,
                operations: 0,
                keys: BTreeSet::new(),
            }),
        })
    }

    /// Where it is.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The next operation's number.
    pub(crate) fn number(&self) -> OperationId {
        let mut inner = self.inner.lock();
        inner.operations += 1;
        OperationId(inner.operations)
    }

    /// Some client asks for the key from now on.
    pub(crate) fn uses(&self, key: &KeyName) {
        let mut inner = self.inner.lock();
        if !inner.keys.contains(key) {
            inner.keys.insert(key.clone());
        }
    }

    /// Every key that any client asked for.
    pub(crate) fn keys(&self) -> Vec<KeyName> {
        self.inner.lock().keys.iter().cloned().collect()
    }

    /// Adds a record.
    pub(crate) fn add(&self, record: &Record) {
        let mut inner = self.inner.lock();
        if let Err(error) = inner.writer.write(record) {
            inner.failed.get_or_insert(error);
        }
    }

    /// Brings all of it to the file, or says why that was not possible.
    pub(crate) fn flush(&self) -> Result<()> {
        let mut inner = self.inner.lock();
        let failed = inner.failed.take().map_or(Ok(()), Err);
        let flushed = failed.and_then(|()| inner.writer.flush());
        flushed.with_context(|| format!("write {}", self.path.display()))
    }
}
