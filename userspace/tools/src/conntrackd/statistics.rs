//! Statistics mode: a line per flow that has ended.

use crate::print::Line;
use host::ended::Ended;
use host::log::Log;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use wire::control::Request;

/// Writes ended flows to a log.
#[must_use]
pub fn recorder(records: Arc<Log>) -> Ended {
    Ended::new(Box::new(move |flow| {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let line = Line { now_ns: Some(now.as_nanos() as u64), ..Line::ENDED };
        let mut text = String::new();
        // Strings take everything.
        let _ = line.flow(&mut text, flow);
        records.info(text);
    }))
}

/// Whether a request means anything without a peer.
#[must_use]
pub const fn knows(request: Request) -> bool {
    !matches!(
        request,
        Request::DumpRemote
            | Request::DumpRemoteXml
            | Request::DumpRemoteExpectations
            | Request::DumpRemoteExpectationsXml
            | Request::Commit
            | Request::CommitFlows
            | Request::CommitExpectations
            | Request::SendBulk
            | Request::RequestBulk
            | Request::PurgeLater
            | Request::StatsNetwork
            | Request::StatsLinks
            | Request::StatsResendQueue
            | Request::StatsQueues
    )
}
