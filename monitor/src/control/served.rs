//! For tests: a server on a real Unix socket in a directory of its own, in front of the real core over a stand-in kernel.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use api::client::{Client, Failure};
use serde_json::Value;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;

use super::peer::Roles;
use super::server::Limits;
use super::{listen, router, server};
use crate::core::Input;
use crate::core::command::Request;
use crate::core::stand_in::scan_records;
use crate::core::tests::bench::Bench;
use crate::engine::Handle;
use crate::snapshot::Snapshot;
use datapath::Kernel;

/// A running server.
pub struct Served {
    pub client: Client,
    pub socket: PathBuf,
    /// What reached the core, in the form of its debug text.
    pub heard: Arc<Mutex<Vec<String>>>,
    /// Held: the core answers nothing.
    pub busy: Arc<tokio::sync::Mutex<()>>,
    /// Ends the server.
    pub shutdown: Option<oneshot::Sender<()>>,
    pub server: JoinHandle<()>,
    _directory: tempfile::TempDir,
}

/// The daemon's user is the test's own, so the test is an admin.
pub fn own_roles() -> Roles {
    Roles { daemon_uid: rustix::process::getuid().as_raw(), ..Roles::default() }
}

impl Served {
    pub fn start(limits: Limits) -> Self {
        Self::to(own_roles(), limits)
    }

    pub fn to(roles: Roles, limits: Limits) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("control.sock");
        let listener = listen::bind(&socket, None).unwrap();
        let bench = Bench::new();
        let (requests, inbox) = mpsc::channel(8);
        let (auditor, copier) = (bench.store.auditor(), bench.store.copier().at(directory.path()));
        let (snapshots, seen) = watch::channel(Arc::clone(&bench.snapshot));
        let (heard, busy) = (Arc::default(), Arc::default());
        tokio::spawn(play(bench, inbox, snapshots, Arc::clone(&heard), Arc::clone(&busy)));
        let (shutdown, ended) = oneshot::channel::<()>();
        let router = router::router(Handle::new(requests, seen, auditor.clone(), copier));
        let server = tokio::spawn(server::serve(listener, router, roles, (limits, auditor), async {
            let _ = ended.await;
        }));
        let client = Client::new(&socket, Some("192.0.2.7".to_owned()));
        let shutdown = Some(shutdown);
        Self { client, socket, heard, busy, shutdown, server, _directory: directory }
    }

    /// Any request; its answer as JSON.
    pub async fn send(
        &self,
        method: hyper::Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, Failure> {
        self.client.send(method, path, body).await
    }

    pub async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.send(hyper::Method::GET, path, None).await
    }
}

/// A core with one finding and one pending change, which handles one request at a time.
async fn play(
    mut bench: Bench,
    mut inbox: mpsc::Receiver<Request>,
    snapshots: watch::Sender<Arc<Snapshot>>,
    heard: Arc<Mutex<Vec<String>>>,
    busy: Arc<tokio::sync::Mutex<()>>,
) {
    let at = bench.kernel.clock(bench.kernel.now());
    bench.kernel.state().records.extend(scan_records(at, 1, 80));
    bench.drain();
    while let Some(request) = inbox.recv().await {
        heard.lock().unwrap().push(format!("{request:?}"));
        let _free = busy.lock().await;
        bench.feed(Input::Command(Box::new(request)));
        bench.read();
        snapshots.send_replace(Arc::clone(&bench.snapshot));
    }
}
