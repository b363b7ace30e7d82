//! `/v1/tune`: limits that the daemon proposes, on trial and in force.

use axum::Json;
use axum::extract::State;

use crate::control::endpoint::{Endpoint, Endpoints, Method};
use crate::control::problem::Problem;
use crate::control::protocol::{TuneBody, TuneShowQuery, Versioned};
use crate::control::request::{Asker, Json as Body, Path, Query};
use crate::engine::Handle;
use crate::engine::command::{Aim, Applied, Command, Role, TuneList, TuneQuery, TuneTarget};

const fn change(path: &'static str, about: &'static str) -> Endpoint {
    Endpoint { method: Method::Post, path, role: Role::Operator, query: &[], about }
}

pub fn add(endpoints: Endpoints) -> Endpoints {
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
            try_out,
        )
        .with(change("/v1/tune/{service}/end", "Ends a trial."), end)
        .with(change("/v1/tune/{service}/apply", "Puts a proposal in force."), apply)
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

fn target(service: String, body: TuneBody) -> TuneTarget {
    let TuneBody { class, quantile, headroom } = body;
    TuneTarget { service, class, aim: Aim { quantile, headroom } }
}

async fn try_out(
    State(engine): State<Handle>,
    asker: Asker,
    Path(service): Path<String>,
    Body(body): Body<TuneBody>,
) -> Result<Json<Applied>, Problem> {
    let target = target(service, body);
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| Command::TuneTry(target, reply)).await?))
}

async fn end(
    State(engine): State<Handle>,
    asker: Asker,
    Path(service): Path<String>,
    Body(body): Body<TuneBody>,
) -> Result<Json<Applied>, Problem> {
    let target = target(service, body);
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| Command::TuneEnd(target, reply)).await?))
}

async fn apply(
    State(engine): State<Handle>,
    asker: Asker,
    Path(service): Path<String>,
    Body(body): Body<TuneBody>,
) -> Result<Json<Applied>, Problem> {
    let target = target(service, body);
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| Command::TuneApply(target, reply)).await?))
}

async fn forget(
    State(engine): State<Handle>,
    asker: Asker,
    Path(service): Path<String>,
) -> Result<Json<Applied>, Problem> {
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| Command::TuneForget(service, reply)).await?))
}
