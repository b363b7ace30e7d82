//! The file of `metrics.web_config_file`, in the format of the Prometheus exporters (exporter-toolkit, web configuration).
//!
//! In: YAML. Out: TLS and users, checked. What this build does not do is an error, never ignored: a file that asks for more
//! protection than it gets would be a trap.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, bail, ensure};
use rustls::crypto::ring::default_provider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::version::{TLS12, TLS13};
use rustls::{RootCertStore, ServerConfig, SupportedProtocolVersion};
use serde::Deserialize;

/// A verification beyond this cost would take seconds.
const DEAREST: u32 = 14;

/// The file as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WebConfig {
    tls_server_config: Option<Tls>,
    http_server_config: Http,
    /// Name and bcrypt hash.
    pub basic_auth_users: BTreeMap<String, String>,
    #[serde(skip)]
    directory: PathBuf,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Tls {
    cert_file: PathBuf,
    key_file: PathBuf,
    client_auth_type: ClientAuth,
    client_ca_file: Option<PathBuf>,
    min_version: Option<Version>,
    max_version: Option<Version>,
    /// The server's order always counts here.
    #[serde(rename = "prefer_server_cipher_suites")]
    _prefer_server_cipher_suites: Option<bool>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Http {
    /// HTTP/1.1 is served either way.
    #[serde(rename = "http2")]
    _http2: Option<bool>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
enum ClientAuth {
    #[default]
    #[serde(alias = "")]
    NoClientCert,
    RequestClientCert,
    RequireAnyClientCert,
    VerifyClientCertIfGiven,
    RequireAndVerifyClientCert,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
enum Version {
    #[serde(rename = "TLS10")]
    Tls10,
    #[serde(rename = "TLS11")]
    Tls11,
    #[serde(rename = "TLS12")]
    Tls12,
    #[serde(rename = "TLS13")]
    Tls13,
}

impl WebConfig {
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let mut config = Self::parse(&text).with_context(|| path.display().to_string())?;
        path.parent().unwrap_or(Path::new("/")).clone_into(&mut config.directory);
        Ok(config)
    }

    fn parse(text: &str) -> Result<Self> {
        if text.lines().all(|line| line.trim().is_empty() || line.trim_start().starts_with('#')) {
            return Ok(Self::default());
        }
        // An error of the parser may show the line, and the line a hash: only its place is reported.
        let config: Self = serde_saphyr::from_str(text).map_err(|error| {
            let error = error.without_snippet().to_string();
            anyhow::anyhow!("{}", error.lines().next().unwrap_or("it is no YAML"))
        })?;
        for (name, hash) in &config.basic_auth_users {
            let parts: bcrypt::HashParts =
                hash.parse().ok().with_context(|| format!("the password of `{name}` is no bcrypt hash"))?;
            ensure!(
                parts.get_cost() <= DEAREST,
                "the password of `{name}` costs more than {DEAREST} to verify"
            );
            ensure!(!name.contains(':'), "the name of a user holds a colon");
        }
        Ok(config)
    }

    /// Whether all who connect have to say who they are.
    pub fn authenticates(&self) -> bool {
        let certified = |tls: &Tls| tls.client_auth_type == ClientAuth::RequireAndVerifyClientCert;
        !self.basic_auth_users.is_empty() || self.tls_server_config.as_ref().is_some_and(certified)
    }

    /// The files that it names.
    fn files(&self) -> Vec<PathBuf> {
        let Some(tls) = &self.tls_server_config else { return Vec::new() };
        let all = [Some(&tls.cert_file), Some(&tls.key_file), tls.client_ca_file.as_ref()];
        all.into_iter().flatten().map(|file| self.directory.join(file)).collect()
    }

    /// What shows that one of the files was replaced, beside its own time of change.
    pub fn stamps(&self, own: Option<SystemTime>) -> Vec<Option<SystemTime>> {
        std::iter::once(own).chain(self.files().iter().map(|file| changed(file))).collect()
    }

    /// TLS as rustls takes it; `None` without a `tls_server_config`.
    pub fn tls(&self) -> Result<Option<Arc<ServerConfig>>> {
        let Some(tls) = &self.tls_server_config else { return Ok(None) };
        let certificates = |file: &Path| -> Result<Vec<CertificateDer<'static>>> {
            let file = self.directory.join(file);
            let read = || format!("read the certificates of {}", file.display());
            let all = CertificateDer::pem_file_iter(&file).with_context(read)?;
            all.collect::<Result<Vec<_>, _>>().with_context(read)
        };
        let provider = Arc::new(default_provider());
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(&tls.versions()?)
            .context("choose versions of TLS")?;
        let roots = || -> Result<Arc<RootCertStore>> {
            let file = tls.client_ca_file.as_ref().context("client certificates need a `client_ca_file`")?;
            let mut roots = RootCertStore::empty();
            let (taken, _) = roots.add_parsable_certificates(certificates(file)?);
            ensure!(taken > 0, "{} holds no certificate that can be used", file.display());
            Ok(Arc::new(roots))
        };
        let verifier =
            || -> Result<_> { Ok(WebPkiClientVerifier::builder_with_provider(roots()?, provider)) };
        let builder = match tls.client_auth_type {
            ClientAuth::NoClientCert => {
                ensure!(
                    tls.client_ca_file.is_none(),
                    "`client_ca_file` without a `client_auth_type` checks nobody"
                );
                builder.with_no_client_auth()
            }
            ClientAuth::VerifyClientCertIfGiven => {
                builder.with_client_cert_verifier(verifier()?.allow_unauthenticated().build()?)
            }
            ClientAuth::RequireAndVerifyClientCert => builder.with_client_cert_verifier(verifier()?.build()?),
            other => {
                bail!("client_auth_type {other:?} checks no certificate: write RequireAndVerifyClientCert")
            }
        };
        let key_file = self.directory.join(&tls.key_file);
        let key = PrivateKeyDer::from_pem_file(&key_file)
            .with_context(|| format!("read the key in {}", key_file.display()))?;
        let mut config = builder
            .with_single_cert(certificates(&tls.cert_file)?, key)
            .context("use the certificate with its key")?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Arc::new(config)))
    }
}

/// When a file was changed; `None` when that cannot be known.
pub fn changed(file: &Path) -> Option<SystemTime> {
    std::fs::metadata(file).and_then(|about| about.modified()).ok()
}

impl Tls {
    fn versions(&self) -> Result<Vec<&'static SupportedProtocolVersion>> {
        let number = |version: Option<Version>, otherwise: u8| match version {
            None => otherwise,
            Some(Version::Tls10 | Version::Tls11) => 1,
            Some(Version::Tls12) => 2,
            Some(Version::Tls13) => 3,
        };
        let (least, most) = (number(self.min_version, 2), number(self.max_version, 3));
        let all: Vec<_> =
            [(2, &TLS12), (3, &TLS13)].into_iter().filter(|(at, _)| (least..=most).contains(at)).collect();
        ensure!(!all.is_empty(), "no version of TLS from min_version to max_version is one of TLS12, TLS13");
        Ok(all.into_iter().map(|(_, version)| version).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `secret` at the least cost.
    const HASH: &str = "$2b$04$abcdefghijklmnopqrstuu2r9OfJnfCsdneAXAGHnS4UpFFP8WIrW";

    #[test]
    fn a_file_says_who_has_to_say_who_it_is() {
        let authenticates = |text: &str| WebConfig::parse(text).unwrap().authenticates();
        let tls = |kind: &str| {
            format!(
                "tls_server_config:\n  cert_file: a.pem\n  key_file: a.key\n  client_ca_file: ca.pem\n  client_auth_type: {kind}\n"
            )
        };
        assert!(!authenticates("") && !authenticates("# nothing\n") && !authenticates("{}"));
        assert!(authenticates(&format!("basic_auth_users:\n  alice: {HASH}\n")));
        assert!(!authenticates(
            "tls_server_config:\n  cert_file: a.pem\n  key_file: a.key\nhttp_server_config:\n  http2: true\n"
        ));
        assert!(!authenticates(&tls("VerifyClientCertIfGiven")));
        assert!(authenticates(&tls("RequireAndVerifyClientCert")));
    }

    #[test]
    fn what_cannot_be_done_is_an_error_that_shows_no_hash() {
        for (text, told) in [
            (format!("basic_auth_user:\n  alice: {HASH}\n"), "basic_auth_user"),
            ("basic_auth_users:\n  alice: secret\n".to_owned(), "`alice` is no bcrypt hash"),
            (format!("basic_auth_users:\n  alice: {}\n", HASH.replace("$04$", "$30$")), "costs more than 14"),
            ("tls_server_config:\n  cert_file: a\n  cipher_suites: [X]\n".to_owned(), "cipher_suites"),
            (format!("basic_auth_users:\n  alice: {HASH}\n bob: {HASH}\n"), ""),
        ] {
            let why = format!("{:#}", WebConfig::parse(&text).unwrap_err());
            assert!(why.contains(told) && !why.contains(HASH), "{text}: {why}");
        }
        for (more, told) in [
            ("client_auth_type: RequireAnyClientCert", "RequireAndVerifyClientCert"),
            ("client_auth_type: RequireAndVerifyClientCert", "client_ca_file"),
            ("client_ca_file: ca.pem", "checks nobody"),
            ("max_version: TLS11", "no version of TLS"),
        ] {
            let text = format!("tls_server_config:\n  cert_file: a\n  key_file: b\n  {more}\n");
            let why = format!("{:#}", WebConfig::parse(&text).unwrap().tls().unwrap_err());
            assert!(why.contains(told), "{more}: {why}");
        }
    }
}
