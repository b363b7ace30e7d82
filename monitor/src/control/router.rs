//! The routes: each follows from its command's type, and the API's description of itself.
//!
//! In: HTTP requests with their peer. Out: answers of the engine, and the latest snapshot. Nothing is decided here.

use std::sync::Arc;

use api::audit::{AuditHead, AuditKind, AuditQuery, VerifyAudit};
use api::backup::BackupRead;
use api::openapi::{self, Listed};
use api::shape::Shape;
use api::status::ShowStatus;
use api::{Code, Command, Error, Method, Origin, Versioned};
use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, get, on};
use axum::{Json, Router};
use hyper::Request;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use super::refusal;
use super::request::{self, Asked};
use super::server::Connected;
use crate::engine::command::{Caller, Perform};
use crate::engine::{Auditor, Handle, NewEntry};

/// The router that a server serves.
pub fn router(engine: Handle) -> Router {
    let mut router = about_itself();
    router = route::<ShowStatus, _, _>(router, |engine: Handle, _| async move {
        Ok(engine.snapshot().as_ref().clone())
    });
    macro_rules! perform {
        ($($command:ty,)+) => { $(router = route::<$command, _, _>(router, performed);)+ };
    }
    api::commands!(perform);
    router = backup(audit(router));
    router
        .fallback(|engine, request| async move {
            let error = Error::new(Code::NotFound, "no such path").next("GET /v1 lists the endpoints");
            nothing_there(engine, &request, error)
        })
        .method_not_allowed_fallback(|engine, request| async move {
            let error = Error::new(Code::MethodNotAllowed, "this path has no such method")
                .next("GET /v1 lists the endpoints with their methods");
            nothing_there(engine, &request, error)
        })
        .with_state(engine)
}

/// Adds the route of a command, whose request `answer` answers.
fn route<C, A, F>(router: Router<Handle>, answer: A) -> Router<Handle>
where
    C: Command,
    A: Fn(Handle, Asked<C>) -> F + Clone + Send + Sync + 'static,
    F: Future<Output = Result<C::Answer, Error>> + Send,
{
    let shape = Arc::new(Shape::of::<C>());
    let (path, method) = (shape.endpoint.path, filter(shape.endpoint.method));
    let handler = move |State(engine): State<Handle>, request: Request<Body>| async move {
        let who = request.extensions().get::<Connected>().cloned();
        let asked = request::read(&shape, request).await.inspect_err(|error| {
            refusal::tell(engine.auditor(), who.as_ref(), shape.endpoint.name, error);
        })?;
        Ok::<_, Failed>(Json(Versioned::new(answer(engine, asked).await?)))
    };
    router.route(path, on(method, handler))
}

/// Both commands of the audit read its files, one caller after the other.
fn audit(router: Router<Handle>) -> Router<Handle> {
    let turns = Arc::new(Semaphore::new(1));
    let theirs = Arc::clone(&turns);
    let router = route::<AuditQuery, _, _>(router, move |engine: Handle, asked: Asked<AuditQuery>| {
        read(Arc::clone(&turns), engine, move |auditor| auditor.page(&asked.command))
    });
    route::<VerifyAudit, _, _>(router, move |engine: Handle, asked: Asked<VerifyAudit>| {
        let VerifyAudit { number, sha256 } = asked.command;
        let named = number.zip(sha256).map(|(number, sha256)| AuditHead { number, sha256 });
        read(Arc::clone(&theirs), engine, move |auditor| auditor.verdict(named))
    })
}

async fn read<T: Send + 'static>(
    turns: Arc<Semaphore>,
    engine: Handle,
    work: impl FnOnce(&Auditor) -> anyhow::Result<T> + Send + 'static,
) -> Result<T, Error> {
    let _turn = turns.acquire_owned().await.map_err(|error| Error::failed(&error))?;
    let auditor = engine.auditor().clone();
    let read = tokio::task::spawn_blocking(move || work(&auditor)).await;
    read.map_err(|error| Error::failed(&error))?.map_err(|error| Error::failed(&error))
}

/// Parts of a copy of the store, which is made on the store's own thread. Who began one has all that is kept, so the audit has it.
fn backup(router: Router<Handle>) -> Router<Handle> {
    route::<BackupRead, _, _>(router, |engine: Handle, asked: Asked<BackupRead>| async move {
        let (copier, begins) = (engine.copier().clone(), asked.command.id.is_none());
        let read = tokio::task::spawn_blocking(move || copier.part(&asked.command)).await;
        let part = read.map_err(|error| Error::failed(&error))?.map_err(|error| Error::failed(&error))?;
        if begins && part.is_some() {
            let Caller { uid, gid, pid, user, .. } = asked.caller;
            let origin = Origin::Socket { uid, gid, pid };
            let mut entry =
                NewEntry::new(Timestamp::now(), AuditKind::Call, origin, BackupRead::ENDPOINT.name);
            entry.user = user;
            engine.auditor().answered(entry);
        }
        let over = || Error::new(Code::NotFound, "this backup is over, or another one began since");
        part.ok_or_else(|| over().next("begin a new one, without `id`"))
    })
}

/// A request that is no command.
fn nothing_there(State(engine): State<Handle>, request: &Request<Body>, error: Error) -> Failed {
    let who = request.extensions().get::<Connected>();
    refusal::tell(engine.auditor(), who, &refusal::named(request), &error);
    Failed(error)
}

async fn performed<C: Perform>(engine: Handle, asked: Asked<C>) -> Result<C::Answer, Error> {
    let Asked { caller, options, command } = asked;
    engine.ask(caller, options, command).await
}

/// What the API says about itself: the list of its endpoints, and the whole description.
fn about_itself() -> Router<Handle> {
    let mut list = openapi::about_itself().to_vec();
    list.extend(openapi::shapes().iter().map(Listed::of));
    let document = Arc::new(openapi::document());
    Router::new()
        .route(openapi::INDEX, get(move || async move { Json(list) }))
        .route(openapi::PATH, get(move || async move { Json(document.as_ref().clone()) }))
}

const fn filter(method: Method) -> MethodFilter {
    match method {
        Method::Get => MethodFilter::GET,
        Method::Post => MethodFilter::POST,
        Method::Put => MethodFilter::PUT,
        Method::Delete => MethodFilter::DELETE,
    }
}

/// An error as a response.
#[derive(Debug)]
pub struct Failed(pub Error);

impl From<Error> for Failed {
    fn from(error: Error) -> Self {
        Self(error)
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        let Self(error) = self;
        let status = hyper::StatusCode::from_u16(error.code.http_status())
            .unwrap_or(hyper::StatusCode::INTERNAL_SERVER_ERROR);
        (status, [(hyper::header::CONTENT_TYPE, api::error::MEDIA_TYPE)], error.json()).into_response()
    }
}

#[cfg(test)]
mod tests;
