//! `/v1/config`, `/v1/reload`: the configuration in force, and reading it anew.

use axum::Json;
use axum::extract::State;

use crate::control::endpoint::{Endpoint, Endpoints, Method};
use crate::control::problem::Problem;
use crate::control::protocol::Versioned;
use crate::control::request::Asker;
use crate::engine::Handle;
use crate::engine::command::{Applied, Command, ConfigText, Role};

pub fn add(endpoints: Endpoints) -> Endpoints {
    endpoints
        .with(
            Endpoint {
                method: Method::Get,
                path: "/v1/config",
                role: Role::Viewer,
                query: &[],
                about: "The configuration in force.",
            },
            show,
        )
        .with(
            Endpoint {
                method: Method::Post,
                path: "/v1/reload",
                role: Role::Admin,
                query: &[],
                about: "Reads the configuration file anew; a bad one changes nothing.",
            },
            reload,
        )
}

async fn show(State(engine): State<Handle>, asker: Asker) -> Result<Json<Versioned<ConfigText>>, Problem> {
    let text = engine.ask(asker.caller, asker.options, Command::ConfigShow).await?;
    Ok(Json(Versioned::new(text)))
}

async fn reload(State(engine): State<Handle>, asker: Asker) -> Result<Json<Applied>, Problem> {
    Ok(Json(engine.ask(asker.caller, asker.options, Command::Reload).await?))
}
