//! The current placement, its installation, and who waits for the next.

use std::sync::Arc;

use annulus_proto::model::{ErrorCode, RequestError};
use annulus_ring::{NodeId, NodeIndex, PartitionId, Placement, RingEpoch};
use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};

use super::decision::{self, Decision, PlacementRefused};
use super::fences::Fences;
use super::file::PlacementFileError;
use super::holding;
use super::home::Home;
use crate::mistake::{self, Mistake};
use crate::replica::{Held, Replica, ReplicaError};
use crate::storage::DataDirError;
use crate::watched::Watched;

/// What came of an offered placement that was not refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Installed {
    /// The epoch that this node holds now.
    pub(crate) epoch: RingEpoch,
    /// Whether it was new here.
    pub(crate) changed: bool,
}

/// Why a placement was not installed. The one held stays in use; a retry is safe.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InstallError {
    /// It may not be taken.
    #[error(transparent)]
    Refused(#[from] PlacementRefused),
    /// It could not be made durable.
    #[error(transparent)]
    File(#[from] PlacementFileError),
    /// The data could not be bound to the cluster.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// The vnodes that it gives this node could not be made.
    #[error("create the vnodes of placement epoch {epoch}: {error}")]
    Vnodes {
        /// The offered epoch.
        epoch: RingEpoch,
        /// Why.
        error: ReplicaError,
    },
}

/// The placement in use.
#[derive(Debug)]
pub(crate) struct InUse {
    pub(crate) placement: Arc<Placement>,
    fences: Fences,
}

impl InUse {
    /// Whether a request about a partition, or about none, that was made under that epoch may be served.
    pub(crate) fn admits(&self, epoch: RingEpoch, partition: Option<PartitionId>) -> bool {
        let fence = partition.map(|partition| self.fences.of(partition));
        fence.is_none_or(|fence| epoch >= fence)
    }
}

/// Holds the current placement. Cheap to clone; all clones are one.
#[derive(Debug, Clone)]
pub(crate) struct PlacementStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    node: NodeId,
    home: Home,
    replica: Replica,
    current: ArcSwapOption<InUse>,
    epoch: Watched<RingEpoch>,
    acked: Watched<RingEpoch>,
    installing: Mutex<()>,
}

impl PlacementStore {
    /// The store of a node, with what is kept already in use.
    pub(crate) async fn open(
        node: NodeId,
        home: Home,
        replica: Replica,
    ) -> Result<Self, InstallError> {
        let persisted = home.read().await?;
        let store = Self(Arc::new(Inner {
            node,
            home,
            replica,
            current: ArcSwapOption::empty(),
            epoch: Watched::new(RingEpoch(0)),
            acked: Watched::new(RingEpoch(0)),
            installing: Mutex::new(()),
        }));
        if let Some(placement) = persisted {
            decision::decide(None, store.0.home.cluster(), &placement)?;
            store.put_in_use(Arc::new(placement)).await?;
        }
        Ok(store)
    }

    /// This node.
    pub(crate) fn node(&self) -> NodeId {
        self.0.node
    }

    /// The placement in use; `None` before the first.
    pub(crate) fn current(&self) -> Option<Arc<Placement>> {
        let in_use = self.0.current.load();
        in_use.as_ref().map(|in_use| in_use.placement.clone())
    }

    /// The placement in use with its fences; `None` before the first.
    pub(crate) fn in_use(&self) -> Option<Arc<InUse>> {
        self.0.current.load_full()
    }

    /// The highest epoch that is on disk and under which alone, of all until then, anything is applied here to
    /// partitions that it or an older one changed; 0 before the first.
    pub(crate) fn acked(&self) -> RingEpoch {
        self.0.acked.get()
    }

    /// The placement in use, or the error of a request that came too early.
    pub(crate) fn require(&self) -> Result<Arc<Placement>, RequestError> {
        self.current().ok_or_else(|| {
            let message =
                "this node has not been told its placement yet; try again, or another node";
            RequestError::rejected(ErrorCode::Unavailable, message)
        })
    }

    /// This node's position in a placement, if it has one.
    pub(crate) fn own_index(&self, placement: &Placement) -> Option<NodeIndex> {
        placement.index_of(self.0.node)
    }

    /// The epoch in use; 0 before the first.
    pub(crate) fn epoch(&self) -> RingEpoch {
        self.0.epoch.get()
    }

    /// Waits until another epoch than this is in use.
    pub(crate) async fn epoch_after(&self, seen: RingEpoch) {
        self.0.epoch.wait_for(|epoch| epoch != seen).await;
    }

    /// Waits until an epoch, or a later one, is in use.
    pub(crate) async fn wait_for(
        &self,
        epoch: RingEpoch,
        deadline: Instant,
    ) -> Option<Arc<Placement>> {
        let reached = self.0.epoch.wait_for(|held| held >= epoch);
        timeout_at(deadline, reached).await.ok()?;
        self.current()
    }

    /// Takes a placement: on disk, its vnodes made, then in use. One at a time.
    ///
    /// Goes on when the caller goes away: a placement whose vnodes fence older epochs off already, and
    /// which is not in use, would leave the node without one that works.
    pub(crate) async fn install(&self, offered: Placement) -> Result<Installed, InstallError> {
        let store = self.clone();
        let installing = tokio::spawn(async move { store.install_to_the_end(offered).await });
        installing
            .await
            .expect("installing does not panic and nobody aborts it")
    }

    async fn install_to_the_end(&self, offered: Placement) -> Result<Installed, InstallError> {
        let _one_at_a_time = self.0.installing.lock().await;
        let held = self.current();
        match decision::decide(held.as_deref(), self.0.home.cluster(), &offered) {
            Ok(Decision::Install) => {}
            Ok(Decision::Held) => {
                return Ok(Installed {
                    epoch: offered.epoch(),
                    changed: false,
                });
            }
            Err(refused) => {
                if matches!(refused, PlacementRefused::SameEpochOtherContent { .. }) {
                    tracing::error!(error = %refused, "two placements of one epoch");
                }
                return Err(refused.into());
            }
        }
        let placement = Arc::new(offered);
        self.0.home.write(&placement).await?;
        self.put_in_use(placement.clone()).await?;
        let epoch = placement.epoch();
        tracing::info!(%epoch, nodes = placement.nodes().len(), "placement installed");
        Ok(Installed {
            epoch,
            changed: true,
        })
    }

    /// The vnodes come first: from the moment that the placement is seen, requests arrive for them.
    async fn put_in_use(&self, placement: Arc<Placement>) -> Result<(), InstallError> {
        let epoch = placement.epoch();
        let fences = match self.in_use() {
            Some(held) => held.fences.after(&held.placement, &placement),
            None => Fences::first(&placement),
        };
        let held = match self.own_index(&placement) {
            Some(_) if mistake::is_made(Mistake::MintOnNonOwner) => {
                let every = placement.partitions().ids();
                every
                    .map(|partition| Held::since(partition, epoch))
                    .collect()
            }
            Some(index) => holding::held_by(&placement, index, &fences),
            None => Vec::new(),
        };
        let kept = self.0.replica.keep_trees(placement.partitions()).await;
        kept.map_err(|error| InstallError::Vnodes { epoch, error })?;
        let made = self.0.replica.hold(held, epoch).await;
        made.map_err(|error| InstallError::Vnodes { epoch, error })?;
        self.0
            .current
            .store(Some(Arc::new(InUse { placement, fences })));
        self.0.epoch.set(epoch);
        self.acknowledge_once_settled(epoch);
        Ok(())
    }

    /// The fences have risen already; what passed them before may still be on its way to the log.
    fn acknowledge_once_settled(&self, epoch: RingEpoch) {
        let store = self.clone();
        tokio::spawn(async move {
            match store.0.replica.settled().await {
                Ok(()) => store.0.acked.raise(epoch),
                Err(error) => tracing::debug!(%epoch, %error, "an epoch is not acknowledged"),
            }
        });
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use annulus_ring::{
        Capacity, HashSeed, Node, NodeAddresses, NodeState, PartitionCount, PlacementDocument,
        ReplicationFactor,
    };
    use prometheus_client::registry::Registry;
    use uuid::Uuid;

    use super::*;
    use crate::clock::{Clock, SystemClock};
    use crate::entropy::SystemRandomness;
    use crate::replica::{ReplicaOptions, TombstoneRule};
    use crate::storage::{DataDir, Store};

    /// Nodes 1 to `nodes`; partition p belongs to three of them (or all) from position p on.
    pub(crate) fn document_of(nodes: u16, epoch: u64) -> PlacementDocument {
        let partitions = PartitionCount::new(8).unwrap();
        let owners_each = nodes.min(3);
        let node = |number: u16| Node {
            id: NodeId(Uuid::from_u128(number.into())),
            name: format!("node-{number}"),
            addresses: NodeAddresses {
                peer: format!("127.0.0.1:{number}"),
                grpc: "127.0.0.1:1".into(),
                http: "127.0.0.1:1".into(),
                admin: "127.0.0.1:1".into(),
            },
            zone: "zone".into(),
            capacity: Capacity::ONE,
            state: NodeState::Active,
        };
        let rows = partitions.ids().flat_map(|partition| {
            (0..owners_each).map(move |place| NodeIndex((partition.0 + place) % nodes))
        });
        PlacementDocument {
            cluster_id: Uuid::from_u128(0xc1),
            epoch: RingEpoch(epoch),
            hash_seed: HashSeed(7),
            partitions,
            replication_factor: ReplicationFactor::new(u8::try_from(owners_each).unwrap()).unwrap(),
            nodes: (1..=nodes).map(node).collect(),
            owners: rows.collect(),
            moves: Vec::new(),
            fingerprint: None,
        }
    }

    pub(crate) fn placement_of(nodes: u16, epoch: u64) -> Placement {
        document_of(nodes, epoch).try_into().unwrap()
    }

    /// A replica in memory, with as few threads as it can have.
    pub(crate) fn memory_replica() -> Replica {
        memory_replica_with(TombstoneRule::default())
    }

    /// The same, with other ages of tombstones.
    pub(crate) fn memory_replica_with(tombstones: TombstoneRule) -> Replica {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let mut options = ReplicaOptions {
            committers: 1,
            tombstones,
            ..ReplicaOptions::default()
        };
        options.io.threads = 1;
        let (store, randomness) = (Store::in_memory(), Arc::new(SystemRandomness));
        Replica::start(
            &options,
            store,
            &clock,
            randomness,
            &mut Registry::default(),
        )
        .unwrap()
    }

    async fn open(data_dir: Option<&Arc<DataDir>>) -> PlacementStore {
        let node = NodeId(Uuid::from_u128(1));
        let home = data_dir.map_or(Home::Nowhere, |data_dir| Home::DataDir(data_dir.clone()));
        PlacementStore::open(node, home, memory_replica())
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_placement_gives_the_node_its_vnodes_and_tells_who_waits() {
        let store = open(None).await;
        assert!(store.current().is_none());
        assert_eq!(store.require().unwrap_err().code, ErrorCode::Unavailable);
        let deadline = SystemClock.now() + std::time::Duration::from_secs(5);
        let waiting = tokio::spawn({
            let store = store.clone();
            async move { store.wait_for(RingEpoch(2), deadline).await }
        });
        store.install(placement_of(4, 1)).await.unwrap();
        assert_eq!(store.0.replica.vnodes().len(), 6);
        let installed = store.install(placement_of(4, 2)).await.unwrap();
        assert_eq!(
            installed,
            Installed {
                epoch: RingEpoch(2),
                changed: true
            }
        );
        assert_eq!(waiting.await.unwrap().unwrap().epoch(), RingEpoch(2));
        let again = store.install(placement_of(4, 2)).await.unwrap();
        assert_eq!(
            again,
            Installed {
                epoch: RingEpoch(2),
                changed: false
            }
        );
        assert!(store.install(placement_of(4, 1)).await.is_err());
        assert_eq!(store.current().unwrap().epoch(), RingEpoch(2));
        store.0.acked.wait_for(|acked| acked == RingEpoch(2)).await;
    }

    #[tokio::test]
    async fn a_caller_that_goes_away_leaves_no_placement_half_installed() {
        let store = open(None).await;
        let mut installing = Box::pin(store.install(placement_of(3, 1)));
        assert!(futures::poll!(&mut installing).is_pending());
        drop(installing);
        let deadline = SystemClock.now() + std::time::Duration::from_secs(5);
        assert!(store.wait_for(RingEpoch(1), deadline).await.is_some());
    }

    #[tokio::test]
    async fn the_epoch_does_not_fall_over_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = Arc::new(DataDir::open(directory.path(), &SystemRandomness).unwrap());
        open(Some(&data_dir))
            .await
            .install(placement_of(3, 7))
            .await
            .unwrap();
        assert_eq!(data_dir.cluster_id(), Some(Uuid::from_u128(0xc1)));
        let store = open(Some(&data_dir)).await;
        assert_eq!(store.current().unwrap().epoch(), RingEpoch(7));
        assert!(store.install(placement_of(3, 6)).await.is_err());
    }

    #[tokio::test]
    async fn data_of_one_cluster_takes_no_placement_of_another() {
        let directory = tempfile::tempdir().unwrap();
        let data_dir = Arc::new(DataDir::open(directory.path(), &SystemRandomness).unwrap());
        data_dir.join_cluster(Uuid::from_u128(0xc2)).unwrap();
        let store = open(Some(&data_dir)).await;
        let refused = store.install(placement_of(3, 1)).await;
        let other = PlacementRefused::OtherCluster {
            offered: Uuid::from_u128(0xc1),
            held: Uuid::from_u128(0xc2),
        };
        assert!(matches!(refused, Err(InstallError::Refused(refused)) if refused == other));
        assert!(store.current().is_none());
    }
}
