//! `/v1/tune`: limits that the daemon proposes, on trial and in force.

use axum::Json;
use axum::extract::State;

use crate::control::endpoint::{Endpoint, Endpoints, Method};
use crate::control::problem::Problem;
use crate::control::protocol::{TuneBody, TuneShowQuery, Versioned};
use crate::control::request::{Asker, Json as Body, Path, Query};
use crate::engine::Handle;
use crate::engine::command::{Aim, Applied, Command, Reply, Role, TuneList, TuneQuery, TuneTarget};

const fn change(path: &'static str, about: &'static str) -> Endpoint {
    Endpoint { method: Method::Post, path, role: Role::Operator, query: &[], about }
}

/// What can be done with the target that the path and the body name.
type TargetCommand = fn(TuneTarget, Reply<Applied>) -> Command;

pub fn add(endpoints: Endpoints) -> Endpoints {
    let on_target = |command: TargetCommand| {
        move |engine, asker, service, body| change_of(engine, asker, service, body, command)
    };
    endpoints
        .with(
            Endpoint {
                method: Method::Get,
                path: "/v1/tune",
                role: Role::Viewer,
                query: &["service", "class", "quantile", "headroom"],
                about: "Proposed limits with their evidence, beside those in force.",
            },
            show,
        )
        .with(
            change("/v1/tune/{service}/try", "Puts a proposal on trial beside the limit in force."),
            on_target(Command::TuneTry),
        )
        .with(change("/v1/tune/{service}/end", "Ends a trial."), on_target(Command::TuneEnd))
        .with(change("/v1/tune/{service}/apply", "Puts a proposal in force."), on_target(Command::TuneApply))
        .with(change("/v1/tune/{service}/forget", "Forgets what was learned of a service."), forget)
}

async fn show(
    State(engine): State<Handle>,
    asker: Asker,
    Query(query): Query<TuneShowQuery>,
) -> Result<Json<Versioned<TuneList>>, Problem> {
    let TuneShowQuery { service, class, quantile, headroom } = query;
    let wanted = TuneQuery { service, class, aim: Aim { quantile, headroom } };
    let list = engine.ask(asker.caller, asker.options, |reply| Command::TuneShow(wanted, reply)).await?;
    Ok(Json(Versioned::new(list)))
}

async fn change_of(
    State(engine): State<Handle>,
    asker: Asker,
    Path(service): Path<String>,
    Body(body): Body<TuneBody>,
    command: TargetCommand,
) -> Result<Json<Applied>, Problem> {
    let TuneBody { class, quantile, headroom } = body;
    let target = TuneTarget { service, class, aim: Aim { quantile, headroom } };
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| command(target, reply)).await?))
}

async fn forget(
    State(engine): State<Handle>,
    asker: Asker,
    Path(service): Path<String>,
) -> Result<Json<Applied>, Problem> {
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| Command::TuneForget(service, reply)).await?))
}
