//! `/v1/access`: who is exempt, denied or banned.

use axum::Json;
use axum::extract::State;

use crate::control::endpoint::{Endpoint, Endpoints, Method};
use crate::control::problem::Problem;
use crate::control::protocol::{AccessBody, AccessQuery, Versioned};
use crate::control::request::{Asker, Json as Body, Path, Query};
use crate::engine::Handle;
use crate::engine::command::{
    AccessAdd, AccessImport, AccessKind, AccessList, AccessTarget, Applied, Command, Role,
};

pub fn add(endpoints: Endpoints) -> Endpoints {
    endpoints
        .with(
            Endpoint {
                method: Method::Get,
                path: "/v1/access",
                role: Role::Viewer,
                query: &[],
                about: "Exemptions, denials and bans.",
            },
            list,
        )
        .with(
            Endpoint {
                method: Method::Post,
                path: "/v1/access/{list}",
                role: Role::Operator,
                query: &[],
                about: "Exempts, denies or bans a prefix.",
            },
            put_in,
        )
        .with(
            Endpoint {
                method: Method::Post,
                path: "/v1/access/import",
                role: Role::Operator,
                query: &[],
                about: "Exempts or denies a whole list of prefixes as one change, or tells what it would do.",
            },
            import,
        )
        .with(
            Endpoint {
                method: Method::Delete,
                path: "/v1/access/{list}",
                role: Role::Operator,
                query: &["prefix"],
                about: "Takes back an exemption, a denial or a ban.",
            },
            take_out,
        )
}

async fn list(State(engine): State<Handle>, asker: Asker) -> Result<Json<Versioned<AccessList>>, Problem> {
    let lists = engine.ask(asker.caller, asker.options, Command::AccessList).await?;
    Ok(Json(Versioned::new(lists)))
}

async fn put_in(
    State(engine): State<Handle>,
    asker: Asker,
    Path(kind): Path<AccessKind>,
    Body(AccessBody { prefix, for_seconds, comment }): Body<AccessBody>,
) -> Result<Json<Applied>, Problem> {
    let entry = AccessAdd { kind, prefix, for_seconds, comment };
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| Command::AccessAdd(entry, reply)).await?))
}

async fn import(
    State(engine): State<Handle>,
    asker: Asker,
    Body(list): Body<AccessImport>,
) -> Result<Json<Applied>, Problem> {
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| Command::AccessImport(list, reply)).await?))
}

async fn take_out(
    State(engine): State<Handle>,
    asker: Asker,
    Path(kind): Path<AccessKind>,
    Query(AccessQuery { prefix }): Query<AccessQuery>,
) -> Result<Json<Applied>, Problem> {
    let target = AccessTarget { kind, prefix };
    Ok(Json(engine.ask(asker.caller, asker.options, |reply| Command::AccessRemove(target, reply)).await?))
}
