//! A model of the operator: hands every node the placement in force over its admin port, and again
//! to whoever holds an older one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use annulus_causality::VnodeId;
use annulus_node::simulation::{Layout, Trace, id_of};
use annulus_proto::admin::v1::admin_client::AdminClient;
use annulus_proto::admin::v1::{
    GetPlacementRequest, GetStatusRequest, InstallPlacementRequest, InstallPlacementResponse,
    ListVnodesRequest, Vnode,
};
use annulus_ring::{NodeId, Placement};
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::transport::Channel;

use crate::calls::connect;
use crate::invariants::Invariants;

/// The pause between two rounds.
const PAUSE: Duration = Duration::from_millis(250);

/// How long a node may take to answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// See the module.
pub(crate) struct Operator {
    pub(crate) layout: Layout,
    pub(crate) invariants: Arc<Invariants>,
    pub(crate) trace: Arc<Trace>,
    /// The epoch in force.
    pub(crate) epoch: Arc<AtomicU64>,
}

impl Operator {
    /// Goes round for ever.
    pub(crate) async fn look_after(self: Arc<Self>) -> turmoil::Result {
        loop {
            for at in 0..self.layout.disks().len() {
                // A node that is down or cut off is visited again in the next round.
                let _ = timeout(PATIENCE, self.visit(at)).await;
            }
            sleep(PAUSE).await;
        }
    }

    async fn visit(&self, at: usize) -> Result<(), Status> {
        let name = format!("n{}", at + 1);
        let mut node = AdminClient::new(connect(&name, 9603).await?);
        let status = node.get_status(GetStatusRequest {}).await?.into_inner();
        let epoch = self.epoch.load(Ordering::Relaxed);
        if status.epoch < epoch {
            let held = self.install(&mut node, epoch).await?;
            self.trace
                .note(format_args!("{name} is handed epoch {epoch}, holds {held}"));
        }
        let placement = node.get_placement(GetPlacementRequest {}).await?;
        let placement = placement.into_inner().placement.unwrap_or_default();
        let placement = Placement::try_from(placement);
        let placement = placement.map_err(|refused| Status::internal(refused.to_string()))?;
        let issued = self.layout.placement(placement.epoch().0);
        self.invariants
            .learn_placement(node_id(at), &placement, &issued);
        let vnodes = node.list_vnodes(ListVnodesRequest {}).await?.into_inner();
        self.learn(at, &vnodes.vnodes);
        Ok(())
    }

    async fn install(&self, node: &mut AdminClient<Channel>, epoch: u64) -> Result<u64, Status> {
        let placement = self.layout.placement(epoch);
        let request = InstallPlacementRequest {
            placement: Some((&placement).into()),
        };
        let installed = node.install_placement(request).await?;
        let InstallPlacementResponse { epoch } = installed.into_inner();
        Ok(epoch)
    }

    fn learn(&self, at: usize, vnodes: &[Vnode]) {
        let node = node_id(at);
        for vnode in vnodes {
            let partition = u16::try_from(vnode.partition).expect("a few partitions");
            self.invariants
                .learn_vnode(VnodeId(vnode.vnode_id), node, partition);
        }
    }
}

fn node_id(at: usize) -> NodeId {
    id_of(u16::try_from(at + 1).expect("a few nodes"))
}
