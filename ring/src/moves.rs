//! Moves: how one owner of a partition is exchanged, added or removed while requests go on.
//!
//! A [`Move`] is part of the [`Placement`](crate::Placement), and so is its [`Stage`]: every stage
//! change is a new epoch, and a node that holds the placement knows without asking whom each
//! request needs. The stages, the barrier between them, the crash matrix and the reasons are in
//! `docs/protocol/moves.md`.
//!
//! | module | owns |
//! |---|---|
//! | [`id`] | the move's name, which is its session too |
//! | [`stage`] | the stages and which may follow which |
//! | [`record`] | a move as the placement states it, and when it is valid |
//! | [`sets`] | whom a write, a read, a mint, a copy needs: the accessors of the request path |
//! | [`sources`] | where a joining owner gets its data |
//! | [`evidence`] | what nodes report, and what is known of them |
//! | [`barrier`] | when older epochs can do no harm |
//! | [`mod@advance`] | the stage machine |
//! | [`wait`] | what a move waits for, in words |
//! | [`change`], [`apply`] | the step to the next epoch |
//! | [`plan`] | which moves lead to what is desired, and which of them begin now |
//! | [`cancel`] | which moves under way are called off |
//! | [`mod@round`] | all of that in one, for who needs nobody's approval |
//! | [`swap`] | from one row of owners to another, one at a time |
//! | [`members`] | who is a member on the way |
//! | [`limits`], [`room`] | how many moves run at once |
//! | [`mod@estimate`] | what a plan costs |
//!
//! Invariants: at most one move a partition; a partition's row lists who serves it (reads and
//! mints), which is the old owners before [`Stage::ReadNew`] and the new ones from then on.

mod advance;
mod apply;
mod barrier;
mod cancel;
mod change;
mod check;
mod estimate;
mod evidence;
mod id;
mod limits;
mod members;
mod plan;
mod record;
mod room;
mod round;
mod sets;
mod sources;
mod stage;
mod swap;
mod wait;

pub use advance::{Advance, advance};
pub use apply::ApplyError;
pub use barrier::Rules;
pub use change::{Change, PlannedMove};
pub use check::MoveError;
pub(crate) use check::{Around, check_moves};
pub use estimate::{Estimate, NodeLoad, estimate};
pub use evidence::{Evidence, MoveReport, NodeReport, Standing, Streamed};
pub use id::{InvalidMoveId, MoveId};
pub use limits::MoveLimits;
pub use plan::{Batch, Desired, next_batch, outline};
pub use record::Move;
pub use round::{Round, RoundError, round};
pub use sets::{OwnerSet, WriteSets};
pub use sources::SyncSources;
pub use stage::{InvalidStage, Stage};
pub(crate) use swap::swaps;
pub use wait::{Wait, WaitReason};

#[cfg(test)]
mod tests;
