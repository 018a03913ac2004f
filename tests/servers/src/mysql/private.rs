//! A server that the tests start for themselves.

use std::env;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::Command;

use ::mysql::Conn;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use super::flavour::Flavour;
use super::installation::Installation;
use crate::password::password;
use crate::service::Service;

/// The user of the tests, from any host. The servers' own `root` can only connect through the socket.
pub(super) const USER: &str = "firefly";

/// A server that was started here.
#[derive(Debug)]
pub(super) struct Private {
    pub(super) installation: Installation,
    pub(super) options: Vec<String>,
    /// The server listens on TCP too, where other users of this machine could connect.
    pub(super) password: String,
    pub(super) service: Service,
}

impl Private {
    pub(super) fn start(flavour: Flavour, options: &[(&str, &str)], service: Service) -> Result<Self, String> {
        let installation = Installation::of(flavour)?;
        let all = [("max_connections", "300")].iter().chain(options);
        let server = Self {
            installation,
            options: all.map(option).collect(),
            password: password()?,
            service,
        };
        server.write(ACCOUNTS, &server.accounts())?;
        server.write(CLIENT, &server.client())?;
        server.installation.initialise(&server.service, &server.data())?;
        server.run()?;
        // Removed, so that it does not run again at each start: a test may have taken rights from the user.
        let accounts = server.service.directory().join(ACCOUNTS);
        fs::remove_file(&accounts).map_err(|error| format!("{}: {error}", accounts.display()))?;
        Ok(server)
    }

    /// Starts it and waits until it answers.
    pub(super) fn run(&self) -> Result<(), String> {
        let url = self.url("mysql");
        let answers = || Conn::new(url.as_str()).is_ok();
        self.service.run(false, || self.server(), answers)
    }

    pub(super) fn server(&self) -> Command {
        let directory = self.service.directory();
        let mut command = self.command(self.installation.flavour().server());
        command.arg("--no-defaults"); // which has to be the first
        for (option, path) in [
            ("datadir", self.data()),
            ("tmpdir", directory.to_owned()),
            ("secure_file_priv", directory.to_owned()),
            ("socket", self.socket()),
            ("pid_file", directory.join("pid")),
        ] {
            command.arg(format!("--{option}={}", path.display()));
        }
        command.arg(format!("--bind_address={}", self.address().ip()));
        command.arg(format!("--port={}", self.address().port()));
        command.arg("--skip_name_resolve"); // a machine without a network has no name server
        let accounts = directory.join(ACCOUNTS);
        if accounts.exists() {
            command.arg(format!("--init_file={}", accounts.display()));
        }
        command.args(self.installation.flavour().always());
        command.args(&self.options);
        command
    }

    pub(super) fn command(&self, tool: &str) -> Command {
        let mut command = self.service.command(&self.installation.tool(tool));
        for (name, _) in env::vars_os() {
            let name_of_theirs = [&b"MYSQL"[..], b"MARIADB"];
            if name_of_theirs
                .iter()
                .any(|start| name.as_encoded_bytes().starts_with(start))
            {
                command.env_remove(name); // such as MYSQL_PWD or MYSQL_TCP_PORT
            }
        }
        command
    }

    /// Statements that give the user all privileges. Each must be on one line.
    pub(super) fn accounts(&self) -> String {
        format!(
            "CREATE USER {USER}@'%' IDENTIFIED BY '{password}';\n\
             GRANT ALL ON *.* TO {USER}@'%' WITH GRANT OPTION;\n",
            password = self.password,
        )
    }

    /// The options of the tools.
    pub(super) fn client(&self) -> String {
        format!(
            "[client]\nuser={USER}\npassword={}\nsocket={}\n",
            self.password,
            self.socket().display()
        )
    }

    pub(super) fn write(&self, name: &str, content: &str) -> Result<(), String> {
        let path = self.service.directory().join(name);
        fs::write(&path, content).map_err(|error| format!("{}: {error}", path.display()))?;
        self.service.own(&path)
    }

    pub(super) fn data(&self) -> PathBuf {
        self.service.directory().join("data")
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.service.directory().join("socket")
    }

    pub(super) fn url(&self, database: &str) -> String {
        let socket = self.socket().to_string_lossy().into_owned();
        let socket = utf8_percent_encode(&socket, NON_ALPHANUMERIC);
        let password = &self.password;
        format!("mysql://{USER}:{password}@localhost/{database}?socket={socket}")
    }

    pub(super) fn url_at(&self, address: SocketAddr, database: &str) -> String {
        let password = &self.password;
        // Otherwise the driver would ask a server on this machine for its socket, and connect there.
        format!("mysql://{USER}:{password}@{address}/{database}?prefer_socket=false")
    }

    /// An address of the loopback network that no other server has. So no free port has to be found and kept while the server is down.
    pub(super) fn address(&self) -> SocketAddr {
        address_of(&self.service)
    }
}

pub(super) fn address_of(service: &Service) -> SocketAddr {
    pub(super) const PORT: u16 = 23306; // below those that are handed out to outgoing connections
    let [_, high, middle, low] = service.id().to_be_bytes(); // Linux has 22 bits for the number of a process
    SocketAddr::from((Ipv4Addr::new(127, 64 | high & 63, middle, low), PORT))
}

/// The file that the server runs at its first start.
pub(super) const ACCOUNTS: &str = "accounts.sql";
/// The file that tells the tools where the server is.
pub(super) const CLIENT: &str = "client.cnf";

pub(super) fn defaults(service: &Service) -> String {
    format!("--defaults-file={}", service.directory().join(CLIENT).display())
}

pub(super) fn option((name, value): &(&str, &str)) -> String {
    if value.is_empty() {
        format!("--{name}")
    } else {
        format!("--{name}={value}")
    }
}
