//! `/v1/flows` and `/v1/graph`: the conversations of insiders, and who talks to whom.

use axum::Json;
use axum::extract::State;

use crate::control::endpoint::{Endpoint, Endpoints, Method};
use crate::control::problem::Problem;
use crate::control::protocol::Versioned;
use crate::control::request::{Asker, Query};
use crate::engine::Handle;
use crate::engine::command::{Command, FlowList, FlowQuery, Graph, Role};

pub fn add(endpoints: Endpoints) -> Endpoints {
    endpoints
        .with(
            Endpoint {
                method: Method::Get,
                path: "/v1/flows",
                role: Role::Viewer,
                query: &["address", "port", "protocol", "workload", "outcome", "limit"],
                about: "Conversations as they stand, most bytes first.",
            },
            flows,
        )
        .with(
            Endpoint {
                method: Method::Get,
                path: "/v1/graph",
                role: Role::Viewer,
                query: &[],
                about: "Who talks to whom, new edges marked.",
            },
            graph,
        )
}

async fn flows(
    State(engine): State<Handle>,
    asker: Asker,
    Query(query): Query<FlowQuery>,
) -> Result<Json<Versioned<FlowList>>, Problem> {
    let list = engine.ask(asker.caller, asker.options, |reply| Command::Flows(query, reply)).await?;
    Ok(Json(Versioned::new(list)))
}

async fn graph(State(engine): State<Handle>, asker: Asker) -> Result<Json<Versioned<Graph>>, Problem> {
    let graph = engine.ask(asker.caller, asker.options, Command::Graph).await?;
    Ok(Json(Versioned::new(graph)))
}
