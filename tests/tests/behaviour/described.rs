//! The daemon's description of its API is true: every answer of a running daemon with traffic has the described form, with
//! no member that is not described, and so has every error.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use api::client::{Client, Failure};
use api::error::Problem;
use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        network::eventually,
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};
use serde_json::{Value, json};

const RULES: &str = r#"
[access]
inside = ["10.77.0.0/24", "fd77::/64"]
exempt = ["192.0.2.0/24"]
[default]
mode = "observe"
limit = { packets = "100/s", packets_burst = 50 }
[tuning]
mode = "propose"
[[service]]
name = "web"
protocol = "tcp"
ports = [80]
mode = "enforce"
limit = { packets = "2k/s", connections = "90/min" }
aggregate = { packets = "50k/s" }
"#;

/// What is asked, in this order; `None` for what has no body. The last ones end the daemon.
fn requests() -> Vec<(&'static str, &'static str, Option<Value>)> {
    let put = |path, body| ("PUT", path, Some(body));
    let post = |path, body| ("POST", path, Some(body));
    let get = |path| ("GET", path, None);
    vec![
        get("/v1"),
        get("/v1/openapi.json"),
        get("/v1/status"),
        get("/v1/sources?sort=rate&senders=true"),
        get("/v1/sources?prefix=10.77.0.3&limit=1"),
        get("/v1/explain/10.77.0.3"),
        get("/v1/explain/fd77::3"),
        get("/v1/explain/192.0.2.1"),
        get("/v1/alerts?limit=5"),
        get("/v1/flows?limit=20"),
        get("/v1/graph"),
        get("/v1/posture"),
        get("/v1/config"),
        get("/v1/tune"),
        put("/v1/limits/web?save=true", json!({"packets": {"rate": "3k/s", "burst": 500}})),
        put("/v1/limits/web", json!({"kind": "trial", "packets": {"rate": "1k/s"}})),
        get("/v1/limits"),
        put("/v1/limits/nowhere", json!({"mode": "off"})),
        put("/v1/limits/web", json!({"pakets": {"rate": "1/s"}})),
        ("DELETE", "/v1/limits/web?kind=trial", None),
        ("DELETE", "/v1/limits/web?kind=trial", None),
        post("/v1/access/ban", json!({"prefix": "198.51.100.9", "for_seconds": 600, "comment": "a test"})),
        post("/v1/access/deny", json!({"prefix": "2001:db8::/32"})),
        post("/v1/access/exempt", json!({"prefix": "203.0.113.0/24", "for_seconds": 60})),
        post("/v1/access/deny", json!({"prefix": "0.0.0.0/0"})),
        post(
            "/v1/access/import",
            json!({"name": "list", "kind": "deny", "text": "203.0.113.9\n", "dry_run": true}),
        ),
        get("/v1/access"),
        get("/v1/explain/198.51.100.9"),
        ("DELETE", "/v1/access/ban?prefix=198.51.100.9", None),
        ("DELETE", "/v1/access/ban?prefix=198.51.100.9", None),
        post("/v1/containments", json!({"subject": "198.51.100.77", "packets": "10/s", "comment": "a test"})),
        get("/v1/containments"),
        get("/v1/explain/198.51.100.77"),
        ("DELETE", "/v1/containments?subject=198.51.100.77", None),
        post("/v1/silences", json!({"detector": "beacon", "reason": "a health check"})),
        get("/v1/silences"),
        ("DELETE", "/v1/silences/1", None),
        ("DELETE", "/v1/silences/1", None),
        post("/v1/tune/web/try", json!({})),
        post("/v1/tune/web/end", json!({})),
        post("/v1/tune/web/apply", json!({"quantile": 0.99})),
        post("/v1/tune/web/forget", json!({})),
        post("/v1/access/deny?confirm_within_seconds=60", json!({"prefix": "198.51.100.0/25"})),
        get("/v1/status"),
        post("/v1/confirm", json!({})),
        get("/v1/history?limit=50"),
        get("/v1/audit?limit=50"),
        get("/v1/audit/verify"),
        get("/v1/backup"),
        get("/v1/backup?id=1&offset=4096"),
        post("/v1/history/1/revert", json!({})),
        post("/v1/reload", json!({})),
        ("PUT", "/v1/panic", Some(json!({"on": true}))),
        ("PUT", "/v1/panic?yes=true", Some(json!({"on": true}))),
        ("PUT", "/v1/panic", Some(json!({"on": false}))),
        post("/v1/detach", json!({})),
        post("/v1/detach?yes=true", json!({})),
    ]
}

#[test]
fn every_answer_of_a_running_daemon_is_as_described() {
    let scene = or_skip!("every answer of a running daemon is as described", Scene::to_guard());
    scene.warm_up(Over::Ipv4).unwrap();
    scene.warm_up(Over::Ipv6).unwrap();
    let mut guarded = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    let flood = scene.flood(2000, PATIENCE).unwrap();
    scene.attacker.run("nmap", &["-n", "-Pn", "--max-retries", "0", "-p", "1-200", "10.77.0.1"]).unwrap();
    eventually("a finding", PATIENCE, || {
        let list = guarded.json(&["alerts", "list"]).ok()?;
        list["alerts"].as_array().filter(|alerts| !alerts.is_empty()).map(drop)
    })
    .unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let client = Client::new(guarded.socket(), Some("192.0.2.7".to_owned()));
    let alert = &guarded.json(&["alerts", "list"]).unwrap()["alerts"][0]["id"];
    let about_it = [format!("/v1/alerts/{alert}"), format!("/v1/alerts/{alert}/close")];
    let description: Value =
        runtime.block_on(client.send("GET".parse().unwrap(), api::openapi::PATH, None::<&()>)).unwrap();
    let mut described = Description::of(&description);
    let mut all = vec![("GET", about_it[0].as_str(), None), ("POST", about_it[1].as_str(), Some(json!({})))];
    all.extend(requests());
    // Twice: a closed finding is not closed again.
    all.insert(2, ("POST", about_it[1].as_str(), Some(json!({}))));
    let status = runtime.block_on(client.send::<Value>("GET".parse().unwrap(), "/v1/status", None::<&()>));
    for (method, path, body) in all {
        let answer = runtime.block_on(client.send::<Value>(method.parse().unwrap(), path, body.as_ref()));
        described.check(method, path, answer).unwrap();
    }
    // The check itself: a member that nobody described, and a number that became text.
    let mut status = status.unwrap();
    status["undescribed"] = json!(1);
    described.check("GET", "/v1/status", Ok(status.clone())).unwrap_err();
    status.as_object_mut().unwrap().remove("undescribed");
    described.check("GET", "/v1/status", Ok(status.clone())).unwrap();
    status["build"]["layout"] = json!("many");
    described.check("GET", "/v1/status", Ok(status)).unwrap_err();
    flood.stop().unwrap();
    assert_eq!(guarded.ended(PATIENCE).unwrap(), 0);
    // What is asked of the daemon that still runs; `stop` has its own.
    let left: Vec<_> = described.never_answered.iter().collect();
    assert_eq!(
        left,
        [&("POST".to_owned(), "/v1/stop".to_owned())],
        "operations that never answered with 200"
    );
}

/// The served description, with what has answered as described so far.
struct Description {
    document: Value,
    /// Operations that have not answered with success or, if tuning knows too little for one, with an error.
    never_answered: BTreeSet<(String, String)>,
}

impl Description {
    fn of(served: &Value) -> Self {
        let mut document = served.clone();
        let mut composed = BTreeSet::new();
        collect_composed(&document, &mut composed);
        make_strict(&mut document, "", &composed);
        let mut never_answered = BTreeSet::new();
        for (path, item) in served["paths"].as_object().unwrap() {
            let methods = item.as_object().unwrap().keys();
            never_answered.extend(methods.map(|method| (method.to_uppercase(), path.clone())));
        }
        Self { document, never_answered }
    }

    fn check(&mut self, method: &str, path: &str, answer: Result<Value, Failure>) -> Result<()> {
        let template = self.template(method, path).with_context(|| format!("{path} is not described"))?;
        let operation = &self.document["paths"][&template][method.to_lowercase()];
        let (status, answer, media) = match answer {
            Ok(answer) => (200, answer, "application/json"),
            Err(Failure::Refused(error)) => {
                let problem = Problem::from(&error);
                (problem.status, serde_json::to_value(&problem)?, api::error::MEDIA_TYPE)
            }
            Err(failure) => return Err(failure).with_context(|| format!("{method} {path}")),
        };
        let mut response = &operation["responses"][status.to_string()];
        if let Some(reference) = response["$ref"].as_str() {
            response =
                self.document.pointer(reference.trim_start_matches('#')).context("a dangling reference")?;
        }
        let schema = &response["content"][media]["schema"];
        ensure!(schema.is_object(), "{method} {path}: status {status} is not described: {answer}");
        let mut whole = schema.clone();
        whole["components"] = self.document["components"].clone();
        let validator = jsonschema::options().should_validate_formats(true).build(&whole)?;
        let wrong: Vec<_> = validator
            .iter_errors(&answer)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        ensure!(wrong.is_empty(), "{method} {path}: {}\n{answer:#}", wrong.join("\n"));
        // Tuning has learned nothing in a minute, so that its changes cannot succeed here.
        if status == 200 || template.starts_with("/v1/tune/") {
            self.never_answered.remove(&(method.to_owned(), template));
        }
        Ok(())
    }

    /// The described path that `path` is an instance of; one without variables comes first.
    fn template(&self, method: &str, path: &str) -> Option<String> {
        let asked: Vec<_> = path.split('?').next()?.split('/').collect();
        let fits = |template: &&String| {
            let parts: Vec<_> = template.split('/').collect();
            parts.len() == asked.len()
                && parts.iter().zip(&asked).all(|(part, asked)| part.starts_with('{') || part == asked)
        };
        let paths = self.document["paths"].as_object()?;
        let described = |path: &&String| paths[*path].get(method.to_lowercase()).is_some();
        let mut all: Vec<_> = paths.keys().filter(fits).filter(described).collect();
        all.sort_by_key(|path| path.matches('{').count());
        all.first().map(|path| (*path).clone())
    }
}

/// Schemas that are a part of a larger object: its other members are described beside the reference.
fn collect_composed(value: &Value, composed: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            if let (Some(Value::String(reference)), true) =
                (fields.get("$ref"), fields.contains_key("properties"))
            {
                composed.insert(reference.trim_start_matches('#').to_owned());
            }
            fields.values().for_each(|value| collect_composed(value, composed));
        }
        Value::Array(values) => values.iter().for_each(|value| collect_composed(value, composed)),
        _ => {}
    }
}

/// A member that is not described is an error from now on.
fn make_strict(value: &mut Value, at: &str, composed: &BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (key, value) in fields.iter_mut() {
                make_strict(value, &format!("{at}/{key}"), composed);
            }
            let is_object = fields.get("properties").is_some_and(Value::is_object);
            if is_object && !fields.contains_key("additionalProperties") && !composed.contains(at) {
                fields.insert("unevaluatedProperties".to_owned(), Value::Bool(false));
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| make_strict(value, at, composed)),
        _ => {}
    }
}
