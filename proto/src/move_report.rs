//! What a node reports of a move, in the ring's own types.

use annulus_ring::{MoveReport, NodeId, Streamed};

use crate::admin::v1 as wire;

/// A report that can't be read: no stage may change by half of one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MoveReportRefused {
    /// Its id.
    #[error("{0:?} names no move")]
    Id(String),
    /// One of its nodes.
    #[error("{0:?} is no node's UUID")]
    Node(String),
}

impl TryFrom<&wire::MoveReport> for MoveReport {
    type Error = MoveReportRefused;

    fn try_from(report: &wire::MoveReport) -> Result<Self, Self::Error> {
        let id = report.id.parse();
        Ok(Self {
            id: id.map_err(|_| MoveReportRefused::Id(report.id.clone()))?,
            ready: report.ready,
            streamed: Streamed {
                bytes: report.streamed_bytes,
                keys: report.streamed_keys,
                from: nodes(&report.streamed_from)?,
            },
            verified: nodes(&report.verified)?,
            drained: nodes(&report.drained)?,
            cleaned: report.cleaned,
        })
    }
}

fn nodes(texts: &[String]) -> Result<Vec<NodeId>, MoveReportRefused> {
    let node = |text: &String| {
        text.parse()
            .map_err(|_| MoveReportRefused::Node(text.clone()))
    };
    texts.iter().map(node).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_read_whole_or_not_at_all() {
        let node = "00000000-0000-0000-0000-000000000007";
        let report = wire::MoveReport {
            id: "e12-p7".into(),
            ready: true,
            streamed_keys: 3,
            streamed_from: vec![node.into()],
            ..wire::MoveReport::default()
        };
        let read = MoveReport::try_from(&report).unwrap();
        assert_eq!((read.id.to_string().as_str(), read.ready), ("e12-p7", true));
        assert_eq!(read.streamed.from, [node.parse().unwrap()]);
        let no_id = wire::MoveReport {
            id: "p7".into(),
            ..report.clone()
        };
        let refused = MoveReport::try_from(&no_id);
        assert_eq!(refused, Err(MoveReportRefused::Id("p7".into())));
        let no_node = wire::MoveReport {
            drained: vec!["seven".into()],
            ..report
        };
        let refused = MoveReport::try_from(&no_node);
        assert_eq!(refused, Err(MoveReportRefused::Node("seven".into())));
    }
}
