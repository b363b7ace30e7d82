//! What each endpoint answers, by method, path, role and body.

use hyper::Method;
use serde_json::{Value, json};

use super::endpoints;
use crate::control::client::{Client, Failure};
use crate::control::endpoint;
use crate::control::peer::Roles;
use crate::control::problem::Code;
use crate::control::scripted::{own_roles, start};
use crate::control::server::Limits;
use crate::engine::command::Role;

async fn code(client: &Client, method: Method, path: &str, body: Option<&Value>) -> Code {
    match client.ask::<Value>(method, path, body).await {
        Err(Failure::Problem(problem)) => problem.code,
        other => panic!("{path}: expected a problem, not {other:?}"),
    }
}

#[tokio::test]
async fn every_endpoint_answers_an_admin_with_json() {
    let scripted = start(own_roles(), Limits::default());
    let body = json!({"prefix": "198.51.100.0/24"});
    let list = json!({"name": "list", "kind": "deny", "text": "198.51.100.0/24", "dry_run": true});
    let silence = json!({"detector": "beacon", "reason": "a health check"});
    let contain = json!({"subject": "copy.service", "packets": "100/s"});
    for endpoint in endpoints().table {
        let path = endpoint
            .path
            .replace("{address}", "2001:db8::1")
            .replace("{service}", "web")
            .replace("{list}", "deny")
            .replace("{number}", "7");
        let (method, path, body) = match endpoint.method {
            endpoint::Method::Get => (Method::GET, path, None),
            endpoint::Method::Put => (Method::PUT, path, None),
            endpoint::Method::Post if path.contains("import") => (Method::POST, path, Some(&list)),
            endpoint::Method::Post if path.contains("silences") => (Method::POST, path, Some(&silence)),
            endpoint::Method::Post if path.contains("access") => (Method::POST, path, Some(&body)),
            endpoint::Method::Post if path.contains("containments") => (Method::POST, path, Some(&contain)),
            endpoint::Method::Post => (Method::POST, path, None),
            endpoint::Method::Delete if path.contains("containments") => {
                (Method::DELETE, format!("{path}?subject=copy.service"), None)
            }
            endpoint::Method::Delete => (Method::DELETE, format!("{path}?prefix=10.0.0.0%2F8"), None),
        };
        // Keys that an endpoint does not know are refused, so the prefix goes only where it belongs.
        let path =
            if endpoint.query.contains(&"prefix") { path } else { path.replace("?prefix=10.0.0.0%2F8", "") };
        let answer = scripted.client.ask::<Value>(method, &path, body).await;
        assert!(answer.is_ok(), "{} {path}: {answer:?}", endpoint.path);
    }
}

#[tokio::test]
async fn the_index_lists_every_endpoint() {
    let scripted = start(own_roles(), Limits::default());
    let index: Value = scripted.client.get("/v1").await.unwrap();
    assert_eq!(index.as_array().unwrap().len(), endpoints().table.len() + 1);
    assert_eq!(index[1]["path"], "/v1/status");
}

#[tokio::test]
async fn a_change_reaches_the_engine_with_its_options_and_its_caller() {
    let scripted = start(own_roles(), Limits::default());
    let body = json!({"class": "inside", "mode": "enforce", "packets": {"rate": "2k/s"}});
    let path = "/v1/limits/web?save=true&confirm_within_seconds=60";
    let answer: Value = scripted.client.put(path, &body).await.unwrap();
    assert_eq!(answer["change"], 7);
    let heard = scripted.heard.lock().unwrap();
    let (command, caller, options) = &heard[0];
    assert!(command.contains("service: \"web\"") && command.contains("amount: 2000"), "{command}");
    assert_eq!(caller.uid, rustix::process::getuid().as_raw());
    assert_eq!(caller.ssh_peer, Some("192.0.2.7".parse().unwrap()));
    assert!(options.save && !options.yes);
    assert_eq!(options.confirm_within_seconds, Some(60));
}

#[tokio::test]
async fn bad_requests_are_refused_with_their_code_and_reach_nobody() {
    let scripted = start(own_roles(), Limits::default());
    let client = &scripted.client;
    let bad_body = json!({"packets": {"rate": "much"}});
    let typo = json!({"pakets": {"rate": "1/s"}});
    assert_eq!(code(client, Method::GET, "/v2/status", None).await, Code::NotFound);
    assert_eq!(code(client, Method::PUT, "/v1/status", None).await, Code::MethodNotAllowed);
    assert_eq!(code(client, Method::GET, "/v1/explain/nobody", None).await, Code::Invalid);
    assert_eq!(code(client, Method::GET, "/v1/sources?sort=colour", None).await, Code::Invalid);
    assert_eq!(code(client, Method::GET, "/v1/sources?srot=rate", None).await, Code::Invalid);
    assert_eq!(code(client, Method::GET, "/v1/sources?save=true", None).await, Code::Invalid);
    assert_eq!(
        code(client, Method::PUT, "/v1/limits/web?confirm_witin_seconds=60", None).await,
        Code::Invalid
    );
    assert_eq!(code(client, Method::PUT, "/v1/limits/web", Some(&bad_body)).await, Code::Invalid);
    assert_eq!(code(client, Method::PUT, "/v1/limits/web", Some(&typo)).await, Code::Invalid);
    assert_eq!(code(client, Method::POST, "/v1/access/deny", None).await, Code::Invalid);
    assert_eq!(code(client, Method::POST, "/v1/access/love", Some(&json!({}))).await, Code::Invalid);
    assert!(scripted.heard.lock().unwrap().is_empty());
}

#[tokio::test]
async fn the_engines_refusals_arrive_whole() {
    let scripted = start(own_roles(), Limits::default());
    let answer = scripted.client.put::<Value>("/v1/limits/nowhere", &json!({})).await;
    let Err(Failure::Problem(problem)) = answer else { panic!("{answer:?}") };
    assert_eq!(problem.code, Code::NotFound);
    assert_eq!(problem.to_string(), "no service is called `nowhere`; see `sluice limit list`");
    assert_eq!(
        code(&scripted.client, Method::PUT, "/v1/limits/cutting", None).await,
        Code::NeedsConfirmation
    );
}

#[tokio::test]
async fn a_viewer_reads_and_an_operator_changes_but_neither_detaches() {
    // The test's own user counts as whatever its primary group says once the daemon belongs to somebody else; root is
    // always an admin, so as root the guard is tried on the roles themselves.
    for endpoint in endpoints().table {
        let is_change = endpoint.method != endpoint::Method::Get;
        assert_eq!(endpoint.role == Role::Viewer, !is_change, "{}", endpoint.path);
        let ends = ["/v1/stop", "/v1/detach", "/v1/reload"].contains(&endpoint.path);
        assert_eq!(endpoint.role == Role::Admin, ends, "{}", endpoint.path);
    }
    if rustix::process::getuid().is_root() {
        return;
    }
    let gid = rustix::process::getgid().as_raw();
    let roles = Roles { daemon_uid: u32::MAX, viewer_group: Some(gid), ..Roles::default() };
    let scripted = start(roles, Limits::default());
    scripted.client.get::<Value>("/v1/status").await.unwrap();
    assert_eq!(code(&scripted.client, Method::PUT, "/v1/limits/web", None).await, Code::NotPermitted);
}
