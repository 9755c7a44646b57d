//! Whether links could be opened, without opening them.

use super::{Ends, GroupSettings, LinkError, Transport, socket};
use crate::sys::interface::interface;
use socket2::Type;

/// Looks whether the interfaces of the links exist and their local addresses are addresses of this
/// node. Nothing is sent, and no port is taken.
///
/// # Errors
/// What [`super::Group::open`] would fail with now.
pub fn examine(settings: &GroupSettings) -> Result<(), LinkError> {
    for link in &settings.links {
        let seen = interface(&link.interface)
            .map_err(|e| LinkError::Interface(link.interface.clone(), e))?;
        let (Transport::Udp(Ends { local, .. }) | Transport::Tcp(Ends { local, .. })) =
            link.transport
        else {
            continue;
        };
        let any_port = socket::scoped(local, 0, seen.index);
        socket::new(local, Type::DGRAM)
            .and_then(|socket| socket.bind(&any_port.into()))
            .map_err(|e| LinkError::Socket(local.to_string(), e))?;
    }
    Ok(())
}
