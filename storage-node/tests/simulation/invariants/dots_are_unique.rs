//! I1: a dot of a key names at most one value, for ever, whatever was lost meanwhile.

use std::collections::HashMap;

use annulus_causality::{Content, Dot};
use annulus_node::simulation::Wrote;

use crate::broken::Broken;

#[derive(Debug, Default)]
pub(super) struct DotsAreUnique(HashMap<(Vec<u8>, Dot), Content>);

impl DotsAreUnique {
    pub(super) fn wrote(&mut self, wrote: &Wrote<'_>) -> Result<(), Broken> {
        for sibling in wrote.after.siblings() {
            let name = (wrote.stored_key.to_vec(), sibling.dot);
            let first = self
                .0
                .entry(name)
                .or_insert_with(|| sibling.content.clone());
            if *first != sibling.content {
                let what = format!("dot {} is {first:?} and {:?}", sibling.dot, sibling.content);
                return Err(Broken::new("I1 dots are unique", what));
            }
        }
        Ok(())
    }
}
