//! PostgreSQL.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Instant;

use ::postgres::{Client, NoTls};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::database::with_database;
use crate::patience::{PATIENCE, POLL};
use crate::required::unless_missing;
use crate::service::{self, Service};
use crate::{Database, Disk};

const KIND: service::Kind = service::Kind {
    name: "PostgreSQL",
    prefix: "firefly-pg-",
    users: &["postgres"],
    end: "QUIT",
};

/// The server that the tests of this process share. It is started by the first call. An error if there is none.
///
/// `TEST_POSTGRES_URL` may name a server to use instead, as a superuser.
///
/// # Errors
///
/// If there is no PostgreSQL on this machine, or it does not start; the error contains its log.
pub fn postgres() -> Result<&'static PostgresServer, String> {
    static SHARED: OnceLock<Result<PostgresServer, String>> = OnceLock::new();
    let start = || match env::var("TEST_POSTGRES_URL") {
        Ok(url) => PostgresServer::external(url),
        // No data has to survive a crash.
        Err(_) => PostgresServer::start_as(&[("fsync", "off")], Service::in_memory(KIND)?),
    };
    SHARED.get_or_init(start).as_ref().map_err(Clone::clone)
}

/// Turns automatic vacuums off for the tables of the current schema. They would analyze the tables at any time, after which statements are
/// planned again.
///
/// # Panics
///
/// If the server refuses.
pub fn without_autovacuum(client: &mut Client) {
    let turn_off = "DO $$ DECLARE name regclass; BEGIN
        FOR name IN SELECT oid FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace LOOP
            EXECUTE format('ALTER TABLE %s SET (autovacuum_enabled = off)', name);
        END LOOP;
    END $$";
    client.batch_execute(turn_off).expect("the role owns the tables");
}

/// As [`postgres()`], but returns none if there is no server, and prints that.
///
/// # Panics
///
/// If there is no PostgreSQL, and `REQUIRE_BACKENDS` names it.
pub fn postgres_unless_missing() -> Option<&'static PostgresServer> {
    unless_missing("postgres", postgres())
}

/// A PostgreSQL server.
#[derive(Debug)]
pub struct PostgresServer(Kind);

#[derive(Debug)]
enum Kind {
    External { url: String },
    Private(Box<Private>),
}

impl PostgresServer {
    /// Starts a new server, which ends when this is dropped, with settings such as `("fsync", "off")`.
    ///
    /// # Errors
    ///
    /// If there is no PostgreSQL on this machine, or it does not start; the error contains its log.
    pub fn start(options: &[(&str, &str)]) -> Result<Self, String> {
        Self::start_as(options, Service::new(KIND)?)
    }

    /// Starts a new server on a disk that can be slow, or lose power.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub fn start_on(disk: &Disk, options: &[(&str, &str)]) -> Result<Self, String> {
        Self::start_as(options, Service::new(KIND)?.with_variables(disk.variables()))
    }

    fn start_as(options: &[(&str, &str)], service: Service) -> Result<Self, String> {
        Private::start(options, service).map(|server| Self(Kind::Private(Box::new(server))))
    }

    /// Starts a streaming standby of this server, with settings of its own; it may be behind until
    /// [`has_caught_up`](Self::has_caught_up).
    ///
    /// # Errors
    ///
    /// If it does not start; the error contains its log.
    ///
    /// # Panics
    ///
    /// If this is not a private server.
    pub fn standby(&self, options: &[(&str, &str)]) -> Result<Self, String> {
        let standby = Private::standby_of(self.private(), options)?;
        Ok(Self(Kind::Private(Box::new(standby))))
    }

    /// Promotes a standby, and waits until it is the primary.
    ///
    /// # Panics
    ///
    /// If it is not a standby, or does not become the primary.
    pub fn promote(&self) {
        let promoted = self.client().query_one("SELECT pg_promote()", &[]);
        assert!(promoted.unwrap_or_else(|error| panic!("{error:?}")).get::<_, bool>(0));
    }

    /// Waits until a standby shows everything that was committed on its primary before this call.
    ///
    /// # Panics
    ///
    /// If that takes more than a minute.
    pub fn has_caught_up(&self, primary: &Self) {
        let written = primary.client().query_one("SELECT pg_current_wal_lsn()::text", &[]);
        let written: String = written.unwrap_or_else(|error| panic!("{error:?}")).get(0);
        let mut client = self.client();
        let replayed = "SELECT pg_last_wal_replay_lsn() >= $1::text::pg_lsn";
        let deadline = Instant::now() + PATIENCE;
        loop {
            let replayed = client.query_one(replayed, &[&written]);
            if replayed.unwrap_or_else(|error| panic!("{error:?}")).get(0) {
                return;
            }
            assert!(Instant::now() < deadline, "the standby is still behind {written}");
            thread::sleep(POLL);
        }
    }

    fn client(&self) -> Client {
        Client::connect(&self.url("postgres"), NoTls).unwrap_or_else(|error| panic!("{error:?}"))
    }

    fn external(url: String) -> Result<Self, String> {
        match Client::connect(&url, NoTls) {
            Ok(_) => Ok(Self(Kind::External { url })),
            Err(error) => Err(format!(
                "TEST_POSTGRES_URL names a server that cannot be used: {error:?}"
            )),
        }
    }

    /// The URL of one of its databases, as a superuser.
    pub fn url(&self, database: &str) -> String {
        match &self.0 {
            Kind::External { url } => with_database(url, database),
            Kind::Private(server) => server.url(database),
        }
    }

    /// Creates a database.
    ///
    /// # Panics
    ///
    /// If the server does not create it.
    pub fn new_database(&self) -> Database {
        Database::postgres(|name| self.url(name))
    }

    /// Sends a signal that ends the server, such as `QUIT` or `KILL`, and waits until its process is gone.
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
        if let Err(error) = self.private().run(true) {
            panic!("{error}");
        }
    }

    /// The directory of the server: its socket, its log, and its data in `data`.
    ///
    /// # Panics
    ///
    /// If this is not a private server.
    pub fn directory(&self) -> &Path {
        self.private().service.directory()
    }

    /// The path of a tool such as `pg_dump`.
    ///
    /// # Panics
    ///
    /// If there is no PostgreSQL on this machine.
    pub fn bin(&self, tool: &str) -> PathBuf {
        match &self.0 {
            Kind::External { .. } => binaries().unwrap_or_else(|error| panic!("{error}")).join(tool),
            Kind::Private(server) => server.binaries.join(tool),
        }
    }

    /// A command that runs such a tool as the server's user. It finds a private server without further options.
    ///
    /// # Panics
    ///
    /// If there is no PostgreSQL on this machine.
    pub fn command(&self, tool: &str) -> Command {
        match &self.0 {
            Kind::External { .. } => Command::new(self.bin(tool)),
            Kind::Private(server) => server.command(tool),
        }
    }

    fn private(&self) -> &Private {
        match &self.0 {
            Kind::External { .. } => panic!("the server of TEST_POSTGRES_URL is not the tests' own"),
            Kind::Private(server) => server,
        }
    }
}

/// A server that was started here.
#[derive(Debug)]
struct Private {
    binaries: PathBuf,
    options: Vec<String>,
    service: Service,
}

impl Private {
    fn start(options: &[(&str, &str)], service: Service) -> Result<Self, String> {
        let binaries = binaries()?;
        let all = [("max_connections", "300")].iter().chain(options);
        let server = Self {
            binaries,
            options: all.map(|(name, value)| format!("{name}={value}")).collect(),
            service,
        };
        server.initdb()?;
        server.run(false)?;
        Ok(server)
    }

    /// A copy of another server's data, which then follows that server.
    fn standby_of(primary: &Self, options: &[(&str, &str)]) -> Result<Self, String> {
        let options = options.iter().map(|(name, value)| format!("{name}={value}"));
        let server = Self {
            binaries: primary.binaries.clone(),
            // A standby must allow as many connections as its primary.
            options: primary.options.iter().cloned().chain(options).collect(),
            service: Service::new(KIND)?,
        };
        server.make(
            primary
                .command("pg_basebackup")
                .args(["--write-recovery-conf", "--checkpoint=fast", "--no-sync", "-D"])
                .arg(server.service.directory().join("data")),
        )?;
        server.run(false)?;
        Ok(server)
    }

    fn initdb(&self) -> Result<(), String> {
        self.make(
            self.command("initdb")
                .args([
                    "-A",
                    "trust",
                    "-U",
                    "postgres",
                    "-E",
                    "UTF8",
                    "--locale=C.UTF-8",
                    "--no-sync",
                    "-D",
                ])
                .arg(self.service.directory().join("data")),
        )
    }

    /// Runs the tool that creates the data directory.
    fn make(&self, tool: &mut Command) -> Result<(), String> {
        let name = tool.get_program().display().to_string();
        let output = tool
            .stdin(Stdio::null())
            .output()
            .map_err(|error| format!("{name} cannot be started: {error}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("{name} failed: {}", String::from_utf8_lossy(&output.stderr)))
    }

    /// Starts the server and waits until it answers. Remains of a killed server may prevent the start for a moment.
    fn run(&self, again: bool) -> Result<(), String> {
        let url = self.url("postgres");
        let answers = || Client::connect(&url, NoTls).is_ok();
        self.service.run(again, || self.server(), answers)
    }

    fn server(&self) -> Command {
        let directory = self.service.directory();
        let mut command = self.command("postgres");
        command.arg("-D").arg(directory.join("data"));
        command.arg("-k").arg(directory).args(["-c", "listen_addresses="]);
        for option in &self.options {
            command.args(["-c", option]);
        }
        command
    }

    fn command(&self, tool: &str) -> Command {
        let mut command = self.service.command(&self.binaries.join(tool));
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(b"PG") {
                command.env_remove(name); // such as PGDATA or PGPORT
            }
        }
        command
            .env("PGHOST", self.service.directory())
            .env("PGUSER", "postgres");
        command
    }

    fn url(&self, database: &str) -> String {
        let socket = self.service.directory().to_string_lossy();
        let socket = utf8_percent_encode(&socket, NON_ALPHANUMERIC);
        format!("postgresql://postgres@{socket}/{database}")
    }
}

/// The directory of `postgres`, `initdb` and the other tools: the one on the path, or the newest one that Debian installed.
fn binaries() -> Result<PathBuf, String> {
    let complete = |directory: &PathBuf| ["postgres", "initdb"].iter().all(|tool| directory.join(tool).is_file());
    let path = env::var_os("PATH").unwrap_or_default();
    // The path may have only links to some of the tools.
    let real = |directory: PathBuf| Some(fs::canonicalize(directory.join("postgres")).ok()?.parent()?.to_owned());
    if let Some(found) = env::split_paths(&path).filter_map(real).find(complete) {
        return Ok(found);
    }
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let version = |entry: &fs::DirEntry| entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok());
    versions
        .filter_map(|entry| Some((version(&entry)?, entry.path().join("bin"))))
        .filter(|(_, directory)| complete(directory))
        .max()
        .map(|(_, directory)| directory)
        .ok_or_else(|| "no postgres on the path nor in /usr/lib/postgresql".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use std::io::{BufRead, BufReader};

    use super::*;

    fn one(url: &str) -> Result<i32, ::postgres::Error> {
        Ok(Client::connect(url, NoTls)?.query_one("SELECT 1", &[])?.get(0))
    }

    #[track_caller]
    fn eventually(what: &str, is_so: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !is_so() {
            assert!(Instant::now() < deadline, "never: {what}");
            thread::sleep(POLL);
        }
    }

    #[test]
    fn a_database_is_gone_when_it_is_dropped() {
        let Some(server) = postgres_unless_missing() else {
            return;
        };
        let database = server.new_database();
        let url = database.url().to_owned();
        let mut client = Client::connect(&url, NoTls).unwrap();
        let row = client.query_one("SELECT current_database()::text", &[]).unwrap();
        assert_eq!(row.get::<_, String>(0), database.name());
        drop(database);
        assert!(client.simple_query("SELECT 1").is_err());
        assert!(one(&url).unwrap_err().to_string().contains("db error"));
        assert_eq!(one(&server.url("postgres")).unwrap(), 1);
    }

    #[test]
    fn databases_have_names_of_their_own() {
        let Some(server) = postgres_unless_missing() else {
            return;
        };
        let (one, other) = (server.new_database(), server.new_database());
        assert_ne!(one.name(), other.name());
    }

    #[test]
    fn a_killed_server_can_be_started_again() {
        if postgres_unless_missing().is_none() {
            return;
        }
        let server = PostgresServer::start(&[("work_mem", "5MB"), ("max_connections", "30")]).unwrap();
        let database = server.new_database();
        let mut client = Client::connect(database.url(), NoTls).unwrap();
        client.batch_execute("CREATE TABLE notes (note TEXT)").unwrap();
        for signal in ["QUIT", "KILL"] {
            server.kill(signal);
            one(database.url()).unwrap_err();
            server.restart();
            let mut client = Client::connect(database.url(), NoTls).unwrap();
            client.batch_execute("INSERT INTO notes VALUES ('kept')").unwrap();
            let settings = "SELECT current_setting('work_mem') || ' ' || current_setting('max_connections')
                                || ' ' || current_setting('fsync')";
            let row = client.query_one(settings, &[]).unwrap();
            assert_eq!(row.get::<_, String>(0), "5MB 30 on");
        }
        let output = server.command("pg_dump").arg(database.name()).output().unwrap();
        let dump = String::from_utf8(output.stdout).unwrap();
        assert_eq!(dump.matches("kept").count(), 2, "{dump}");
        let directory = server.directory().to_owned();
        assert!(directory.exists());
        drop(database);
        drop(server);
        assert!(!directory.exists());
    }

    #[test]
    fn a_server_loses_with_the_power_what_it_has_not_synced() {
        if postgres_unless_missing().is_none() {
            return;
        }
        let disk = Disk::new();
        let server = PostgresServer::start_on(&disk, &[]).unwrap();
        let database = server.new_database();
        let mut client = Client::connect(database.url(), NoTls).unwrap();
        client.batch_execute("CREATE TABLE notes (note TEXT)").unwrap();
        client.batch_execute("INSERT INTO notes VALUES ('kept')").unwrap();
        disk.hold();
        let lost = thread::spawn(move || client.batch_execute("INSERT INTO notes VALUES ('lost')"));
        disk.until_held();
        server.cut_power(&disk);
        lost.join().unwrap().unwrap_err();
        server.restart();
        let mut client = Client::connect(database.url(), NoTls).unwrap();
        let notes = client.query("SELECT note FROM notes", &[]).unwrap();
        let notes: Vec<String> = notes.iter().map(|row| row.get(0)).collect();
        assert_eq!(notes, ["kept"]);
    }

    #[test]
    fn a_server_that_does_not_start_says_why() {
        if postgres_unless_missing().is_none() {
            return;
        }
        let error = PostgresServer::start(&[("no_such_setting", "1")]).unwrap_err();
        assert!(error.contains("no_such_setting"), "{error}");
    }

    const HOLDS: &str = "FIREFLY_TEST_HOLDS_A_SERVER";

    /// The process that the next test starts and kills.
    #[test]
    fn holds_a_server() {
        if env::var_os(HOLDS).is_none() {
            return;
        }
        let server = postgres().unwrap();
        println!("\nserver in {}", server.directory().display());
        thread::sleep(PATIENCE);
    }

    #[test]
    fn a_server_does_not_outlive_a_process_that_is_killed() {
        if postgres_unless_missing().is_none() {
            return;
        }
        let mut holder = Command::new(env::current_exe().unwrap())
            .args(["--exact", "postgres::tests::holds_a_server", "--nocapture"])
            .env(HOLDS, "1")
            .env_remove("TEST_POSTGRES_URL")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(holder.stdout.take().unwrap()).lines();
        let directory = lines
            .map(Result::unwrap)
            .find_map(|line| line.strip_prefix("server in ").map(PathBuf::from))
            .unwrap();
        let pid = fs::read_to_string(directory.join("data/postmaster.pid")).unwrap();
        let status = PathBuf::from(format!("/proc/{}/status", pid.lines().next().unwrap()));
        let runs = || fs::read_to_string(&status).is_ok_and(|status| !status.contains("State:\tZ"));
        assert!(runs());
        holder.kill().unwrap(); // SIGKILL
        holder.wait().unwrap();
        eventually("the server is gone", || !runs());
        eventually("its directory is gone", || !directory.exists());
    }
}
