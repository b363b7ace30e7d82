//! `/v1/alerts` and `/v1/silences`: findings about insiders, and what is not to be told of them.

use axum::Json;
use axum::extract::State;

use crate::control::endpoint::{Endpoint, Endpoints, Method};
use crate::control::problem::Problem;
use crate::control::protocol::{Alerts, Versioned};
use crate::control::request::{Asker, Json as Body, Path, Query};
use crate::engine::Handle;
use crate::engine::command::{Alert, AlertQuery, Applied, Command, Role, Silence};

pub fn add(endpoints: Endpoints) -> Endpoints {
    endpoints
        .with(
            Endpoint {
                method: Method::Get,
                path: "/v1/alerts",
                role: Role::Viewer,
                query: &["open", "detector", "severity", "subject", "since", "limit"],
                about: "Findings, newest first.",
            },
            list,
        )
        .with(
            Endpoint {
                method: Method::Get,
                path: "/v1/alerts/{number}",
                role: Role::Viewer,
                query: &[],
                about: "One finding with its evidence.",
            },
            show,
        )
        .with(
            Endpoint {
                method: Method::Post,
                path: "/v1/alerts/{number}/close",
                role: Role::Operator,
                query: &[],
                about: "Closes a finding by hand.",
            },
            close,
        )
        .with(
            Endpoint {
                method: Method::Post,
                path: "/v1/silences",
                role: Role::Operator,
                query: &[],
                about: "Keeps findings quiet; they are still counted and kept.",
            },
            silence,
        )
}

async fn list(
    State(engine): State<Handle>,
    asker: Asker,
    Query(query): Query<AlertQuery>,
) -> Result<Json<Versioned<Alerts>>, Problem> {
    let alerts = engine.ask(asker.caller, asker.options, |reply| Command::AlertList(query, reply)).await?;
    Ok(Json(Versioned::new(Alerts { alerts })))
}

async fn show(
    State(engine): State<Handle>,
    asker: Asker,
    Path(number): Path<u64>,
) -> Result<Json<Versioned<Alert>>, Problem> {
    let alert = engine.ask(asker.caller, asker.options, |reply| Command::AlertShow(number, reply)).await?;
    Ok(Json(Versioned::new(alert)))
}

async fn close(
    State(engine): State<Handle>,
    asker: Asker,
    Path(number): Path<u64>,
) -> Result<Json<Versioned<Alert>>, Problem> {
    let alert = engine.ask(asker.caller, asker.options, |reply| Command::AlertClose(number, reply)).await?;
    Ok(Json(Versioned::new(alert)))
}

async fn silence(
    State(engine): State<Handle>,
    asker: Asker,
    Body(silence): Body<Silence>,
) -> Result<Json<Applied>, Problem> {
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| Command::AlertSilence(silence, reply)).await?))
}
