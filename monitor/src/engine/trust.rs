//! The certificates that connections over TLS trust: those that the configuration names, else the host's, else Mozilla's.
//!
//! In: a file in PEM or none. Out: certificates, and what the HTTP client takes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use ureq::config::ConfigBuilder;
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::typestate::AgentScope;

/// Where distributions keep the certificates of the host: Debian, Fedora, openSUSE, Alpine.
const PLACES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// The file with the certificates of the host; `SSL_CERT_FILE` names another, as for OpenSSL.
pub fn file_of_the_host() -> Option<PathBuf> {
    let named = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    named.into_iter().chain(PLACES.map(PathBuf::from)).find(|file| file.is_file())
}

/// The certificates in a file.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>> {
    let read = || format!("read the certificates of {}", file.display());
    let all = CertificateDer::pem_file_iter(file).with_context(read)?;
    all.collect::<Result<_, _>>().with_context(read)
}

/// A client of HTTP that trusts these certificates and waits so long in all.
pub fn client(named: Option<&Path>, patience: Duration) -> Result<ConfigBuilder<AgentScope>> {
    let roots = match named.map(Path::to_owned).or_else(file_of_the_host) {
        Some(file) => {
            let all = certificates(&file)?;
            let owned: Vec<_> = all.iter().map(|one| Certificate::from_der(one).to_owned()).collect();
            RootCerts::new_with_certs(&owned)
        }
        None => RootCerts::WebPki,
    };
    let tls = TlsConfig::builder().root_certs(roots).build();
    Ok(ureq::Agent::config_builder().tls_config(tls).timeout_global(Some(patience)))
}
