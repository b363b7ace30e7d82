//! What peers may use up: connections, time and size, on a real socket.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::{Strategy, any, proptest};
use proptest::test_runner::Config;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::{Limits, stranger};
use crate::control::peer::Peer;
use crate::control::request::LARGEST_BODY;
use crate::control::served::Served;
use api::client::{Client, Failure};
use api::status::ShowStatus;
use api::{ChangeOptions, Code};
use hyper::Method;

/// Bounds a test whatever the machine is busy with; nothing waits for its end while the server does what it should.
const PATIENCE: Duration = Duration::from_mins(1);

/// What comes back for raw bytes until the server closes or is silent.
async fn raw(served: &Served, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(&served.socket).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
    String::from_utf8_lossy(&answer).into_owned()
}

fn short() -> Limits {
    Limits {
        header_time: Duration::from_millis(200),
        request_time: Duration::from_millis(300),
        drain_time: Duration::from_millis(500),
        ..Limits::default()
    }
}

#[tokio::test]
async fn curl_style_requests_are_answered_as_http() {
    let served = Served::start(Limits::default());
    let answer = raw(&served, b"GET /v1/status HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.contains("server: sluice/") && answer.contains("\"schema_version\":1"), "{answer}");
}

#[tokio::test]
async fn headers_that_are_too_large_get_431() {
    let served = Served::start(Limits::default());
    let mut request = b"GET /v1/status HTTP/1.1\r\nhost: x\r\n".to_vec();
    request.extend(std::iter::repeat_n(b'a', 64 * 1024));
    let answer = raw(&served, &request).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn a_body_that_is_too_large_gets_413() {
    let served = Served::start(Limits::default());
    let body = json!({"prefix": "10.0.0.0/8", "comment": "x".repeat(LARGEST_BODY)});
    let answer = served.send(Method::POST, "/v1/access/deny", Some(&body)).await;
    let Err(Failure::Refused(error)) = answer else { panic!("{answer:?}") };
    assert_eq!(error.code, Code::TooLarge);
}

#[tokio::test]
async fn an_engine_that_is_silent_gets_504() {
    let served = Served::start(short());
    let _busy = served.busy.lock().await;
    let answer = served.get("/v1/limits").await;
    let Err(Failure::Refused(error)) = answer else { panic!("{answer:?}") };
    assert_eq!(error.code, Code::TimedOut);
}

#[tokio::test]
async fn a_request_that_never_ends_is_cut_off() {
    let served = Served::start(short());
    let mut stream = UnixStream::connect(&served.socket).await.unwrap();
    stream.write_all(b"GET /v1/sta").await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("closed in time").unwrap();
}

#[tokio::test]
async fn idle_connections_are_cut_off_too() {
    let served = Served::start(short());
    let mut stream = UnixStream::connect(&served.socket).await.unwrap();
    let mut answer = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("closed in time").unwrap();
}

#[tokio::test]
async fn one_connection_too_many_gets_503_and_places_come_back() {
    let limits = Limits { connections: 2, admin_connections: 1, ..Limits::default() };
    let served = Served::start(limits);
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = UnixStream::connect(&served.socket).await.unwrap();
        stream.write_all(b"GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        held.push(stream);
    }
    let refused = served.get("/v1/status").await;
    let Err(Failure::Refused(error)) = refused else { panic!("{refused:?}") };
    assert_eq!(error.code, Code::Unavailable);
    drop(held);
    let again = async {
        while served.get("/v1/status").await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, again).await.expect("a place comes back");
}

#[test]
fn a_stranger_is_told_who_it_is_and_what_to_do() {
    let error = stranger(&Peer { uid: 1000, gid: 1000, pid: 1, groups: Vec::new() });
    assert_eq!(error.code, Code::NotPermitted);
    assert!(error.message.contains("user 1000"), "{error}");
}

#[tokio::test]
async fn the_server_ends_within_its_deadline_with_a_request_in_flight() {
    let mut served = Served::start(Limits { drain_time: Duration::from_millis(300), ..Limits::default() });
    let client = served.client.clone();
    let busy = Arc::clone(&served.busy);
    let _busy = busy.lock().await;
    let waiting =
        tokio::spawn(async move { client.send::<Value>(Method::GET, "/v1/limits", None::<&()>).await });
    let in_flight = async {
        while served.heard.lock().unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, in_flight).await.expect("the request reaches the engine");
    served.shutdown.take().unwrap().send(()).unwrap();
    // Far less than the request would wait for its answer.
    timeout(Limits::default().request_time / 2, &mut served.server).await.expect("ended in time").unwrap();
    assert!(waiting.await.unwrap().is_err());
}

#[tokio::test]
async fn a_client_without_a_daemon_says_how_to_start_one() {
    let directory = tempfile::tempdir().unwrap();
    let client = Client::new(directory.path().join("none.sock"), None);
    let error = client.ask(&ShowStatus {}, &ChangeOptions::default()).await.unwrap_err();
    assert!(matches!(error, Failure::NotRunning(_)));
    assert!(error.to_string().contains("sluice run"), "{error}");
}

#[tokio::test]
async fn a_foreign_server_is_recognised() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("other.sock");
    let listener = tokio::net::UnixListener::bind(&socket).unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}").await;
    });
    let error = Client::new(socket, None).ask(&ShowStatus {}, &ChangeOptions::default()).await.unwrap_err();
    assert!(matches!(error, Failure::Broken(_)), "{error}");
}

/// Random bytes, and requests that are nearly right.
fn noise() -> impl Strategy<Value = Vec<u8>> {
    let start = proptest::sample::select(vec![
        &b""[..],
        b"GET /v1/status HTTP/1.1\r\n",
        b"PUT /v1/limits/web HTTP/1.1\r\nhost: x\r\ncontent-length: 40\r\n\r\n{\"packets\":",
        b"DELETE /v1/access/ban?prefix=",
        b"POST /v1/access/deny HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n5\r\n",
    ]);
    (start, proptest::collection::vec(any::<u8>(), 0..200))
        .prop_map(|(start, noise)| [start, &noise].concat())
}

#[test]
fn no_bytes_make_the_server_panic_or_reach_the_engine_by_accident() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limits =
        Limits { header_time: Duration::from_millis(20), request_time: Duration::from_millis(20), ..short() };
    let served = runtime.block_on(async { Served::start(limits) });
    proptest!(Config { cases: 400, ..Config::default() }, |(bytes in noise())| {
        runtime.block_on(async {
            let mut stream = UnixStream::connect(&served.socket).await.unwrap();
            let _ = stream.write_all(&bytes).await;
            let _ = stream.shutdown().await;
            let mut answer = Vec::new();
            let _ = timeout(Duration::from_millis(200), stream.read_to_end(&mut answer)).await;
        });
    });
    runtime.block_on(async {
        assert!(!served.server.is_finished());
        served.get("/v1/status").await.unwrap();
    });
}
