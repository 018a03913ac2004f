//! TLS connections with rustls.

use std::path::Path;
use std::sync::Arc;

use firefly_eventstore_core::{Error, Result};
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{Mode, Tls};
use crate::pool::Connect;

impl Tls {
    /// Returns the function that makes encrypted connections. The files are read now.
    pub(super) fn encrypted(&self, mode: Mode) -> Result<Arc<Connect>> {
        let provider = Arc::new(ring::default_provider());
        let authorities = Arc::new(self.authorities()?);
        let verifier = WebPkiServerVerifier::builder_with_provider(authorities, Arc::clone(&provider))
            .build()
            .map_err(|error| refused("sslrootcert", error))?;
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has the default versions of TLS");
        let builder = match mode {
            Mode::VerifyFull => builder.with_webpki_verifier(verifier),
            mode => builder.dangerous().with_custom_certificate_verifier(Arc::new(Lenient {
                verifier,
                is_anybody_trusted: mode != Mode::VerifyCa,
            })),
        };
        let mut config = match &self.identity {
            None => builder.with_no_client_auth(),
            Some((certificate, key)) => {
                let key = PrivateKeyDer::from_pem_file(key).map_err(|error| unread("sslkey", key, error))?;
                builder
                    .with_client_auth_cert(certificates("sslcert", certificate)?, key)
                    .map_err(|error| refused("sslcert", error))?
            }
        };
        // Servers refuse a connection that begins with TLS (sslnegotiation=direct) without this protocol.
        config.alpn_protocols = vec![b"postgresql".to_vec()];
        let connector = MakeRustlsConnect::new(config);
        Ok(Arc::new(move |config| config.connect(connector.clone())))
    }

    fn authorities(&self) -> Result<RootCertStore> {
        let Some(file) = &self.authorities else {
            return Ok(RootCertStore::from_iter(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()));
        };
        let mut authorities = RootCertStore::empty();
        for certificate in certificates("sslrootcert", file)? {
            authorities
                .add(certificate)
                .map_err(|error| refused("sslrootcert", error))?;
        }
        Ok(authorities)
    }
}

fn certificates(option: &str, file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let found = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
    let found: Vec<_> = found.map_err(|error| unread(option, file, error))?;
    match found.is_empty() {
        true => Err(unread(option, file, pem::Error::NoItemsFound)),
        false => Ok(found),
    }
}

fn unread(option: &str, file: &Path, error: pem::Error) -> Error {
    Error::invalid(format!(
        "{} of the option {option} of the URL cannot be read as PEM",
        file.display()
    ))
    .with_source(error)
}

fn refused(option: &str, error: impl std::error::Error + Send + Sync + 'static) -> Error {
    Error::invalid(format!("what the option {option} of the URL names cannot be used")).with_source(error)
}

/// Checks less of a certificate than rustls does. It always checks that the server has the certificate's key.
#[derive(Debug)]
struct Lenient {
    verifier: Arc<WebPkiServerVerifier>,
    /// Whether any signature and any name are accepted. If not, only the name is not checked.
    is_anybody_trusted: bool,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.is_anybody_trusted {
            return Ok(ServerCertVerified::assertion());
        }
        let verified = self
            .verifier
            .verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verified {
            // rustls checks the name last.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.verifier.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifier.supported_verify_schemes()
    }
}
