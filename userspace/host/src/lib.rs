//! The shell around the engine: every side effect of the programs that run on a firewall happens in this crate.
//!
//! It takes no decision about flows. Floor: above `engine`, below `tools`. The side effects, by module:
//!
//! | module | what it does to the world |
//! |---|---|
//! | `sys` | system calls that no crate we use offers; the `unsafe` of this floor, with `source::tap` |
//! | `bounded`, `lane` | carries records from one thread to another |
//! | `clock` | reads the time |
//! | `place` | moves a thread to CPUs |
//! | `privilege` | becomes another user, gives up capabilities |
//! | `confine` | refuses itself system calls and files that a daemon never needs |
//! | `netlink` | opens netlink sockets, sends and receives on them |
//! | `source` | subscribes to conntrack events, by netlink or through the eBPF tap |
//! | `files` | opens logs, lock files and the configuration |
//! | `log` | writes log lines |
//! | `nodes` | sends and receives sealed datagrams |
//! | `rate_limit` | keeps lines that others can cause from filling the log |
//! | `link` | talks to peers, watches the interfaces to them |
//! | `secure` | nothing: seals what goes to peers and opens what comes; time and randomness are handed in |
//! | `keyfile` | makes and reads key files, asks the system for random bytes |
//! | `mesh`, `resolve` | opens the sockets of version 2, one for each shard; looks up peers by name |
//! | `expectations` | receives the kernel's events about expectations |
//! | `exchange` | reads dumps of the kernel's tables, writes to them in batches |
//! | `kernel` | carries out what the engine asks of conntrack |
//! | `purge` | deletes flows and expectations of the kernel, one by one |
//! | `table`, `removal` | read and change the kernel's table for programs that ask and go; delete flows one by one |
//! | `kstat` | reads the kernel's counters, table size and settings of conntrack |
//! | `listing` | reads the kernel's flows for people |
//! | `nfnetlink` | reads and changes the kernel's timeout policies and helper objects, takes packet queues |
//! | `helpers` | serves helpers in user space: packets of queues, verdicts, expectations |
//! | `control` | serves the control socket; and its client |
//! | `lock` | keeps a second daemon from starting |
//! | `process` | daemonising, signals |
//! | `usage` | reads what a process costs |
//! | `observe` | turns engine events into log lines |
//! | `systemd` | reports the daemon's state to systemd |
//! | `prefetch`, `hear` | decodes what a source received and hands it to the engine |
//! | `feed` | lanes for the changes of tables; the socket that members of a group may read them from |
//! | `change` | lets a source change between tap and hook |
//! | `overrun`, `ended`, `tuning` | parts of a shard: when to report losses, what has ended, what can change |
//! | `orders` | hands the main thread's orders to a thread |
//! | `shard` | the thread that runs one engine |
//! | `reader`, `router` | the thread that reads the event source for several shards |
//! | `fleet` | starts the threads; the shards as one |

mod atomic;
mod bounded;
mod doorbell;
pub mod lane;
mod orders;
pub mod sys;
pub mod clock;
pub mod place;
pub mod privilege;
pub mod confine;
pub mod netlink;
pub mod source;
mod waits;
pub mod files;
pub mod log;
pub mod rate_limit;
pub mod link;
pub mod secure;
pub mod keyfile;
pub mod mesh;
pub mod resolve;
pub mod nodes;
pub mod expectations;
pub mod exchange;
pub mod table;
pub mod removal;
pub mod kstat;
pub mod ended;
pub mod prefetch;
pub mod kernel;
pub mod purge;
pub mod listing;
pub mod nfnetlink;
pub mod helpers;
pub mod observe;
pub mod process;
pub mod usage;
pub mod control;
pub mod feed;
pub mod lock;
pub mod systemd;
mod change;
pub mod overrun;
pub mod health;
pub mod coalesce;
pub mod hear;
mod affinity;
mod gso;
pub mod tuning;
mod router;
pub mod reader;
pub mod shard;
pub mod fleet;
