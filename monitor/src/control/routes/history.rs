//! `/v1/history`, `/v1/confirm`: what was changed, keeping it, taking it back.

use axum::Json;
use axum::extract::State;

use crate::control::endpoint::{Endpoint, Endpoints, Method};
use crate::control::problem::Problem;
use crate::control::protocol::{ConfirmBody, History, HistoryQuery, Versioned};
use crate::control::request::{Asker, Json as Body, Path, Query};
use crate::engine::Handle;
use crate::engine::command::{self, Applied, Command, Role};

/// Changes shown unless more are asked for.
const USUAL: usize = 50;

pub fn add(endpoints: Endpoints) -> Endpoints {
    endpoints
        .with(
            Endpoint {
                method: Method::Post,
                path: "/v1/confirm",
                role: Role::Operator,
                query: &[],
                about: "Keeps the change that waits for confirmation.",
            },
            confirm,
        )
        .with(
            Endpoint {
                method: Method::Get,
                path: "/v1/history",
                role: Role::Viewer,
                query: &["limit", "before"],
                about: "The changes, newest first.",
            },
            history,
        )
        .with(
            Endpoint {
                method: Method::Post,
                path: "/v1/history/{number}/revert",
                role: Role::Operator,
                query: &[],
                about: "Undoes one change.",
            },
            revert,
        )
}

async fn confirm(
    State(engine): State<Handle>,
    asker: Asker,
    Body(ConfirmBody { change }): Body<ConfirmBody>,
) -> Result<Json<Applied>, Problem> {
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| Command::Confirm(change, reply)).await?))
}

async fn history(
    State(engine): State<Handle>,
    asker: Asker,
    Query(HistoryQuery { limit, before }): Query<HistoryQuery>,
) -> Result<Json<Versioned<History>>, Problem> {
    let query = command::HistoryQuery { limit: limit.unwrap_or(USUAL), before };
    let changes = engine.ask(asker.caller, asker.options, |reply| Command::History(query, reply)).await?;
    // A page may end early, because its texts are long.
    let next = changes.last().map(|change| change.number).filter(|number| *number > 1);
    Ok(Json(Versioned::new(History { changes, next })))
}

async fn revert(
    State(engine): State<Handle>,
    asker: Asker,
    Path(number): Path<u64>,
) -> Result<Json<Applied>, Problem> {
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| Command::Revert(number, reply)).await?))
}
