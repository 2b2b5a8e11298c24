//! What a replica must never do, for simulations that have to find it.

use annulus_causality::{KeyState, VersionVector};
use annulus_ring::RingEpoch;
use tokio::time::Instant;

use crate::replica::{KeyAddress, Replica, Write};

impl Replica {
    /// The mistakes [`ReplayMints`](crate::mistake::Mistake::ReplayMints) and
    /// [`ExchangeMints`](crate::mistake::Mistake::ExchangeMints): what another node has sent is written as new.
    pub(crate) async fn mint_as_its_own(
        &self,
        address: &KeyAddress,
        state: &KeyState,
        deadline: Instant,
        fence: RingEpoch,
    ) {
        for sibling in state.siblings() {
            let write = Write {
                address: address.clone(),
                content: sibling.value(0).cloned(),
                context: VersionVector::new(),
                ttl: None,
                request_id: None,
                deadline,
                fence,
            };
            let _ = self.mint(write).await; // whatever comes of a mistake
        }
    }
}
