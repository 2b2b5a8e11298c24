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
//!
//! Invariants: at most one move a partition; a partition's row lists who serves it (reads and
//! mints), which is the old owners before [`Stage::ReadNew`] and the new ones from then on.

mod check;
mod id;
mod record;
mod sets;
mod sources;
mod stage;

pub use check::MoveError;
pub(crate) use check::{Around, check_moves};
pub use id::{InvalidMoveId, MoveId};
pub use record::Move;
pub use sets::{OwnerSet, WriteSets};
pub use sources::SyncSources;
pub use stage::{InvalidStage, Stage};
