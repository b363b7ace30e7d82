//! What a handler takes from a request: who asks, a JSON body, a query, a path; each failure is a [`Problem`].
//!
//! Bodies are read whole, within a size and a time, before a handler sees them.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Query as AxumQuery, Request};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::http::request::Parts;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::problem::{Code, Problem};
use super::server::Connected;
use crate::control::escape::escaped;
use crate::engine::command::{Caller, ChangeOptions};

/// Carries the address that the client's own SSH connection comes from.
pub const CALLER_HEADER: &str = "sluice-ssh-peer";

/// The largest body that is read (an import of some 100,000 prefixes).
pub const LARGEST_BODY: usize = 4 * 1024 * 1024;
/// How long a body may take to arrive.
pub const BODY_TIME: Duration = Duration::from_secs(5);

/// Who asks, and how a change is to be made.
#[derive(Clone, Debug)]
pub struct Asker {
    pub caller: Caller,
    pub options: ChangeOptions,
}

impl<S: Sync> FromRequestParts<S> for Asker {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let connected = parts
            .extensions
            .get::<Connected>()
            .ok_or_else(|| Problem::new(Code::Failed, "the connection has no peer", "report it"))?;
        let caller = Caller {
            uid: connected.peer.uid,
            gid: connected.peer.gid,
            pid: connected.peer.pid,
            role: connected.role,
            ssh_peer: ssh_peer(parts)?,
        };
        let options: ChangeOptions = query::<Options>(parts)?.into();
        if options.confirm_within_seconds == Some(0) {
            return Err(Problem::new(
                Code::Invalid,
                "a change cannot be confirmed within no time",
                "allow at least a second",
            ));
        }
        Ok(Self { caller, options })
    }
}

/// The part of every changing request's query that says how the change is made.
#[derive(serde::Deserialize)]
struct Options {
    #[serde(default)]
    save: bool,
    #[serde(default)]
    yes: bool,
    confirm_within_seconds: Option<u64>,
}

impl From<Options> for ChangeOptions {
    fn from(options: Options) -> Self {
        Self { save: options.save, yes: options.yes, confirm_within_seconds: options.confirm_within_seconds }
    }
}

fn ssh_peer(parts: &Parts) -> Result<Option<IpAddr>, Problem> {
    let Some(value) = parts.headers.get(CALLER_HEADER) else { return Ok(None) };
    let address = value.to_str().ok().and_then(|text| text.parse().ok());
    address.map(Some).ok_or_else(|| {
        Problem::new(
            Code::Invalid,
            format!("the header {CALLER_HEADER} holds no address"),
            "send an IPv4 or IPv6 address, or leave it out",
        )
    })
}

/// The query of the request as `T`.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        query(parts).map(Self)
    }
}

fn query<T: DeserializeOwned>(parts: &Parts) -> Result<T, Problem> {
    if hides_something(parts.uri.query().unwrap_or_default()) || hides_something(parts.uri.path()) {
        return Err(Problem::new(Code::Invalid, "the query holds control characters", "leave them out"));
    }
    AxumQuery::<T>::try_from_uri(&parts.uri).map(|AxumQuery(value)| value).map_err(|error| {
        Problem::new(
            Code::Invalid,
            format!("the query: {}", inner(&error)),
            "see docs/reference/control-api.md",
        )
    })
}

/// The variable part of the path as `T`.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match axum::extract::Path::<T>::from_request_parts(parts, state).await {
            Ok(axum::extract::Path(value)) => Ok(Self(value)),
            Err(error) => Err(Problem::new(
                Code::Invalid,
                format!("the path {}: {}", parts.uri.path(), error.body_text()),
                "see docs/reference/control-api.md",
            )),
        }
    }
}

/// The body of the request, read as JSON whatever its content type says; an empty body is `{}`.
#[derive(Debug)]
pub struct Json<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let body = Limited::new(request.into_body(), LARGEST_BODY);
        let read = tokio::time::timeout(BODY_TIME, body.collect()).await.map_err(|_| {
            Problem::new(
                Code::TooSlow,
                format!("the body did not arrive within {} s", BODY_TIME.as_secs()),
                "send it whole",
            )
        })?;
        let bytes = match read {
            Ok(collected) => collected.to_bytes(),
            Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
                return Err(Problem::new(
                    Code::TooLarge,
                    format!("the body is larger than {LARGEST_BODY} bytes"),
                    "send it in parts",
                ));
            }
            Err(error) => {
                return Err(Problem::new(
                    Code::Invalid,
                    format!("the body broke off: {error}"),
                    "send it again",
                ));
            }
        };
        let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let read = serde_json::from_slice(text).and_then(|mut body: Value| {
            escape(&mut body);
            serde_json::from_value(body)
        });
        read.map(Self).map_err(|error| {
            Problem::new(
                Code::Invalid,
                format!("the body: {error}"),
                "see docs/reference/control-api.md for its shape",
            )
        })
    }
}

/// Escapes the control characters of every text but a whole file's: what is logged and stored of it is then one line.
fn escape(value: &mut Value) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(shown) = escaped(text) {
                *text = shown;
            }
        }
        Value::Array(values) => values.iter_mut().for_each(escape),
        Value::Object(fields) => {
            // The text of a list is read line by line, and only its prefixes are kept.
            fields.iter_mut().filter(|(key, _)| *key != "text").for_each(|(_, value)| escape(value));
        }
        _ => {}
    }
}

/// Whether a query holds control characters, which no name has.
fn hides_something(query: &str) -> bool {
    let bytes = query.as_bytes();
    bytes.windows(3).any(|three| {
        three[0] == b'%'
            && (matches!(three[1], b'0' | b'1') || (three[1] == b'7' && matches!(three[2], b'f' | b'F')))
    })
}

/// The last cause says what is wrong; the ones before it only say that something is.
fn inner(error: &dyn std::error::Error) -> String {
    let mut cause = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    cause.to_string()
}
