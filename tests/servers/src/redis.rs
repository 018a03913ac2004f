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

/// A Redis server. Dropping it ends the server.
#[derive(Debug)]
pub struct RedisServer {
    program: PathBuf,
    options: Vec<String>,
    /// The server listens on TCP too, where other users of this machine could connect.
    password: String,
    service: Service,
}

impl RedisServer {
    /// Starts a server that stores its data in an append-only file, with options such as `("appendfsync", "always")`. Returns none if there
    /// is no Redis, and prints that.
    ///
    /// # Panics
    ///
    /// If there is no Redis, and `REQUIRE_BACKENDS` names `redis`.
    pub fn start_unless_missing(options: &[(&str, &str)]) -> Option<Self> {
        unless_missing("redis", Self::start(password(), options))
    }

    /// Starts a replica of this server.
    ///
    /// # Panics
    ///
    /// If it does not start.
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

    /// The URL of its socket.
    pub fn url(&self) -> String {
        format!("redis+unix://{}?pass={}", self.socket().display(), self.password)
    }

    /// The URL of its socket, without the password.
    pub fn url_without_password(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// The URL of its TCP address. Only this machine can reach it.
    pub fn tcp_url(&self) -> String {
        format!("redis://:{}@{}", self.password, self.address())
    }

    /// Sends a signal that ends the server, such as `TERM` or `KILL`, and waits until its process is gone.
    ///
    /// # Panics
    ///
    /// If it does not end.
    pub fn kill(&self, signal: &str) {
        let gone = self.service.kill(signal);
        assert!(
            gone,
            "the server is still there after {signal}:\n{}",
            self.service.log()
        );
    }

    /// Starts the server again after [`kill`](Self::kill), with its old data, and waits until it answers.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub fn restart(&self) {
        if let Err(error) = self.run() {
            panic!("{error}");
        }
    }

    /// Removes the data of a server that was [killed](Self::kill).
    ///
    /// # Panics
    ///
    /// If it cannot be removed.
    pub fn lose_data(&self) {
        let lost = fs::remove_dir_all(self.data().join("appendonlydir"));
        lost.unwrap_or_else(|error| panic!("{}: {error}", self.data().display()));
    }

    /// Starts the server and waits until it answers and has loaded its data.
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

/// The program. Debian's `redis-tools` has it under another name, and unlike `redis-server` starts no server for the whole machine.
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
