//! A store that uses TLS.

#![cfg(feature = "rustls")]
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::support::{account, client, deposited, on_both, run};
use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::driver::prelude::Queryable;
use firefly_eventstore_mysql::driver::{Opts, OptsBuilder, SslOpts};
use firefly_eventstore_mysql::{MysqlBuilder, MysqlEventStore};
use firefly_eventstore_test_servers::{Database, Flavour, MysqlServer};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

on_both!(
    a_store_connects_by_tls_and_refuses_a_server_it_does_not_trust,
    a_server_without_tls_is_refused_where_it_is_asked_for,
);

/// A certificate authority, and the path of its own certificate.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: PathBuf,
}

impl Authority {
    fn new(certificate: PathBuf) -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params
            .distinguished_name
            .push(DnType::CommonName, certificate.to_string_lossy());
        let key = KeyPair::generate().unwrap();
        fs::write(&certificate, params.self_signed(&key).unwrap().pem()).unwrap();
        Self {
            issuer: Issuer::new(params, key),
            certificate,
        }
    }

    /// Signs a certificate for this name or address, and writes the certificate and the key into the server's files.
    fn sign(&self, name: &str, directory: &Path) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        fs::write(directory.join("cert.pem"), certificate.pem()).unwrap();
        fs::write(directory.join("key.pem"), key.serialize_pem()).unwrap();
    }
}

fn by_tls(server: &MysqlServer, database: &Database, options: SslOpts) -> MysqlBuilder {
    let url = server.url_at(server.address(), database.name());
    MysqlEventStore::configure(OptsBuilder::from_opts(Opts::from_url(&url).unwrap()).ssl_opts(options))
}

fn assert_refused(builder: MysqlBuilder, says: &str) {
    let error = builder.open().unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
    assert!(!error.is_retryable(), "{error:?}");
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains(says), "{source}");
}

fn a_store_connects_by_tls_and_refuses_a_server_it_does_not_trust(server: &MysqlServer) {
    // In a folder that the server's user can read.
    let directory = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    let [trusted, other] = ["trusted.pem", "other.pem"].map(|name| Authority::new(directory.path().join(name)));
    let file = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    trusted.sign("elsewhere.example", directory.path());
    let (certificate, key) = (file("cert.pem"), file("key.pem"));
    let authority = file("trusted.pem");
    let files = [("ssl_ca", &*authority), ("ssl_cert", &certificate), ("ssl_key", &key)];
    let server = MysqlServer::start_forgetful(server.flavour(), &files).unwrap();
    let database = server.new_database();
    let trusting = |authority: &Authority| SslOpts::default().with_root_cert_path(Some(authority.certificate.clone()));

    assert_refused(by_tls(&server, &database, trusting(&trusted)), "not valid for name");
    let anybody = trusting(&trusted).with_danger_skip_domain_validation(true);
    by_tls(&server, &database, anybody).migrate().unwrap();

    trusted.sign(&server.address().ip().to_string(), directory.path());
    let reload = match server.flavour() {
        Flavour::Mysql => "ALTER INSTANCE RELOAD TLS",
        Flavour::Mariadb => "FLUSH SSL",
    };
    run(&mut client(&database), reload);
    let store = by_tls(&server, &database, trusting(&trusted)).open().unwrap();
    let account = account();
    store
        .append(&account, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(store.load(&account).unwrap().version(), 1);
    let cipher: Option<(String, String)> = store
        .transaction(|tx| Ok::<_, Error>(tx.connection().query_first("SHOW STATUS LIKE 'Ssl_cipher'").unwrap()))
        .unwrap();
    assert!(cipher.is_some_and(|(_, cipher)| !cipher.is_empty()));

    for options in [trusting(&other), SslOpts::default()] {
        assert_refused(by_tls(&server, &database, options), "UnknownIssuer");
    }
}

fn a_server_without_tls_is_refused_where_it_is_asked_for(server: &MysqlServer) {
    let off = match server.flavour() {
        Flavour::Mysql => ("tls_version=", ""),
        Flavour::Mariadb => ("skip_ssl", ""),
    };
    let server = MysqlServer::start_forgetful(server.flavour(), &[off]).unwrap();
    let database = server.new_database();
    assert_refused(
        by_tls(&server, &database, SslOpts::default()),
        "does not have this capability",
    );
}
