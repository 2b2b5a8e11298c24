//! The nodes that a local ring is to have. `annulus dev add`, `annulus dev remove`, `annulus drain` and
//! `annulus move cancel` write it; a running ring goes by it at its next look, one that is started
//! later then. Pure but for its files.

use std::collections::BTreeSet;
use std::path::Path;

use annulus_ring::{NodeState, Placement};
use anyhow::Context;
use serde::{Deserialize, Serialize};

use super::files;
use super::layout::{Layout, MAX_NODES, NodeOrdinal, node_name, ordinal_of};
use crate::exit::UsageError;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(crate) struct Wanted {
    /// The nodes.
    pub(crate) nodes: BTreeSet<NodeOrdinal>,
    /// Those of them that are to hold no data.
    pub(crate) draining: BTreeSet<NodeOrdinal>,
}

/// A change of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Request {
    /// One node more.
    Add,
    /// This one goes.
    Remove(String),
    /// This one is emptied.
    Drain(String),
    /// Back to what was reached last.
    Cancel,
}

impl Wanted {
    /// What the ring is.
    pub(crate) fn of(ring: &Placement) -> Self {
        let ordinals = |state: Option<NodeState>| {
            let nodes = ring.nodes().iter();
            let nodes = nodes.filter(|node| state.is_none_or(|state| node.state == state));
            nodes.filter_map(|node| ordinal_of(&node.name)).collect()
        };
        Self {
            nodes: ordinals(None),
            draining: ordinals(Some(NodeState::Draining)),
        }
    }

    /// What is asked for after `request`, and what to tell people.
    pub(crate) fn after(
        mut self,
        request: &Request,
        reached: Option<Self>,
        copies: usize,
    ) -> Result<(Self, String), UsageError> {
        let told = match request {
            Request::Add => {
                let free = (0..MAX_NODES).find(|node| !self.nodes.contains(node));
                let free = free.ok_or_else(|| {
                    UsageError(format!("a local ring has at most {MAX_NODES} nodes"))
                })?;
                self.nodes.insert(free);
                self.draining.remove(&free);
                format!("{} joins", node_name(free))
            }
            Request::Remove(name) => {
                let node = self.known(name)?;
                self.nodes.remove(&node);
                self.draining.remove(&node);
                format!("{name} leaves")
            }
            Request::Drain(name) => {
                let node = self.known(name)?;
                self.draining.insert(node);
                format!("{name} is emptied")
            }
            Request::Cancel => {
                self = reached.unwrap_or(self);
                let names: Vec<String> = self.nodes.iter().map(|node| node_name(*node)).collect();
                format!("back to {}", names.join(", "))
            }
        };
        let active = self.nodes.difference(&self.draining).count();
        if active < copies {
            return Err(UsageError(format!(
                "{active} nodes can't hold {copies} copies of everything; add a node first"
            )));
        }
        Ok((self, told))
    }

    fn known(&self, name: &str) -> Result<NodeOrdinal, UsageError> {
        let node = ordinal_of(name).filter(|node| self.nodes.contains(node));
        node.ok_or_else(|| UsageError(format!("the local ring has no {name}")))
    }
}

/// Reads what is asked for, or was reached; `None` before anything was.
pub(super) fn read(path: &Path) -> anyhow::Result<Option<Wanted>> {
    let text = match std::fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    let wanted = serde_json::from_slice(&text);
    Ok(Some(wanted.with_context(|| {
        format!("{} is damaged; delete it", path.display())
    })?))
}

/// Replaces it.
pub(super) fn write(path: &Path, wanted: &Wanted) -> anyhow::Result<()> {
    files::replace(path, &serde_json::to_vec(wanted)?)
}

/// Takes a request.
pub(super) fn ask(layout: &Layout, request: &Request) -> anyhow::Result<String> {
    let ring = files::read_ring(&layout.ring_file())?.ok_or_else(|| {
        let dir = layout.dir().display();
        UsageError(format!(
            "there is no local ring in {dir}; start one with `annulus dev`"
        ))
    })?;
    let now = read(&layout.wanted_file())?.unwrap_or_else(|| Wanted::of(&ring));
    let reached = read(&layout.reached_file())?;
    let copies = usize::from(ring.replication_factor().get());
    let (next, told) = now.after(request, reached, copies)?;
    write(&layout.wanted_file(), &next)?;
    Ok(told)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::fixtures::founded;

    fn asked(wanted: &Wanted, request: &Request) -> Wanted {
        let reached = Some(Wanted::of(&founded(4)));
        wanted.clone().after(request, reached, 3).unwrap().0
    }

    #[test]
    fn nodes_are_added_removed_drained_and_all_of_it_is_taken_back() {
        let four = Wanted::of(&founded(4));
        let five = asked(&four, &Request::Add);
        assert_eq!(five.nodes, (0..5).collect());
        let without = asked(&five, &Request::Remove("node-2".into()));
        assert_eq!(without.nodes, [0, 2, 3, 4].into());
        assert_eq!(
            asked(&without, &Request::Add).nodes,
            (0..5).collect(),
            "it stays after all"
        );
        let drained = asked(&without, &Request::Drain("node-5".into()));
        assert_eq!(drained.draining, [4].into());
        assert_eq!(asked(&drained, &Request::Cancel), four);
    }

    #[test]
    fn there_stay_as_many_nodes_as_copies_and_only_known_ones_go() {
        let three = Wanted::of(&founded(3));
        for request in [
            Request::Remove("node-1".into()),
            Request::Drain("node-1".into()),
            Request::Remove("node-9".into()),
            Request::Remove("orders-0".into()),
        ] {
            assert!(
                three.clone().after(&request, None, 3).is_err(),
                "{request:?}"
            );
        }
    }

    #[test]
    fn what_is_asked_for_is_read_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wanted.json");
        assert_eq!(read(&path).unwrap(), None);
        let wanted = Wanted::of(&founded(3));
        write(&path, &wanted).unwrap();
        assert_eq!(read(&path).unwrap(), Some(wanted));
    }
}
