//! What separates two plans, and what it takes to get from one to the other: a reload.
//!
//! The running plan, and the settings inside it, are taken apart without `..`, so that the compiler asks about each new
//! field whether it changes live, with a new engine, or at the next start of one.

use super::Plan;
use crate::conf::{KeyFile, PeerConf, PeerKey, ReplicationConf};
use engine::Config;
use engine::config::Replication;
use host::log::Places;
use host::source::Settings as SourceSettings;
use host::sys::Scheduling;
use host::tuning::{Change, Tuning};

/// What the log says of `HashSize`.
const HASH_SIZE_LATER: &str = "HashSize is room made at the start of an engine: the change takes effect with the next \
                               one; a running table grows by itself";

/// What the log says of `User` and `Group`.
const USER_RESTART: &str =
    "User and Group are taken once, at the start of the daemon: the change needs a restart";

/// What the log says of `Failures`.
const FAILURES_RESTART: &str = "Failures is taken once, at the start of the daemon, which may load no programs \
                                later: the change needs a restart";

/// What a reload has to do. Settings are named as the log names them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// Settings that differ and that only a new engine takes.
    pub rebuilds: Vec<&'static str>,
    /// Settings that differ and that change while the engine runs.
    pub live: Vec<&'static str>,
    /// Sentences about settings that differ and that take effect with the next engine. If there is anything in
    /// `rebuilds`, that engine is started now.
    pub later: Vec<&'static str>,
    /// Sentences about settings that differ and that the daemon takes at its start alone.
    pub restarts: Vec<&'static str>,
}

impl Difference {
    /// What the log says of it.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let restarts = self.restarts.iter().map(|&line| line.to_owned());
        if !self.rebuilds.is_empty() {
            // All else that differs comes with the new engine.
            let names = self.rebuilds.join(", ");
            let line = format!("{names} changed: the engine is started again");
            return [line].into_iter().chain(restarts).collect();
        }
        let live = format!("{} changed: the engine goes on", self.live.join(", "));
        let live = (!self.live.is_empty()).then_some(live);
        let later = self.later.iter().map(|&line| line.to_owned());
        live.into_iter().chain(later).chain(restarts).collect()
    }

    fn rebuild(&mut self, differs: bool, name: &'static str) {
        note(&mut self.rebuilds, differs, name);
    }

    fn live(&mut self, differs: bool, name: &'static str) {
        note(&mut self.live, differs, name);
    }
}

/// A setting may stand behind several fields; it is named once.
fn note(names: &mut Vec<&'static str>, differs: bool, name: &'static str) {
    if differs && !names.contains(&name) {
        names.push(name);
    }
}

impl Plan {
    /// The changes from this plan to `wanted`.
    #[must_use]
    pub fn difference(&self, wanted: &Self) -> Difference {
        let Self {
            purpose,
            config,
            event_source,
            source,
            filter,
            links,
            tuning,
            poll,
            shards,
            log,
            journal,
            records,
            lock_file,
            control,
            systemd,
            metrics,
            helpers,
            replication,
            subscribe,
            failures,
            purge_after_s,
            wish,
            // Other settings decide which files there are.
            files: _,
        } = self;
        let mut out = Difference::default();
        // Where the purpose changes, the settings that it brings with it or takes away are not named one by one.
        let is_same = *purpose == wanted.purpose;
        out.rebuild(!is_same, "Mode");
        out.rebuild(*event_source != wanted.event_source, "EventSource");
        out.rebuild(is_same && *poll != wanted.poll, "PollSecs");
        out.rebuild(is_same && *shards != wanted.shards, "Shards");
        out.config((config, &wanted.config), is_same);
        out.rebuild(is_same && *links != wanted.links, "the dedicated link");
        if let (Some(running), Some(wanted)) = (replication, &wanted.replication) {
            out.replication((running, wanted));
        } else {
            out.rebuild(
                is_same && replication.is_some() != wanted.replication.is_some(),
                "Replication",
            );
        }
        let records_differ = records.is_some() != wanted.records.is_some();
        out.rebuild(is_same && records_differ, "whether ended flows are recorded");
        out.rebuild(!source.has_room_for(&wanted.source.filter), "MinimumAge");
        out.live(*filter != wanted.filter, "Filter");
        out.tuning((*tuning, wanted.tuning), is_same);
        out.places((log, &wanted.log));
        if let (Some(records), Some(wanted)) = (records, &wanted.records) {
            out.places((records, wanted));
        }
        out.live(is_same && *purge_after_s != wanted.purge_after_s, "PurgeTimeout");
        out.live(*journal != wanted.journal, "Log");
        out.live(*lock_file != wanted.lock_file, "LockFile");
        out.live(*control != wanted.control, "UNIX");
        out.live(*systemd != wanted.systemd, "Systemd");
        out.live(*metrics != wanted.metrics, "Metrics");
        out.live(*helpers != wanted.helpers, "Helper");
        note(&mut out.restarts, *failures != wanted.failures, FAILURES_RESTART);
        note(&mut out.restarts, *wish != wanted.wish, USER_RESTART);
        out.live(*subscribe != wanted.subscribe, "Subscribe");
        // The last one: it says which of its fields others explain.
        out.source((source, &wanted.source));
        out
    }

    /// What a running shard changes to follow `wanted`, where [`Difference::rebuilds`] is empty.
    #[must_use]
    pub fn change(&self, wanted: &Self) -> Change {
        let (in_user_space, in_kernel) = (&wanted.config.filter, &wanted.source.filter);
        let mut tuning = wanted.tuning;
        if self.tuning.scheduling.is_some() {
            // Nothing to set would leave the threads in real time.
            tuning.scheduling = tuning.scheduling.or(Some(Scheduling::Ordinary));
        }
        Change {
            tuning,
            filter: (self.filter != wanted.filter)
                .then(|| (in_user_space.clone(), in_kernel.clone())),
            commit_timeout_s: wanted.config.commit_timeout_s,
            repair_after: wanted.config.repair_after,
            // The reader of the key files decides that.
            peers: None,
        }
    }
}

/// The settings of the floors below.
impl Difference {
    fn config(&mut self, (running, wanted): (&Config, &Config), is_same_purpose: bool) {
        let Config {
            // It follows from `Plan::replication`.
            cluster: _,
            flows_max,
            flows_expected,
            // It follows from `Plan::filter`.
            filter: _,
            replication,
            commit_timeout_s,
            window_tracking,
            expectations,
            repair_after,
            // It follows from `Plan::records`.
            tell_vanished: _,
            // Settings of a start, of a shard and of an open source: they are the same in all plans.
            share: _,
            hears_requests: _,
            earlier_life: _,
            first_seq: _,
            hash_seed: _,
        } = running;
        self.rebuild(*flows_max != wanted.flows_max, "HashLimit");
        note(&mut self.later, *flows_expected != wanted.flows_expected, HASH_SIZE_LATER);
        self.live(*repair_after != wanted.repair_after, "NetlinkOverrunResync");
        if is_same_purpose {
            self.live(*commit_timeout_s != wanted.commit_timeout_s, "CommitTimeout");
            self.rebuild(replication_differs(replication, &wanted.replication), "Mode");
            self.rebuild(*window_tracking != wanted.window_tracking, "Options");
            self.rebuild(*expectations != wanted.expectations, "Options");
        }
    }

    /// Keys, addresses and rates change while sessions go on. Where a setting stands in the file does not matter.
    fn replication(&mut self, (running, wanted): (&ReplicationConf, &ReplicationConf)) {
        let ReplicationConf {
            place: _,
            name,
            key_files,
            preshared_key_file,
            port,
            addresses,
            inject,
            settle_ms,
            remote_limit,
            peers,
        } = running;
        self.rebuild(*name != wanted.name, "Name");
        self.rebuild(*port != wanted.port, "Port of Replication");
        self.rebuild(*addresses != wanted.addresses, "the addresses of Replication");
        self.rebuild(*inject != wanted.inject, "Inject");
        self.rebuild(*settle_ms != wanted.settle_ms, "Settle");
        self.rebuild(*remote_limit != wanted.remote_limit, "RemoteLimit");
        let path = |file: &Option<KeyFile>| file.as_ref().map(|file| file.path.clone());
        let secret_differs = path(preshared_key_file) != path(&wanted.preshared_key_file);
        self.rebuild(secret_differs, "PresharedKeyFile");
        let paths =
            |files: &[KeyFile]| files.iter().map(|file| file.path.clone()).collect::<Vec<_>>();
        self.live(paths(key_files) != paths(&wanted.key_files), "KeyFile");
        let is_same_peer =
            |(a, b): (&PeerConf, &PeerConf)| a.name == b.name && a.version1 == b.version1;
        let pairs = || peers.iter().zip(&wanted.peers);
        if peers.len() != wanted.peers.len() || !pairs().all(is_same_peer) {
            return self.rebuild(true, "Peer");
        }
        pairs().for_each(|pair| self.peer(pair));
    }

    fn peer(&mut self, (running, wanted): (&PeerConf, &PeerConf)) {
        let PeerConf { name: _, place: _, keys, addresses, port, rate_kbit_s, version1: _ } =
            running;
        let values = |keys: &[PeerKey]| keys.iter().map(|key| key.key).collect::<Vec<_>>();
        self.live(values(keys) != values(&wanted.keys), "PublicKey");
        let moves = (addresses, port) != (&wanted.addresses, &wanted.port);
        self.live(moves, "Address");
        self.live(*rate_kbit_s != wanted.rate_kbit_s, "Rate");
    }

    fn source(&mut self, (running, wanted): (&SourceSettings, &SourceSettings)) {
        let SourceSettings {
            choice,
            buffer_bytes,
            ring_bytes,
            groups,
            // It follows from `Plan::filter`.
            filter: _,
            reliable,
            adapts,
        } = running;
        let buffers = (*buffer_bytes, *ring_bytes) != (wanted.buffer_bytes, wanted.ring_bytes);
        self.rebuild(buffers, "NetlinkBufferSize");
        self.rebuild(*reliable != wanted.reliable, "NetlinkEventsReliable");
        // They follow from `EventSource`, `PollSecs` and `Mode`, which are named above.
        let opened_differs =
            (*choice, *groups, *adapts) != (wanted.choice, wanted.groups, wanted.adapts);
        self.rebuild(self.rebuilds.is_empty() && opened_differs, "EventSource");
    }

    fn tuning(&mut self, (running, wanted): (Tuning, Tuning), is_same: bool) {
        let Tuning { buffer_max, events_per_turn, scheduling, coalesce } = running;
        self.live(buffer_max != wanted.buffer_max, "NetlinkBufferSizeMaxGrowth");
        self.live(events_per_turn != wanted.events_per_turn, "EventIterationLimit");
        self.live(scheduling != wanted.scheduling, "Scheduler");
        // Where it is not written, it follows from the purpose.
        self.live(is_same && coalesce != wanted.coalesce, "EventLatency");
    }

    fn places(&mut self, (running, wanted): (&Places, &Places)) {
        // The command line decides on the terminal.
        // The start decides on the journal, see `Logs`.
        let Places { file, syslog, console: _, style, journal: _, least } = running;
        let looks = (*style, *least) != (wanted.style, wanted.least);
        self.live(looks, "Log");
        self.live(*file != wanted.file, "LogFile");
        self.live(*syslog != wanted.syslog, "Syslog");
    }
}

fn replication_differs(running: &Replication, wanted: &Replication) -> bool {
    let Replication { mode, has_peer, keep_local, keep_remote, startup_resync, alive_after } =
        running;
    *mode != wanted.mode
        || *has_peer != wanted.has_peer
        || *keep_local != wanted.keep_local
        || *keep_remote != wanted.keep_remote
        || *startup_resync != wanted.startup_resync
        || *alive_after != wanted.alive_after
}
