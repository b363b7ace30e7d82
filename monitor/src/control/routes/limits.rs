//! `/v1/limits`: what each source, and all of them together, may send to a service.

use axum::Json;
use axum::extract::State;

use crate::control::endpoint::{Endpoint, Endpoints, Method};
use crate::control::problem::Problem;
use crate::control::protocol::{LimitBody, LimitQuery, Limits, Versioned};
use crate::control::request::{Asker, Json as Body, Path, Query};
use crate::engine::Handle;
use crate::engine::command::{Applied, Command, LimitSet, LimitTarget, Role};

pub fn add(endpoints: Endpoints) -> Endpoints {
    endpoints
        .with(
            Endpoint {
                method: Method::Get,
                path: "/v1/limits",
                role: Role::Viewer,
                query: &[],
                about: "Every limit as it holds now.",
            },
            list,
        )
        .with(
            Endpoint {
                method: Method::Put,
                path: "/v1/limits/{service}",
                role: Role::Operator,
                query: &[],
                about: "Sets rates or mode of one limit.",
            },
            set,
        )
        .with(
            Endpoint {
                method: Method::Delete,
                path: "/v1/limits/{service}",
                role: Role::Operator,
                query: &["class", "kind"],
                about: "Takes one limit back to what the configuration says.",
            },
            unset,
        )
}

async fn list(State(engine): State<Handle>, asker: Asker) -> Result<Json<Versioned<Limits>>, Problem> {
    let limits = engine.ask(asker.caller, asker.options, Command::LimitList).await?;
    Ok(Json(Versioned::new(Limits { limits })))
}

async fn set(
    State(engine): State<Handle>,
    asker: Asker,
    Path(service): Path<String>,
    Body(body): Body<LimitBody>,
) -> Result<Json<Applied>, Problem> {
    let LimitBody { class, kind, mode, packets, bytes, connections, fragments } = body;
    let target = LimitTarget { service, class, kind };
    let change = LimitSet { target, mode, packets, bytes, connections, fragments };
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| Command::LimitSet(change, reply)).await?))
}

async fn unset(
    State(engine): State<Handle>,
    asker: Asker,
    Path(service): Path<String>,
    Query(LimitQuery { class, kind }): Query<LimitQuery>,
) -> Result<Json<Applied>, Problem> {
    let target = LimitTarget { service, class, kind };
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| Command::LimitUnset(target, reply)).await?))
}
