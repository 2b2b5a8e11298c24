//! What is asked of nodes by their admin port: how they are, and to take a placement, to compare copies.

use std::collections::BTreeMap;
use std::time::Duration;

use annulus_proto::admin::v1::admin_client::AdminClient;
use annulus_proto::admin::v1::{
    GetMovesRequest, GetStatusRequest, GetStatusResponse, InstallPlacementRequest,
    ListDigestsRequest, ListVnodesRequest, NodePhase, RequestComparisonRequest,
    SetStreamRateRequest,
};
use annulus_ring::{MoveReport, PartitionId, Placement, RingEpoch};
use anyhow::{Context as _, Result};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;
use tonic::transport::{Channel, Endpoint};

use crate::site::Site;

const STATUS_WITHIN: Duration = Duration::from_secs(1);
const INSTALL_WITHIN: Duration = Duration::from_secs(10);

/// How a node is; `None` while it does not answer.
pub(crate) async fn status(address: &str) -> Option<GetStatusResponse> {
    let mut client = client(address).ok()?;
    let asked = client.get_status(GetStatusRequest {});
    Some(timeout(STATUS_WITHIN, asked).await.ok()?.ok()?.into_inner())
}

/// The barrier that a node has acknowledged, and its reports of moves.
pub(crate) async fn moves(address: &str) -> Result<(RingEpoch, Vec<MoveReport>)> {
    let mut client = client(address)?;
    let asked = client.get_moves(GetMovesRequest {});
    let answer = timeout(STATUS_WITHIN, asked).await??.into_inner();
    let reports = answer.moves.iter().map(MoveReport::try_from);
    let reports = reports.collect::<Result<_, _>>()?;
    Ok((RingEpoch(answer.acked_epoch), reports))
}

/// Limits a node's moves, in both directions.
pub(crate) async fn set_stream_rate(address: &str, bytes_per_second: u64) -> Result<()> {
    let request = SetStreamRateRequest { bytes_per_second };
    timeout(STATUS_WITHIN, client(address)?.set_stream_rate(request)).await??;
    Ok(())
}

/// Whether a node serves.
pub(crate) async fn serves(address: &str) -> bool {
    let status = status(address).await;
    status.is_some_and(|status| status.phase() == NodePhase::Serving)
}

/// The identities of a node's vnodes, by partition; none while it does not answer.
pub(crate) async fn vnodes(address: &str) -> BTreeMap<u32, u64> {
    let asked = async {
        let mut client = client(address).ok()?;
        let listed = client.list_vnodes(ListVnodesRequest {}).await.ok()?;
        Some(listed.into_inner().vnodes)
    };
    let vnodes = timeout(STATUS_WITHIN, asked).await.ok().flatten();
    let vnodes = vnodes.unwrap_or_default().into_iter();
    vnodes
        .map(|vnode| (vnode.partition, vnode.vnode_id))
        .collect()
}

/// Hands a placement to a node; it is on its disk when this returns.
pub(crate) async fn install(address: &str, placement: &Placement) -> Result<()> {
    let request = InstallPlacementRequest {
        placement: Some(placement.into()),
    };
    let mut client = client(address)?;
    let asked = client.install_placement(request);
    timeout(INSTALL_WITHIN, asked)
        .await
        .context("no answer in time")?
        .with_context(|| format!("install the placement at {address}"))?;
    Ok(())
}

/// Asks every node to compare each of its copies with the other owners' now.
pub(crate) async fn compare_all(site: &Site, placement: &Placement) -> Result<()> {
    for node in 0..placement.nodes().len() {
        let mut client = client(&site.addresses(node).admin)?;
        let status = client.get_status(GetStatusRequest {}).await?.into_inner();
        let own = status.node_id.parse().ok();
        let own = own.and_then(|own| placement.index_of(own));
        let own = own.context("the node is not in the placement")?;
        for partition in placement.partitions_of(own) {
            let owners = placement.owners(partition).iter();
            for other in owners.filter(|other| **other != own) {
                let request = RequestComparisonRequest {
                    partition: u32::from(partition.0),
                    node_id: placement.node(*other).id.to_string(),
                };
                client.request_comparison(request).await?;
            }
        }
    }
    Ok(())
}

/// The digests of keys by keyspace and key.
pub(crate) type KeyDigests = BTreeMap<(String, Vec<u8>), u64>;

/// What a node's vnode lists.
pub(crate) async fn digests(address: &str, partition: PartitionId) -> Result<KeyDigests> {
    let request = ListDigestsRequest {
        partition: u32::from(partition.0),
    };
    let mut parts = client(address)?.list_digests(request).await?.into_inner();
    let mut digests = KeyDigests::new();
    while let Some(part) = timeout(STATUS_WITHIN, parts.next()).await? {
        let part = part?.digests.into_iter();
        digests.extend(part.map(|of| ((of.keyspace, of.key.to_vec()), of.digest)));
    }
    Ok(digests)
}

/// How many vnodes a node has scrubbed since its start; 0 while it does not say.
pub(crate) async fn scrubbed_vnodes(address: &str) -> u64 {
    const NAME: &str = "annulus_node_scrubbed_vnodes_total ";
    let metrics = async {
        let answer = reqwest::get(format!("http://{address}/metrics")).await?;
        answer.text().await
    };
    let metrics = metrics.await.unwrap_or_default();
    let value = metrics.lines().find_map(|line| line.strip_prefix(NAME));
    value.and_then(|value| value.parse().ok()).unwrap_or(0)
}

fn client(address: &str) -> Result<AdminClient<Channel>> {
    let endpoint =
        Endpoint::from_shared(format!("http://{address}"))?.connect_timeout(STATUS_WITHIN);
    Ok(AdminClient::new(endpoint.connect_lazy()))
}
