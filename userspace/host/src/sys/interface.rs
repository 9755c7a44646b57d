//! Interfaces of this network namespace. (`/sys` shows the namespace it was mounted in instead.)

use super::check;
use libc::{c_int, c_ulong, c_void, socklen_t};
use rustix::fd::{AsRawFd, BorrowedFd};
use std::io;
use std::mem::zeroed;
use std::net::Ipv4Addr;

/// What an interface is at the moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Interface {
    /// Its number; a new one after it was removed and created again.
    pub index: u32,
    /// Bytes of the largest packet.
    pub mtu: usize,
    /// Whether it was switched on (`IFF_UP`).
    pub up: bool,
    /// Whether it works, which takes a carrier (`IFF_RUNNING`).
    pub running: bool,
}

/// Looks at the interface of this name.
///
/// # Errors
/// As `ioctl(SIOCGIFINDEX)`: `ENODEV` when there is none.
pub fn interface(name: &str) -> io::Result<Interface> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::DGRAM, None)?;
    if name.len() >= libc::IFNAMSIZ {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    let ask = |what: c_ulong| -> io::Result<libc::ifreq> {
        // SAFETY: `ifreq` is plain data; the name fits and stays terminated; the kernel fills in the union.
        unsafe {
            let mut request: libc::ifreq = zeroed();
            for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
                *to = from as libc::c_char;
            }
            check(libc::ioctl(socket.as_raw_fd(), what, &raw mut request))?;
            Ok(request)
        }
    };
    let (index, mtu, flags) =
        (ask(libc::SIOCGIFINDEX)?, ask(libc::SIOCGIFMTU)?, ask(libc::SIOCGIFFLAGS)?);
    // SAFETY: each request fills the member of the union that is read here.
    let (index, mtu, flags) =
        unsafe { (index.ifr_ifru.ifru_ifindex, mtu.ifr_ifru.ifru_mtu, flags.ifr_ifru.ifru_flags) };
    let has = |flag: c_int| c_int::from(flags) & flag != 0;
    Ok(Interface {
        index: u32::try_from(index).unwrap_or(0),
        mtu: usize::try_from(mtu).unwrap_or(0),
        up: has(libc::IFF_UP),
        running: has(libc::IFF_RUNNING),
    })
}

/// Has a socket's IPv4 multicast leave through interface `index`, from `source` if that is not `0.0.0.0`
/// (`IP_MULTICAST_IF`, ip(7)).
///
/// # Errors
/// As `setsockopt(2)`.
pub fn set_multicast_interface(fd: BorrowedFd<'_>, index: u32, source: Ipv4Addr) -> io::Result<()> {
    let at = |address: Ipv4Addr| libc::in_addr { s_addr: u32::from(address).to_be() };
    let value = libc::ip_mreqn {
        imr_multiaddr: at(Ipv4Addr::UNSPECIFIED),
        imr_address: at(source),
        imr_ifindex: c_int::try_from(index).unwrap_or(0),
    };
    let (level, name) = (libc::IPPROTO_IP, libc::IP_MULTICAST_IF);
    let (from, len) = ((&raw const value).cast::<c_void>(), size_of_val(&value) as socklen_t);
    // SAFETY: `from` points to a live `ip_mreqn` of `len` bytes.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, name, from, len) }).map(drop)
}
