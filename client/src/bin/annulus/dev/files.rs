//! What a local ring keeps on disk beside its nodes' data: the placement, the secret for contexts,
//! the nodes' configurations. Each file is replaced as a whole or not at all.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use annulus_ring::{Placement, PlacementDocument};
use anyhow::Context;

use super::layout::{Layout, NodeOrdinal};
use crate::clock;

/// Makes the directories, the secret (once) and the configurations.
pub(super) fn prepare(
    layout: &Layout,
    nodes: impl IntoIterator<Item = NodeOrdinal>,
) -> anyhow::Result<()> {
    let key_file = layout.context_key_file();
    if !key_file.exists() {
        replace(&key_file, &clock::random_secret())?;
    }
    for node in nodes {
        let dir = layout.node_dir(node);
        fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
        write_config(layout, node)?;
    }
    Ok(())
}

fn write_config(layout: &Layout, node: NodeOrdinal) -> anyhow::Result<()> {
    let yaml = serde_yaml::to_string(&layout.config(node)).context("write a configuration")?;
    replace(&layout.config_file(node), yaml.as_bytes())
}

/// The placement of the ring in this directory; `None` before it was founded.
pub(super) fn read_ring(path: &Path) -> anyhow::Result<Option<Placement>> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let document: PlacementDocument = serde_json::from_slice(&text)
        .with_context(|| format!("{} is damaged: it holds no placement", path.display()))?;
    let placement =
        Placement::try_from(document).with_context(|| format!("{} is damaged", path.display()))?;
    Ok(Some(placement))
}

/// Persists the placement. Nodes get it only after that.
pub(super) fn write_ring(path: &Path, placement: &Placement) -> anyhow::Result<()> {
    let document = PlacementDocument::from(placement);
    replace(
        path,
        &serde_json::to_vec_pretty(&document).context("write the placement")?,
    )
}

/// Replaces a file's content; after a crash it is the old or the new, whole. Only its owner may
/// read it, for one of the files is a secret.
pub(super) fn replace(path: &Path, content: &[u8]) -> anyhow::Result<()> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
    };
    write().with_context(|| format!("write {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::fixtures::founded;

    #[test]
    fn the_placement_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ring.json");
        assert_eq!(read_ring(&path).unwrap(), None);
        write_ring(&path, &founded(3)).unwrap();
        assert_eq!(read_ring(&path).unwrap(), Some(founded(3)));
    }

    #[test]
    fn a_damaged_placement_is_refused_by_file_name() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ring.json");
        std::fs::write(&path, "{}").unwrap();
        let message = format!("{:#}", read_ring(&path).unwrap_err());
        assert!(message.contains("ring.json is damaged"), "{message}");
    }

    #[test]
    fn the_secret_is_made_once() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::new(dir.path(), 9600, 2).unwrap();
        prepare(&layout, 0..2).unwrap();
        let secret = std::fs::read(layout.context_key_file()).unwrap();
        prepare(&layout, 0..2).unwrap();
        assert_eq!(std::fs::read(layout.context_key_file()).unwrap(), secret);
        assert_eq!(secret.len(), 32);
        assert!(layout.config_file(1).exists());
    }
}
