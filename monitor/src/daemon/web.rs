//! Who may read the metrics listener: TLS, client certificates and passwords of `metrics.web_config_file`.
//!
//! In: connections and requests. Out: the same, or 401. The files are read again when one was replaced; one that cannot be
//! used leaves the last good ones in force. A password is verified once at a time, on a thread that may wait, and a right one
//! is remembered by a keyed hash: a scrape costs no second verification, and guesses do not delay it.

mod file;

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::hmac;
use ring::rand::SystemRandom;
use rustls::ServerConfig;
use tokio::sync::Semaphore;

use file::WebConfig;
use policy::config::Metrics;

/// Right passwords that are remembered.
const REMEMBERED: usize = 64;
/// Of no password: it is verified for users that are not there, so that their absence takes as long as a wrong password.
const NOBODY: &str = "$2b$10$abcdefghijklmnopqrstuuT2ibk17HjjsUDYpNNN9BJtpzBdqjav6";

/// What guards the listener.
#[derive(Debug)]
pub struct Guard {
    file: Option<PathBuf>,
    held: Mutex<Held>,
    verifying: Arc<Semaphore>,
    key: hmac::Key,
    known: Mutex<HashSet<[u8; 32]>>,
}

/// The files as they were last taken.
#[derive(Debug, Default)]
struct Held {
    config: Arc<WebConfig>,
    tls: Option<Arc<ServerConfig>>,
    stamps: Vec<Option<SystemTime>>,
}

impl Held {
    fn read(path: &Path) -> Result<Self> {
        // Before each is read: what changes meanwhile is read again.
        let own = file::changed(path);
        let config = WebConfig::read(path)?;
        let stamps = config.stamps(own);
        let tls = config.tls().with_context(|| path.display().to_string())?;
        Ok(Self { config: Arc::new(config), tls, stamps })
    }
}

impl Guard {
    /// The guard of the configuration. An error says why nothing may be served.
    pub fn open(config: &Metrics) -> Result<Self> {
        let held = config.web_config_file.as_deref().map(Held::read).transpose()?.unwrap_or_default();
        ensure!(
            config.listen.ip().is_loopback() || config.allow_unauthenticated || held.config.authenticates(),
            "{} can be reached by others, who are not asked who they are: name basic_auth_users or \
             RequireAndVerifyClientCert in a metrics.web_config_file, or set metrics.allow_unauthenticated = true",
            config.listen
        );
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())
            .map_err(|_| anyhow::anyhow!("there is no randomness"))?;
        Ok(Self {
            file: config.web_config_file.clone(),
            held: Mutex::new(held),
            verifying: Arc::new(Semaphore::new(1)),
            key,
            known: Mutex::default(),
        })
    }

    /// Takes replaced files; an error leaves those before in force.
    pub fn refresh(&self) -> Result<()> {
        let Some(path) = &self.file else { return Ok(()) };
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.config.stamps(file::changed(path)) == held.stamps {
            return Ok(());
        }
        let fresh = Held::read(path).context("what was read before stays in force")?;
        ensure!(
            fresh.config.authenticates() || !held.config.authenticates(),
            "{} no longer asks anybody who it is, which takes a restart; what was read before stays in force",
            path.display()
        );
        *held = fresh;
        Ok(())
    }

    /// The TLS of the next connection, if there is any.
    pub fn tls(&self) -> Option<Arc<ServerConfig>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).tls.clone()
    }

    /// Whether a request may be answered.
    async fn admits(&self, headers: &HeaderMap) -> bool {
        let config = Arc::clone(&self.held.lock().unwrap_or_else(PoisonError::into_inner).config);
        if config.basic_auth_users.is_empty() {
            return true;
        }
        let Some((user, password)) = credentials(headers) else { return false };
        let hash = config.basic_auth_users.get(&user).cloned();
        let is_known = hash.is_some();
        let hash = hash.unwrap_or_else(|| NOBODY.to_owned());
        let mark = self.mark(&user, &password, &hash);
        if self.known.lock().unwrap_or_else(PoisonError::into_inner).contains(&mark) {
            return true;
        }
        let Ok(turn) = Arc::clone(&self.verifying).acquire_owned().await else { return false };
        let verified = tokio::task::spawn_blocking(move || {
            // It goes on when the peer has gone, and its turn with it.
            let _turn = turn;
            bcrypt::verify(password, &hash).unwrap_or(false)
        });
        let verified = verified.await;
        let is_right = is_known && verified.unwrap_or(false);
        if is_right {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            if known.len() >= REMEMBERED {
                known.clear();
            }
            known.insert(mark);
        }
        is_right
    }

    /// The keyed hash of a right password; another hash in the file makes it worthless.
    fn mark(&self, user: &str, password: &str, hash: &str) -> [u8; 32] {
        let mut context = hmac::Context::with_key(&self.key);
        for part in [user, password, hash] {
            context.update(&part.len().to_le_bytes());
            context.update(part.as_bytes());
        }
        let mut mark = [0; 32];
        mark.copy_from_slice(context.sign().as_ref());
        mark
    }
}

/// RFC 7617.
fn credentials(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, rest) = value.split_once(' ')?;
    let decoded =
        scheme.eq_ignore_ascii_case("basic").then(|| BASE64_STANDARD.decode(rest.trim()).ok())??;
    let text = String::from_utf8(decoded).ok()?;
    text.split_once(':').map(|(user, password)| (user.to_owned(), password.to_owned()))
}

/// The check before every path of the listener.
pub async fn ask(State(guard): State<Arc<Guard>>, request: Request, next: Next) -> Response {
    if guard.admits(request.headers()).await {
        return next.run(request).await;
    }
    let mut refused = (StatusCode::UNAUTHORIZED, "Unauthorized\n").into_response();
    refused
        .headers_mut()
        .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"sluice\""));
    refused
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn config(listen: &str, file: Option<&Path>) -> Metrics {
        Metrics {
            listen: listen.parse().unwrap(),
            web_config_file: file.map(Path::to_owned),
            ..Metrics::default()
        }
    }

    fn basic(user: &str, password: &str) -> HeaderMap {
        let value = format!("Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")));
        HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_str(&value).unwrap())])
    }

    #[test]
    fn the_network_is_not_served_without_asking_who_it_is() {
        assert!(Guard::open(&config("127.0.0.1:9477", None)).is_ok());
        assert!(Guard::open(&config("[::1]:9477", None)).is_ok());
        for listen in ["0.0.0.0:9477", "[::]:9477", "192.0.2.1:9477"] {
            let refused = Guard::open(&config(listen, None)).unwrap_err().to_string();
            assert!(
                refused.contains("allow_unauthenticated") && refused.contains("web_config_file"),
                "{refused}"
            );
            let forced = Metrics { allow_unauthenticated: true, ..config(listen, None) };
            assert!(Guard::open(&forced).is_ok());
        }
    }

    #[tokio::test]
    async fn only_right_passwords_are_let_in_and_a_right_one_is_verified_once() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("web.yml");
        let hash = bcrypt::hash("s3cret:with a colon", 4).unwrap();
        std::fs::write(&file, format!("basic_auth_users:\n  alice: {hash}\n")).unwrap();
        let guard = Guard::open(&config("0.0.0.0:9477", Some(&file))).unwrap();
        assert!(guard.admits(&basic("alice", "s3cret:with a colon")).await);
        for (user, password) in [("alice", "s3cret"), ("alice", ""), ("bob", "s3cret:with a colon"), ("", "")]
        {
            assert!(!guard.admits(&basic(user, password)).await, "{user}:{password}");
        }
        assert!(!guard.admits(&HeaderMap::new()).await);
        let bearer = HeaderMap::from_iter([(header::AUTHORIZATION, HeaderValue::from_static("Bearer x"))]);
        assert!(!guard.admits(&bearer).await);
        let turn = guard.verifying.acquire().await.unwrap();
        // Nobody else's verification is waited for.
        assert!(guard.admits(&basic("alice", "s3cret:with a colon")).await);
        drop(turn);
        // Another hash: the password of before is worth nothing.
        let later = SystemTime::now() + std::time::Duration::from_secs(5);
        let rewrite = |text: &str| {
            std::fs::write(&file, text).unwrap();
            std::fs::File::options().write(true).open(&file).unwrap().set_modified(later).unwrap();
        };
        rewrite("nonsense: [");
        assert!(guard.refresh().is_err());
        rewrite("# nobody\n");
        assert!(guard.refresh().unwrap_err().to_string().contains("restart"));
        assert!(guard.admits(&basic("alice", "s3cret:with a colon")).await);
        rewrite(&format!("basic_auth_users:\n  alice: {}\n", bcrypt::hash("other", 4).unwrap()));
        guard.refresh().unwrap();
        assert!(!guard.admits(&basic("alice", "s3cret:with a colon")).await);
        assert!(guard.admits(&basic("alice", "other")).await);
    }

    #[test]
    fn a_user_that_is_not_there_takes_as_long_as_a_wrong_password() {
        let began = Instant::now();
        assert!(!bcrypt::verify("anything", NOBODY).unwrap(), "it must parse, or it would take no time");
        assert!(began.elapsed().as_millis() > 1);
    }
}
