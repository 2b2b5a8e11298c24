//! Asks nodes by their admin port how they are.

use std::time::Duration;

use annulus_proto::admin::v1::admin_client::AdminClient;
use annulus_proto::admin::v1::{GetStatusRequest, GetStatusResponse, NodePhase};
use annulus_ring::{Node, Placement};
use futures::StreamExt;
use futures::stream;
use tokio::time::timeout;
use tonic::transport::{Channel, Endpoint};

/// Nodes that are asked at the same time.
const MAX_AT_ONCE: usize = 32;

/// The longest time for one node's answer.
pub(crate) const NODE_TIMEOUT: Duration = Duration::from_secs(2);

/// The largest answer that is read; a placement of the largest ring fits.
const MAX_ANSWER_BYTES: usize = 16 << 20;

/// The admin service of a node (`host:port`); connects at the first call.
pub(crate) fn client(address: &str) -> anyhow::Result<AdminClient<Channel>> {
    let endpoint = Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(NODE_TIMEOUT)
        .tcp_nodelay(true);
    Ok(AdminClient::new(endpoint.connect_lazy())
        .max_decoding_message_size(MAX_ANSWER_BYTES)
        .max_encoding_message_size(MAX_ANSWER_BYTES))
}

/// A node's status, or why there is none.
pub(crate) async fn status(address: &str) -> Result<GetStatusResponse, String> {
    let mut client = client(address).map_err(|error| format!("{error:#}"))?;
    match timeout(NODE_TIMEOUT, client.get_status(GetStatusRequest {})).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(status.message().to_owned()),
        Err(_) => Err("no answer".to_owned()),
    }
}

/// Every node of the placement with its status, in the order of their names.
pub(crate) async fn statuses(
    placement: &Placement,
) -> Vec<(Node, Result<GetStatusResponse, String>)> {
    let asked = placement.nodes().iter().cloned().map(|node| async move {
        let status = status(&node.addresses.admin).await;
        (node, status)
    });
    let mut statuses: Vec<_> = stream::iter(asked)
        .buffer_unordered(MAX_AT_ONCE)
        .collect()
        .await;
    statuses.sort_by(|(one, _), (other, _)| natural(&one.name).cmp(&natural(&other.name)));
    statuses
}

/// Orders `node-2` before `node-10`.
pub(crate) fn natural(name: &str) -> (&str, u64, &str) {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    (stem, name[stem.len()..].parse().unwrap_or(0), name)
}

/// The name of a member whose id a node reports; `None`: it is none.
pub(crate) fn name_of<'a>(placement: &'a Placement, id: &str) -> Option<&'a str> {
    let node = placement.node_by_id(id.parse().ok()?)?;
    Some(&node.name)
}

/// A node's phase for people.
pub(crate) fn phase(status: &GetStatusResponse) -> &'static str {
    match status.phase() {
        NodePhase::Unspecified => "unknown",
        NodePhase::Starting => "starting",
        NodePhase::WaitingForPlacement => "waiting-for-placement",
        NodePhase::Serving => "serving",
        NodePhase::Draining => "draining",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbered_names_are_ordered_by_number() {
        let mut names = ["node-10", "node-2", "a", "node-1"];
        names.sort_by(|one, other| natural(one).cmp(&natural(other)));
        assert_eq!(names, ["a", "node-1", "node-2", "node-10"]);
    }
}
