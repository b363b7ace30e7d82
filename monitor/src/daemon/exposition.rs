//! Serves the Prometheus page over HTTP or TLS, to peers that reach it and that `daemon/web.rs` admits.
//!
//! In: a listener that is bound already and the engine's handle. Out: `GET /metrics`, and the page of `daemon/page.rs`. It
//! changes nothing and knows no other path that does. What a peer could use up is bounded: connections (the one that waits longest gives way to a new
//! one), the size of a request, the time it takes to arrive, and the time that its answer takes to be read.

use std::collections::VecDeque;
use std::future::Future;
use std::io::Write;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware;
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::page::Page;
use super::web::{self, Guard};
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
    guard: &Arc<Guard>,
    refreshed: impl Fn(Result<()>),
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
    let routes = routes.layer(middleware::from_fn_with_state(Arc::clone(guard), web::ask));
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
        refreshed(guard.refresh());
        let task = tasks.spawn(welcome(stream, guard.tls(), routes.clone(), Arc::clone(&asked)));
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

/// Agrees on TLS, if there is any, and serves.
async fn welcome(stream: TcpStream, tls: Option<Arc<ServerConfig>>, routes: Router, asked: Arc<AtomicBool>) {
    let stream = Patient::new(stream, READ_TIME);
    let Some(tls) = tls else { return converse(stream, routes, asked).await };
    match timeout(HEADER_TIME, TlsAcceptor::from(tls).accept(stream)).await {
        Ok(Ok(stream)) => converse(stream, routes, asked).await,
        Ok(Err(error)) => tracing::debug!(%error, "no agreement on TLS for metrics"),
        Err(_) => tracing::debug!("no agreement on TLS for metrics in time"),
    }
}

async fn converse(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    routes: Router,
    asked: Arc<AtomicBool>,
) {
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
        .serve_connection(TokioIo::new(stream), service);
    if let Err(error) = connection.await {
        tracing::debug!(%error, "connection for metrics ended");
    }
}

/// How a page is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Form {
    openmetrics: bool,
    gzip: bool,
}

impl Form {
    /// By the request's headers. What is refused by a quality of 0 counts as not named.
    fn asked(headers: &HeaderMap) -> Self {
        let names = |header: &HeaderName, wanted: &str| {
            let all = headers.get_all(header).iter().filter_map(|value| value.to_str().ok());
            all.flat_map(|value| value.split(',')).any(|one| {
                let mut parts = one.split(';').map(str::trim);
                let is_it = parts.next().is_some_and(|name| name.eq_ignore_ascii_case(wanted));
                is_it && !parts.any(|part| matches!(part, "q=0" | "q=0.0" | "q=0.00" | "q=0.000"))
            })
        };
        Self {
            openmetrics: names(&header::ACCEPT, "application/openmetrics-text"),
            gzip: names(&header::ACCEPT_ENCODING, "gzip"),
        }
    }

    /// What was rendered as plain text, in this form.
    fn of(self, plain: &Bytes) -> Result<Bytes> {
        let text = if self.openmetrics {
            metrics::openmetrics(std::str::from_utf8(plain)?).into()
        } else {
            plain.clone()
        };
        Ok(if self.gzip { compressed(&text)?.into() } else { text })
    }

    const fn content_type(self) -> &'static str {
        if self.openmetrics { metrics::OPENMETRICS } else { metrics::CONTENT_TYPE }
    }
}

/// The pages of the last snapshot that somebody asked for: many askers cost one rendering a second.
struct Made {
    engine: Handle,
    page: Mutex<Option<Pages>>,
}

/// One snapshot in plain text, from which the other forms that are asked for are made.
struct Pages {
    of: Arc<Snapshot>,
    plain: Bytes,
    made: Vec<(Form, Bytes)>,
}

impl Made {
    fn page(&self, form: Form) -> Result<Bytes> {
        let snapshot = self.engine.snapshot();
        // A poisoned page is made again.
        let mut held = self.page.lock().unwrap_or_else(PoisonError::into_inner);
        let pages = match held.take().filter(|pages| Arc::ptr_eq(&pages.of, &snapshot)) {
            Some(pages) => pages,
            None => {
                Pages { plain: metrics::page(Arc::clone(&snapshot))?.into(), of: snapshot, made: Vec::new() }
            }
        };
        let pages = held.insert(pages);
        if form == Form::default() {
            return Ok(pages.plain.clone());
        }
        if let Some((_, made)) = pages.made.iter().find(|(known, _)| *known == form) {
            return Ok(made.clone());
        }
        let made = form.of(&pages.plain)?;
        pages.made.push((form, made.clone()));
        Ok(made)
    }
}

fn compressed(text: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text)?;
    Ok(encoder.finish()?)
}

async fn page(State(made): State<Arc<Made>>, headers: HeaderMap) -> Response {
    let form = Form::asked(&headers);
    match made.page(form) {
        Ok(page) => {
            let mut response = ([(header::CONTENT_TYPE, form.content_type())], page).into_response();
            let told = response.headers_mut();
            told.insert(header::VARY, HeaderValue::from_static("accept, accept-encoding"));
            if form.gzip {
                told.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            }
            response
        }
        Err(error) => {
            let text = format!("the page cannot be made: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], text).into_response()
        }
    }
}

async fn index() -> Html<&'static str> {
    Html(
        "<!doctype html><title>sluice</title><p>sluice serves its metrics at <a href=\"/metrics\">/metrics</a>.</p>\n",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_is_made_of_the_plain_text_which_is_held_once() {
        let plain = Bytes::from_static(b"# TYPE up gauge\nup 1\n");
        let of = |openmetrics, gzip| Form { openmetrics, gzip }.of(&plain).unwrap();
        assert_eq!(of(false, false).as_ptr(), plain.as_ptr());
        assert!(of(true, false).ends_with(b"# EOF\n"));
        let mut unpacked = String::new();
        let packed = of(true, true);
        std::io::Read::read_to_string(&mut flate2::read::GzDecoder::new(&packed[..]), &mut unpacked).unwrap();
        assert!(unpacked.ends_with("# EOF\n") && unpacked.contains("up 1"), "{unpacked}");
    }

    #[test]
    fn the_form_is_what_the_request_accepts() {
        let form = |accept: &'static str, encoding: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, HeaderValue::from_static(accept));
            headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(encoding));
            let Form { openmetrics, gzip } = Form::asked(&headers);
            (openmetrics, gzip)
        };
        // As Prometheus asks.
        let prometheus =
            "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2,*/*;q=0.1";
        assert_eq!(form(prometheus, "gzip"), (true, true));
        assert_eq!(form("*/*", "deflate, GZIP;q=0.5"), (false, true));
        assert_eq!(form("text/plain", "gzip;q=0, identity"), (false, false));
        assert_eq!(Form::asked(&HeaderMap::new()), Form::default());
    }
}
