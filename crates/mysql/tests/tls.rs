//! A store that talks to its server by TLS.

#![cfg(feature = "rustls")]
#![allow(clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::fs;

use firefly_eventstore_core::prelude::*;
use firefly_eventstore_mysql::MysqlEventStore;
use firefly_eventstore_mysql::mysql::prelude::Queryable;
use firefly_eventstore_mysql::mysql::{Opts, OptsBuilder, SslOpts};
use firefly_eventstore_test_servers::{Flavour, MysqlServer, mysql_unless_missing};
use support::{account, deposited};

/// MySQL makes itself a certificate when it starts, MariaDB does not.
#[test]
fn a_store_connects_by_tls_and_refuses_a_server_it_does_not_trust() {
    if mysql_unless_missing().is_none() {
        return;
    }
    let server = MysqlServer::start(Flavour::Mysql, &[]).unwrap();
    let database = server.new_database();
    let authority = server.directory().join("data/ca.pem");
    assert!(fs::metadata(&authority).unwrap().len() > 0);
    let url = server.url_at(server.address(), database.name());
    // The certificate names no host.
    let anybody = SslOpts::default().with_danger_skip_domain_validation(true);
    let by_tls = |options: SslOpts| {
        MysqlEventStore::configure(OptsBuilder::from_opts(Opts::from_url(&url).unwrap()).ssl_opts(options))
    };

    let builder = by_tls(anybody.clone().with_root_cert_path(Some(authority)));
    builder.migrate().unwrap();
    let store = builder.open().unwrap();
    let account = account();
    store
        .append(&account, ExpectedVersion::NoStream, &[deposited(1)])
        .unwrap();
    assert_eq!(store.load(&account).unwrap().version(), 1);
    let cipher: Option<(String, String)> = store
        .transaction(|tx| Ok::<_, Error>(tx.connection().query_first("SHOW STATUS LIKE 'Ssl_cipher'").unwrap()))
        .unwrap();
    assert!(cipher.is_some_and(|(_, cipher)| !cipher.is_empty()));

    let error = by_tls(anybody).open().unwrap_err();
    assert!(error.to_string().contains("TLS"), "{error}");
    assert!(!error.is_retryable(), "{error}");
}
