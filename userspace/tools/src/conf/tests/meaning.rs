//! Text to values.

use super::{clean, found, rendered};
use crate::conf::schema::{KEYWORDS, Keyword, Kind};
use crate::conf::{
    Conf, EventSource, ExpectationSync, Facility, Filter, FilterSet, FilterSide, General,
    HelperConf, HelperPolicy, HelperType, IpPrefix, LinkConf, LinkKind, LogConf, LogFile,
    LogFormat, LogJournal, LogLevel, MetricsConf, ModeConf, PeerAddress, PerCpu, Policy, Scheduler,
    SchedulerPolicy, StatsConf, SubscribeConf, SyncConf, SyncMode, SyncOptions, Unicast, parse,
};
use common::filter::MarkTest;
use export::http::{Listen, Network};
use std::path::PathBuf;

const GENERAL: &str = "General { UNIX { Path /run/c.sock } }";
const UDP: &str =
    "UDP { IPv4_address 192.0.2.1 IPv4_Destination_Address 192.0.2.2 Port 3780 Interface eth2 }";

fn sync(inside: &str) -> SyncConf {
    let ModeConf::Sync(sync) = clean(&format!("Sync {{ {inside} }} {GENERAL}")).mode else {
        panic!("not Sync")
    };
    sync
}

/// Section 3 of `replication-v2.md`, as it stands there.
#[test]
fn r3_the_example_of_the_specification_means_what_it_says() {
    let text = "
        Replication {
            Name fw-a                             # what the others call this node
            KeyFile /etc/ctflow/fw-a.key          # ctflow key generate /etc/ctflow/fw-a.key
            Port 3790
            Peer fw-b {
                PublicKey gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=
                Address 192.0.2.2                 # preferred
                Address fw-b.oob.example.net      # a name is looked up again every minute
            }
            Peer fw-c {
                PublicKey HIgo9xNzJMWLKASShiTqIybxZ0U3wGLiUeJ1PKf8ykw=
                Address 2001:db8::c
                Port 3791
                Rate 20000                        # kbit/s: a WAN
            }
        }";
    let conf = sync(text);
    assert!(conf.links.is_empty());
    let nodes = conf.replication.unwrap();
    assert_eq!(nodes.name.map(|name| name.to_string()).as_deref(), Some("fw-a"));
    assert_eq!(nodes.key_files[0].path.to_str(), Some("/etc/ctflow/fw-a.key"));
    assert_eq!(nodes.place.to_string(), "test.conf:2:9");
    assert_eq!((nodes.port, nodes.inject, nodes.settle_ms), (3790, false, 0));
    assert_eq!((&nodes.preshared_key_file, nodes.remote_limit), (&None, None));
    let [b, c] = nodes.peers.as_slice() else { panic!("two peers") };
    assert_eq!(b.keys[0].key.to_string(), "gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA=");
    let names = [PeerAddress::Ip("192.0.2.2".parse().unwrap()), "fw-b.oob.example.net".into()];
    assert_eq!((b.addresses.as_slice(), b.port, b.rate_kbit_s), (&names[..], 3790, None));
    assert_eq!(c.addresses, [PeerAddress::Ip("2001:db8::c".parse().unwrap())]);
    assert_eq!((c.port, c.rate_kbit_s, c.version1), (3791, Some(20_000), false));
}

/// R3.1: version 2 alone has streams for each shard; version 1 knows one speaker.
#[test]
fn r3_1_shards_are_allowed_with_version_2_alone() {
    let nodes = "Replication { Name fw-a KeyFile /k Port 5 Peer fw-b { Version1 on \
                 PublicKey gN65BkIKy1eCE9pP1wdc8ROUtkHLF2PfAqYdyYBz6EA= Address 192.0.2.2 } }";
    let text = |sync: &str| format!("General {{ UNIX {{ Path /x }} Shards 4 }} Sync {{ {sync} }}");
    let alone = nodes.replace("Version1 on", "");
    assert_eq!(clean(&text(&alone)).general.shards, 4);
    let found = parse(&text(&format!("Mode FTFW {{ }} {UDP} {nodes}")), "x").unwrap_err();
    assert!(found[0].message.contains("one shard only"), "{found:?}");
}

#[test]
fn an_empty_text_collects_statistics() {
    let (conf, warnings) = parse("", "x").unwrap();
    assert_eq!(conf, Conf::default());
    assert_eq!(warnings.len(), 2);
}

#[test]
fn everything_general() {
    let conf = clean(
        r##"General {
            EventSource Tap
            HashSize 1 HashLimit 2
            LogFile "/var/log/my log # 1"
            Syslog local7
            LockFile /tmp/a#b
            UNIX { Path /run/c.sock }
            SocketBufferSize 3
            SocketBufferSizeMaxGrown 4
            NetlinkOverrunResync off
            NetlinkEventsReliable Yes
            PollSecs 5
            EventIterationLimit 6
            EventLatency 0
            Shards 8
            Systemd NO
            Scheduler { Type fifo Priority 7 }
            User nobody Group nogroup
            Filter From Kernelspace { }
        }
        Log { Format JSON Journal off Level Warning }
        Stats { LogFile on Syslog on }"##,
    );
    let general = General {
        event_source: EventSource::Tap,
        hash_size: 1,
        hash_limit: 2,
        log_file: LogFile::To("/var/log/my log # 1".into()),
        syslog: Some(Facility::Local(7)),
        lock_file: "/tmp/a#b".into(),
        unix_path: Some("/run/c.sock".into()),
        netlink_buffer_size: Some(3),
        netlink_buffer_size_max_growth: 4,
        netlink_overrun_resync_s: None,
        netlink_events_reliable: true,
        poll_s: Some(5),
        event_iteration_limit: 6,
        event_latency_us: Some(0),
        shards: 8,
        systemd: false,
        scheduler: Some(Scheduler { policy: SchedulerPolicy::Fifo, priority: 7 }),
        user: Some("nobody".into()),
        group: Some("nogroup".into()),
        filter: Some(Filter { side: FilterSide::Kernelspace, ..Filter::default() }),
    };
    let log_file = LogFile::To("/var/log/conntrackd-stats.log".into());
    let stats = StatsConf { log_file, syslog: Some(Facility::Daemon) };
    let log =
        LogConf { format: LogFormat::Json, journal: LogJournal::Off, level: LogLevel::Warning };
    assert_eq!(
        conf,
        Conf {
            general,
            mode: ModeConf::Stats(stats),
            metrics: None,
            helper: None,
            log,
            subscribe: None,
            failures: None,
            files: conf.files.clone(),
        }
    );
}

#[test]
fn everything_that_metrics_can_be_set_to() {
    let conf = clean(
        "General { UNIX { Path /x } } Stats { } Metrics {
            Listen 127.0.0.1:10466
            Listen [2001:db8::1]:80
            Listen /run/m.sock
            Allow { 192.0.2.0/24 10.0.0.1 }
            Allow { 2001:db8::/32 }
            PerCpu Off
            SeriesMax 100
            Census 0
            ZonesMax 256
        }",
    );
    let network = |address: &str, len| Network { address: address.parse().unwrap(), len };
    let tcp = |address: &str| Listen::Tcp(address.parse().unwrap());
    let wanted = MetricsConf {
        listen: vec![
            tcp("127.0.0.1:10466"),
            tcp("[2001:db8::1]:80"),
            Listen::Unix("/run/m.sock".into()),
        ],
        allow: Some(vec![
            network("192.0.2.0", 24),
            network("10.0.0.1", 32),
            network("2001:db8::", 32),
        ]),
        per_cpu: PerCpu::Off,
        series_max: 100,
        census_s: 0,
        zones_max: 256,
        classes: Vec::new(),
    };
    assert_eq!(conf.metrics, Some(wanted));
    let least =
        clean("General { UNIX { Path /x } } Stats { } Metrics { Listen /m }").metrics.unwrap();
    assert_eq!((least.per_cpu, least.series_max), (PerCpu::Auto, 5000));
    assert_eq!((least.census_s, least.zones_max), (10, 16));
}

#[test]
fn a_subscribe_block_opens_a_feed() {
    let text = "Stats { } General { UNIX { Path /x } } Subscribe { Path /y Group g Mode 640 ClientsMax 3 }";
    let subscribe = SubscribeConf {
        path: "/y".into(),
        group: "g".into(),
        mode: 0o640,
        clients_max: 3,
        ..SubscribeConf::default()
    };
    assert_eq!(clean(text).subscribe, Some(subscribe));
    let none = "Stats { } General { UNIX { Path /x } }";
    assert_eq!(clean(none).subscribe, None);
}

#[test]
fn everything_a_filter_can_ask_for() {
    let conf = clean(
        "General { UNIX { Path /x } Filter {
            SourcePort Ignore { 53 }
            DestinationPort Accept { 80 443 8000-8999 } DestinationPort Accept { 80 22 }
            Zone Accept { 0 10-20 }
            Mark Accept { 7 0x10/0xf0 0x10/0xf0 }
            MinimumAge 500
            Sample 1/8
        } } Stats { }",
    );
    let test = |value, mask| MarkTest { value, mask };
    let accept = Policy::Accept;
    let ports = vec![(80, 80), (443, 443), (8000, 8999), (22, 22)];
    let marks = vec![test(7, u32::MAX), test(0x10, 0xf0)];
    let wanted = Filter {
        source_ports: Some(FilterSet { policy: Policy::Ignore, members: vec![(53, 53)] }),
        destination_ports: Some(FilterSet { policy: accept, members: ports }),
        zones: Some(FilterSet { policy: accept, members: vec![(0, 0), (10, 20)] }),
        marks: Some(FilterSet { policy: accept, members: marks }),
        min_age_ms: 500,
        sample: 8,
        ..Filter::default()
    };
    assert_eq!(conf.general.filter, Some(wanted));
}

#[test]
fn modes_and_their_aliases() {
    let ftfw =
        sync(&format!("Mode ftfw {{ ResendQueueSize 1 ACKWindowSize 2 StartupResync on }} {UDP}"));
    assert_eq!(
        ftfw.mode,
        SyncMode::Ftfw {
            resend_queue_size: 1,
            ack_window_size: 2,
            commit_timeout_s: None,
            purge_timeout_s: 60,
            disable_external_cache: false,
            startup_resync: true,
        }
    );
    let alarm =
        sync(&format!("Mode Alarm {{ RefreshTime 1 CommitTimeout 2 }} CacheTimeout 3 {UDP}"));
    assert_eq!(
        alarm.mode,
        SyncMode::Alarm {
            refresh_time_s: 1,
            cache_timeout_s: 3,
            commit_timeout_s: Some(2),
            purge_timeout_s: 60
        }
    );
    let found = found(&format!("Sync {{ Mode Persistent {{ }} {UDP} }} {GENERAL}"));
    assert_eq!(found[0].message, "`Persistent` is deprecated");
    assert_eq!(found.len(), 1);
}

#[test]
fn the_last_timeout_counts_wherever_it_stands() {
    let outside_last = sync(&format!("Mode NOTRACK {{ PurgeTimeout 1 }} PurgeTimeout 2 {UDP}"));
    assert_eq!(outside_last.mode.purge_timeout_s(), 2);
    let inside_last = sync(&format!("PurgeTimeout 2 Mode NOTRACK {{ PurgeTimeout 1 }} {UDP}"));
    assert_eq!(inside_last.mode.purge_timeout_s(), 1);
}

#[test]
fn a_commit_timeout_without_external_cache_is_dropped() {
    let text = format!(
        "Sync {{ Mode NOTRACK {{ CommitTimeout 5 DisableExternalCache on }} {UDP} }} {GENERAL}"
    );
    let (conf, warnings) = parse(&text, "x").unwrap();
    let ModeConf::Sync(sync) = conf.mode else { panic!("not Sync") };
    assert_eq!(sync.mode.commit_timeout_s(), None);
    assert_eq!(warnings.len(), 1);
}

/// Defect 5 of the original (`docs/defects.md`).
#[test]
fn links_of_each_kind() {
    let conf = sync(
        "Mode FTFW { }
         TCP { IPv6_address fe80::1 IPv6_Destination_Address fe80::2 Port 1 Interface fa0 }
         TCP Default { IPv4_address 192.0.2.1 IPv4_Destination_Address 192.0.2.2 Port 2 Interface beef
            SndSocketBuffer 3 RcvSocketBuffer 4 ErrorQueueLength 5 }",
    );
    let unicast = |local: &str, remote: &str, port| Unicast {
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        port,
    };
    let first = LinkConf {
        kind: LinkKind::Tcp { unicast: unicast("fe80::1", "fe80::2", 1), error_queue_len: 128 },
        interface: "fa0".to_owned(),
        default: false,
        checksum: true,
        snd_buffer: None,
        rcv_buffer: None,
    };
    let second = LinkConf {
        kind: LinkKind::Tcp { unicast: unicast("192.0.2.1", "192.0.2.2", 2), error_queue_len: 5 },
        interface: "beef".to_owned(),
        default: true,
        checksum: true,
        snd_buffer: Some(3),
        rcv_buffer: Some(4),
    };
    assert_eq!(conf.links, [first, second]);
}

#[test]
fn udp_over_ipv4_can_do_without_checksums() {
    let udp = UDP.replace("UDP {", "UDP { Checksum off");
    assert!(!sync(&format!("Mode FTFW {{ }} {udp}")).links[0].checksum);
}

#[test]
fn the_first_link_is_the_default_unless_another_says_so() {
    let conf = sync(&format!("Mode FTFW {{ }} {UDP} {UDP}"));
    assert_eq!(conf.links.iter().map(|link| link.default).collect::<Vec<_>>(), [true, false]);
}

/// Defect 30 of the original (`docs/defects.md`).
#[test]
fn the_order_of_interface_and_address_does_not_matter() {
    let before =
        sync("Mode FTFW { } Multicast { Interface eth0 IPv6_address ff02::50 Group 3780 }");
    let after = sync("Mode FTFW { } Multicast { IPv6_address ff02::50 Group 3780 Interface eth0 }");
    assert_eq!(before, after);
    let group = "ff02::50".parse().unwrap();
    assert_eq!(before.links[0].kind, LinkKind::Multicast { group, port: 3780, local: None });
}

#[test]
fn options() {
    let off = sync(&format!("Mode FTFW {{ }} {UDP}")).options;
    assert_eq!(off, SyncOptions::default());
    let all = sync(&format!(
        "Mode FTFW {{ }} {UDP} Options {{ TCPWindowTracking on ExpectationSync On }}"
    ));
    assert!(all.options.tcp_window_tracking);
    assert_eq!(all.options.expectation_sync, ExpectationSync::All);
    let some =
        sync(&format!("Mode FTFW {{ }} {UDP} Options {{ ExpectationSync {{ ftp q.931 }} }}"));
    let names = vec!["ftp".to_owned(), "q.931".to_owned()];
    assert_eq!(some.options.expectation_sync, ExpectationSync::Helpers(names));
}

#[test]
fn the_filter() {
    let conf = clean(
        "General { UNIX { Path /x } Filter From Userspace {
            Protocol Accept { TCP IPv6-ICMP udplite 132 tcp }
            Address Ignore { IPv4_address 127.0.0.1 IPv4_address 192.168.0.0/16 }
            Address Ignore { IPv6_address ::1 IPv6_address fe80::/10 }
            State Accept { ESTABLISHED CLOSED for TCP LISTEN for TCP CLOSE for TCP }
        } } Stats { }",
    );
    let filter = conf.general.filter.unwrap();
    let protocols = FilterSet { policy: Policy::Accept, members: vec![6, 58, 136, 132] };
    assert_eq!(filter.protocols, Some(protocols));
    let prefix = |addr: &str, len| IpPrefix { addr: addr.parse().unwrap(), len };
    let members = vec![prefix("127.0.0.1", 32), prefix("192.168.0.0", 16)];
    assert_eq!(filter.ipv4, Some(FilterSet { policy: Policy::Ignore, members }));
    assert_eq!(filter.ipv6.unwrap().members[1].len, 10);
    assert_eq!(filter.tcp_states.unwrap().members, [3, 8, 9]);
}

#[test]
fn helpers() {
    let conf = clean(&format!(
        "Helper {{ Setup yes Type dhcpv6 inet6 udp {{
            QueueNum 4 QueueLen 10240 Policy dhcpv6 {{ ExpectMax 1 ExpectTimeout 300 }}
        }} }} Stats {{ }} {GENERAL}"
    ));
    let policy = HelperPolicy { expect_max: Some(1), expect_timeout_s: Some(300) };
    let helper = HelperType {
        name: "dhcpv6".to_owned(),
        ipv6: true,
        protocol: 17,
        queue_num: 4,
        queue_len: 10_240,
        policy: Some(policy),
    };
    assert_eq!(
        conf.helper,
        Some(HelperConf { setup: true, disable_on_exit: true, types: vec![helper] })
    );
}

#[test]
fn helpers_alone_need_no_table_of_flows() {
    let conf = clean(&format!("Helper {{ Type mdns inet udp {{ QueueNum 0 }} }} {GENERAL}"));
    assert_eq!(conf.mode, ModeConf::Helper);
    let both = format!("Helper {{ Type mdns inet udp {{ QueueNum 0 }} }} Stats {{ }} {GENERAL}");
    assert!(matches!(clean(&both).mode, ModeConf::Stats(_)));
}

#[test]
fn words_need_no_space_around_braces_and_lines_mean_nothing() {
    let conf = clean("General{UNIX{Path /tmp/x}HashSize#comment\n\r\n5}Stats{}");
    assert_eq!(conf.general.hash_size, 5);
    assert_eq!(conf.general.unix_path, Some("/tmp/x".into()));
}

#[test]
fn a_quoted_keyword_is_a_plain_word() {
    let conf = sync(&UDP.replace("eth2", "\"UDP\"").replace("UDP {", "Mode FTFW { } UDP {"));
    assert_eq!(conf.links[0].interface, "UDP");
}

/// Landlock keeps the daemon to the directories of these files, so a keyword that is forgotten here is one whose file
/// cannot be opened.
#[test]
fn every_file_that_is_named_is_known_with_its_place_and_its_use() {
    let text = "General {\n LogFile /l/a.log\n LockFile /k/a.lock\n UNIX { Path /s/a.sock }\n}\n\
                Sync {\n Replication {\n Name x\n KeyFile /c/a.key\n PresharedKeyFile /c/psk\n Port 1\n Peer y {\n \
                PublicKey hSDwCYkwp1R0i33ctD73Wg2/Og0mOBr066SpjqqbTmo=\n Address gw.example\n }\n }\n}\n\
                Metrics {\n Listen /m/a.http\n Class web { src @/sets/web and dst port http }\n}\n\
                Subscribe {\n Path /f/a.feed\n}\n";
    let (conf, _) =
        parse(text, "a.conf").unwrap_or_else(|found| panic!("{}", rendered(&found, text)));
    let files: Vec<_> = conf.files.iter().map(|file| format!("{file} {:?}", file.used)).collect();
    assert_eq!(
        files,
        [
            "a.conf:2:2: `LogFile`: /l/a.log Log",
            "a.conf:3:2: `LockFile`: /k/a.lock Keep",
            "a.conf:4:9: `Path`: /s/a.sock Keep",
            "a.conf:9:2: `KeyFile`: /c/a.key Read",
            "a.conf:10:2: `PresharedKeyFile`: /c/psk Read",
            "a.conf:14:2: `Address`: /etc/hosts Read",
            "a.conf:14:2: `Address`: /etc/resolv.conf Read",
            "a.conf:19:2: `Listen`: /m/a.http Keep",
            "a.conf:20:2: `Class`: /sets/web Read",
            "a.conf:20:2: `Class`: /etc/services Read",
            "a.conf:23:2: `Path`: /f/a.feed Keep",
        ]
    );
    let of = |text: &str| clean(text).files.into_iter().map(|file| file.path).collect::<Vec<_>>();
    let standard = "General { UNIX { Path /s } LogFile on } Stats { LogFile on }";
    assert_eq!(
        of(standard),
        ["/s", "/var/log/conntrackd.log", "/var/log/conntrackd-stats.log"].map(PathBuf::from)
    );
}

/// Whether a value may be a path.
fn is_path(kind: &Kind) -> bool {
    match kind {
        Kind::Path(_) | Kind::Endpoint => true,
        Kind::OneOf(kinds) => kinds.iter().any(is_path),
        _ => false,
    }
}

#[test]
fn no_keyword_that_takes_a_path_is_forgotten() {
    let takes = |keyword: &&Keyword| keyword.params.iter().flatten().any(|p| is_path(&p.kind));
    let mut keys: Vec<_> = KEYWORDS.iter().filter(takes).map(|keyword| keyword.name).collect();
    keys.sort_unstable();
    keys.dedup();
    // Each is in the test above.
    assert_eq!(keys, ["KeyFile", "Listen", "LockFile", "LogFile", "Path", "PresharedKeyFile"]);
}
