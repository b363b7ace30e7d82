//! `/v1/status`: the latest snapshot.

use axum::Json;
use axum::extract::State;

use crate::control::endpoint::{Endpoint, Endpoints, Method};
use crate::control::protocol::{Status, Versioned};
use crate::engine::Handle;
use crate::engine::command::Role;

pub fn add(endpoints: Endpoints) -> Endpoints {
    endpoints.with(
        Endpoint {
            method: Method::Get,
            path: "/v1/status",
            role: Role::Viewer,
            query: &[],
            about: "What the kernel and the daemon know at this second.",
        },
        status,
    )
}

async fn status(State(engine): State<Handle>) -> Json<Status> {
    Json(Versioned::new(engine.snapshot().as_ref().clone()))
}
