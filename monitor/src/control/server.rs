//! The listening side: connections in, each with its peer's credentials, requests out to the router.
//!
//! Everything a peer could use up is bounded here: connections (a few are kept for admins, so that no viewer can lock
//! them out), header size, time to send a request, time to answer it, and the answers that nobody reads. Strangers are refused at the door.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use hyper::Request;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::patience::Patient;
use super::peer::{Peer, Roles, Users};
use super::refusal;
use super::router::Failed;
use crate::engine::Auditor;
use api::error::MEDIA_TYPE;
use api::{Code, Error, Role};

/// What peers may use up. The defaults are documented in docs/reference/control-api.md.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// Further connections, for admins only.
    pub admin_connections: usize,
    /// Request line and headers.
    pub header_bytes: usize,
    /// From the first byte expected to the last byte of the headers; also how long a connection may idle.
    pub header_time: Duration,
    /// From the end of the headers to the answer.
    pub request_time: Duration,
    /// How long a peer may read nothing of its answer.
    pub read_time: Duration,
    /// Bytes of all answers that wait to be read; one that does not fit is refused.
    pub answer_bytes: u32,
    /// How long running requests may go on after the shutdown began.
    pub drain_time: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 32,
            admin_connections: 4,
            header_bytes: 16 * 1024,
            header_time: Duration::from_secs(5),
            request_time: Duration::from_secs(15),
            read_time: Duration::from_secs(15),
            answer_bytes: 64 << 20,
            drain_time: Duration::from_secs(3),
        }
    }
}

/// The peer of a connection with its role.
#[derive(Clone, Debug)]
pub struct Connected {
    pub peer: Peer,
    /// The name of its user, if the host knows one.
    pub user: Option<String>,
    pub role: Role,
}

/// Serves until `shutdown` resolves, then lets running requests finish within [`Limits::drain_time`].
pub async fn serve(
    listener: UnixListener,
    router: Router,
    roles: Roles,
    (limits, auditor): (Limits, Auditor),
    shutdown: impl Future<Output = ()>,
) {
    let mut door = Door {
        everyone: Arc::new(Semaphore::new(limits.connections)),
        admins: Arc::new(Semaphore::new(limits.admin_connections)),
        refusals: Arc::new(Semaphore::new(limits.connections)),
        auditor,
        users: Users::default(),
    };
    let answers = Arc::new(Semaphore::new(limits.answer_bytes as usize));
    let (closing, closed) = watch::channel(false);
    let mut connections = JoinSet::new();
    let mut shutdown = std::pin::pin!(shutdown);
    loop {
        let stream = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: the listener stays usable, so wait rather than spin.
                    tracing::warn!(%error, "cannot accept a control connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        match door.admit(&stream, &roles) {
            Ok((caller, place)) => {
                let stream = Patient::new(stream, limits.read_time);
                let answers = Arc::clone(&answers);
                connections.spawn(converse(
                    stream,
                    router.clone(),
                    caller,
                    (limits, answers, door.auditor.clone()),
                    closed.clone(),
                    place,
                ));
            }
            Err(error) => {
                // When even refusals pile up, closing is answer enough.
                if let Ok(place) = Arc::clone(&door.refusals).try_acquire_owned() {
                    connections.spawn(refuse(stream, error, place));
                }
            }
        }
    }
    drop(listener);
    closing.send_replace(true);
    let drained = timeout(limits.drain_time, async { while connections.join_next().await.is_some() {} });
    if drained.await.is_err() {
        tracing::warn!(open = connections.len(), "control connections cut at shutdown");
    }
}

/// Who may come in, and how many.
struct Door {
    everyone: Arc<Semaphore>,
    admins: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    auditor: Auditor,
    users: Users,
}

impl Door {
    fn admit(
        &mut self,
        stream: &UnixStream,
        roles: &Roles,
    ) -> Result<(Connected, OwnedSemaphorePermit), Error> {
        let peer = Peer::of(stream).map_err(|error| {
            Error::new(Code::Failed, format!("the peer's credentials cannot be read: {error}"))
                .next("try again")
        })?;
        let Some(role) = roles.role_of(&peer) else {
            let (error, user) = (stranger(&peer), self.users.name(peer.uid));
            refusal::tell_of(&self.auditor, &peer, user, "a connection", &error);
            return Err(error);
        };
        let place = Arc::clone(&self.everyone).try_acquire_owned().or_else(|error| {
            if role == Role::Admin { Arc::clone(&self.admins).try_acquire_owned() } else { Err(error) }
        });
        match place {
            Ok(place) => {
                let user = self.users.name(peer.uid);
                Ok((Connected { peer, user, role }, place))
            }
            Err(_) => Err(Error::new(Code::Unavailable, "too many control connections are open")
                .next("try again in a moment")),
        }
    }
}

fn stranger(peer: &Peer) -> Error {
    Error::new(Code::NotPermitted, format!("user {} has no role here", peer.uid))
        .next("run it as root, or join a group listed under [control] in the daemon's configuration")
}

/// Waits briefly for the request, so that the client has written it, answers without reading it, and closes.
async fn refuse(stream: UnixStream, error: Error, _place: OwnedSemaphorePermit) {
    let patience = Duration::from_secs(1);
    if timeout(patience, stream.readable()).await.is_err() {
        return;
    }
    let body = error.json();
    let mut answer = format!(
        "HTTP/1.1 {} {}\r\ncontent-type: {MEDIA_TYPE}\r\nserver: {SERVER}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
        error.code.http_status(),
        error.code.label(),
        body.len()
    )
    .into_bytes();
    answer.extend_from_slice(&body);
    if timeout(patience, stream.writable()).await.is_ok() {
        // One write into an empty socket buffer takes it all; a peer that is gone does not matter.
        let _ = stream.try_write(&answer);
    }
}

/// The `server` header: how a client knows that it speaks with sluice.
pub const SERVER: &str = concat!("sluice/", env!("CARGO_PKG_VERSION"));

async fn converse(
    stream: Patient<UnixStream>,
    router: Router,
    caller: Connected,
    (limits, answers, auditor): (Limits, Arc<Semaphore>, Auditor),
    mut closed: watch::Receiver<bool>,
    _place: OwnedSemaphorePermit,
) {
    let (pid, who) = (caller.peer.pid, caller.clone());
    let service = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(caller.clone());
        answer(router.clone(), request, limits.request_time, Arc::clone(&answers))
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.header_time)
        .max_buf_size(limits.header_bytes)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let outcome = tokio::select! {
        outcome = connection.as_mut() => outcome,
        () = async { let _ = closed.wait_for(|closed| *closed).await; } => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = outcome {
        if error.is_parse() {
            let told = Error::new(Code::Invalid, format!("what came is no request: {error}"));
            refusal::tell(&auditor, Some(&who), "a connection", &told);
        }
        tracing::debug!(%error, pid, "control connection ended");
    }
}

async fn answer(
    router: Router,
    request: Request<Incoming>,
    patience: Duration,
    answers: Arc<Semaphore>,
) -> Result<Response<Body>, Infallible> {
    let service = TowerToHyperService::new(router);
    let answered = timeout(patience, hyper::service::Service::call(&service, request)).await;
    let mut response = match answered {
        Ok(Ok(response)) => response,
        Err(_) => Failed(
            Error::new(Code::TimedOut, format!("no answer within {} s", patience.as_secs()))
                .next("see `sluice status`; the change may still be applied"),
        )
        .into_response(),
    };
    // An answer counts until its last byte is on its way.
    let bytes = response.body().size_hint().upper().and_then(|bytes| u32::try_from(bytes).ok());
    response = match bytes.map(|bytes| answers.try_acquire_many_owned(bytes)) {
        Some(Ok(place)) => response.map(|body| Body::new(Held { body, _place: place })),
        _ => Failed(
            Error::new(Code::Unavailable, "too many answers wait to be read")
                .next("read them, ask for less (`limit`), or try again in a moment"),
        )
        .into_response(),
    };
    response.headers_mut().insert(hyper::header::SERVER, hyper::header::HeaderValue::from_static(SERVER));
    Ok(response)
}

/// A body that holds its place among the answers.
struct Held {
    body: Body,
    _place: OwnedSemaphorePermit,
}

impl HttpBody for Held {
    type Data = <Body as HttpBody>::Data;
    type Error = <Body as HttpBody>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests;
