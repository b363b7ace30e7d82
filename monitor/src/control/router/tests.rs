//! What each endpoint answers, by method, path, role and body.

use std::collections::BTreeMap;

use api::client::Failure;
use api::openapi::{about_itself, shapes};
use api::{Code, Role};
use hyper::Method;
use serde_json::{Value, json};

use crate::control::peer::Roles;
use crate::control::served::Served;
use crate::control::server::Limits;

async fn code(served: &Served, method: Method, path: &str, body: Option<&Value>) -> Code {
    match served.send(method, path, body).await {
        Err(Failure::Refused(error)) => error.code,
        other => panic!("{path}: expected an error, not {other:?}"),
    }
}

/// A request that the core over the stand-in kernel can do, by the name of its command.
fn requests() -> BTreeMap<&'static str, (&'static str, Value)> {
    let none = || json!({});
    BTreeMap::from([
        ("status", ("/v1/status", none())),
        ("sources", ("/v1/sources?sort=drops&senders=true", none())),
        ("explain", ("/v1/explain/2001:db8::1", none())),
        ("limit list", ("/v1/limits", none())),
        ("limit set", ("/v1/limits/web?save=true", json!({"packets": {"rate": "1k/s"}}))),
        ("limit unset", ("/v1/limits/web", none())),
        ("access list", ("/v1/access", none())),
        ("access add", ("/v1/access/deny", json!({"prefix": "198.51.100.0/24"}))),
        (
            "access import",
            ("/v1/access/import", json!({"name": "list", "kind": "deny", "text": "203.0.113.9"})),
        ),
        ("access remove", ("/v1/access/deny?prefix=198.51.100.0%2F24", none())),
        ("contain list", ("/v1/containments", none())),
        ("contain", ("/v1/containments", json!({"subject": "copy.service", "packets": "100/s"}))),
        ("contain --lift", ("/v1/containments?subject=copy.service", none())),
        ("alerts list", ("/v1/alerts?open=true", none())),
        ("alerts show", ("/v1/alerts/3", none())),
        ("alerts close", ("/v1/alerts/3/close", none())),
        ("alerts silence", ("/v1/silences", json!({"detector": "beacon", "reason": "a health check"}))),
        ("alerts silences", ("/v1/silences", none())),
        ("alerts unsilence", ("/v1/silences/1", none())),
        ("flows", ("/v1/flows?port=443", none())),
        ("graph", ("/v1/graph", none())),
        ("posture", ("/v1/posture", none())),
        ("config show", ("/v1/config", none())),
        ("reload", ("/v1/reload?confirm_within_seconds=60", none())),
        ("tune show", ("/v1/tune?service=web", none())),
        ("history", ("/v1/history?limit=3", none())),
        ("audit list", ("/v1/audit?limit=3", none())),
        ("audit verify", ("/v1/audit/verify", none())),
        ("backup", ("/v1/backup", none())),
        ("revert", ("/v1/history/1/revert?yes=true", none())),
        ("panic", ("/v1/panic?yes=true", json!({"on": true}))),
        ("stop", ("/v1/stop", none())),
        ("detach", ("/v1/detach?yes=true", none())),
    ])
}

#[tokio::test]
async fn every_endpoint_is_performed_for_an_admin() {
    let served = Served::start(Limits::default());
    let requests = requests();
    for shape in shapes() {
        let name = shape.endpoint.name;
        let method: Method = shape.endpoint.method.label().parse().unwrap();
        let Some((path, body)) = requests.get(name) else {
            // What needs a proposal or a pending change is refused here, in its own words.
            let path = shape.endpoint.path.replace("{service}", "web");
            assert!(
                ["tune try", "tune end", "tune apply", "tune forget", "confirm"].contains(&name),
                "{name}"
            );
            let code = code(&served, method, &path, None).await;
            assert!([Code::NotFound, Code::Conflict].contains(&code), "{name}: {code:?}");
            continue;
        };
        let body = shape.endpoint.method.has_body().then_some(body);
        let answer = served.send(method, path, body).await;
        assert_eq!(answer.unwrap_or_else(|error| panic!("{name}: {error}"))["schema_version"], 1, "{name}");
    }
}

#[tokio::test]
async fn the_index_lists_every_endpoint() {
    let served = Served::start(Limits::default());
    let index = served.get("/v1").await.unwrap();
    assert_eq!(index.as_array().unwrap().len(), about_itself().len() + shapes().len());
    assert_eq!(index[2]["path"], "/v1/status");
    let description = served.get("/v1/openapi.json").await.unwrap();
    assert_eq!(description, api::openapi::document());
}

#[tokio::test]
async fn a_change_reaches_the_core_with_its_options_and_its_caller() {
    let served = Served::start(Limits::default());
    let body = json!({"class": "inside", "mode": "enforce", "packets": {"rate": "2k/s"}});
    let path = "/v1/limits/web?save=true&confirm_within_seconds=60";
    let answer = served.send(Method::PUT, path, Some(&body)).await.unwrap();
    assert!(answer["change"].is_u64() && answer["confirm_by"].is_string(), "{answer}");
    let heard = served.heard.lock().unwrap()[0].clone();
    let uid = rustix::process::getuid().as_raw();
    for wanted in [
        "service: \"web\"",
        "amount: 2000",
        &format!("uid: {uid}"),
        "ssh_peer: Some(192.0.2.7)",
        "save: true, confirm_within_seconds: Some(60), yes: false",
    ] {
        assert!(heard.contains(wanted), "{wanted}: {heard}");
    }
}

#[tokio::test]
async fn bad_requests_are_refused_with_their_code_and_reach_nobody() {
    let served = Served::start(Limits::default());
    let bad = json!({"packets": {"rate": "much"}});
    let typo = json!({"pakets": {"rate": "1/s"}});
    let twice = json!({"service": "dns"});
    let (get, put, post) = (Method::GET, Method::PUT, Method::POST);
    for (method, path, body, wanted) in [
        (&get, "/v2/status", None, Code::NotFound),
        (&put, "/v1/status", None, Code::MethodNotAllowed),
        (&get, "/v1/explain/nobody", None, Code::Invalid),
        (&get, "/v1/sources?sort=colour", None, Code::Invalid),
        (&get, "/v1/sources?srot=rate", None, Code::Invalid),
        (&get, "/v1/sources?save=true", None, Code::Invalid),
        (&get, "/v1/sources?limit=1&limit=2", None, Code::Invalid),
        (&get, "/v1/explain/10.0.0.1?address=10.0.0.2", None, Code::Invalid),
        (&put, "/v1/limits/web?confirm_witin_seconds=60", None, Code::Invalid),
        (&put, "/v1/limits/web?confirm_within_seconds=0", None, Code::Invalid),
        (&put, "/v1/limits/web", Some(&bad), Code::Invalid),
        (&put, "/v1/limits/web", Some(&typo), Code::Invalid),
        (&put, "/v1/limits/web", Some(&twice), Code::Invalid),
        (&post, "/v1/history/seven/revert", None, Code::Invalid),
        (&post, "/v1/access/deny", None, Code::Invalid),
        (&post, "/v1/access/love", None, Code::Invalid),
    ] {
        assert_eq!(code(&served, method.clone(), path, body).await, wanted, "{path}");
    }
    assert!(served.heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_errors_of_the_core_arrive_whole() {
    let served = Served::start(Limits::default());
    let answer = served.send(Method::PUT, "/v1/limits/nowhere", Some(&json!({"mode": "off"}))).await;
    let Err(Failure::Refused(error)) = answer else { panic!("{answer:?}") };
    assert_eq!(error.code, Code::NotFound);
    assert!(error.message.contains("nowhere") && error.next_step.is_some(), "{error}");
    assert_eq!(code(&served, Method::POST, "/v1/detach", None).await, Code::NeedsConfirmation);
}

#[tokio::test]
async fn a_viewer_reads_and_an_operator_changes_but_neither_detaches() {
    // The test's own user counts as whatever its primary group says once the daemon belongs to somebody else; root is
    // always an admin, so as root the guard is tried on the roles themselves.
    for endpoint in shapes().into_iter().map(|shape| shape.endpoint) {
        let is_change = endpoint.method != api::Method::Get;
        let of_admins =
            ["/v1/stop", "/v1/detach", "/v1/reload", "/v1/audit", "/v1/audit/verify", "/v1/backup"];
        let is_theirs = of_admins.contains(&endpoint.path);
        assert_eq!(endpoint.role == Role::Viewer, !is_change && !is_theirs, "{}", endpoint.path);
        assert_eq!(endpoint.role == Role::Admin, is_theirs, "{}", endpoint.path);
    }
    if rustix::process::getuid().is_root() {
        return;
    }
    let gid = rustix::process::getgid().as_raw();
    let roles = Roles { daemon_uid: u32::MAX, viewer_group: Some(gid), ..Roles::default() };
    let served = Served::to(roles, Limits::default());
    served.get("/v1/status").await.unwrap();
    assert_eq!(code(&served, Method::PUT, "/v1/limits/web", None).await, Code::NotPermitted);
}
