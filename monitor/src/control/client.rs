//! The asking side: a method, a path and a body in, a value or a [`Failure`] out.
//!
//! One request per connection over the Unix socket. It knows what went wrong well enough to say what to do next.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::header::{CONTENT_TYPE, HOST, SERVER};
use hyper::{Method, Request, Response, body::Incoming};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::problem::{Document, Problem};
use super::request::CALLER_HEADER;

/// Where the daemon listens unless told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/sluice/control.sock";

/// More than any answer the daemon gives.
const LARGEST_ANSWER: usize = 256 * 1024 * 1024;
/// Longer than the daemon takes to give up by itself.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug)]
pub enum Failure {
    /// Nobody listens at the socket.
    NotRunning(PathBuf),
    /// The file system does not let this user connect.
    NoPermission(PathBuf),
    /// The daemon answered with a problem.
    Problem(Problem),
    /// Whoever answered is not sluice, or broke off.
    Broken(String),
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotRunning(socket) => write!(
                formatter,
                "the daemon does not answer at {}; start it with `sluice run --config /etc/sluice/sluice.toml`, or name its socket with --socket",
                socket.display()
            ),
            Self::NoPermission(socket) => write!(
                formatter,
                "no permission to open {}; run it as root, or join a group listed under [control] in the daemon's configuration",
                socket.display()
            ),
            Self::Problem(problem) => problem.fmt(formatter),
            Self::Broken(what) => formatter.write_str(what),
        }
    }
}

impl std::error::Error for Failure {}

/// Speaks to the daemon at one socket.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
    /// The address that the operator's session comes from, told with every request so that it can be protected.
    caller: Option<String>,
}

impl Client {
    pub fn new(socket: impl Into<PathBuf>, caller: Option<String>) -> Self {
        Self { socket: socket.into(), caller }
    }

    pub fn socket(&self) -> &Path {
        &self.socket
    }

    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::GET, path, None::<&()>).await
    }

    pub async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        self.ask(Method::POST, path, Some(body)).await
    }

    pub async fn put<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        self.ask(Method::PUT, path, Some(body)).await
    }

    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.ask(Method::DELETE, path, None::<&()>).await
    }

    /// Any request; the answer is read as JSON.
    pub async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&impl Serialize>,
    ) -> Result<T, Failure> {
        let body = match body {
            Some(body) => serde_json::to_vec(body).map_err(|error| Failure::Broken(error.to_string()))?,
            None => Vec::new(),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, "sluice")
            .header(CONTENT_TYPE, "application/json");
        if let Some(caller) = &self.caller {
            request = request.header(CALLER_HEADER, caller);
        }
        let request = request
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| Failure::Broken(format!("`{path}` is not a path: {error}")))?;
        let answer = tokio::time::timeout(PATIENCE, self.exchange(request)).await.map_err(|_| {
            Failure::Broken(format!(
                "the daemon at {} took longer than {} s to answer; see its log",
                self.socket.display(),
                PATIENCE.as_secs()
            ))
        })??;
        serde_json::from_slice(&answer).map_err(|error| self.foreign(&error.to_string()))
    }

    async fn exchange(&self, request: Request<Full<Bytes>>) -> Result<Bytes, Failure> {
        let stream = UnixStream::connect(&self.socket).await.map_err(|error| match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Failure::NotRunning(self.socket.clone()),
            ErrorKind::PermissionDenied => Failure::NoPermission(self.socket.clone()),
            _ => Failure::Broken(format!("connect to {}: {error}", self.socket.display())),
        })?;
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.foreign(&error.to_string()))?;
        // The connection's own outcome is the exchange's: what breaks it breaks the request too.
        let driver = tokio::spawn(connection);
        let outcome = async {
            let response =
                sender.send_request(request).await.map_err(|error| self.foreign(&error.to_string()))?;
            self.read(response).await
        }
        .await;
        driver.abort();
        outcome
    }

    async fn read(&self, response: Response<Incoming>) -> Result<Bytes, Failure> {
        let status = response.status();
        let server = response.headers().get(SERVER).and_then(|value| value.to_str().ok()).unwrap_or("");
        let is_sluice = server.starts_with("sluice/");
        let body = Limited::new(response.into_body(), LARGEST_ANSWER)
            .collect()
            .await
            .map_err(|error| self.foreign(&error.to_string()))?
            .to_bytes();
        if status.is_success() && is_sluice {
            return Ok(body);
        }
        match serde_json::from_slice::<Document>(&body) {
            Ok(document) if is_sluice => Err(Failure::Problem(document.into())),
            _ => Err(self.foreign(&format!("status {status}"))),
        }
    }

    fn foreign(&self, what: &str) -> Failure {
        Failure::Broken(format!(
            "what answers at {} broke off or does not speak sluice's protocol ({what}); check --socket and the daemon's version",
            self.socket.display()
        ))
    }
}
