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
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::UnixStream;

use crate::command::{ChangeOptions, Command, Method as Verb, Versioned};
use crate::error::{Error, Problem};
use crate::openapi::CALLER_HEADER;
use crate::shape::variables;

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
    /// The daemon answered with an error.
    Refused(Error),
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
            Self::Refused(error) => error.fmt(formatter),
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

    /// Asks for `command`; a change is made with `options`.
    pub async fn ask<C: Command>(
        &self,
        command: &C,
        options: &ChangeOptions,
    ) -> Result<Versioned<C::Answer>, Failure> {
        let Asked { method, path, body } = asked(command, options).map_err(Failure::Broken)?;
        self.send(method, &path, body.as_ref()).await
    }

    /// Any request; the answer is read as JSON.
    pub async fn send<T: DeserializeOwned>(
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
        match serde_json::from_slice::<Problem>(&body) {
            Ok(problem) if is_sluice => Err(Failure::Refused(problem.into())),
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

/// A command as it travels.
struct Asked {
    method: Method,
    path: String,
    body: Option<Value>,
}

/// Puts each field where it travels: into the path, the query or the body.
fn asked<C: Command>(command: &C, options: &ChangeOptions) -> Result<Asked, String> {
    let endpoint = C::ENDPOINT;
    let Ok(Value::Object(mut fields)) = serde_json::to_value(command) else {
        return Err(format!("`{}` is no object", endpoint.name));
    };
    fields.retain(|_, value| !value.is_null());
    let mut path = endpoint.path.to_owned();
    for variable in variables(endpoint.path) {
        let value = fields.remove(variable).map(text).unwrap_or_default();
        let encoded = utf8_percent_encode(&value, IN_PATHS).to_string();
        path = path.replace(&format!("{{{variable}}}"), &encoded);
    }
    let mut query = Vec::new();
    if !endpoint.method.has_body() {
        query.extend(std::mem::take(&mut fields).into_iter().map(|(key, value)| (key, text(value))));
    }
    if endpoint.method != Verb::Get {
        if options.save {
            query.push(("save".to_owned(), "true".to_owned()));
        }
        if options.yes {
            query.push(("yes".to_owned(), "true".to_owned()));
        }
        query.extend(
            options
                .confirm_within_seconds
                .map(|seconds| ("confirm_within_seconds".to_owned(), seconds.to_string())),
        );
    }
    if !query.is_empty() {
        let query = serde_urlencoded::to_string(&query).map_err(|error| error.to_string())?;
        path = format!("{path}?{query}");
    }
    let method = match endpoint.method {
        Verb::Get => Method::GET,
        Verb::Post => Method::POST,
        Verb::Put => Method::PUT,
        Verb::Delete => Method::DELETE,
    };
    let body = endpoint.method.has_body().then_some(Value::Object(fields));
    Ok(Asked { method, path, body })
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

/// What is unreserved stays as it is (RFC 3986, 2.3), and `:`, which paths permit.
const IN_PATHS: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b':');

#[cfg(test)]
mod tests {
    use super::asked;
    use crate::access::{AccessKind, AccessRemove};
    use crate::command::ChangeOptions;
    use crate::limits::{LimitTarget, LimitUnset};
    use crate::sources::{SourceOrder, SourceQuery};

    #[test]
    fn names_cannot_break_out_of_their_place() {
        let target = LimitTarget { service: "a/b?c".to_owned(), ..LimitTarget::default() };
        let unset = asked(&LimitUnset(target), &ChangeOptions::default()).unwrap();
        assert_eq!(unset.path, "/v1/limits/a%2Fb%3Fc?kind=per_source");
        assert_eq!(unset.body, None);
        let query = SourceQuery {
            order: SourceOrder::Drops,
            service: Some("a&sort=bytes".to_owned()),
            limit: 5,
            ..SourceQuery::default()
        };
        let sources = asked(&query, &ChangeOptions { save: true, ..ChangeOptions::default() }).unwrap();
        assert!(sources.path.contains("service=a%26sort%3Dbytes"), "{}", sources.path);
        assert!(!sources.path.contains("save"), "{}", sources.path);
    }

    #[test]
    fn a_change_carries_its_options() {
        let all = ChangeOptions { save: true, yes: true, confirm_within_seconds: Some(60) };
        let remove = AccessRemove { kind: AccessKind::Deny, prefix: "10.0.0.0/8".parse().unwrap() };
        let path = asked(&remove, &all).unwrap().path;
        let query = "prefix=10.0.0.0%2F8&save=true&yes=true&confirm_within_seconds=60";
        assert_eq!(path, format!("/v1/access/deny?{query}"));
    }
}
