//! Galera clusters.

use std::fs;
use std::path::Path;

use super::Private;

/// The path in Debian's package.
const PROVIDER: &str = "/usr/lib/galera/libgalera_smm.so";

/// The cluster's id, and the beginning of its nodes' ids.
const CLUSTER: &str = "6f5e2c3a-0000-11ee-8000-000000000000";
const NODE: &str = "6f5e2c3a-0001-11ee-8000-00000000000";

/// Makes stopped nodes with the same data believe that they were a cluster before. Then no state has to be transferred, which would need
/// programs that Debian only has in packages of whole servers.
pub(super) fn join(nodes: &mut [Private]) -> Result<(), String> {
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
