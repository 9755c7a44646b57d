//! The control socket of the daemon: what a client may ask (`docs/spec/control.md`).
//!
//! A request is one number; the answer is text until the daemon closes the connection. A refusal is a last line that
//! begins with `error: `. One number opens the framed protocol ([`framed`]), in which a refusal cannot be taken for
//! data, and an answer that was cut short not for a whole one.
//!
//! ```text
//!  0                               4
//! +-------------------------------+
//! | number, native order          |  client to daemon, once
//! +-------------------------------+
//! ```

pub mod framed;

use crate::cursor::Reader;
use ctnetlink::DecodeError;

/// Bytes of a request.
pub const REQUEST_LEN: usize = 4;

/// Declares the requests once: variant, wire number, name, doc.
macro_rules! requests {
    ($($(#[doc = $doc:literal])+ $variant:ident = $number:literal, $name:literal;)+) => {
        /// What a client asks of the daemon. "Local" is what the kernel of this machine has, "remote" what the
        /// peer sent; conntrackd says internal and external cache.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(i32)]
        pub enum Request {
            $($(#[doc = $doc])+ $variant = $number,)+
        }

        impl Request {
            /// Every request, in order of number.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// The request with this number.
            #[must_use]
            pub const fn from_number(number: i32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$variant),)+
                    _ => None,
                }
            }

            /// What people call it, in logs and metrics.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

requests! {
    /// Delete all flows from the kernel (`-F ct`).
    FlushKernelFlows = 0, "flush kernel flows";
    /// Read the kernel's flows again into the local table (`-R ct`).
    ReloadFlows = 1, "reload flows";
    /// Print the local flows (`-i`).
    DumpLocal = 16, "dump local flows";
    /// Print the remote flows (`-e`).
    DumpRemote = 17, "dump remote flows";
    /// Write the remote flows into the kernel (`-c ct`).
    CommitFlows = 18, "commit flows";
    /// Empty the flow tables. No conntrackd client sends it; the daemon takes it in both modes.
    FlushFlowTables = 19, "flush flow tables";
    /// Stop the daemon (`-k`).
    Kill = 20, "kill";
    /// Print statistics of flows (`-s`, `-s ct`).
    Stats = 21, "statistics";
    /// Send all of the local table to the peer (`-B`).
    SendBulk = 22, "send bulk";
    /// Ask the peer to send all of its table (`-n`).
    RequestBulk = 23, "request bulk";
    /// Print the local flows as XML (`-i -x`).
    DumpLocalXml = 24, "dump local flows as xml";
    /// Print the remote flows as XML (`-e -x`).
    DumpRemoteXml = 25, "dump remote flows as xml";
    /// Delete all flows from the kernel after `PurgeTimeout` (`-t`).
    PurgeLater = 26, "purge later";
    /// Print statistics of the network (`-s network`).
    StatsNetwork = 28, "network statistics";
    /// Print statistics of the tables (`-s cache`).
    StatsTables = 29, "table statistics";
    /// Print statistics of the process and its event loop (`-s runtime`).
    StatsRuntime = 30, "runtime statistics";
    /// Print statistics of the links (`-s link`, `-s multicast`).
    StatsLinks = 31, "link statistics";
    /// Print the queue of messages not yet acknowledged (`-s rsqueue`).
    StatsResendQueue = 32, "resend queue";
    /// Empty the local tables (`-f internal`).
    FlushLocal = 33, "flush local tables";
    /// Empty the remote tables (`-f external`).
    FlushRemote = 34, "flush remote tables";
    /// Print the daemon's child processes (`-s process`).
    StatsProcesses = 35, "process statistics";
    /// Print statistics of the queues (`-s queue`).
    StatsQueues = 36, "queue statistics";
    /// Print statistics of expectations (`-s expect`).
    StatsExpectations = 37, "expectation statistics";
    /// Delete all expectations from the kernel (`-F expect`).
    FlushKernelExpectations = 38, "flush kernel expectations";
    /// Read the kernel's expectations again into the local table (`-R expect`).
    ReloadExpectations = 39, "reload expectations";
    /// Print the local expectations (`-i expect`).
    DumpLocalExpectations = 40, "dump local expectations";
    /// Print the remote expectations (`-e expect`).
    DumpRemoteExpectations = 41, "dump remote expectations";
    /// Write the remote expectations into the kernel (`-c expect`).
    CommitExpectations = 42, "commit expectations";
    /// Delete all flows and expectations from the kernel (`-F`).
    FlushKernel = 43, "flush kernel";
    /// Read the kernel's flows and expectations again into the local tables (`-R`).
    Reload = 44, "reload";
    /// Empty all tables (`-f`).
    FlushTables = 45, "flush tables";
    /// Write the remote flows and expectations into the kernel (`-c`).
    Commit = 46, "commit";
    /// Print the local expectations as XML (`-i expect -x`).
    DumpLocalExpectationsXml = 47, "dump local expectations as xml";
    /// Print the remote expectations as XML (`-e expect -x`).
    DumpRemoteExpectationsXml = 48, "dump remote expectations as xml";
    /// Print everything all statistics say, as one JSON object (`-s json`). Ours, as are all numbers from 1000 on.
    StatsJson = 1000, "statistics as json";
    /// Say whether the tables of this node are complete and exact (`ctflow ready`). Ours.
    Ready = 1001, "ready";
    /// Begins the framed protocol ([`framed`]). Ours.
    Framed = 1002, "framed protocol";
}

impl Request {
    /// Its number on the socket.
    #[must_use]
    pub const fn number(self) -> i32 {
        self as i32
    }

    /// Its bytes: native order, since both ends are on one machine.
    #[must_use]
    pub const fn encode(self) -> [u8; REQUEST_LEN] {
        self.number().to_ne_bytes()
    }

    /// The request in the first bytes of `bytes`; what follows is not looked at.
    ///
    /// # Errors
    /// When there are fewer than [`REQUEST_LEN`] bytes or the number is not a request.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let number = Reader::new(bytes).array("truncated request").map(i32::from_ne_bytes)?;
        Self::from_number(number).ok_or_else(|| DecodeError::new(0, "unknown request"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_comes_back() {
        for &request in Request::ALL {
            assert_eq!(Request::from_number(request.number()), Some(request));
            assert_eq!(Request::decode(&request.encode()), Ok(request));
        }
    }

    #[test]
    fn numbers_and_names_are_distinguished() {
        for (one, other) in Request::ALL.iter().zip(&Request::ALL[1..]) {
            assert!(one.number() < other.number());
        }
        for (at, one) in Request::ALL.iter().enumerate() {
            assert!(Request::ALL[..at].iter().all(|other| other.name() != one.name()));
        }
    }

    #[test]
    fn the_gaps_are_no_requests() {
        for number in (i32::MIN..i32::MIN + 3).chain(-3..0).chain(2..16).chain([
            27,
            49,
            50,
            999,
            1003,
            i32::MAX,
        ]) {
            assert_eq!(Request::from_number(number), None);
        }
        assert_eq!(Request::ALL.len(), 37);
    }

    /// What `conntrackd -s network` of version 1.4.7 sends on x86-64.
    #[test]
    #[cfg(target_endian = "little")]
    fn a_captured_request() {
        assert_eq!(Request::decode(&[0x1c, 0, 0, 0]), Ok(Request::StatsNetwork));
        assert_eq!(Request::StatsNetwork.encode(), [0x1c, 0, 0, 0]);
    }

    #[test]
    fn wrong_bytes_are_refused() {
        assert_eq!(Request::decode(&[0; 3]), Err(DecodeError::new(0, "truncated request")));
        let unknown = Request::decode(&27_i32.to_ne_bytes());
        assert_eq!(unknown, Err(DecodeError::new(0, "unknown request")));
    }
}
