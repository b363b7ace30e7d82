//! The list of endpoints, and what is said where there is none.

use axum::response::IntoResponse;
use axum::{Json, Router};

use super::endpoint::{Endpoint, Endpoints, Method};
use super::problem::{Code, Problem};
use super::routes;
use crate::engine::Handle;
use crate::engine::command::Role;

/// Everything the API offers. A new noun is a file in `routes/` and a line here.
pub fn endpoints() -> Endpoints {
    let nouns: [fn(Endpoints) -> Endpoints; 11] = [
        routes::status::add,
        routes::sources::add,
        routes::limits::add,
        routes::access::add,
        routes::containments::add,
        routes::alerts::add,
        routes::flows::add,
        routes::config::add,
        routes::tune::add,
        routes::history::add,
        routes::life::add,
    ];
    nouns.into_iter().fold(Endpoints::default(), |endpoints, add| add(endpoints))
}

/// The router that a server serves.
pub fn router(engine: Handle) -> Router {
    let mut endpoints = endpoints();
    let index = Endpoint {
        method: Method::Get,
        path: "/v1",
        role: Role::Viewer,
        query: &[],
        about: "Lists the endpoints.",
    };
    let mut table = endpoints.table.clone();
    table.insert(0, index);
    endpoints = endpoints.with(index, move || async move { Json(table) });
    endpoints
        .router
        .fallback(|| async {
            Problem::new(Code::NotFound, "no such path", "GET /v1 lists the endpoints").into_response()
        })
        .method_not_allowed_fallback(|| async {
            Problem::new(
                Code::MethodNotAllowed,
                "this path has no such method",
                "GET /v1 lists the endpoints with their methods",
            )
            .into_response()
        })
        .with_state(engine)
}

#[cfg(test)]
mod tests;
