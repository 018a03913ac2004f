//! Redis.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use ::redis::Client;

use crate::password::password;
use crate::required::unless_missing;
use crate::service::{self, Service};

const KIND: service::Kind = service::Kind {
    name: "Redis",
    prefix: "firefly-redis-",
    users: &["redis", "nobody"],
    end: "KILL",
};

/// A Redis server, which ends when it is dropped.
#[derive(Debug)]
pub struct RedisServer {
    program: PathBuf,
    options: Vec<String>,
    /// It listens on TCP too, where others on this machine could come.
    password: String,
    service: Service,
}

impl RedisServer {
    /// Starts a server that keeps its data in an append-only file, with options such as `("appendfsync", "always")`. None where there is
    /// no Redis, which is printed, and is a failure if `REQUIRE_BACKENDS` names `redis`.
    ///
    /// # Panics
    ///
    /// There is no Redis, and one is required.
    pub fn start_unless_missing(options: &[(&str, &str)]) -> Option<Self> {
        unless_missing("redis", Self::start(password(), options))
    }

    /// Starts a replica of this server.
    ///
    /// # Panics
    ///
    /// It does not start.
    pub fn replica(&self) -> Self {
        let (ip, port) = (self.address().ip().to_string(), self.address().port().to_string());
        let options = [("replicaof", &*format!("{ip} {port}")), ("masterauth", &self.password)];
        Self::start(Ok(self.password.clone()), &options).unwrap_or_else(|error| panic!("{error}"))
    }

    fn start(password: Result<String, String>, options: &[(&str, &str)]) -> Result<Self, String> {
        let server = Self {
            program: program()?,
            options: options
                .iter()
                .flat_map(|(name, value)| [format!("--{name}"), (*value).to_owned()])
                .collect(),
            password: password?,
            service: Service::new(KIND)?,
        };
        let data = server.data();
        fs::create_dir(&data).map_err(|error| format!("{}: {error}", data.display()))?;
        server.service.own(&data)?;
        server.run()?;
        Ok(server)
    }

    /// How to connect to it, through its socket.
    pub fn url(&self) -> String {
        format!("redis+unix://{}?pass={}", self.socket().display(), self.password)
    }

    /// The same without the password.
    pub fn url_without_password(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// How to connect to it over TCP; on this machine only.
    pub fn tcp_url(&self) -> String {
        format!("redis://:{}@{}", self.password, self.address())
    }

    /// Sends a signal that ends the server, such as `TERM` or `KILL`, and waits until its process is gone.
    ///
    /// # Panics
    ///
    /// It does not end.
    pub fn kill(&self, signal: &str) {
        let gone = self.service.kill(signal);
        assert!(
            gone,
            "the server is still there after {signal}:\n{}",
            self.service.log()
        );
    }

    /// Starts the server again after [`kill`](Self::kill), with the data that it had, and waits until it answers.
    ///
    /// # Panics
    ///
    /// It does not start.
    pub fn restart(&self) {
        if let Err(error) = self.run() {
            panic!("{error}");
        }
    }

    /// Removes the data of a server that was [killed](Self::kill).
    ///
    /// # Panics
    ///
    /// It cannot be removed.
    pub fn lose_data(&self) {
        let lost = fs::remove_dir_all(self.data().join("appendonlydir"));
        lost.unwrap_or_else(|error| panic!("{}: {error}", self.data().display()));
    }

    /// Starts it and waits until it answers, with all its data.
    fn run(&self) -> Result<(), String> {
        let url = self.url();
        let answers = || {
            let connection = Client::open(&*url).and_then(|client| client.get_connection());
            connection.is_ok_and(|mut connection| ::redis::cmd("PING").exec(&mut connection).is_ok())
        };
        self.service.run(false, || self.server(), answers)
    }

    fn server(&self) -> Command {
        let mut command = self.service.command(&self.program);
        command.arg0("redis-server"); // several programs are one file, which goes by its name
        command.arg("--unixsocket").arg(self.socket());
        command.arg("--dir").arg(self.data());
        command.args(["--bind", &self.address().ip().to_string()]);
        command.args(["--port", &self.address().port().to_string()]);
        command.args(["--requirepass", &self.password]);
        command.args(["--appendonly", "yes", "--save", ""]);
        command.args(&self.options);
        command
    }

    fn data(&self) -> PathBuf {
        self.service.directory().join("data")
    }

    fn socket(&self) -> PathBuf {
        self.service.directory().join("socket")
    }

    /// An address of the loopback network that no other server has, as for the [other servers](crate::MysqlServer).
    fn address(&self) -> SocketAddr {
        const PORT: u16 = 23379; // below those that are handed out to outgoing connections
        let [_, high, middle, low] = self.service.id().to_be_bytes(); // Linux has 22 bits for the number of a process
        SocketAddr::from((Ipv4Addr::new(127, 64 | high & 63, middle, low), PORT))
    }
}

/// The server. Debian's `redis-tools` has it under another name, without starting one for the whole machine as `redis-server` does.
fn program() -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let names = ["redis-server", "valkey-server", "redis-check-rdb"];
    env::split_paths(&path)
        .flat_map(|directory| names.map(|name| directory.join(name)))
        .find(|program| program.is_file())
        .ok_or_else(|| format!("no {} on the path", names.join(", nor ")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use super::*;

    fn connect(url: &str) -> ::redis::RedisResult<::redis::Connection> {
        Client::open(url)?.get_connection()
    }

    #[test]
    fn what_it_has_is_there_after_a_restart() {
        let Some(server) = RedisServer::start_unless_missing(&[("appendfsync", "always")]) else {
            return;
        };
        for url in [server.url(), server.tcp_url()] {
            let mut connection = connect(&url).unwrap();
            ::redis::cmd("INCR").arg("count").exec(&mut connection).unwrap();
            server.kill("KILL");
            assert!(connect(&url).is_err());
            server.restart();
        }
        let mut connection = connect(&server.url()).unwrap();
        let count: u32 = ::redis::cmd("GET").arg("count").query(&mut connection).unwrap();
        assert_eq!(count, 2);
        server.kill("TERM");
        server.lose_data();
        server.restart();
        let mut connection = connect(&server.url()).unwrap();
        assert!(
            !::redis::cmd("EXISTS")
                .arg("count")
                .query::<bool>(&mut connection)
                .unwrap()
        );
    }

    #[test]
    fn nobody_connects_without_the_password() {
        let Some(server) = RedisServer::start_unless_missing(&[]) else {
            return;
        };
        let mut connection = connect(&server.url_without_password()).unwrap();
        let refused = ::redis::cmd("PING").exec(&mut connection).unwrap_err();
        assert_eq!(refused.code(), Some("NOAUTH"));
    }
}
