//! `/v1/sources` and `/v1/explain/{address}`: who sends, and why it is treated as it is.

use std::net::IpAddr;

use axum::Json;
use axum::extract::State;

use crate::control::endpoint::{Endpoint, Endpoints, Method};
use crate::control::problem::Problem;
use crate::control::protocol::{SourcesQuery, Versioned};
use crate::control::request::{Asker, Path, Query};
use crate::engine::Handle;
use crate::engine::command::{Command, Explanation, Role, SourceList, SourceQuery};

pub fn add(endpoints: Endpoints) -> Endpoints {
    endpoints
        .with(
            Endpoint {
                method: Method::Get,
                path: "/v1/sources",
                role: Role::Viewer,
                query: &["sort", "prefix", "service", "limit", "after", "senders"],
                about: "The sources with the highest rates, drops or bytes.",
            },
            sources,
        )
        .with(
            Endpoint {
                method: Method::Get,
                path: "/v1/explain/{address}",
                role: Role::Viewer,
                query: &[],
                about: "Why an address is treated as it is.",
            },
            explain,
        )
}

async fn sources(
    State(engine): State<Handle>,
    asker: Asker,
    Query(query): Query<SourcesQuery>,
) -> Result<Json<Versioned<SourceList>>, Problem> {
    let SourcesQuery { sort, prefix, service, limit, after, senders } = query;
    let wanted = SourceQuery { order: sort, prefix, service, limit, after, senders };
    let list = engine.ask(asker.caller, asker.options, |reply| Command::Sources(wanted, reply)).await?;
    Ok(Json(Versioned::new(list)))
}

async fn explain(
    State(engine): State<Handle>,
    asker: Asker,
    Path(address): Path<IpAddr>,
) -> Result<Json<Versioned<Explanation>>, Problem> {
    let why = engine.ask(asker.caller, asker.options, |reply| Command::Explain(address, reply)).await?;
    Ok(Json(Versioned::new(why)))
}
