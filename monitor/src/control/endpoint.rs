//! An endpoint and its guard: method, path, role and query keys are declared once, checked before the handler runs,
//! listed at `/v1`, and held against docs/reference/control-api.md by a test.

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, on};
use serde::Serialize;

use super::problem::{Code, Problem};
use super::server::Connected;
use crate::engine::Handle;
use crate::engine::command::Role;

/// How an endpoint is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Method {
    Get,
    Post,
    Put,
    Delete,
}

impl Method {
    fn filter(self) -> MethodFilter {
        match self {
            Self::Get => MethodFilter::GET,
            Self::Post => MethodFilter::POST,
            Self::Put => MethodFilter::PUT,
            Self::Delete => MethodFilter::DELETE,
        }
    }
}

/// One endpoint of the API.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Endpoint {
    pub method: Method,
    /// As axum writes it: `/v1/explain/{address}`.
    pub path: &'static str,
    /// The least role that may call it.
    pub role: Role,
    /// The keys that its query may have, besides [`CHANGE_KEYS`] when it changes something.
    pub query: &'static [&'static str],
    pub about: &'static str,
}

/// What the query of every change may hold: keep it, repeat it though warned, take it back unless confirmed.
pub const CHANGE_KEYS: [&str; 3] = ["save", "yes", "confirm_within_seconds"];

impl Endpoint {
    fn permits_key(&self, key: &str) -> bool {
        self.query.contains(&key) || (self.method != Method::Get && CHANGE_KEYS.contains(&key))
    }
}

/// The endpoints and the router that serves them.
#[derive(Debug, Default)]
pub struct Endpoints {
    pub router: Router<Handle>,
    pub table: Vec<Endpoint>,
}

impl Endpoints {
    /// Adds an endpoint; its role and its query keys are checked before `handler` sees the request.
    #[must_use]
    pub fn with<H, T>(mut self, endpoint: Endpoint, handler: H) -> Self
    where
        H: Handler<T, Handle>,
        T: 'static,
    {
        let guarded = on(endpoint.method.filter(), handler).route_layer(from_fn_with_state(endpoint, guard));
        self.router = self.router.route(endpoint.path, guarded);
        self.table.push(endpoint);
        self
    }
}

async fn guard(State(endpoint): State<Endpoint>, request: Request, next: Next) -> Response {
    match check(&endpoint, &request) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

fn check(endpoint: &Endpoint, request: &Request) -> Result<(), Problem> {
    let role = request.extensions().get::<Connected>().map(|connected| connected.role);
    if role.is_none_or(|role| role < endpoint.role) {
        return Err(Problem::new(
            Code::NotPermitted,
            format!(
                "{} wants the role {}, you are {}",
                endpoint.path,
                endpoint.role.label(),
                role.map_or("nobody", Role::label)
            ),
            "ask an administrator, or run it as root",
        ));
    }
    // A mistyped `confirm_within_seconds` that is ignored would take the net away: unknown keys are errors.
    let query = request.uri().query().unwrap_or_default();
    let keys =
        query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split('=').next().unwrap_or(pair));
    for key in keys {
        if !endpoint.permits_key(key) {
            return Err(Problem::new(
                Code::Invalid,
                format!("{} knows no query key `{key}`", endpoint.path),
                format!("it knows: {}", known_keys(endpoint)),
            ));
        }
    }
    Ok(())
}

fn known_keys(endpoint: &Endpoint) -> String {
    let change = if endpoint.method == Method::Get { &[][..] } else { &CHANGE_KEYS[..] };
    let keys: Vec<&str> = endpoint.query.iter().chain(change).copied().collect();
    if keys.is_empty() { "none".to_owned() } else { keys.join(", ") }
}
