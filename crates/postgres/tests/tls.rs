//! A store that uses TLS, with rustls: by the options of its URL, and by a connector that the caller passes.

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::sync::Arc;

use crate::support::{account, database, deposited};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_postgres::driver::{Client, NoTls};
use firefly_eventstore_test_servers::PostgresServer;
use rcgen::{Certificate, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A server with a certificate for `localhost`, and the authority that signed the certificate.
struct Secured {
    server: PostgresServer,
    address: Ipv4Addr,
    authority: Authority,
}

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: Certificate,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// Returns a certificate and its key, as PEM.
    fn sign(&self, host: &str, name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![host.to_owned()]).unwrap();
        params.distinguished_name.push(DnType::CommonName, name);
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}

impl Secured {
    fn start() -> Option<Self> {
        database()?;
        // PostgreSQL has no TLS on Unix sockets. All addresses in 127.0.0.0/8 are this machine's, so a random one needs no free port.
        let [a, b, c] = std::array::from_fn(|_| fastrand::u8(1..255));
        let address = Ipv4Addr::new(127, a, b, c);
        let server = PostgresServer::start(&[("listen_addresses", &address.to_string())]).unwrap();
        let authority = Authority::new("an authority");
        let secured = Self {
            server,
            address,
            authority,
        };
        let (certificate, key) = secured.authority.sign("localhost", "localhost");
        secured.write("server.crt", &certificate);
        secured.write("server.key", &key);
        secured.write("root.crt", &secured.authority.certificate.pem());
        let mut client = Client::connect(&secured.server.url("postgres"), NoTls).unwrap();
        client
            .simple_query("ALTER SYSTEM SET ssl_ca_file = 'root.crt'")
            .unwrap();
        client.simple_query("ALTER SYSTEM SET ssl = on").unwrap();
        client.simple_query("SELECT pg_reload_conf()").unwrap();
        Some(secured)
    }

    /// Writes a file that the server reads.
    fn write(&self, name: &str, text: &str) {
        let owner = fs::metadata(self.server.directory()).unwrap();
        let file = self.server.directory().join("data").join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
}

fn connector(authority: Option<&CertificateDer<'static>>) -> MakeRustlsConnect {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(authority.cloned());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    MakeRustlsConnect::new(config)
}

#[test]
fn a_store_connects_by_tls_and_refuses_a_server_it_does_not_trust() {
    let Some(secured) = Secured::start() else {
        return;
    };
    let (server, address) = (&secured.server, secured.address);
    let authority = secured.authority.certificate.der();
    let database = server.new_database();
    let url = format!(
        "host=localhost hostaddr={address} user=postgres dbname={} sslmode=require",
        database.name()
    );

    let builder = PostgresEventStore::builder(&url).tls(connector(Some(authority)));
    builder.migrate().unwrap();
    let store = builder.open().unwrap();
    let account = account();
    store
        .append(&account, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(store.load(&account).unwrap().version(), 1);
    let encrypted = "SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE datname = $1 AND ssl";
    let mut client = Client::connect(&server.url("postgres"), NoTls).unwrap();
    let connections: i64 = client.query_one(encrypted, &[&database.name()]).unwrap().get(0);
    assert!(connections > 0);

    let distrusting = PostgresEventStore::builder(&url).tls(connector(None));
    for builder in [distrusting, PostgresEventStore::builder(&url)] {
        let error = builder.open().unwrap_err();
        assert!(error.to_string().contains("TLS failed"), "{error}");
        assert!(!error.is_retryable(), "{error}");
    }
}

#[cfg(feature = "rustls")]
mod by_url {
    use std::path::PathBuf;

    use firefly_eventstore_test_servers::Database;
    use tempfile::TempDir;

    use super::*;

    /// A server, a database on it, and its clients' files.
    struct Place {
        secured: Secured,
        database: Database,
        files: TempDir,
    }

    impl Place {
        fn new() -> Option<Self> {
            let secured = Secured::start()?;
            let database = secured.server.new_database();
            let files = tempfile::tempdir().unwrap();
            let place = Self {
                secured,
                database,
                files,
            };
            place.file("ca.pem", &place.secured.authority.certificate.pem());
            place.file("other.pem", &Authority::new("another authority").certificate.pem());
            PostgresEventStore::builder(place.database.url()).migrate().unwrap();
            Some(place)
        }

        fn file(&self, name: &str, text: &str) -> PathBuf {
            let file = self.files.path().join(name);
            fs::write(&file, text).unwrap();
            file
        }

        /// The server's URL with this host name. File names in the options have no directory.
        fn url(&self, host: &str, options: &str) -> String {
            let directory = self.files.path().display().to_string();
            let options = options.replace("FILES", &directory.replace('/', "%2F"));
            let (address, database) = (self.secured.address, self.database.name());
            format!("postgres://postgres@{host}/{database}?hostaddr={address}&{options}")
        }

        /// Whether a store that opens with this host and these options has an encrypted connection.
        fn is_encrypted(&self, host: &str, options: &str) -> Result<bool> {
            let store = PostgresEventStore::open(&self.url(host, options))?;
            store.transaction(|tx| {
                let row = tx
                    .connection()
                    .query_one("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[])
                    .map_err(firefly_eventstore_postgres::classify)?;
                Ok(row.get(0))
            })
        }

        fn assert_refused(&self, host: &str, options: &str, says: &str) {
            let error = self.is_encrypted(host, options).unwrap_err();
            let mut told = error.to_string();
            let mut cause = std::error::Error::source(&error);
            while let Some(error) = cause {
                told += &format!(": {error}");
                cause = error.source();
            }
            assert!(told.contains(says), "{options}: {told}");
            assert!(!error.is_retryable(), "{options}: {error:?}");
        }
    }

    #[test]
    fn a_server_is_trusted_as_far_as_the_url_says() {
        let Some(place) = Place::new() else {
            return;
        };
        for options in [
            "sslmode=prefer",
            "sslmode=require",
            "sslmode=require&sslrootcert=FILES/ca.pem",
            "sslmode=verify-ca&sslrootcert=FILES/ca.pem",
            "sslmode=verify-full&sslrootcert=FILES/ca.pem",
            "sslrootcert=FILES/ca.pem",
        ] {
            assert!(place.is_encrypted("localhost", options).unwrap(), "{options}");
        }
        for options in ["connect_timeout=5", "sslmode=disable"] {
            assert!(!place.is_encrypted("localhost", options).unwrap(), "{options}");
        }
        for options in [
            "sslmode=require&sslrootcert=FILES/other.pem",
            "sslmode=verify-ca&sslrootcert=FILES/other.pem",
            "sslmode=verify-full&sslrootcert=FILES/other.pem",
            "sslmode=verify-ca",
            "sslmode=verify-full",
            "sslmode=verify-full&sslrootcert=system",
        ] {
            place.assert_refused("localhost", options, "UnknownIssuer");
        }

        let full = "sslmode=verify-full&sslrootcert=FILES/ca.pem";
        place.assert_refused("db.example", full, "not valid for name");
        let authority = "sslmode=verify-ca&sslrootcert=FILES/ca.pem";
        assert!(place.is_encrypted("db.example", authority).unwrap());
    }

    #[test]
    fn a_client_shows_its_certificate() {
        let Some(place) = Place::new() else {
            return;
        };
        let hba = "local all all trust\nhostssl all all 127.0.0.0/8 cert\n";
        place.secured.write("pg_hba.conf", hba);
        let mut client = Client::connect(&place.secured.server.url("postgres"), NoTls).unwrap();
        client.simple_query("SELECT pg_reload_conf()").unwrap();
        for (file, authority) in [
            ("clerk", &place.secured.authority),
            ("stranger", &Authority::new("nobody")),
        ] {
            let (certificate, key) = authority.sign("a program", "postgres");
            place.file(&format!("{file}.pem"), &certificate);
            place.file(&format!("{file}.key"), &key);
        }

        let trusted = "sslrootcert=FILES/ca.pem&sslcert=FILES/clerk.pem&sslkey=FILES/clerk.key";
        assert!(place.is_encrypted("localhost", trusted).unwrap());
        for options in [
            "sslrootcert=FILES/ca.pem",
            "sslrootcert=FILES/ca.pem&sslcert=FILES/stranger.pem&sslkey=FILES/stranger.key",
            "sslmode=disable",
        ] {
            assert!(place.is_encrypted("localhost", options).is_err(), "{options}");
        }
    }

    #[test]
    fn files_that_hold_no_certificates_are_named() {
        let Some(place) = Place::new() else {
            return;
        };
        place.file("empty.pem", "");
        for (options, file) in [
            ("sslrootcert=FILES/missing.pem", "missing.pem"),
            ("sslrootcert=FILES/empty.pem", "empty.pem"),
            ("sslcert=FILES/ca.pem&sslkey=FILES/ca.pem", "ca.pem"),
        ] {
            let error = place.is_encrypted("localhost", options).unwrap_err();
            assert!(
                error.is_invalid_input() && error.to_string().contains(file),
                "{error:?}"
            );
        }
    }

    #[test]
    fn a_server_without_tls_is_refused_where_it_is_required() {
        let Some(place) = Place::new() else {
            return;
        };
        let mut client = Client::connect(&place.secured.server.url("postgres"), NoTls).unwrap();
        client.simple_query("ALTER SYSTEM SET ssl = off").unwrap();
        client.simple_query("SELECT pg_reload_conf()").unwrap();
        for options in [
            "sslmode=require",
            "sslmode=verify-ca&sslrootcert=FILES/ca.pem",
            "sslmode=verify-full&sslrootcert=FILES/ca.pem",
            "sslrootcert=FILES/ca.pem",
        ] {
            place.assert_refused("localhost", options, "does not support TLS");
        }
        assert!(!place.is_encrypted("localhost", "sslmode=prefer").unwrap());
    }
}
