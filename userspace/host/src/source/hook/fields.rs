//! Where the fields lie that the program reads (Linux 6.12, `include/linux/skbuff.h`,
//! `include/net/netfilter/nf_conntrack.h`, `nf_conntrack_tuple.h`, `nf_conntrack_extend.h`).

use crate::source::btf::Btf;
use common::hook::{AREA_LEN, FIELD_COUNT, Field};

/// How a field is found.
enum Way {
    /// A member of `nf_conn` that every kernel has; so many bytes behind its beginning.
    Conn(&'static str, usize),
    /// A member of `nf_conn` that depends on how the kernel was built.
    Perhaps(&'static str),
    /// A member of `sk_buff`.
    Packet(&'static str),
    /// Where `nf_ct_ext` says where this extension lies, if the kernel has it.
    Extension(&'static str),
}

const WAYS: [(Field, Way); FIELD_COUNT] = [
    (Field::SkbNfct, Way::Packet("_nfct")),
    (Field::Status, Way::Conn("status", 0)),
    (Field::Timeout, Way::Conn("timeout", 0)),
    (Field::Mark, Way::Perhaps("mark")),
    (Field::Secmark, Way::Perhaps("secmark")),
    (Field::Ext, Way::Conn("ext", 0)),
    (Field::ZoneId, Way::Perhaps("zone.id")),
    (Field::ZoneDir, Way::Perhaps("zone.dir")),
    (Field::OrigSrc, Way::Conn("tuplehash[0].tuple.src.u3", 0)),
    (Field::OrigSrcHigh, Way::Conn("tuplehash[0].tuple.src.u3", 8)),
    (Field::OrigSrcL4, Way::Conn("tuplehash[0].tuple.src.u", 0)),
    (Field::OrigFamily, Way::Conn("tuplehash[0].tuple.src.l3num", 0)),
    (Field::OrigDst, Way::Conn("tuplehash[0].tuple.dst.u3", 0)),
    (Field::OrigDstHigh, Way::Conn("tuplehash[0].tuple.dst.u3", 8)),
    (Field::OrigDstL4, Way::Conn("tuplehash[0].tuple.dst.u", 0)),
    (Field::OrigProto, Way::Conn("tuplehash[0].tuple.dst.protonum", 0)),
    (Field::ReplySrc, Way::Conn("tuplehash[1].tuple.src.u3", 0)),
    (Field::ReplySrcHigh, Way::Conn("tuplehash[1].tuple.src.u3", 8)),
    (Field::ReplySrcL4, Way::Conn("tuplehash[1].tuple.src.u", 0)),
    (Field::ReplyDst, Way::Conn("tuplehash[1].tuple.dst.u3", 0)),
    (Field::ReplyDstHigh, Way::Conn("tuplehash[1].tuple.dst.u3", 8)),
    (Field::ReplyDstL4, Way::Conn("tuplehash[1].tuple.dst.u", 0)),
    (Field::TcpState, Way::Conn("proto.tcp.state", 0)),
    (Field::TcpScaleOrig, Way::Conn("proto.tcp.seen[0].td_scale", 0)),
    (Field::TcpScaleReply, Way::Conn("proto.tcp.seen[1].td_scale", 0)),
    (Field::TcpFlagsOrig, Way::Conn("proto.tcp.seen[0].flags", 0)),
    (Field::TcpFlagsReply, Way::Conn("proto.tcp.seen[1].flags", 0)),
    (Field::SctpState, Way::Perhaps("proto.sctp.state")),
    (Field::SctpTagOrig, Way::Perhaps("proto.sctp.vtag[0]")),
    (Field::SctpTagReply, Way::Perhaps("proto.sctp.vtag[1]")),
    (Field::DccpState, Way::Perhaps("proto.dccp.state")),
    (Field::DccpRole, Way::Perhaps("proto.dccp.role[0]")),
    (Field::ExtHelper, Way::Extension("NF_CT_EXT_HELPER")),
    (Field::ExtLabels, Way::Extension("NF_CT_EXT_LABELS")),
    (Field::ExtSeqadj, Way::Extension("NF_CT_EXT_SEQADJ")),
    (Field::ExtSynproxy, Way::Extension("NF_CT_EXT_SYNPROXY")),
];

/// The offset of each field in this kernel, `None` where it has none; or which one is missing that must be there.
pub(super) fn offsets(btf: &Btf) -> Result<[Option<i16>; FIELD_COUNT], String> {
    let mut out = [None; FIELD_COUNT];
    for (field, way) in &WAYS {
        let conn = |path| btf.offset("nf_conn", path).filter(|&at| at + 16 <= AREA_LEN);
        let (found, needed) = match way {
            Way::Conn(path, behind) => (conn(path).map(|at| at + behind), Some(*path)),
            Way::Perhaps(path) => (conn(path), None),
            Way::Packet(path) => (btf.offset("sk_buff", path), Some(*path)),
            Way::Extension(name) => (extension(btf, name), None),
        };
        let found = found.and_then(|at| i16::try_from(at).ok());
        if let (None, Some(path)) = (found, needed) {
            return Err(format!("the field {path}"));
        }
        out[*field as usize] = found;
    }
    Ok(out)
}

fn extension(btf: &Btf, name: &str) -> Option<usize> {
    let index = btf.enumerator("nf_ct_ext_id", name)? as usize;
    btf.offset("nf_ct_ext", &format!("offset[{index}]"))
}
