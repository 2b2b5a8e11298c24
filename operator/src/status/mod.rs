//! What the operator says about a cluster: conditions, summary, operation, events.
//!
//! [`reason`] is the one table that conditions, events and the documentation come from;
//! [`conditions`] turns facts into conditions. Pure: facts and time come in, a status goes out.

mod conditions;
mod facts;
mod operation;
mod pace;
mod reason;
mod report;

pub(crate) use conditions::changes;
pub(crate) use facts::{Facts, RingFacts, listed};
pub(crate) use operation::milestones;
pub(crate) use pace::is_news;
pub(crate) use reason::{ConditionType, EventLevel, Reason, conditions_page};
pub(crate) use report::report;
