//! A page to look at: what is guarded, passed and dropped, live by server-sent events (WHATWG HTML, 9.2).
//!
//! In: the engine's snapshots, and answers that a viewer may have. Out: `GET /` with its script and style, and `/events`. It
//! changes nothing. One answer is made a second for all who look, and none when nobody does.

mod now;

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use bytes::Bytes;
use futures_util::stream;
use policy::config::PageDetail;
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};

use crate::engine::Handle;
use now::Rates;

/// Who looks at the same time; each costs one answer a second.
const STREAMS: usize = 16;
/// Seconds that the plots go back.
const KEPT: usize = 600;

/// Nothing from elsewhere, nothing inline, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; base-uri 'none'; \
     form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'";

/// What those who look share.
#[derive(Debug)]
pub struct Page {
    engine: Handle,
    detail: PageDetail,
    /// Listens on loopback, where a browser can be led by a name that somebody else resolves.
    on_loopback: bool,
    samples: Mutex<VecDeque<Rates>>,
    now: watch::Sender<Bytes>,
    streams: Arc<Semaphore>,
}

impl Page {
    pub fn new(engine: Handle, detail: PageDetail, on_loopback: bool) -> Arc<Self> {
        Arc::new(Self {
            engine,
            detail,
            on_loopback,
            samples: Mutex::default(),
            now: watch::Sender::new(Bytes::new()),
            streams: Arc::new(Semaphore::new(STREAMS)),
        })
    }

    /// Its paths.
    pub fn routes(self: &Arc<Self>) -> Router {
        let fixed = |kind: &'static str, text: &'static str| {
            get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
        };
        Router::new()
            .route("/", fixed("text/html; charset=utf-8", include_str!("page/index.html")))
            .route("/page.css", fixed("text/css; charset=utf-8", include_str!("page/page.css")))
            .route("/page.js", fixed("text/javascript; charset=utf-8", include_str!("page/page.js")))
            .route("/events", get(events).with_state(Arc::clone(self)))
            .layer(middleware::from_fn_with_state(Arc::clone(self), guard))
    }

    /// Remembers every snapshot's rates, and makes an answer of it when somebody looks; ends with the engine.
    pub async fn follow(self: Arc<Self>) {
        let mut snapshots = self.engine.snapshots();
        let mut asked = now::Asked::default();
        while snapshots.changed().await.is_ok() {
            let snapshot = Arc::clone(&snapshots.borrow_and_update());
            let rates = Rates::of(snapshot.totals.iter());
            {
                let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
                samples.push_back(rates);
                let surplus = samples.len().saturating_sub(KEPT);
                samples.drain(..surplus);
            }
            if self.now.receiver_count() > 0 {
                asked.ask(&self.engine, &snapshot, self.detail).await;
                self.now.send_replace(event("now", &now::Now::of(&snapshot, &asked, self.detail)));
            }
        }
    }
}

/// One event on the wire. JSON as it is made here has no line breaks.
fn event(name: &str, value: &impl Serialize) -> Bytes {
    let json = serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned());
    Bytes::from(format!("event: {name}\ndata: {json}\n\n"))
}

/// Headers of every answer; a request for a name is refused where only this host can ask.
async fn guard(State(page): State<Arc<Page>>, request: Request, next: Next) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    let mut answer = if page.on_loopback && !is_of_this_host(host) {
        let text = "this page is served for addresses and localhost only: a name could be anybody's\n";
        (StatusCode::MISDIRECTED_REQUEST, text).into_response()
    } else {
        next.run(request).await
    };
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
    ] {
        answer.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    answer
}

/// An address or `localhost`: a page of somebody else's cannot have such a name (DNS rebinding).
fn is_of_this_host(host: &str) -> bool {
    let without_port =
        host.rsplit_once(':').filter(|(_, port)| port.bytes().all(|byte| byte.is_ascii_digit()));
    let name = without_port.map_or(host, |(name, _)| name);
    let address = name.trim_start_matches('[').trim_end_matches(']');
    name.eq_ignore_ascii_case("localhost") || address.parse::<std::net::IpAddr>().is_ok()
}

/// Who looks: the place among the streams, and what comes next.
struct Looking {
    now: watch::Receiver<Bytes>,
    first: Option<Bytes>,
    _place: OwnedSemaphorePermit,
}

async fn events(State(page): State<Arc<Page>>) -> Response {
    let Ok(place) = Arc::clone(&page.streams).try_acquire_owned() else {
        let text = "too many look at this page already; it tries again by itself\n";
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "10")], text).into_response();
    };
    let history = {
        let samples = page.samples.lock().unwrap_or_else(PoisonError::into_inner);
        event("history", &*samples)
    };
    let looking = Looking { now: page.now.subscribe(), first: Some(history), _place: place };
    let events = stream::unfold(looking, |mut looking| async move {
        if let Some(first) = looking.first.take() {
            return Some((Ok::<_, Infallible>(first), looking));
        }
        looking.now.changed().await.ok()?;
        let now = looking.now.borrow_and_update().clone();
        Some((Ok(now), looking))
    });
    ([(header::CONTENT_TYPE, "text/event-stream")], Body::from_stream(events)).into_response()
}

#[cfg(test)]
mod tests {
    use super::{event, is_of_this_host};

    #[test]
    fn names_of_others_are_refused() {
        for host in ["127.0.0.1:9477", "127.0.0.1", "localhost:9477", "LOCALHOST", "[::1]:9477", "[::1]"] {
            assert!(is_of_this_host(host), "{host}");
        }
        for host in ["", "evil.example:9477", "127.0.0.1.evil.example", "localhost.evil.example:80", "a:b"] {
            assert!(!is_of_this_host(host), "{host}");
        }
    }

    #[test]
    fn an_event_is_one_line_whatever_a_name_contains() {
        let text = event("now", &"a\n\ndata: b\r</script>");
        assert_eq!(&text[..], b"event: now\ndata: \"a\\n\\ndata: b\\r</script>\"\n\n");
    }
}
