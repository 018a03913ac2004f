//! Which server a connection is to: one that writes alone, and so can prove the high-water mark, or one that others write to.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use firefly_eventstore_core::{Error, ErrorKind, Result};
use mysql::Row;
use mysql::prelude::Queryable;

use crate::error::{classify, is_denied};
use crate::pool::Session;
use crate::row::{decode, text};
use crate::sql;

/// What a server is to others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// What it shows is written here.
    Alone,
    /// It is the only member of a replication group that writes.
    Primary,
    /// A replica; `in_order` if it commits in the order of its source.
    Replica { in_order: bool },
    /// It takes no writes, and does not tell this user why.
    PerhapsReplica { in_order: bool },
    /// It takes no writes, and belongs to a replication group.
    Secondary { in_order: bool },
    /// It belongs to a replication group of which several members write.
    OneOfSeveralPrimaries,
    /// A node of a Galera cluster. Each can write, and all commit in one order.
    Node { others: bool },
}

impl Standing {
    /// Three round trips; two but on a node of a cluster.
    pub(crate) fn of<C: Queryable>(session: &mut Session<'_, C>) -> Result<Self> {
        let rows = session.query(sql::TOPOLOGY, Vec::new()).map_err(classify)?;
        let settings = decode(&rows, |row| {
            Ok((text(row, 0)?.to_lowercase(), text(row, 1)?.to_owned()))
        })?;
        let settings: HashMap<String, String> = settings.into_iter().collect();
        let get = |name: &str| settings.get(name).map_or("", String::as_str);
        // Newer MariaDB has more than ON for it.
        let is_read_only = ["read_only", "super_read_only"].map(|name| !matches!(get(name), "" | "OFF" | "0"));
        let is_read_only = is_read_only.contains(&true);
        let in_order = commits_in_order(&get);
        if is_on(get("wsrep_on")) && !matches!(get("wsrep_provider"), "" | "none") {
            return Ok(Self::Node {
                others: has_others(session)?,
            });
        }
        let is_member = !get("group_replication_group_name").is_empty();
        let writes = match is_member {
            true if is_read_only => return Ok(Self::Secondary { in_order }),
            true if !is_on(get("group_replication_single_primary_mode")) => return Ok(Self::OneOfSeveralPrimaries),
            true => Self::Primary,
            false => Self::Alone,
        };
        // A primary may be a replica of a server outside its group.
        Ok(match session.query(sql::REPLICA, Vec::new()) {
            Ok(rows) if rows.iter().any(replicates) => Self::Replica { in_order },
            Ok(_) => writes,
            Err(error) if !is_denied(&error) => return Err(classify(error)),
            Err(_) if is_read_only => Self::PerhapsReplica { in_order },
            Err(_) => writes,
        })
    }

    /// Why the mark cannot be proved there; with `only_writer`, by a user who says that nobody writes on another node.
    pub(crate) fn require_provable(self, only_writer: bool) -> Result<()> {
        let reason = match self {
            Self::Alone | Self::Primary | Self::Node { others: false } => return Ok(()),
            Self::Node { .. } if only_writer => return Ok(()),
            Self::Replica { .. } => {
                "the server is a replica, on which events can appear that precede others: read on the primary; or publish the mark there \
                 (publish_mark), and open the store here with read_replica. If this is the primary now, run RESET REPLICA ALL"
            }
            Self::PerhapsReplica { .. } => {
                "the server accepts no writes, and does not tell this user whether it is a replica, on which events can appear that \
                 precede others: read on the primary; or publish the mark there (publish_mark), and open the store here with \
                 read_replica; or, if it is no replica, give the user REPLICATION CLIENT, or REPLICA MONITOR on MariaDB"
            }
            Self::Secondary { .. } => {
                "the server is a secondary member of a replication group, on which events can appear that precede others: read on the \
                 primary; or publish the mark there (publish_mark), and open the store here with read_replica"
            }
            Self::OneOfSeveralPrimaries => {
                "several members of this replication group can write, and none knows what the others have not committed yet: switch to \
                 a single primary (group_replication_switch_to_single_primary_mode)"
            }
            Self::Node { .. } => {
                "the server is one node of a Galera cluster, and does not know what the others have not committed yet: let all programs \
                 write on one node, open the store there with only_writer, and publish the mark (publish_mark); on the other nodes, open it \
                 with read_replica"
            }
        };
        Err(unprovable(reason))
    }

    /// Whether it shows every event up to a mark that was proved before, if its log goes that far.
    pub(crate) fn writes_alone(self) -> bool {
        matches!(self, Self::Alone | Self::Primary)
    }

    /// Why a mark that was published cannot be trusted there.
    pub(crate) fn require_order(self) -> Result<()> {
        match self {
            Self::Replica { in_order: false }
            | Self::PerhapsReplica { in_order: false }
            | Self::Secondary { in_order: false } => Err(unprovable(
                "the server does not commit in the order of its source, so that a published mark can be there before the events that it \
                 covers: set replica_preserve_commit_order = ON, or on MariaDB, if events come with one GTID domain of several, \
                 slave_parallel_threads = 0",
            )),
            _ => Ok(()),
        }
    }

    /// Whether it is one of several servers that could take writes, as they were set up: none of the others would do better.
    pub(crate) fn is_one_of_equals(self) -> bool {
        matches!(self, Self::Node { .. } | Self::OneOfSeveralPrimaries)
    }

    /// Whether there may be events that this server does not have yet.
    pub(crate) fn may_be_behind(self) -> bool {
        !matches!(self, Self::Alone | Self::Primary | Self::Node { others: false })
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Alone => "the server alone writes what it shows",
            Self::Primary => "the primary of a replication group, in which it alone writes",
            Self::Replica { .. } => "a replica",
            Self::PerhapsReplica { .. } => "read-only, perhaps a replica",
            Self::Secondary { .. } => "a secondary member of a replication group",
            Self::OneOfSeveralPrimaries => "one of several primaries of a replication group",
            Self::Node { others: false } => "the only node of a Galera cluster",
            Self::Node { others: true } => "a node of a Galera cluster with others",
        })
    }
}

fn unprovable(reason: &str) -> Error {
    Error::new(ErrorKind::Unprovable { reason: reason.into() })
}

fn is_on(value: &str) -> bool {
    matches!(value, "ON" | "1")
}

/// Whether transactions of a source are committed in its order. MariaDB does that in every `slave_parallel_mode`, within each GTID
/// domain.
fn commits_in_order<'a>(get: &impl Fn(&str) -> &'a str) -> bool {
    let [new, old] = ["replica", "slave"].map(|name| get(&format!("{name}_preserve_commit_order")));
    let [workers, workers_of_old] = ["replica", "slave"].map(|name| get(&format!("{name}_parallel_workers")));
    let is_serial = |workers: &str| matches!(workers, "" | "0" | "1");
    if !new.is_empty() || !old.is_empty() {
        return is_on(new) || is_on(old) || (is_serial(workers) && is_serial(workers_of_old));
    }
    let domains: Vec<&str> = get("gtid_slave_pos")
        .split(',')
        .filter_map(|position| position.split('-').next())
        .collect();
    domains.iter().all(|domain| *domain == domains[0]) || is_serial(get("slave_parallel_threads"))
}

/// Whether it is a source of events that this row of a replica's status is about, and not the group that it is a member of.
pub(crate) fn replicates(status: &Row) -> bool {
    let channel = status.get_opt::<Option<String>, _>("Channel_Name");
    let channel = channel.and_then(Result::ok).flatten().unwrap_or_default();
    !channel.starts_with("group_replication_")
}

fn has_others<C: Queryable>(session: &mut Session<'_, C>) -> Result<bool> {
    let rows = session.query(sql::CLUSTER_SIZE, Vec::new()).map_err(classify)?;
    let sizes = decode(&rows, |row| Ok(text(row, 1)?.to_owned()))?;
    Ok(sizes.iter().any(|size| !matches!(&**size, "0" | "1")))
}

/// Looks again from time to time whether a server is still what it was when a connection to it was made.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Option<(Instant, Standing)>>);

/// Whoever makes a replica of a server does not go on writing there.
const OFTEN: Duration = Duration::from_secs(1);

impl Watch {
    /// Another server may be asked next.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// What the server of a session is: as of now if it is a node of a cluster, which another node can join at any time, else as of
    /// not long ago.
    pub(crate) fn standing<C: Queryable>(&self, session: &mut Session<'_, C>) -> Result<Standing> {
        if let Standing::Node { .. } = session.server.standing {
            return Ok(Standing::Node {
                others: has_others(session)?,
            });
        }
        let looked = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, standing)) = looked.filter(|(looked, _)| looked.elapsed() < OFTEN) {
            return Ok(standing);
        }
        let now = Instant::now();
        let standing = Standing::of(session)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, standing));
        Ok(standing)
    }
}
