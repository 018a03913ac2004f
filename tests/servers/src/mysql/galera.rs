//! Galera clusters.

use std::fs;
use std::path::Path;
use std::thread;

use ::mysql::Conn;
use ::mysql::prelude::Queryable;

use super::flavour::Flavour;
use super::installation::{self, Installation};
use super::private::Private;
use crate::service::Service;

/// The path in Debian's package.
const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";

/// The cluster's id, and the beginning of its nodes' ids.
const CLUSTER: &str = "6f5e2c3a-0000-11ee-8000-000000000000";
const NODE: &str = "6f5e2c3a-0001-11ee-8000-00000000000";

/// Three nodes of a Galera cluster.
pub(super) fn start(options: &[(&str, &str)]) -> Result<[Private; 3], String> {
    let flavour = Flavour::Mariadb;
    let first = Private::start(flavour, options, Service::new(flavour.kind())?)?;
    if !first.service.kill("TERM") {
        return Err(format!("the first node does not end:\n{}", first.service.log()));
    }
    let another = || {
        let service = Service::new(flavour.kind())?;
        let node = Private {
            installation: Installation::of(flavour)?,
            options: first.options.clone(),
            password: first.password.clone(),
            service,
        };
        installation::copy(&node.service, &first.data(), &node.data()).map_err(|error| error.to_string())?;
        Ok::<_, String>(node)
    };
    let [second, third] = [another()?, another()?];
    let mut nodes = [first, second, third];
    join(&mut nodes)?;
    // At the same time: each waits for the others.
    thread::scope(|scope| {
        let started = nodes.each_ref().map(|node| scope.spawn(|| run(node)));
        started
            .into_iter()
            .try_for_each(|started| started.join().unwrap_or_else(|_| Err("a node panicked".to_owned())))
    })?;
    Ok(nodes)
}

/// Starts one of three nodes, and waits until it is ready: a node that answers may still wait for the others.
fn run(node: &Private) -> Result<(), String> {
    let url = node.url("mysql");
    let is_a_node = || {
        let status = "SELECT GROUP_CONCAT(VARIABLE_VALUE ORDER BY VARIABLE_NAME) FROM information_schema.GLOBAL_STATUS
            WHERE VARIABLE_NAME IN ('wsrep_cluster_size', 'wsrep_ready')";
        let status = Conn::new(url.as_str()).and_then(|mut client| client.query_first::<String, _>(status));
        status.is_ok_and(|status| status.as_deref() == Some("3,ON"))
    };
    node.service.run(false, || node.server(), is_a_node)
}

/// Makes stopped nodes with the same data believe that they were a cluster before. Then no state has to be transferred, which would need
/// programs that Debian only has in packages of whole servers.
fn join(nodes: &mut [Private]) -> Result<(), String> {
    if !Path::new(PROVIDER).is_file() {
        return Err(format!("there is no Galera on this machine: {PROVIDER}"));
    }
    let addresses: Vec<String> = nodes.iter().map(|node| node.address().ip().to_string()).collect();
    let members: String = (0..nodes.len())
        .map(|node| format!("member: {NODE}{node} 0\n"))
        .collect();
    for (number, node) in nodes.iter_mut().enumerate() {
        let state = format!("# GALERA saved state\nversion: 2.1\nuuid: {CLUSTER}\nseqno: 1\nsafe_to_bootstrap: 0\n");
        let view = format!("my_uuid: {NODE}{number}\n#vwbeg\nview_id: 3 {NODE}0 3\nbootstrap: 0\n{members}#vwend\n");
        for (name, content) in [("grastate.dat", state), ("gvwstate.dat", view)] {
            let path = node.data().join(name);
            fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))?;
            node.service.own(&path)?;
        }
        let address = &addresses[number];
        let options = [
            ("wsrep_on", "ON".to_owned()),
            ("wsrep_provider", PROVIDER.to_owned()),
            ("wsrep_cluster_address", format!("gcomm://{}", addresses.join(","))),
            ("wsrep_node_address", address.clone()),
            (
                "wsrep_provider_options",
                format!(
                    "gmcast.listen_addr=tcp://{address}:4567;ist.recv_addr={address}:4568;gcache.size=16M;\
                         evs.suspect_timeout=PT3S;evs.inactive_timeout=PT6S"
                ),
            ),
            ("wsrep_sst_method", "skip".to_owned()),
            ("wsrep_slave_threads", "4".to_owned()),
            ("binlog_format", "ROW".to_owned()),
            ("innodb_autoinc_lock_mode", "2".to_owned()),
        ];
        let options = options.iter().map(|(name, value)| format!("--{name}={value}"));
        node.options.extend(options);
    }
    Ok(())
}
