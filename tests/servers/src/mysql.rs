//! MySQL and MariaDB: one module for both flavours.

use std::env;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use ::mysql::Conn;
use ::mysql::prelude::Queryable;

use self::installation::Installation;
use self::private::{Private, USER, defaults};
use crate::database::with_database;
use crate::required::unless_missing;
use crate::service::Service;
use crate::{Database, Disk};

mod flavour;
mod galera;
mod group;
mod installation;
mod private;

pub use self::flavour::Flavour;

/// The MySQL server that the tests of this process share. It is started by the first call. An error if there is none.
///
/// `TEST_MYSQL_URL` may name a server to use instead, as a user with all privileges.
///
/// # Errors
///
/// If there is no MySQL on this machine, or it does not start; the error contains its log.
pub fn mysql() -> Result<&'static MysqlServer, String> {
    static SHARED: OnceLock<Result<MysqlServer, String>> = OnceLock::new();
    let start = || MysqlServer::shared(Flavour::Mysql);
    SHARED.get_or_init(start).as_ref().map_err(Clone::clone)
}

/// The MariaDB server that the tests of this process share. It is started by the first call. An error if there is none.
///
/// `TEST_MARIADB_URL` may name a server to use instead, as a user with all privileges.
///
/// # Errors
///
/// If there is no MariaDB on this machine, or it does not start; the error contains its log.
pub fn mariadb() -> Result<&'static MysqlServer, String> {
    static SHARED: OnceLock<Result<MysqlServer, String>> = OnceLock::new();
    let start = || MysqlServer::shared(Flavour::Mariadb);
    SHARED.get_or_init(start).as_ref().map_err(Clone::clone)
}

/// As [`mysql()`], but returns none if there is no server, and prints that.
///
/// # Panics
///
/// If there is no MySQL, and `REQUIRE_BACKENDS` names it.
pub fn mysql_unless_missing() -> Option<&'static MysqlServer> {
    unless_missing(Flavour::Mysql.name(), mysql())
}

/// As [`mariadb()`], but returns none if there is no server, and prints that.
///
/// # Panics
///
/// If there is no MariaDB, and `REQUIRE_BACKENDS` names it.
pub fn mariadb_unless_missing() -> Option<&'static MysqlServer> {
    unless_missing(Flavour::Mariadb.name(), mariadb())
}

/// A MySQL or MariaDB server.
#[derive(Debug)]
pub struct MysqlServer {
    flavour: Flavour,
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    External { url: String },
    Private(Box<Private>),
}

impl MysqlServer {
    /// Starts a new server, which ends when this is dropped, with options such as `("innodb_autoinc_lock_mode", "0")`, or
    /// `("skip_log_bin", "")` for an option without a value.
    ///
    /// # Errors
    ///
    /// If this flavour is not installed, or does not start; the error contains its log.
    pub fn start(flavour: Flavour, options: &[(&str, &str)]) -> Result<Self, String> {
        Self::start_as(flavour, options, Service::new(flavour.kind())?)
    }

    /// As [`start`](Self::start), but the server starts quickly and needs little, and its data need not survive a crash.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_forgetful(flavour: Flavour, options: &[(&str, &str)]) -> Result<Self, String> {
        let logs = options.iter().any(|(name, _)| *name == "log_bin");
        let forgetful = flavour.forgetful().iter();
        let forgetful = forgetful.filter(|(name, _)| !(logs && *name == "skip_log_bin"));
        let options: Vec<_> = forgetful.chain(options).copied().collect();
        Self::start(flavour, &options)
    }

    /// Starts a new server on a disk that can be slow, or lose power. It does not use asynchronous I/O, because the disk does not cover
    /// that.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_on(disk: &Disk, flavour: Flavour, options: &[(&str, &str)]) -> Result<Self, String> {
        let options = [&[("innodb_use_native_aio", "0")], options].concat();
        let service = Service::new(flavour.kind())?.with_variables(disk.variables());
        Self::start_as(flavour, &options, service)
    }

    /// Starts a new server with all its files in a directory that its user may read, such as one on a
    /// [small file system](crate::on_a_small_file_system).
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_in(directory: &Path, flavour: Flavour, options: &[(&str, &str)]) -> Result<Self, String> {
        Self::start_as(flavour, options, Service::new_in(directory, flavour.kind())?)
    }

    fn start_as(flavour: Flavour, options: &[(&str, &str)], service: Service) -> Result<Self, String> {
        let server = Private::start(flavour, options, service)?;
        Ok(Self {
            flavour,
            kind: Kind::Private(Box::new(server)),
        })
    }

    /// Starts a replica of this server, with another `server_id` and the given options. This server must have been started with a binary
    /// log and a `server_id`, and nothing may have been written to it before.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    ///
    /// # Panics
    ///
    /// If this is not a private server.
    pub fn replica(&self, options: &[(&str, &str)]) -> Result<Self, String> {
        let options = [&[("server_id", "2")], options].concat();
        let replica = Self::start(self.flavour, &options)?;
        let follow = || {
            let mut primary = Conn::new(self.url("mysql").as_str())?;
            let position: Option<::mysql::Row> = primary.query_first(self.flavour.log_position())?;
            let (file, position) = position
                .and_then(|row| Some((row.get::<String, _>(0)?, row.get::<u64, _>(1)?)))
                .unwrap_or_default();
            let follow = self.flavour.follow(self.address(), USER, &self.private().password);
            let mut client = Conn::new(replica.url("mysql").as_str())?;
            client.query_drop(
                follow
                    .replace("{file}", &file)
                    .replace("{position}", &position.to_string()),
            )?;
            client.query_drop("START REPLICA")
        };
        follow().map_err(|error: ::mysql::Error| error.to_string())?;
        Ok(replica)
    }

    /// Starts a Galera cluster of three MariaDB nodes, with options. Returns none if Galera is not installed or does not start, and prints
    /// that.
    ///
    /// # Panics
    ///
    /// If there is no Galera, and `REQUIRE_BACKENDS` names `galera`.
    pub fn cluster_unless_missing(options: &[(&str, &str)]) -> Option<[Self; 3]> {
        let nodes = unless_missing("galera", galera::start(options))?;
        Some(nodes.map(|node| Self {
            flavour: Flavour::Mariadb,
            kind: Kind::Private(Box::new(node)),
        }))
    }

    /// Starts a replication group of two MySQL servers, with options. The first one is its primary.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn group(options: &[(&str, &str)]) -> Result<[Self; 2], String> {
        let members = group::start(options)?;
        Ok(members.map(|member| Self {
            flavour: Flavour::Mysql,
            kind: Kind::Private(Box::new(member)),
        }))
    }

    fn shared(flavour: Flavour) -> Result<Self, String> {
        match env::var(flavour.variable()) {
            Ok(url) => Self::external(flavour, url),
            // No data has to survive a crash.
            Err(_) => Self::start_as(flavour, flavour.forgetful(), Service::in_memory(flavour.kind())?),
        }
    }

    fn external(flavour: Flavour, url: String) -> Result<Self, String> {
        let version =
            Conn::new(url.as_str()).and_then(|mut server| server.query_first::<String, _>("SELECT VERSION()"));
        let wrong = match version {
            Ok(Some(version)) if flavour.is_of(&version) => None,
            Ok(version) => Some(format!("is {}", version.unwrap_or_default())),
            Err(error) => Some(format!("cannot be used: {error}")),
        };
        match wrong {
            Some(wrong) => Err(format!("{} names a server that {wrong}", flavour.variable())),
            None => Ok(Self {
                flavour,
                kind: Kind::External { url },
            }),
        }
    }

    /// Which of the two flavours it is.
    pub fn flavour(&self) -> Flavour {
        self.flavour
    }

    /// The URL of one of its databases, as a user with all privileges. For a private server, the connection uses its socket.
    pub fn url(&self, database: &str) -> String {
        match &self.kind {
            Kind::External { url } => with_database(url, database),
            Kind::Private(server) => server.url(database),
        }
    }

    /// The URL for TCP, for example through a proxy in front of [`address`](Self::address).
    ///
    /// # Panics
    ///
    /// If this is not a private server.
    pub fn url_at(&self, address: SocketAddr, database: &str) -> String {
        self.private().url_at(address, database)
    }

    /// The address on which it listens, besides its socket. Only this machine can reach it.
    ///
    /// # Panics
    ///
    /// If this is not a private server.
    pub fn address(&self) -> SocketAddr {
        self.private().address()
    }

    /// Creates a database.
    ///
    /// # Panics
    ///
    /// If the server does not create it.
    pub fn new_database(&self) -> Database {
        Database::mysql(|name| self.url(name))
    }

    /// Sends a signal that ends the server, such as `TERM` or `KILL`, and waits until its process is gone.
    ///
    /// # Panics
    ///
    /// If it does not end, or is not a private server.
    pub fn kill(&self, signal: &str) {
        let service = &self.private().service;
        let gone = service.kill(signal);
        assert!(gone, "the server is still there after {signal}:\n{}", service.log());
    }

    /// Cuts the power of the server and of the disk that it was [started on](Self::start_on); [`restart`](Self::restart) starts it again.
    ///
    /// # Panics
    ///
    /// If it does not end, or is not a private server.
    pub fn cut_power(&self, disk: &Disk) {
        let service = &self.private().service;
        let gone = service.cut_power(disk);
        assert!(gone, "the server is still there:\n{}", service.log());
    }

    /// Starts the server again after [`kill`](Self::kill), with its old data, and waits until it answers.
    ///
    /// # Panics
    ///
    /// If it does not start, or is not a private server.
    pub fn restart(&self) {
        if let Err(error) = self.private().run() {
            panic!("{error}");
        }
    }

    /// The directory of the server: its `socket`, its `log`, and its data in `data`.
    ///
    /// # Panics
    ///
    /// If this is not a private server.
    pub fn directory(&self) -> &Path {
        self.private().service.directory()
    }

    /// The path of a tool such as [`Flavour::dump`].
    ///
    /// # Panics
    ///
    /// If this flavour is not installed.
    pub fn bin(&self, tool: &str) -> PathBuf {
        match &self.kind {
            Kind::External { .. } => Installation::of(self.flavour)
                .unwrap_or_else(|error| panic!("{error}"))
                .tool(tool),
            Kind::Private(server) => server.installation.tool(tool),
        }
    }

    /// A command that runs such a tool as the server's user. It finds a private server without further options.
    ///
    /// # Panics
    ///
    /// If this flavour is not installed.
    pub fn command(&self, tool: &str) -> Command {
        match &self.kind {
            Kind::External { .. } => Command::new(self.bin(tool)),
            Kind::Private(server) => {
                let mut command = server.command(tool);
                command.arg(defaults(&server.service)); // which has to be the first
                command
            }
        }
    }

    fn private(&self) -> &Private {
        match &self.kind {
            Kind::External { .. } => panic!("the server of {} is not the tests' own", self.flavour.variable()),
            Kind::Private(server) => server,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use std::io::{BufRead, BufReader};
    use std::os::unix::fs::PermissionsExt;
    use std::process::Stdio;
    use std::time::Instant;
    use std::{fs, thread};

    use super::*;
    use crate::patience::{PATIENCE, POLL};

    /// The cases, once for each flavour. A function that is not listed is dead code.
    macro_rules! cases {
        ($($case:ident),* $(,)?) => {
            mod mysql {
                $(#[test] fn $case() { super::$case(super::Flavour::Mysql); })*
            }
            mod mariadb {
                $(#[test] fn $case() { super::$case(super::Flavour::Mariadb); })*
            }
        };
    }

    cases! {
        a_database_is_gone_when_it_is_dropped,
        a_database_is_gone_although_a_transaction_is_open_in_it,
        databases_have_names_of_their_own,
        it_is_the_server_that_it_is_called,
        it_listens_on_an_address_of_this_machine,
        a_killed_server_can_be_started_again,
        a_server_loses_with_the_power_what_it_has_not_synced,
        a_dump_can_be_restored,
        a_server_that_does_not_start_says_why,
        nobody_comes_in_without_a_password,
        holds_a_server,
        a_server_does_not_outlive_a_process_that_is_killed,
    }

    fn shared(flavour: Flavour) -> Option<&'static MysqlServer> {
        match flavour {
            Flavour::Mysql => mysql_unless_missing(),
            Flavour::Mariadb => mariadb_unless_missing(),
        }
    }

    fn connect(url: &str) -> Conn {
        Conn::new(url).unwrap()
    }

    fn one(url: &str) -> ::mysql::Result<Option<i32>> {
        Conn::new(url)?.query_first("SELECT 1")
    }

    #[track_caller]
    fn eventually(what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "never: {what}");
            thread::sleep(POLL);
        }
    }

    fn a_database_is_gone_when_it_is_dropped(flavour: Flavour) {
        let Some(server) = shared(flavour) else { return };
        let database = server.new_database();
        let url = database.url().to_owned();
        let mut client = connect(&url);
        let name: Option<String> = client.query_first("SELECT DATABASE()").unwrap();
        assert_eq!(name.unwrap(), database.name());
        drop(database);
        client.query_drop("SELECT 1").unwrap_err();
        assert!(one(&url).unwrap_err().to_string().contains("Unknown database"));
        assert_eq!(one(&server.url("mysql")).unwrap(), Some(1));
    }

    fn a_database_is_gone_although_a_transaction_is_open_in_it(flavour: Flavour) {
        let Some(server) = shared(flavour) else { return };
        let database = server.new_database();
        let url = database.url().to_owned();
        let mut client = connect(&url);
        client.query_drop("CREATE TABLE notes (note TEXT)").unwrap();
        client.query_drop("BEGIN").unwrap();
        client.query_drop("INSERT INTO notes VALUES ('kept')").unwrap();
        drop(database);
        assert!(one(&url).unwrap_err().to_string().contains("Unknown database"));
    }

    fn databases_have_names_of_their_own(flavour: Flavour) {
        let Some(server) = shared(flavour) else { return };
        let (one, other) = (server.new_database(), server.new_database());
        assert_ne!(one.name(), other.name());
    }

    fn it_is_the_server_that_it_is_called(flavour: Flavour) {
        let Some(server) = shared(flavour) else { return };
        assert_eq!(server.flavour(), flavour);
        let version: Option<String> = connect(&server.url("mysql"))
            .query_first("SELECT CONCAT(VERSION(), ' ', @@version_comment)")
            .unwrap();
        let version = version.unwrap();
        println!("{version}");
        assert_eq!(version.contains("MariaDB"), flavour == Flavour::Mariadb, "{version}");
        let other = match flavour {
            Flavour::Mysql => Flavour::Mariadb,
            Flavour::Mariadb => Flavour::Mysql,
        };
        let error = MysqlServer::external(other, server.url("mysql")).unwrap_err();
        assert!(error.starts_with(other.variable()), "{error}");
        let external = MysqlServer::external(flavour, server.url("mysql")).unwrap();
        assert_eq!(one(external.new_database().url()).unwrap(), Some(1));
    }

    fn it_listens_on_an_address_of_this_machine(flavour: Flavour) {
        let Some(server) = shared(flavour) else { return };
        assert!(server.address().ip().is_loopback());
        let database = server.new_database();
        // Checks the transport, not only the requested address.
        let through = |url: &str| {
            let mut client = connect(url);
            let host = "SELECT host FROM information_schema.processlist WHERE id = CONNECTION_ID()";
            client.query_first::<String, _>(host).unwrap().unwrap()
        };
        let host = through(&server.url_at(server.address(), database.name()));
        assert!(host.starts_with("127.0.0.1:"), "{host}");
        assert_eq!(through(database.url()), "localhost");
    }

    fn a_killed_server_can_be_started_again(flavour: Flavour) {
        if shared(flavour).is_none() {
            return;
        }
        let options = [
            ("innodb_autoinc_lock_mode", "0"),
            ("auto_increment_increment", "3"),
            ("max_allowed_packet", "2M"),
            ("log_bin", "binlog"),
            ("max_connections", "30"),
        ];
        let server = MysqlServer::start(flavour, &options).unwrap();
        let database = server.new_database();
        let tcp = server.url_at(server.address(), database.name());
        connect(database.url())
            .query_drop("CREATE TABLE notes (note TEXT)")
            .unwrap();
        for (nth, signal) in [(1, "TERM"), (2, "KILL")] {
            server.kill(signal);
            one(database.url()).unwrap_err();
            one(&tcp).unwrap_err();
            server.restart();
            assert_eq!(one(&tcp).unwrap(), Some(1));
            let mut client = connect(database.url());
            client.query_drop("INSERT INTO notes VALUES ('kept')").unwrap();
            assert_eq!(client.query_first("SELECT count(*) FROM notes").unwrap(), Some(nth));
            let settings = "SELECT CONCAT_WS(' ', @@innodb_autoinc_lock_mode, @@auto_increment_increment,
                                   @@max_allowed_packet, IF(@@log_bin, 'logged', 'not'), @@max_connections,
                                   @@innodb_flush_log_at_trx_commit)";
            let settings: Option<String> = client.query_first(settings).unwrap();
            assert_eq!(settings.unwrap(), "0 3 2097152 logged 30 1");
        }
        let directory = server.directory().to_owned();
        assert!(directory.exists());
        drop(database);
        drop(server);
        assert!(!directory.exists());
    }

    fn a_server_loses_with_the_power_what_it_has_not_synced(flavour: Flavour) {
        if shared(flavour).is_none() {
            return;
        }
        let disk = Disk::new();
        let server = MysqlServer::start_on(&disk, flavour, &[]).unwrap();
        let database = server.new_database();
        let mut client = connect(database.url());
        client.query_drop("CREATE TABLE notes (note TEXT)").unwrap();
        client.query_drop("INSERT INTO notes VALUES ('kept')").unwrap();
        disk.hold();
        let lost = thread::spawn(move || client.query_drop("INSERT INTO notes VALUES ('lost')"));
        disk.until_held();
        server.cut_power(&disk);
        lost.join().unwrap().unwrap_err();
        server.restart();
        let notes: Vec<String> = connect(database.url()).query("SELECT note FROM notes").unwrap();
        assert_eq!(notes, ["kept"]);
    }

    fn a_dump_can_be_restored(flavour: Flavour) {
        let Some(server) = shared(flavour) else { return };
        let (from, to) = (server.new_database(), server.new_database());
        let mut client = connect(from.url());
        client.query_drop("CREATE TABLE notes (note TEXT)").unwrap();
        client.query_drop("INSERT INTO notes VALUES ('kept')").unwrap();
        let dump = server.command(flavour.dump()).arg(from.name()).output().unwrap();
        assert!(dump.status.success(), "{}", String::from_utf8_lossy(&dump.stderr));
        let mut restore = server
            .command(flavour.client())
            .arg(to.name())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        std::io::Write::write_all(&mut restore.stdin.take().unwrap(), &dump.stdout).unwrap();
        assert!(restore.wait().unwrap().success());
        let note: Option<String> = connect(to.url()).query_first("SELECT note FROM notes").unwrap();
        assert_eq!(note.unwrap(), "kept");
    }

    fn a_server_that_does_not_start_says_why(flavour: Flavour) {
        if shared(flavour).is_none() {
            return;
        }
        let error = MysqlServer::start(flavour, &[("no_such_setting", "1")]).unwrap_err();
        assert!(error.contains("no_such_setting"), "{error}");
    }

    fn nobody_comes_in_without_a_password(flavour: Flavour) {
        let Some(server) = shared(flavour) else { return };
        let address = server.address();
        let try_as = |user: &str| one(&format!("mysql://{user}@{address}/mysql?prefer_socket=false")).unwrap_err();
        let error = try_as(USER);
        assert!(error.to_string().contains("Access denied"), "{error}");
        try_as("root"); // MySQL does not say that there is none, but asks for a password in some way
        let mode = fs::metadata(server.directory()).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700); // through the socket
    }

    const HOLDS: &str = "FIREFLY_TEST_HOLDS_A_SERVER";

    /// The process that the next case starts and kills.
    fn holds_a_server(flavour: Flavour) {
        if env::var_os(HOLDS).is_none() {
            return;
        }
        let server = shared(flavour).unwrap();
        println!("\nserver in {}", server.directory().display());
        thread::sleep(PATIENCE);
    }

    fn a_server_does_not_outlive_a_process_that_is_killed(flavour: Flavour) {
        if shared(flavour).is_none() {
            return;
        }
        let holds = format!("mysql::tests::{}::holds_a_server", flavour.name());
        let mut holder = Command::new(env::current_exe().unwrap())
            .args(["--exact", &holds, "--nocapture"])
            .env(HOLDS, "1")
            .env_remove(flavour.variable())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        let directory = lines
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix("server in ").map(PathBuf::from))
            .unwrap();
        let pid = fs::read_to_string(directory.join("pid")).unwrap();
        let status = PathBuf::from(format!("/proc/{}/status", pid.trim()));
        let runs = || fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ"));
        assert!(runs());
        holder.kill().unwrap(); // SIGKILL
        holder.wait().unwrap();
        eventually("the server is gone", || !runs());
        eventually("its directory is gone", || !directory.exists());
    }
}
