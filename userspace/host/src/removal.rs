//! Deletes flows of the kernel one by one, each by its identity and the kernel's id: a flow that began since under the
//! same identity has another id, and stays.
//!
//! The deletes go through a socket of their own, so to a daemon their events are those of any other program: peers
//! receive the ends.

use crate::exchange::writes::Writes;
use ctnetlink::FlowKey;
use ctnetlink::request;
use std::io;

/// A flow to delete: its identity, and the kernel's id if that is known.
pub type Victim = (FlowKey, Option<u32>);

/// The outcome of deleting flows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Flows that were deleted.
    pub deleted: u64,
    /// Flows that had ended by themselves.
    pub ended: u64,
    /// The kernel kept them.
    pub refused: u64,
    /// The first errno that it gave for that, or 0.
    pub errno: i32,
}

/// Deletes these flows. Blocks meanwhile: about 3 microseconds a flow.
///
/// # Errors
/// As `socket(2)`, `bind(2)`, `send(2)` and `recvmmsg(2)`. Flows before may have been deleted.
pub fn remove(victims: impl IntoIterator<Item = Victim>) -> io::Result<Removed> {
    let mut removed = Removed::default();
    let mut writes: Writes<Victim> = Writes::open()?;
    let settle = |removed: &mut Removed, errno| match errno {
        0 => removed.deleted += 1,
        libc::ENOENT => removed.ended += 1,
        errno => {
            removed.refused += 1;
            if removed.errno == 0 {
                removed.errno = errno;
            }
        }
    };
    for victim in victims {
        writes.push::<io::Error>(
            victim,
            |w, ticket, (key, id)| request::delete(w, ticket, key, *id),
            |_, outcome| {
                settle(&mut removed, outcome.errno);
                Ok(())
            },
        )?;
    }
    writes.flush::<io::Error>(|_, outcome| {
        settle(&mut removed, outcome.errno);
        Ok(())
    })?;
    Ok(removed)
}
