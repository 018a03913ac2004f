//! Finding out a server's role, now and again from time to time.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use firefly_eventstore_core::Result;
use firefly_eventstore_core::backend::Columns as _;
use mysql::Row;
use mysql::prelude::Queryable;

use crate::error::{classify, is_denied};
use crate::session::Session;
use crate::sql;
use crate::standing::Standing;

/// The role of a session's server. Two round trips, or three on a node of a cluster.
pub(crate) fn standing_of<C: Queryable>(session: &mut Session<'_, C>) -> Result<Standing> {
    let settings = session.select(sql::TOPOLOGY, [], |row| {
        Ok((row.text(0)?.to_lowercase(), row.text(1)?.to_owned()))
    })?;
    let settings: HashMap<String, String> = settings.into_iter().collect();
    let get = |name: &str| settings.get(name).map_or("", String::as_str);
    // Newer MariaDB has more than ON for it.
    let is_read_only = ["read_only", "super_read_only"].map(|name| !matches!(get(name), "" | "OFF" | "0"));
    let is_read_only = is_read_only.contains(&true);
    let in_order = commits_in_order(&get);
    if is_on(get("wsrep_on")) && !matches!(get("wsrep_provider"), "" | "none") {
        return Ok(Standing::Node {
            others: has_others(session)?,
        });
    }
    let is_member = !get("group_replication_group_name").is_empty();
    let writes = match is_member {
        true if is_read_only => return Ok(Standing::Secondary { in_order }),
        true if !is_on(get("group_replication_single_primary_mode")) => return Ok(Standing::OneOfSeveralPrimaries),
        true => Standing::Primary,
        false => Standing::Alone,
    };
    // A primary may be a replica of a server outside its group.
    Ok(match session.query(sql::REPLICA, Vec::new()) {
        Ok(rows) if rows.iter().any(replicates) => Standing::Replica { in_order },
        Ok(_) => writes,
        Err(error) if !is_denied(&error) => return Err(classify(error)),
        Err(_) if is_read_only => Standing::PerhapsReplica { in_order },
        Err(_) => writes,
    })
}

fn is_on(value: &str) -> bool {
    matches!(value, "ON" | "1")
}

/// Whether transactions of a source are committed in its order. MariaDB does that in every `slave_parallel_mode`, within each GTID domain.
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

/// Whether this row of a replica's status is about a source of events, and not about the replication group of the server.
pub(crate) fn replicates(status: &Row) -> bool {
    let channel = status.get_opt::<Option<String>, _>("Channel_Name");
    let channel = channel.and_then(Result::ok).flatten().unwrap_or_default();
    !channel.starts_with("group_replication_")
}

fn has_others<C: Queryable>(session: &mut Session<'_, C>) -> Result<bool> {
    let sizes = session.select(sql::CLUSTER_SIZE, [], |row| Ok(row.text(1)?.to_owned()))?;
    Ok(sizes.iter().any(|size| !matches!(&**size, "0" | "1")))
}

/// Checks from time to time whether a server still has the role that it had when the connection was made.
#[derive(Debug, Default)]
pub(crate) struct Watch(Mutex<Option<(Instant, Standing)>>);

/// After a server has become a replica, it is no longer written to. So it need not be checked often.
const OFTEN: Duration = Duration::from_secs(1);

impl Watch {
    /// Forgets the role, because another server may be used next.
    pub(crate) fn forget(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The role of a session's server. On a node of a cluster it is checked each time, because another node can join at any time. Otherwise
    /// the result of a recent check is used.
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
        let standing = standing_of(session)?;
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((now, standing));
        Ok(standing)
    }
}
