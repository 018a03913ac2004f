//! A store that talks to its server by TLS, with rustls: how it is done is also the example of the README.

#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;
use std::net::Ipv4Addr;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::sync::Arc;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_postgres::PostgresEventStore;
use firefly_eventstore_postgres::driver::{Client, NoTls};
use firefly_eventstore_test_servers::PostgresServer;
use rcgen::{CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::CertificateDer;
use rustls::{ClientConfig, RootCertStore};
use support::{account, database, deposited};
use tokio_postgres_rustls::MakeRustlsConnect;

/// A server that has a certificate, and the authority that signed it.
fn server() -> Option<(PostgresServer, Ipv4Addr, CertificateDer<'static>)> {
    database()?;
    // PostgreSQL has no TLS on Unix sockets. All of 127.0.0.0/8 is this machine: an address of its own needs no port of its own.
    let [a, b, c] = std::array::from_fn(|_| fastrand::u8(1..255));
    let address = Ipv4Addr::new(127, a, b, c);
    let server = PostgresServer::start(&[("listen_addresses", &address.to_string())]).unwrap();

    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.distinguished_name.push(DnType::CommonName, "an authority");
    let authority_key = KeyPair::generate().unwrap();
    let authority = params.self_signed(&authority_key).unwrap();
    let issuer = Issuer::new(params, authority_key);
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &issuer).unwrap();

    let owner = fs::metadata(server.directory()).unwrap();
    for (file, text) in [("server.crt", certificate.pem()), ("server.key", key.serialize_pem())] {
        let file = server.directory().join("data").join(file);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        chown(&file, Some(owner.uid()), Some(owner.gid())).unwrap();
    }
    let mut client = Client::connect(&server.url("postgres"), NoTls).unwrap();
    client.simple_query("ALTER SYSTEM SET ssl = on").unwrap();
    client.simple_query("SELECT pg_reload_conf()").unwrap();
    Some((server, address, authority.der().clone()))
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
    let Some((server, address, authority)) = server() else {
        return;
    };
    let database = server.new_database();
    let url = format!(
        "host=localhost hostaddr={address} user=postgres dbname={} sslmode=require",
        database.name()
    );

    let builder = PostgresEventStore::builder(&url).tls(connector(Some(&authority)));
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
