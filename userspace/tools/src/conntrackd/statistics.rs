//! Statistics mode: a line per flow that has ended.

use crate::print::Line;
use ctnetlink::Flow;
use export::records::Sink;
use host::log::Log;
use std::sync::Arc;
use wire::control::Request;

/// Writes ended flows to a log.
#[derive(Debug)]
pub struct Recorder {
    /// Where the lines go.
    pub records: Arc<Log>,
    /// Where losses are reported.
    pub log: Arc<Log>,
}

impl Sink for Recorder {
    fn on_end(&mut self, at_ns: u64, flow: &Flow) {
        let line = Line { now_ns: Some(at_ns), ..Line::ENDED };
        let mut text = String::new();
        // Strings take everything.
        let _ = line.flow(&mut text, flow);
        self.records.info(text);
    }

    fn on_lost(&mut self, ends: u64) {
        self.log.warning(format!("{ends} flows ended faster than they could be recorded"));
    }
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
