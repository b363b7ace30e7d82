//! `/v1/containments`: sources and workloads that are cut off or limited on their own.

use axum::Json;
use axum::extract::State;

use crate::control::endpoint::{Endpoint, Endpoints, Method};
use crate::control::problem::Problem;
use crate::control::protocol::{LiftQuery, Versioned};
use crate::control::request::{Asker, Json as Body, Query};
use crate::engine::Handle;
use crate::engine::command::{Applied, Command, ContainmentList, ContainmentSet, Role};

pub fn add(endpoints: Endpoints) -> Endpoints {
    endpoints
        .with(
            Endpoint {
                method: Method::Get,
                path: "/v1/containments",
                role: Role::Viewer,
                query: &[],
                about: "Containments with what they let through and what they dropped.",
            },
            list,
        )
        .with(
            Endpoint {
                method: Method::Post,
                path: "/v1/containments",
                role: Role::Operator,
                query: &[],
                about: "Cuts off or limits one source or one workload.",
            },
            contain,
        )
        .with(
            Endpoint {
                method: Method::Delete,
                path: "/v1/containments",
                role: Role::Operator,
                query: &["subject"],
                about: "Takes a containment back.",
            },
            lift,
        )
}

async fn list(
    State(engine): State<Handle>,
    asker: Asker,
) -> Result<Json<Versioned<ContainmentList>>, Problem> {
    let list = engine.ask(asker.caller, asker.options, Command::ContainmentList).await?;
    Ok(Json(Versioned::new(list)))
}

async fn contain(
    State(engine): State<Handle>,
    asker: Asker,
    Body(set): Body<ContainmentSet>,
) -> Result<Json<Applied>, Problem> {
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| Command::Contain(set, reply)).await?))
}

async fn lift(
    State(engine): State<Handle>,
    asker: Asker,
    Query(LiftQuery { subject }): Query<LiftQuery>,
) -> Result<Json<Applied>, Problem> {
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| Command::Lift(subject, reply)).await?))
}
