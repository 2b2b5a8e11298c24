//! I9: a write that was rejected is on no disk, before or after the refusal.

use std::collections::HashSet;

use annulus_causality::Content;
use annulus_node::simulation::Wrote;

use super::new_siblings;
use crate::broken::Broken;

#[derive(Debug, Default)]
pub(super) struct RejectedIsInvisible {
    written: HashSet<Vec<u8>>,
    rejected: HashSet<Vec<u8>>,
}

impl RejectedIsInvisible {
    pub(super) fn wrote(&mut self, wrote: &Wrote<'_>) -> Result<(), Broken> {
        for sibling in new_siblings(wrote) {
            let Content::Value(value) = &sibling.content else {
                continue;
            };
            if self.rejected.contains(&value[..]) {
                let value = String::from_utf8_lossy(value);
                return Err(
                    broken(&format!("{value} was rejected, now {} has it", wrote.node))
                        .about(wrote.stored_key),
                );
            }
            if !self.written.contains(&value[..]) {
                self.written.insert(value.to_vec());
            }
        }
        Ok(())
    }

    pub(super) fn reject(&mut self, value: &str) -> Result<(), Broken> {
        self.rejected.insert(value.as_bytes().to_vec());
        if self.written.contains(value.as_bytes()) {
            return Err(broken(&format!(
                "{value} is on a disk, and its writer was told rejected"
            )));
        }
        Ok(())
    }
}

fn broken(what: &str) -> Broken {
    Broken::new("I9 rejected is invisible", what)
}
