//! Groups of MySQL servers that replicate to each other. One of them writes.

use std::net::{Ipv4Addr, TcpListener};
use std::time::Instant;
use std::{panic, ptr, thread};

use ::mysql::Conn;
use ::mysql::prelude::Queryable;

use super::flavour::Flavour;
use super::private::{Private, USER, address_of};
use crate::patience::{PATIENCE, POLL};
use crate::service::Service;

/// The group's id.
const GROUP: &str = "6f5e2c3a-0002-11ee-8000-000000000000";

/// Starts two members. The first one writes.
pub(super) fn start(options: &[(&str, &str)]) -> Result<[Private; 2], String> {
    let service = || Service::new(Flavour::Mysql.kind());
    let (first, second) = (service()?, service()?);
    let free = [free_port(first.id())?, free_port(second.id())?];
    let ports = free.each_ref().map(|(port, _)| *port);
    drop(free);
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| member(0, first, ports, options));
        let second = member(1, second, ports, options);
        (first.join().unwrap_or_else(|panic| panic::resume_unwind(panic)), second)
    });
    let members = [first?, second?];
    for member in &members {
        join(member, &members[0]).map_err(|error| format!("{error}:\n{}", member.service.log()))?;
    }
    Ok(members)
}

/// A free port for the communication between members. It must be on an address of the machine's interfaces, which members of other groups
/// use, too.
fn free_port(id: u32) -> Result<(u16, TcpListener), String> {
    const FIRST: u16 = 24_000; // below those that are handed out to outgoing connections
    const PORTS: u32 = 4_096;
    // Servers that start at the same time begin their search at different ports.
    let tried = (0..PORTS).map(|step| FIRST + u16::try_from((id + step) % PORTS).expect("a number below 4,096"));
    let mut bound = tried.filter_map(|port| Some((port, TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?)));
    bound
        .next()
        .ok_or_else(|| "no port is free for a member of a group".to_owned())
}

/// A server that could be a member.
fn member(number: usize, service: Service, ports: [u16; 2], options: &[(&str, &str)]) -> Result<Private, String> {
    let (id, host) = ((number + 1).to_string(), address_of(&service).ip().to_string());
    let speak = ports.map(|port| format!("127.0.0.1:{port}"));
    let own = [
        ("server_id", &*id),
        ("log_bin", "binlog"),
        ("gtid_mode", "ON"),
        ("enforce_gtid_consistency", "ON"),
        ("report_host", &*host),
        ("plugin_load_add", "group_replication.so"),
        ("group_replication_group_name", GROUP),
        ("group_replication_start_on_boot", "OFF"),
        ("group_replication_local_address", &*speak[number]),
        ("group_replication_group_seeds", &*speak.join(",")),
        ("group_replication_ip_allowlist", "127.0.0.0/8"),
        ("group_replication_recovery_get_public_key", "ON"),
    ];
    Private::start(Flavour::Mysql, &[options, &own].concat(), service)
}

/// Makes a member join the group. The first member starts the group.
fn join(member: &Private, first: &Private) -> Result<(), String> {
    let mut client = Conn::new(member.url("mysql").as_str()).map_err(|error| error.to_string())?;
    let bootstrap = |on: &str| format!("SET GLOBAL group_replication_bootstrap_group = {on}");
    let start = format!(
        "START GROUP_REPLICATION USER = '{USER}', PASSWORD = '{}'",
        member.password
    );
    // Each member has transactions of its own, such as the tests' user. The group must not expect the others to have them.
    let mut statements = vec!["RESET BINARY LOGS AND GTIDS".to_owned(), start];
    if ptr::eq(member, first) {
        statements.insert(1, bootstrap("ON"));
        statements.push(bootstrap("OFF"));
    }
    for statement in statements {
        client.query_drop(statement).map_err(|error| error.to_string())?;
    }
    let deadline = Instant::now() + PATIENCE;
    let state = "SELECT MEMBER_STATE FROM performance_schema.replication_group_members WHERE MEMBER_ID = @@server_uuid";
    loop {
        let found: Option<String> = client.query_first(state).map_err(|error| error.to_string())?;
        match found.as_deref() {
            Some("ONLINE") => return Ok(()),
            found if Instant::now() > deadline => return Err(format!("a member of a group stays {found:?}")),
            _ => thread::sleep(POLL),
        }
    }
}
