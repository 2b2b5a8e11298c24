//! Who belongs to the ring, and what has to be done about it next. Pure.
//!
//! [`next`] looks at what the API server and the nodes say *now* and names one step. It
//! remembers nothing: killed between any two writes, the operator finds the same way again.
//!
//! Invariant: a ring is founded at most once. It is founded only when every node that is to
//! belong to it says itself that it holds no placement, and only through the creation of the
//! `KVRing`, which the API server lets one succeed at. Whatever any node holds wins over
//! founding; whatever has been founded before wins over an empty disk. How a founded ring changes
//! is for [`moving`].

mod availability;
mod founding;
mod moving;
mod step;
mod view;

pub(crate) use availability::{Availability, ZoneSpread, availability, zone_spread};
pub(crate) use founding::found;
#[cfg(test)]
pub(crate) use moving::Remaining;
pub(crate) use moving::{Kind, Moving, Phase, PlanSummary};
pub(crate) use step::{Blocked, Finding, Founder, Plan, Step, next};
pub(crate) use view::{Desired, Observed, ObservedNode, Seat};

#[cfg(test)]
mod tests;
