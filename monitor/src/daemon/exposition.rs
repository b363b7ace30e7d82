//! Serves the Prometheus page over HTTP.
//!
//! In: a listener that is bound already and the engine's handle. Out: `GET /metrics`. It changes nothing and knows no
//! other path that does.

use anyhow::{Context, Result};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::engine::Handle;
use crate::metrics;

/// Serves until `stop` changes.
pub async fn serve(listener: TcpListener, engine: Handle, mut stop: watch::Receiver<bool>) -> Result<()> {
    let routes = Router::new().route("/metrics", get(page)).route("/", get(index)).with_state(engine);
    axum::serve(listener, routes)
        .with_graceful_shutdown(async move {
            // An error means that the sender is gone, which is a stop as well.
            let _ = stop.wait_for(|stop| *stop).await;
        })
        .await
        .context("serve the metrics page")
}

async fn page(State(engine): State<Handle>) -> impl IntoResponse {
    match metrics::page(engine.snapshot()) {
        Ok(page) => (StatusCode::OK, [(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], page),
        Err(error) => {
            let text = format!("the page cannot be made: {error}\n");
            (StatusCode::INTERNAL_SERVER_ERROR, [(header::CONTENT_TYPE, "text/plain")], text)
        }
    }
}

async fn index() -> Html<&'static str> {
    Html(
        "<!doctype html><title>sluice</title><p>sluice serves its metrics at <a href=\"/metrics\">/metrics</a>.</p>\n",
    )
}
