//! Opening a store by its URL.

use std::sync::Arc;

use firefly_eventstore_core::operate::Operations;
use firefly_eventstore_core::{Error, Migration, Result, Store};
#[cfg(any(feature = "mysql", feature = "postgres"))]
use firefly_eventstore_core::{Partitions, operate::Progress};

/// Opens the store that a URL names, in any database. Clone the returned pointer to share the store between threads.
///
/// | URL | store |
/// |---|---|
/// | `sqlite:///var/lib/ledger.db` | SQLite, in a file with an absolute path |
/// | `sqlite:ledger.db`, `sqlite://ledger.db` | SQLite, in a file relative to the working directory |
/// | `sqlite:ledger.db?read_only=true` | SQLite, in a file that is only read |
/// | `sqlite::memory:` | SQLite, a new database in memory |
/// | `postgres://user:password@host/database` | PostgreSQL, without TLS, with the feature `postgres` |
/// | `postgres://user:password@host/database?sslmode=verify-full&sslrootcert=/path/ca.pem` | PostgreSQL, [by TLS](https://docs.rs/firefly-eventstore-postgres/latest/firefly_eventstore_postgres/struct.PostgresEventStore.html#method.builder), with the feature `rustls` too |
/// | `postgres://user@host1,host2/database?read_replica=true` | PostgreSQL, [for reading](https://docs.rs/firefly-eventstore-postgres/latest/firefly_eventstore_postgres/struct.PostgresBuilder.html#method.read_replica) from a standby; the same for `mysql://` |
/// | `mysql://user@host/database?only_writer=true` | MariaDB, on the [only node of a Galera cluster](https://docs.rs/firefly-eventstore-mysql/latest/firefly_eventstore_mysql/struct.MysqlBuilder.html#method.only_writer) that programs write to |
/// | `mysql://user:password@host/database` | MySQL or MariaDB, with the feature `mysql`; by TLS with the feature `rustls` and `?root_cert_path=/path/ca.pem` |
///
/// On PostgreSQL, MySQL and MariaDB call [`migrate`] first; `connect` never migrates them. A new SQLite file is set up when
/// it is opened.
///
/// An SQLite path is used as it is, up to a question mark, without percent-decoding. The options of the other URLs are those of their
/// driver; an unknown one is refused. For other options, and other paths, use the driver's own builder.
///
/// ```
/// use firefly_eventstore::prelude::*;
///
/// let store = connect("sqlite::memory:")?;
/// let account = AggregateKey::new("Account", Uuid::now_v7())?;
/// store.append(&account, ExpectedVersion::NoStream, &[NewEvent::new("account.opened", &serde_json::json!({}))?])?;
///
/// let reader = store.clone();
/// let version = std::thread::spawn(move || reader.version(&account)).join().expect("it does not panic")?;
/// assert_eq!(version, 1);
///
/// let acme = store.for_tenant(TenantId::new("acme")?);
/// assert_eq!(acme.read(EventQuery::new()).count(), 0);
/// # Ok::<(), Error>(())
/// ```
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput) if the URL names no store, or its driver is not compiled in;
/// [`Schema`](crate::ErrorKind::Schema) if [`migrate`] is needed first; those of the driver when it opens.
pub fn connect(url: &str) -> Result<Arc<dyn Store>> {
    match Target::of(url)? {
        #[cfg(feature = "mysql")]
        Target::Mysql(builder) => Ok(Arc::new(builder.open()?)),
        #[cfg(feature = "postgres")]
        Target::Postgres(builder) => Ok(Arc::new(builder.open()?)),
        #[cfg(feature = "sqlite")]
        Target::Sqlite(builder) => Ok(Arc::new(builder.open()?)),
    }
}

/// Opens the store that a URL names for an operator: see [`operate`](crate::operate).
///
/// ```
/// use firefly_eventstore::operate::Audit;
///
/// let store = firefly_eventstore::connect_operator("sqlite::memory:")?;
/// assert!(Audit::new().run(&*store, |_| {}, |finding| println!("{finding}"))?.is_intact());
/// # Ok::<(), firefly_eventstore::Error>(())
/// ```
///
/// # Errors
///
/// As [`connect`].
pub fn connect_operator(url: &str) -> Result<Arc<dyn Operations>> {
    match Target::of(url)? {
        #[cfg(feature = "mysql")]
        Target::Mysql(builder) => Ok(Arc::new(builder.open()?)),
        #[cfg(feature = "postgres")]
        Target::Postgres(builder) => Ok(Arc::new(builder.open()?)),
        #[cfg(feature = "sqlite")]
        Target::Sqlite(builder) => Ok(Arc::new(builder.open()?)),
    }
}

/// Brings the schema of the store that a URL names up to date, and returns the migrations that were applied.
///
/// Safe to call whenever a program starts, from any number of processes at once.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// # let url = format!("sqlite:{}", directory.path().join("ledger.db").display());
/// let applied = firefly_eventstore::migrate(&url)?;
/// assert!(!applied.is_empty());
/// assert!(firefly_eventstore::pending(&url)?.is_empty());
/// # Ok::<(), firefly_eventstore::Error>(())
/// ```
///
/// # Errors
///
/// As [`connect`].
pub fn migrate(url: &str) -> Result<Vec<Migration>> {
    match Target::of(url)? {
        #[cfg(feature = "mysql")]
        Target::Mysql(builder) => builder.migrate(),
        #[cfg(feature = "postgres")]
        Target::Postgres(builder) => builder.migrate(),
        #[cfg(feature = "sqlite")]
        Target::Sqlite(builder) => builder.migrate(),
    }
}

/// Divides the log of the store that a URL names into partitions, or makes it one table again, while programs use it. Returns false if there
/// was nothing to do. If the log is divided already, it changes only the partitions to come. See `PostgresBuilder::convert_to_partitions` and
/// `MysqlBuilder::convert_to_partitions` for what it needs.
///
/// # Errors
///
/// - As [`connect`];
/// - [`InvalidInput`](crate::ErrorKind::InvalidInput) if the database is SQLite, or something on the table of events cannot be moved, or
///   partitions by month are asked of MySQL or MariaDB;
/// - [`Unavailable`](crate::ErrorKind::Unavailable) if another process converts the store, or the table was in use each time that it was asked
///   for: call again.
#[cfg(any(feature = "mysql", feature = "postgres"))]
pub fn convert(url: &str, into: Option<Partitions>, progress: impl FnMut(Progress)) -> Result<bool> {
    match (Target::of(url)?, into) {
        #[cfg(feature = "mysql")]
        (Target::Mysql(builder), Some(partitions)) => builder.convert_to_partitions(partitions, progress),
        #[cfg(feature = "mysql")]
        (Target::Mysql(builder), None) => builder.convert_to_one_table(progress),
        #[cfg(feature = "postgres")]
        (Target::Postgres(builder), Some(partitions)) => builder.convert_to_partitions(partitions, progress),
        #[cfg(feature = "postgres")]
        (Target::Postgres(builder), None) => builder.convert_to_one_table(progress),
        #[cfg(feature = "sqlite")]
        (Target::Sqlite(_), _) => Err(Error::invalid("the log of an SQLite store has no partitions")),
    }
}

/// The migrations that [`migrate`] would apply.
///
/// # Errors
///
/// As [`connect`].
pub fn pending(url: &str) -> Result<Vec<Migration>> {
    match Target::of(url)? {
        #[cfg(feature = "mysql")]
        Target::Mysql(builder) => builder.pending(),
        #[cfg(feature = "postgres")]
        Target::Postgres(builder) => builder.pending(),
        #[cfg(feature = "sqlite")]
        Target::Sqlite(builder) => builder.pending(),
    }
}

/// Checks a URL without opening the store: for programs that get a URL from a user before they need the store. The options of a server's
/// URL are checked only when the store is opened.
///
/// ```
/// assert!(firefly_eventstore::check_url("sqlite:ledger.db").is_ok());
/// let error = firefly_eventstore::check_url("sqlite::memory").unwrap_err();
/// assert!(error.to_string().contains("write sqlite::memory:"));
/// ```
///
/// # Errors
///
/// [`InvalidInput`](crate::ErrorKind::InvalidInput), as [`connect`].
pub fn check_url(url: &str) -> Result<()> {
    Target::of(url).map(drop)
}

/// The builder of the store that a URL names.
enum Target {
    #[cfg(feature = "mysql")]
    Mysql(firefly_eventstore_mysql::MysqlBuilder),
    #[cfg(feature = "postgres")]
    Postgres(firefly_eventstore_postgres::PostgresBuilder),
    #[cfg(feature = "sqlite")]
    Sqlite(firefly_eventstore_sqlite::SqliteBuilder),
}

impl Target {
    fn of(url: &str) -> Result<Self> {
        // Errors contain only the scheme of a URL, because the rest may contain a password.
        let scheme = url.split_once(':').map_or("", |(scheme, _)| scheme);
        // A text that is not a URL may contain a password before its first colon, too.
        let is_in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        if scheme.is_empty() || !scheme.bytes().all(is_in_scheme) {
            return Err(Error::invalid(format!(
                "this is no URL of a store: write one that begins with {}:",
                SCHEMES.join(": or ")
            )));
        }
        match scheme {
            #[cfg(feature = "mysql")]
            "mysql" => {
                let (url, read_replica) = take_option(url, READ_REPLICA)?;
                let (url, only_writer) = take_option(&url, "only_writer")?;
                let builder = firefly_eventstore_mysql::MysqlEventStore::builder(&url);
                Ok(Self::Mysql(builder.read_replica(read_replica).only_writer(only_writer)))
            }
            #[cfg(feature = "postgres")]
            "postgres" | "postgresql" => {
                let (url, read_replica) = take_option(url, READ_REPLICA)?;
                let builder = firefly_eventstore_postgres::PostgresEventStore::builder(&url);
                Ok(Self::Postgres(builder.read_replica(read_replica)))
            }
            #[cfg(feature = "sqlite")]
            "sqlite" => sqlite(&url["sqlite:".len()..]),
            scheme => Err(no_driver(scheme)),
        }
    }
}

fn no_driver(scheme: &str) -> Error {
    let feature = match scheme {
        "mysql" | "postgres" | "sqlite" => scheme,
        "postgresql" => "postgres",
        _ => {
            return Error::invalid(format!(
                "no store has the URL scheme {scheme:?}; those of the drivers that are compiled in are: {}",
                SCHEMES.join(", ")
            ));
        }
    };
    Error::invalid(format!(
        "the driver for {scheme}: is not compiled in; turn on the feature {feature:?} of firefly-eventstore"
    ))
}

const SCHEMES: &[&str] = &[
    #[cfg(feature = "mysql")]
    "mysql",
    #[cfg(feature = "postgres")]
    "postgres",
    #[cfg(feature = "sqlite")]
    "sqlite",
];

/// Opens the store on a read replica.
#[cfg(any(feature = "mysql", feature = "postgres"))]
const READ_REPLICA: &str = "read_replica";

/// Removes one of our own options from a server's URL, because the driver does not know it. Returns the URL and the option.
#[cfg(any(feature = "mysql", feature = "postgres"))]
fn take_option(url: &str, name: &str) -> Result<(String, bool)> {
    let Some((address, options)) = url.split_once('?') else {
        return Ok((url.to_owned(), false));
    };
    let mut is_set = false;
    let mut others = Vec::new();
    for option in options.split('&') {
        match option.strip_prefix(name).and_then(|rest| rest.strip_prefix('=')) {
            Some("true") => is_set = true,
            Some("false") => is_set = false,
            Some(_) => return Err(Error::invalid(format!("the option {name} of the URL is true or false"))),
            None => others.push(option),
        }
    }
    let mark = if others.is_empty() { "" } else { "?" };
    Ok((format!("{address}{mark}{}", others.join("&")), is_set))
}

#[cfg(feature = "sqlite")]
fn sqlite(rest: &str) -> Result<Target> {
    use firefly_eventstore_sqlite::SqliteEventStore;

    let rest = rest.strip_prefix("//").unwrap_or(rest);
    let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
    let mut builder = match path {
        "" => {
            return Err(Error::invalid(
                "the URL names no file; write sqlite:ledger.db or sqlite::memory:",
            ));
        }
        ":memory:" => SqliteEventStore::in_memory_builder(),
        path if is_nearly_memory(path) => {
            return Err(Error::invalid(format!(
                "sqlite:{path} may be meant for a database in memory; write sqlite::memory: for one, or sqlite:./{} for a file",
                path.trim_matches(['/', ':'])
            )));
        }
        path if path.starts_with("file:") => {
            return Err(Error::invalid(
                "the URL has SQLite's own form of one; write sqlite: and the path, or sqlite::memory:",
            ));
        }
        path => SqliteEventStore::builder(path),
    };
    for option in options.split('&').filter(|option| !option.is_empty()) {
        builder = match option {
            "read_only=true" => builder.read_only(true),
            "read_only=false" => builder.read_only(false),
            option => {
                let name = option.split('=').next().unwrap_or(option);
                return Err(Error::invalid(format!(
                    "the option {name} of the URL, or its value, is unknown; there is: read_only=true"
                )));
            }
        };
    }
    Ok(Target::Sqlite(builder))
}

/// Whether a path looks like a misspelled `:memory:`. SQLite would create a file of that name.
#[cfg(feature = "sqlite")]
fn is_nearly_memory(path: &str) -> bool {
    let name = path.trim_matches(['/', ':']);
    let is_a_path = !path.contains(':') && path.contains('/');
    ["memory", "mem"].iter().any(|word| name.eq_ignore_ascii_case(word)) && !is_a_path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_a_url_without_repeating_it() {
        let error = connect("oracle://scott:tiger@host/db").unwrap_err();
        assert!(error.is_invalid_input());
        assert!(error.to_string().contains("\"oracle\""), "{error}");
        assert!(!format!("{error:?}").contains("tiger"), "{error:?}");
    }

    #[test]
    fn refuses_what_is_no_url_without_repeating_it() {
        let error = connect("host=db user=scott password=tiger:1").unwrap_err();
        assert!(error.is_invalid_input());
        assert!(!format!("{error:?} {error}").contains("tiger"), "{error:?}");
    }

    #[test]
    fn a_path_is_no_url_and_a_missing_driver_names_its_feature() {
        let error = connect("ledger.db").unwrap_err().to_string();
        assert!(error.contains("write one that begins with"), "{error}");
        #[cfg(not(feature = "mysql"))]
        {
            let error = connect("mysql://clerk:tiger@host/ledger").unwrap_err().to_string();
            assert!(error.contains("turn on the feature \"mysql\""), "{error}");
        }
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn opens_a_file_by_an_absolute_path() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        for url in [
            format!("sqlite:{}", path.display()),
            format!("sqlite://{}", path.display()),
        ] {
            assert_eq!(connect(&url).unwrap().health().unwrap().backend, "sqlite");
        }
        assert!(path.exists());
        assert!(connect("sqlite:").is_err());
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn near_misses_of_a_database_in_memory_are_refused() {
        for url in [
            "sqlite::memory",
            "sqlite:memory",
            "sqlite:memory:",
            "sqlite::MEMORY:",
            "sqlite://:memory",
            "sqlite://memory",
            "sqlite:///:memory:",
            "sqlite::mem:",
            "sqlite::memory:/",
            "sqlite:file::memory:",
        ] {
            let error = connect(url).unwrap_err();
            assert!(error.is_invalid_input(), "{url}: {error:?}");
            assert!(error.to_string().contains("sqlite::memory:"), "{url}: {error}");
        }
        let directory = tempfile::tempdir().unwrap();
        connect(&format!("sqlite:{}/memory", directory.path().display())).unwrap();
        assert!(directory.path().join("memory").exists());
        connect("sqlite::memory:").unwrap();
        connect("sqlite://:memory:").unwrap();
    }

    #[cfg(feature = "sqlite")]
    #[test]
    fn opens_a_file_to_read_it() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}", directory.path().join("ledger.db").display());
        assert!(connect(&url).unwrap().health().unwrap().writable);
        let writable = |url: String| connect(&url).unwrap().health().unwrap().writable;
        assert!(!writable(format!("{url}?read_only=true")));
        assert!(writable(format!("{url}?read_only=false")));
    }

    #[test]
    fn an_unknown_option_of_a_url_is_named() {
        let path = tempfile::tempdir().unwrap().path().join("ledger.db");
        let sqlite = format!("sqlite:{}", path.display());
        for (url, option) in [
            #[cfg(feature = "sqlite")]
            (format!("{sqlite}?mode=ro"), "mode"),
            #[cfg(feature = "sqlite")]
            (format!("{sqlite}?read_only=true&cache"), "cache"),
            #[cfg(feature = "sqlite")]
            (format!("{sqlite}?read_only=yes"), "read_only"),
            #[cfg(feature = "postgres")]
            (
                "postgres://clerk:tiger@host/ledger?connect_timeout=1&no=tiger".to_owned(),
                "no",
            ),
            #[cfg(feature = "postgres")]
            ("postgres://clerk:tiger@host/ledger?sslmode=tiger".to_owned(), "sslmode"),
            #[cfg(feature = "mysql")]
            (
                "mysql://clerk:tiger@host/ledger?compress=true&no=tiger".to_owned(),
                "no",
            ),
            #[cfg(feature = "mysql")]
            ("mysql://clerk:tiger@host/ledger?compress=tiger".to_owned(), "compress"),
        ] {
            for error in [
                connect(&url).map(drop),
                connect_operator(&url).map(drop),
                migrate(&url).map(drop),
                pending(&url).map(drop),
            ] {
                let error = error.unwrap_err();
                assert!(error.is_invalid_input(), "{error:?}");
                assert!(
                    error.to_string().contains(&format!("the option {option} of")),
                    "{error}"
                );
                assert!(!format!("{error:?} {error}").contains("tiger"), "{error:?}");
            }
        }
        assert!(!path.exists());
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn opens_a_postgresql_database() {
        let Some(server) = firefly_eventstore_test_servers::postgres_unless_missing() else {
            return;
        };
        let database = server.new_database();
        assert!(connect(database.url()).is_err(), "there is no schema yet");
        assert_eq!(pending(database.url()).unwrap(), migrate(database.url()).unwrap());
        assert_eq!(connect(database.url()).unwrap().health().unwrap().backend, "postgres");
    }

    #[cfg(feature = "mysql")]
    #[test]
    fn opens_a_mysql_and_a_mariadb_database() {
        use firefly_eventstore_test_servers::{mariadb_unless_missing, mysql_unless_missing};

        for server in [mariadb_unless_missing(), mysql_unless_missing()].into_iter().flatten() {
            let database = server.new_database();
            assert!(connect(database.url()).is_err(), "there is no schema yet");
            assert_eq!(pending(database.url()).unwrap(), migrate(database.url()).unwrap());
            let health = connect(database.url()).unwrap().health().unwrap();
            assert_eq!(health.backend, server.flavour().name());
        }
    }

    #[cfg(feature = "mysql")]
    #[test]
    fn an_unreachable_mysql_server_is_told_without_the_password() {
        let error = connect("mysql://clerk:tiger@127.0.0.1:1/ledger").unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(!format!("{error:?} {error}").contains("tiger"), "{error:?}");
        let error = connect("mysql://clerk:tiger@host:port/ledger?no=such").unwrap_err();
        assert!(error.is_invalid_input(), "{error}");
        assert!(!format!("{error:?} {error}").contains("tiger"), "{error:?}");
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn a_url_says_whether_to_read_from_a_replica_beside_the_options_of_the_driver() {
        for (url, other, read_replica) in [
            ("postgres://db/ledger", "postgres://db/ledger", false),
            ("postgres://db/ledger?read_replica=true", "postgres://db/ledger", true),
            ("postgres://db/ledger?read_replica=false", "postgres://db/ledger", false),
            (
                "postgres://db/ledger?sslmode=disable&read_replica=true&connect_timeout=2",
                "postgres://db/ledger?sslmode=disable&connect_timeout=2",
                true,
            ),
        ] {
            assert_eq!(
                take_option(url, READ_REPLICA).unwrap(),
                (other.to_owned(), read_replica)
            );
        }
        let error = connect("postgres://clerk:tiger@db/ledger?read_replica=yes").unwrap_err();
        assert!(
            error.is_invalid_input() && error.to_string().contains("read_replica"),
            "{error}"
        );
        let Some(server) = firefly_eventstore_test_servers::postgres_unless_missing() else {
            return;
        };
        let database = server.new_database();
        migrate(database.url()).unwrap();
        let replica = format!("{}?read_replica=true", database.url());
        let store = connect_operator(&replica).unwrap();
        assert!(
            store.high_water_mark().unwrap_err().is_unprovable(),
            "nothing is published yet"
        );
        connect_operator(database.url()).unwrap().publish_mark().unwrap();
        assert_eq!(store.high_water_mark().unwrap(), 0);
        assert_eq!(
            *migrate(&replica).unwrap_err().kind(),
            firefly_eventstore_core::ErrorKind::ReadOnly
        );
    }

    #[cfg(feature = "postgres")]
    #[test]
    fn an_unreachable_server_is_told_without_the_password() {
        let error = connect("postgres://clerk:tiger@127.0.0.1:1/ledger").unwrap_err();
        assert!(error.is_retryable(), "{error}");
        assert!(!format!("{error:?} {error}").contains("tiger"), "{error:?}");
        let error = connect("postgres://clerk:tiger@host:port/ledger?no=such").unwrap_err();
        assert!(error.is_invalid_input(), "{error}");
        assert!(!format!("{error:?} {error}").contains("tiger"), "{error:?}");
    }
}
