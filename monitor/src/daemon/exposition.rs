//! Serves the Prometheus page over HTTP, to anybody who can reach it.
//!
//! In: a listener that is bound already and the engine's handle. Out: `GET /metrics`, and the page of `daemon/page.rs`. It
//! changes nothing and knows no other path that does. What a peer could use up is bounded: connections (the one that waits longest gives way to a new
//! one), the size of a request, the time it takes to arrive, and the time that its answer takes to be read.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use bytes::Bytes;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;

use super::page::Page;
use crate::control::patience::Patient;
use crate::engine::Handle;
use crate::metrics;
use crate::snapshot::Snapshot;
use policy::config::{self, PageDetail};

/// Connections at once; their descriptors leave room for everything else within a limit of 256.
const CONNECTIONS: usize = 64;
/// Request line and headers.
const HEADER_BYTES: usize = 16 * 1024;
/// How long a request may take to arrive; also how long a connection may idle.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// How long a peer may read nothing of its answer.
const READ_TIME: Duration = Duration::from_secs(10);
/// How long running requests may go on after the shutdown began.
const DRAIN_TIME: Duration = Duration::from_secs(2);

/// Serves until `stop` resolves.
pub async fn serve(
    listener: TcpListener,
    engine: Handle,
    config: &config::Metrics,
    stop: impl Future<Output = ()>,
) {
    let made = Arc::new(Made { engine: engine.clone(), page: Mutex::new(None) });
    let mut routes = Router::new().route("/metrics", get(page)).with_state(made);
    // Ends with this function.
    let mut following = JoinSet::new();
    if config.page() == PageDetail::Off {
        routes = routes.route("/", get(index));
    } else {
        let page = Page::new(engine, config.page(), config.listen.ip().is_loopback());
        routes = routes.merge(page.routes());
        following.spawn(page.follow());
    }
    let mut tasks = JoinSet::new();
    let mut open = VecDeque::<Connection>::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let stream = tokio::select! {
            () = &mut stop => break,
            Some(_) = tasks.join_next(), if !tasks.is_empty() => continue,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of descriptors, most likely: the listener stays usable, so wait rather than spin.
                    tracing::warn!(%error, "cannot accept a connection for metrics");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            },
        };
        open.retain(|connection| !connection.task.is_finished());
        if open.len() >= CONNECTIONS {
            // One that has asked is answered in a moment; one that says nothing gives way first.
            let silent = open.iter().position(|connection| !connection.asked.load(Ordering::Relaxed));
            if let Some(connection) = open.remove(silent.unwrap_or(0)) {
                connection.task.abort();
            }
        }
        let asked = Arc::new(AtomicBool::new(false));
        let task = tasks.spawn(converse(stream, routes.clone(), Arc::clone(&asked)));
        open.push_back(Connection { task, asked });
    }
    drop(listener);
    let silent = open.iter().filter(|connection| !connection.asked.load(Ordering::Relaxed));
    silent.for_each(|connection| connection.task.abort());
    if timeout(DRAIN_TIME, async { while tasks.join_next().await.is_some() {} }).await.is_err() {
        tracing::warn!(open = tasks.len(), "connections for metrics cut at shutdown");
    }
}

/// A connection, and whether a request of it is being answered.
struct Connection {
    task: AbortHandle,
    asked: Arc<AtomicBool>,
}

async fn converse(stream: TcpStream, routes: Router, asked: Arc<AtomicBool>) {
    let service = service_fn(move |request: Request<Incoming>| {
        asked.store(true, Ordering::Relaxed);
        let answered = TowerToHyperService::new(routes.clone());
        let asked = Arc::clone(&asked);
        async move {
            let answer = hyper::service::Service::call(&answered, request).await;
            asked.store(false, Ordering::Relaxed);
            answer
        }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        // One request a connection, so that no connection asks for more than it reads.
        .keep_alive(false)
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .serve_connection(TokioIo::new(Patient::new(stream, READ_TIME)), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection for metrics ended");
    }
}

/// The page of the last snapshot that somebody asked for: many askers cost one rendering a second.
struct Made {
    engine: Handle,
    page: Mutex<Option<(Arc<Snapshot>, Bytes)>>,
}

impl Made {
    fn page(&self) -> Result<Bytes> {
        let snapshot = self.engine.snapshot();
        // A poisoned page is made again.
        let mut page = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, made)) = page.as_ref()
            && Arc::ptr_eq(of, &snapshot)
        {
            return Ok(made.clone());
        }
        let made = Bytes::from(metrics::page(Arc::clone(&snapshot))?);
        *page = Some((snapshot, made.clone()));
        Ok(made)
    }
}

async fn page(State(made): State<Arc<Made>>) -> impl IntoResponse {
    match made.page() {
        Ok(page) => (StatusCode::OK, [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page),
        Err(error) => {
            let text = format!("the page cannot be made: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], text.into())
        }
    }
}

async fn index() -> Html<&'static str> {
    Html(
        "<!doctype html><title>sluice</title><p>sluice serves its metrics at <a href=\"/metrics\">/metrics</a>.</p>\n",
    )
}
