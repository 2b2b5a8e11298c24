//! Space of the data directory's file system.

use std::fmt;
use std::path::{Path, PathBuf};

use nix::sys::statvfs::statvfs;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::gauge::ConstGauge;

/// Bytes of a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DiskSpace {
    pub(crate) free_bytes: u64,
    pub(crate) total_bytes: u64,
}

/// Space of the file system that holds `path`. Asks the kernel, not the disk.
pub(crate) fn disk_space(path: &Path) -> Result<DiskSpace, nix::Error> {
    let found = statvfs(path)?;
    let unit: u64 = found.fragment_size();
    Ok(DiskSpace {
        free_bytes: found.blocks_available().saturating_mul(unit),
        total_bytes: found.blocks().saturating_mul(unit),
    })
}

/// Disk space, asked for at every scrape.
#[derive(Debug)]
pub(super) struct DiskCollector {
    data_dir: PathBuf,
}

impl DiskCollector {
    pub(super) fn new(data_dir: &Path) -> Self {
        Self {
            data_dir: data_dir.to_owned(),
        }
    }
}

impl Collector for DiskCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        // A file system that can't be asked has no figure; an invented one would be worse.
        let Ok(space) = disk_space(&self.data_dir) else {
            return Ok(());
        };
        for (name, help, bytes) in [
            (
                "disk_free_bytes",
                "Free bytes of the data directory's file system",
                space.free_bytes,
            ),
            (
                "disk_total_bytes",
                "Size of the data directory's file system",
                space.total_bytes,
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(bytes).unwrap_or(i64::MAX));
            let metric = encoder.encode_descriptor(name, help, None, gauge.metric_type())?;
            gauge.encode(metric)?;
        }
        Ok(())
    }
}
