//! The differences between MySQL and MariaDB.

use std::net::SocketAddr;

use crate::service;

/// MySQL or MariaDB.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Flavour {
    /// MySQL itself.
    Mysql,
    /// MariaDB.
    Mariadb,
}

impl Flavour {
    /// Its name in `REQUIRE_BACKENDS`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
        }
    }

    /// The tool that prints a database as statements.
    pub fn dump(self) -> &'static str {
        match self {
            Self::Mysql => "mysqldump",
            Self::Mariadb => "mariadb-dump",
        }
    }

    /// The tool that runs statements.
    pub fn client(self) -> &'static str {
        match self {
            Self::Mysql => "mysql",
            Self::Mariadb => "mariadb",
        }
    }

    /// The query for the end of the binary log.
    pub(crate) fn log_position(self) -> &'static str {
        match self {
            Self::Mysql => "SHOW BINARY LOG STATUS",
            Self::Mariadb => "SHOW MASTER STATUS",
        }
    }

    /// The statement that makes a replica of the server at an address, from a position on.
    pub(crate) fn follow(self, address: SocketAddr, user: &str, password: &str) -> String {
        let (statement, name, key) = match self {
            Self::Mysql => ("REPLICATION SOURCE", "SOURCE", ", GET_SOURCE_PUBLIC_KEY = 1"),
            Self::Mariadb => ("MASTER", "MASTER", ""),
        };
        format!(
            "CHANGE {statement} TO {name}_HOST = '{}', {name}_PORT = {}, {name}_USER = '{user}', {name}_PASSWORD = '{password}', \
             {name}_LOG_FILE = '{{file}}', {name}_LOG_POS = {{position}}, {name}_CONNECT_RETRY = 1{key}",
            address.ip(),
            address.port(),
        )
    }

    /// The server's program.
    pub(crate) fn server(self) -> &'static str {
        match self {
            Self::Mysql => "mysqld",
            Self::Mariadb => "mariadbd",
        }
    }

    /// The variable that names a server to use instead of a private one.
    pub(crate) fn variable(self) -> &'static str {
        match self {
            Self::Mysql => "TEST_MYSQL_URL",
            Self::Mariadb => "TEST_MARIADB_URL",
        }
    }

    pub(crate) fn kind(self) -> service::Kind {
        let (name, prefix) = match self {
            Self::Mysql => ("MySQL", "firefly-mysql-"),
            Self::Mariadb => ("MariaDB", "firefly-mariadb-"),
        };
        service::Kind {
            name,
            prefix,
            users: &["mysql", "nobody"], // the first comes with a server for the whole machine only
            end: "KILL",                 // it is one process, and nothing has to be written for another start
        }
    }

    /// Whether a version text is one of this flavour.
    pub(crate) fn is_of(self, version: &str) -> bool {
        version.contains("MariaDB") == (self == Self::Mariadb)
    }

    /// Options of every server.
    pub(crate) fn always(self) -> &'static [&'static str] {
        match self {
            Self::Mysql => &["--mysqlx=OFF"], // which listens on another port
            Self::Mariadb => &[],
        }
    }

    /// Options for a server that starts quickly and needs little, and whose data need not survive a crash.
    pub fn forgetful(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Mysql => &[
                ("innodb_flush_log_at_trx_commit", "0"),
                ("innodb_flush_method", "nosync"),
                ("innodb_doublewrite", "OFF"),
                ("innodb_buffer_pool_size", "64M"),
                ("innodb_redo_log_capacity", "64M"),
                ("innodb_log_writer_threads", "OFF"), // they pay only on many cores
                ("skip_log_bin", ""),
                ("performance_schema", "OFF"),
            ],
            Self::Mariadb => &[
                ("innodb_flush_log_at_trx_commit", "0"),
                ("innodb_flush_method", "nosync"),
                ("innodb_doublewrite", "OFF"),
                ("innodb_buffer_pool_size", "64M"),
                ("innodb_log_file_size", "64M"),
                ("debug_no_sync", ""), // for the tables that are not InnoDB's
            ],
        }
    }

    /// The arguments with which [`initialiser`](Self::initialiser) makes a data directory.
    pub(crate) fn initialise(self) -> &'static [&'static str] {
        match self {
            Self::Mysql => &[
                "--no-defaults",
                "--initialize-insecure",
                "--innodb_flush_method=nosync",
                "--innodb_doublewrite=OFF",
                "--skip_log_bin",
            ],
            Self::Mariadb => &[
                "--no-defaults",
                "--auth-root-authentication-method=socket",
                "--skip-test-db",
                "--skip-name-resolve",
                "--innodb_flush_method=nosync",
                "--debug_no_sync",
            ],
        }
    }

    /// The program that makes a data directory.
    pub(crate) fn initialiser(self) -> &'static str {
        match self {
            Self::Mysql => self.server(),
            Self::Mariadb => "mariadb-install-db",
        }
    }
}
