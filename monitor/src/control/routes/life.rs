//! `/v1/stop` and `/v1/detach`: the daemon's end, with and without the kernel's protection.

use axum::Json;
use axum::extract::State;

use crate::control::endpoint::{Endpoint, Endpoints, Method};
use crate::control::problem::Problem;
use crate::control::protocol::Done;
use crate::control::request::Asker;
use crate::engine::Handle;
use crate::engine::command::{Command, Role};

pub fn add(endpoints: Endpoints) -> Endpoints {
    endpoints
        .with(
            Endpoint {
                method: Method::Post,
                path: "/v1/stop",
                role: Role::Admin,
                query: &[],
                about: "Ends the daemon; the kernel keeps protecting.",
            },
            stop,
        )
        .with(
            Endpoint {
                method: Method::Post,
                path: "/v1/detach",
                role: Role::Admin,
                query: &[],
                about: "Removes programs, maps and pins, and ends the daemon.",
            },
            detach,
        )
}

async fn stop(State(engine): State<Handle>, asker: Asker) -> Result<Json<Done>, Problem> {
    engine.ask(asker.caller, asker.options, Command::Stop).await?;
    Ok(Json(Done { done: true }))
}

async fn detach(State(engine): State<Handle>, asker: Asker) -> Result<Json<Done>, Problem> {
    engine.ask(asker.caller, asker.options, Command::Detach).await?;
    Ok(Json(Done { done: true }))
}
