//! The role of a server: whether it is the only one that writes, and so can prove the high-water mark.

use std::fmt;

use firefly_eventstore_core::{Error, ErrorKind, Result};

/// The role of a server among others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// The only server that writes the events of the store.
    Alone,
    /// The only member of a replication group that writes.
    Primary,
    /// A replica; `in_order` if it commits in the order of its source.
    Replica { in_order: bool },
    /// A read-only server that does not show this user whether it is a replica.
    PerhapsReplica { in_order: bool },
    /// A read-only member of a replication group.
    Secondary { in_order: bool },
    /// A member of a replication group with several members that write.
    OneOfSeveralPrimaries,
    /// A node of a Galera cluster. Every node can write, and all commit in the same order.
    Node { others: bool },
}

impl Standing {
    /// Fails, with the reason, if the mark cannot be proved there. `only_writer` is the user's promise that no other node is written to.
    pub(crate) fn require_provable(self, only_writer: bool) -> Result<()> {
        let reason = match self {
            Self::Alone | Self::Primary | Self::Node { others: false } => return Ok(()),
            Self::Node { .. } if only_writer => return Ok(()),
            Self::Replica { .. } => {
                "the server is a replica, where an earlier event can appear after a later one: read on the primary; or publish the mark \
                 there (publish_mark), and open the store here with read_replica. If this is the primary now, run RESET REPLICA ALL"
            }
            Self::PerhapsReplica { .. } => {
                "the server accepts no writes, and does not tell this user whether it is a replica, where an earlier event can \
                 appear after a later one: read on the primary; or publish the mark there (publish_mark), and open the store here with \
                 read_replica; or, if it is no replica, give the user REPLICATION CLIENT, or REPLICA MONITOR on MariaDB"
            }
            Self::Secondary { .. } => {
                "the server is a secondary member of a replication group, where an earlier event can appear after a later one: read on \
                 the primary; or publish the mark there (publish_mark), and open the store here with read_replica"
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

    /// Whether it shows every event up to a mark that was proved before, if its log reaches the mark.
    pub(crate) fn writes_alone(self) -> bool {
        matches!(self, Self::Alone | Self::Primary)
    }

    /// Fails, with the reason, if a published mark cannot be trusted there.
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

    /// Whether it is one of several servers of the same kind that could take writes, so that another one would be no better.
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
