//! What is read from a request: who asks, how a change is made, and the command itself; each failure is an [`Error`].
//!
//! In: an HTTP request and the [`Shape`] of the command that its path names. Bodies are read whole, within a size and a
//! time, before anything is done.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use api::escape::escaped;
use api::openapi::CALLER_HEADER;
use api::shape::{Field, Shape};
use api::{Code, Command, Error};
use axum::body::Body;
use axum::extract::{FromRequestParts, RawPathParams};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::Request;
use hyper::http::request::Parts;
use serde_json::{Map, Value};

use super::server::Connected;
use crate::engine::command::{Caller, ChangeOptions};

/// The largest body that is read: an import of a million prefixes. Only roles that may send one come so far.
pub const LARGEST_BODY: usize = 32 * 1024 * 1024;
/// How long a body may take to arrive.
pub const BODY_TIME: Duration = Duration::from_secs(5);
/// Where the shapes of requests are described.
const REFERENCE: &str = "see docs/reference/control-api.md, or GET /v1/openapi.json";

/// A command with who asks and how.
#[derive(Debug)]
pub struct Asked<C> {
    pub caller: Caller,
    pub options: ChangeOptions,
    pub command: C,
}

/// Reads the request of a command.
pub async fn read<C: Command>(shape: &Shape, request: Request<Body>) -> Result<Asked<C>, Error> {
    let (mut parts, body) = request.into_parts();
    let caller = permitted(shape, &parts)?;
    let query = Query::of(&parts)?;
    let options = query.options(shape)?;
    let path = path(&mut parts).await?;
    let command = if shape.endpoint.method.has_body() {
        from_body(shape, path, body).await?
    } else {
        query.command(shape, &path)?
    };
    Ok(Asked { caller, options, command })
}

/// Who asks, if the role suffices.
fn permitted(shape: &Shape, parts: &Parts) -> Result<Caller, Error> {
    let connected = parts.extensions.get::<Connected>();
    let connected = connected.ok_or_else(|| Error::new(Code::Failed, "the connection has no peer"))?;
    let (role, needed) = (connected.role, shape.endpoint.role);
    if role < needed {
        return Err(Error::new(
            Code::NotPermitted,
            format!("{} needs the role {}, you are {}", shape.endpoint.path, needed.label(), role.label()),
        )
        .next("ask an administrator, or run it as root"));
    }
    let super::peer::Peer { uid, gid, pid, .. } = connected.peer;
    let user = connected.user.clone();
    Ok(Caller { uid, gid, pid, user, role, ssh_peer: ssh_peer(parts)? })
}

fn ssh_peer(parts: &Parts) -> Result<Option<IpAddr>, Error> {
    let Some(value) = parts.headers.get(CALLER_HEADER) else { return Ok(None) };
    let address = value.to_str().ok().and_then(|text| text.parse().ok());
    address.map(Some).ok_or_else(|| {
        Error::new(Code::Invalid, format!("the header {CALLER_HEADER} holds no address"))
            .next("send an IPv4 or IPv6 address, or leave it out")
    })
}

/// The keys and values of a query, decoded.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(parts: &Parts) -> Result<Self, Error> {
        let query = parts.uri.query().unwrap_or_default();
        if hides_something(query) || hides_something(parts.uri.path()) {
            return Err(
                Error::new(Code::Invalid, "the query holds control characters").next("leave them out")
            );
        }
        serde_urlencoded::from_str(query).map(Self).map_err(|error| in_query(&error))
    }

    /// Takes the options of a change out. A mistyped `confirm_within_seconds` that is ignored would cut a network off: keys
    /// that nothing reads are errors.
    fn options(&self, shape: &Shape) -> Result<ChangeOptions, Error> {
        let of_changes: Vec<_> = shape.options.iter().map(|field| field.name.as_str()).collect();
        let known = shape.query_keys();
        if let Some((key, _)) = self
            .0
            .iter()
            .find(|(key, _)| !known.contains(&key.as_str()) && !of_changes.contains(&key.as_str()))
        {
            let all = [known, of_changes].concat().join(", ");
            let all = if all.is_empty() { "none".to_owned() } else { all };
            return Err(Error::new(
                Code::Invalid,
                format!("{} knows no query key `{key}`", shape.endpoint.path),
            )
            .next(format!("it knows: {all}")));
        }
        let chosen = self.0.iter().filter(|(key, _)| of_changes.contains(&key.as_str()));
        let options: ChangeOptions = decoded(chosen)?;
        if options.confirm_within_seconds == Some(0) {
            return Err(Error::new(Code::Invalid, "a change cannot be confirmed within no time")
                .next("allow at least a second"));
        }
        Ok(options)
    }

    /// The command whose fields are in the path and the query.
    fn command<C: Command>(&self, shape: &Shape, path: &[(String, String)]) -> Result<C, Error> {
        let own = self.0.iter().filter(|(key, _)| shape.query.iter().any(|field| field.name == *key));
        decoded(path.iter().chain(own))
    }
}

fn decoded<'a, T: serde::de::DeserializeOwned>(
    pairs: impl Iterator<Item = &'a (String, String)>,
) -> Result<T, Error> {
    let pairs: Vec<_> = pairs.collect();
    // Encoded again, because only the urlencoded form reads numbers and switches from text.
    let text = serde_urlencoded::to_string(pairs).map_err(|error| in_query(&error))?;
    serde_urlencoded::from_str(&text).map_err(|error| in_query(&error))
}

fn in_query(error: &impl std::fmt::Display) -> Error {
    Error::new(Code::Invalid, format!("the path or the query: {error}")).next(REFERENCE)
}

/// The variables of the path, decoded.
async fn path(parts: &mut Parts) -> Result<Vec<(String, String)>, Error> {
    let variables = RawPathParams::from_request_parts(parts, &()).await;
    let variables = variables.map_err(|error| {
        Error::new(Code::Invalid, format!("the path {}: {}", parts.uri.path(), error.body_text()))
            .next(REFERENCE)
    })?;
    Ok(variables.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect())
}

/// The command whose fields are in the path and the body.
async fn from_body<C: Command>(shape: &Shape, path: Vec<(String, String)>, body: Body) -> Result<C, Error> {
    let wrong = |error: &dyn std::fmt::Display| {
        Error::new(Code::Invalid, format!("the body: {error}")).next(REFERENCE)
    };
    let bytes = whole(body).await?;
    let text: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
    let mut value: Value = serde_json::from_slice(text).map_err(|error| wrong(&error))?;
    escape(&mut value);
    let Value::Object(mut fields) = value else { return Err(wrong(&"it is no JSON object")) };
    for (name, value) in path {
        let field = shape.path.iter().find(|field| field.name == name);
        let value = field.map_or(Value::Null, |field| typed(field, value));
        if fields.insert(name.clone(), value).is_some() {
            return Err(wrong(&format!("`{name}` is given by the path")));
        }
    }
    serde_json::from_value(Value::Object(fields)).map_err(|error| wrong(&error))
}

fn typed(field: &Field, text: String) -> Value {
    let number = field.is_integer().then(|| text.parse::<u64>().ok()).flatten();
    number.map_or(Value::String(text), Value::from)
}

/// Reads a body, whatever its content type says.
async fn whole(body: Body) -> Result<bytes::Bytes, Error> {
    let body = Limited::new(body, LARGEST_BODY);
    let read = tokio::time::timeout(BODY_TIME, body.collect()).await.map_err(|_| {
        Error::new(Code::TooSlow, format!("the body did not arrive within {} s", BODY_TIME.as_secs()))
            .next("send it whole")
    })?;
    match read {
        Ok(collected) => Ok(collected.to_bytes()),
        Err(error) if error.downcast_ref::<LengthLimitError>().is_some() => {
            let message = format!("the body is larger than {LARGEST_BODY} bytes");
            Err(Error::new(Code::TooLarge, message).next("send it in parts"))
        }
        Err(error) => {
            Err(Error::new(Code::Invalid, format!("the body broke off: {error}")).next("send it again"))
        }
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
        Value::Object(fields) => escape_fields(fields),
        _ => {}
    }
}

/// The text of a list is read line by line, and only its prefixes are kept.
fn escape_fields(fields: &mut Map<String, Value>) {
    fields.iter_mut().filter(|(key, _)| *key != "text").for_each(|(_, value)| escape(value));
}

/// Whether a query holds control characters, which no name has.
fn hides_something(query: &str) -> bool {
    let bytes = query.as_bytes();
    bytes.windows(3).any(|three| {
        three[0] == b'%'
            && (matches!(three[1], b'0' | b'1') || (three[1] == b'7' && matches!(three[2], b'f' | b'F')))
    })
}
