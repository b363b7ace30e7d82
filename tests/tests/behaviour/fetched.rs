//! A list by URL: fetched by a confined daemon, in force in the kernel, kept when its server fails, and there at the next
//! start without a server.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        network::{eventually, run},
        scene::{INTERFACE, Scene},
    },
    or_skip,
};

const UID: u32 = 61_985;
const GID: u32 = 61_986;
const PORT: u16 = 8080;

/// What the server does with the next request.
#[derive(Clone, Debug)]
enum Manner {
    /// The list under this `ETag`, or 304 when it is asked for with it.
    Serves(&'static str, String),
    Says(&'static str),
    /// Bytes without an end, with a pause between them.
    Endless(Duration),
}

/// A web server of one list; dropping it ends it.
struct Feed {
    manner: Arc<Mutex<Manner>>,
    /// Requests in lower case, and the first line of what was answered.
    seen: Arc<Mutex<Vec<(String, String)>>>,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Feed {
    fn start(scene: &Scene, manner: Manner) -> Self {
        let (manner, seen) = (Arc::new(Mutex::new(manner)), Arc::new(Mutex::new(Vec::new())));
        let over = Arc::new(AtomicBool::new(false));
        let (own, mine, flag) = (Arc::clone(&manner), Arc::clone(&seen), Arc::clone(&over));
        let (ready, listens) = std::sync::mpsc::channel();
        let serve = move || {
            let listener = TcpListener::bind(("10.77.0.2", PORT)).unwrap();
            listener.set_nonblocking(true).unwrap();
            ready.send(()).unwrap();
            while !flag.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((stream, _)) => drop(answer(stream, &own, &mine)),
                    Err(_) => std::thread::sleep(Duration::from_millis(10)),
                }
            }
        };
        let thread = scene.client.enter(serve).unwrap();
        listens.recv().unwrap();
        Self { manner, seen, over, thread: Some(thread) }
    }

    fn behave(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// The request that was answered so.
    fn answered(&self, status: &str) -> Option<String> {
        let seen = self.seen.lock().unwrap();
        seen.iter().find(|(_, answer)| answer.contains(status)).map(|(request, _)| request.clone())
    }
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn answer(
    stream: TcpStream,
    manner: &Mutex<Manner>,
    seen: &Mutex<Vec<(String, String)>>,
) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.set_write_timeout(Some(Duration::from_secs(5)))?;
    let mut request = String::new();
    let mut reader = BufReader::new(stream.try_clone()?);
    while !request.ends_with("\r\n\r\n") && reader.read_line(&mut request)? > 0 {}
    let request = request.to_lowercase();
    let manner = manner.lock().unwrap().clone();
    let mut stream = stream;
    let text = match &manner {
        Manner::Serves(etag, _) if request.contains(&format!("if-none-match: {etag}\r\n")) => {
            "HTTP/1.1 304 Not Modified\r\n\r\n".to_owned()
        }
        Manner::Serves(etag, list) => {
            format!("HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: {}\r\n\r\n{list}", list.len())
        }
        Manner::Says(text) => (*text).to_owned(),
        Manner::Endless(_) => "HTTP/1.1 200 OK\r\n\r\n".to_owned(),
    };
    seen.lock().unwrap().push((request, text.lines().next().unwrap_or_default().to_owned()));
    stream.write_all(text.as_bytes())?;
    while let Manner::Endless(pause) = manner {
        stream.write_all(&[b'#'; 64])?;
        std::thread::sleep(pause);
    }
    Ok(())
}

/// Whether the attacker is answered.
fn passes(scene: &Scene) -> bool {
    scene.attacker.run("ping", &["-c1", "-W1", "10.77.0.1"]).is_ok()
}

fn until(scene: &Scene, daemon: &Daemon, what: &str, holds: impl Fn() -> bool) {
    let reached = eventually(what, PATIENCE, || holds().then_some(()));
    reached.unwrap_or_else(|error| panic!("{error:#}; passes: {}\n{}", passes(scene), daemon.logged()));
}

fn problems(daemon: &Daemon) -> String {
    daemon.json(&["status"]).map(|status| status["problems"].to_string()).unwrap_or_default()
}

#[test]
fn a_list_of_the_web_denies_and_outlives_its_server() {
    let scene = or_skip!("a list by URL", Scene::to_guard());
    let denying = || Manner::Serves("\"one\"", "10.77.0.3\nnot an address\n".to_owned());
    let feed = Feed::start(&scene, denying());
    let mut daemon = Daemon::new(&scene.guarded, &[], "").unwrap();
    daemon.give_user(UID, GID).unwrap();
    let secret = daemon.config().with_file_name("secret");
    fs::write(&secret, "Bearer hush-hush\n").unwrap();
    std::os::unix::fs::chown(&secret, Some(UID), None).unwrap();
    let rules = format!(
        "[access]\ninside = []\n[[access.lists]]\nurl = \"http://10.77.0.2:{PORT}/drop?key=hush\"\nname = \"feed\"\n\
         every = \"1s\"\nwithin = \"1s\"\nlargest = \"1 KiB\"\nauthorization_file = {secret:?}\n"
    );
    daemon.configure(&[INTERFACE], &rules).unwrap();
    daemon.run().unwrap();
    until(&scene, &daemon, "what was fetched denies", || !passes(&scene));
    assert!(daemon.tell(&["explain", "10.77.0.3"]).unwrap().contains("the list feed"));
    until(&scene, &daemon, "the server is asked for news", || feed.answered("304").is_some());
    assert!(feed.answered("200").unwrap().contains("authorization: bearer hush-hush\r\n"));
    assert!(daemon.metric("sluice_list_fetched_timestamp_seconds", &["list=\"feed\""]).unwrap() > 1e9);
    assert!(daemon.tell(&["status"]).unwrap().contains("feed: 1 prefixes, deny, 1 entries skipped, fetched"));

    for (manner, told) in [
        (Manner::Says("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"), "500"),
        (Manner::Endless(Duration::ZERO), "longer than 1 KiB"),
        (Manner::Endless(Duration::from_millis(200)), "broke off"),
        (
            Manner::Says("HTTP/1.1 302 Found\r\nLocation: /drop?key=hush\r\nContent-Length: 0\r\n\r\n"),
            "redirections",
        ),
    ] {
        let what = format!("{manner:?}");
        feed.behave(manner);
        until(&scene, &daemon, &what, || problems(&daemon).contains(told));
        assert!(daemon.metric("sluice_list_failing", &["list=\"feed\""]).unwrap() > 0.5, "{what}");
        assert!(!passes(&scene), "{what}");
        feed.behave(denying());
        until(&scene, &daemon, "it works again", || !problems(&daemon).contains("feed"));
    }
    assert!(daemon.metric("sluice_list_fetch_failures_total", &["list=\"feed\""]).unwrap() > 3.5);

    feed.behave(Manner::Serves("\"two\"", "192.0.2.0/24\n".to_owned()));
    until(&scene, &daemon, "what is gone from the list passes", || passes(&scene));
    feed.behave(denying());
    until(&scene, &daemon, "what came back does not", || !passes(&scene));
    drop(feed);
    daemon.kill();
    daemon.run().unwrap();
    assert!(!passes(&scene), "{}", daemon.logged());
    // Bare kernel, no server: the copy is all there is.
    daemon.tell(&["detach", "--yes"]).unwrap();
    daemon.ended(PATIENCE).unwrap();
    assert!(passes(&scene));
    daemon.run().unwrap();
    assert!(!passes(&scene), "{}", daemon.logged());
    until(&scene, &daemon, "its server is missed", || problems(&daemon).contains("list feed"));
    assert!(!daemon.logged().contains("hush"), "{}", daemon.logged());
    assert!(!problems(&daemon).contains("hush"));
}

#[test]
fn a_list_over_tls_is_taken_from_a_server_that_is_trusted_and_from_no_other() {
    let scene = or_skip!("a list over TLS", Scene::to_guard());
    let own = tempfile::tempdir().unwrap();
    fs::set_permissions(own.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let script = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=test -keyout ca.key -out ca.pem && \
         openssl req -newkey rsa:2048 -nodes -subj /CN=feed -keyout own.key -out own.csr && \
         echo subjectAltName=IP:10.77.0.2 > names && \
         openssl x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile names -out own.pem && \
         chmod 644 ca.pem";
    run("sh", &["-c", &format!("cd {} && {{ {script}; }} 2>&1", own.path().display())]).unwrap();
    fs::write(own.path().join("drop"), "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n10.77.0.3\n").unwrap();
    let serve = format!(
        "cd {} && exec openssl s_server -accept 10.77.0.2:8443 -cert own.pem -key own.key -HTTP",
        own.path().display()
    );
    let _server = scene.client.start("sh", &["-c", &serve]).unwrap();
    let rules = |more: &str| {
        let url = "https://10.77.0.2:8443/drop";
        format!("[access]\ninside = []\n[[access.lists]]\nurl = \"{url}\"\nevery = \"1s\"\n{more}")
    };
    let mut daemon = Daemon::new(&scene.guarded, &[], "").unwrap();
    daemon.give_user(UID, GID).unwrap();
    daemon.configure(&[INTERFACE], &rules("")).unwrap();
    daemon.run().unwrap();
    until(&scene, &daemon, "an unknown signer is refused", || problems(&daemon).contains("certificate"));
    assert!(passes(&scene));
    daemon.configure(&[INTERFACE], &rules(&format!("ca_file = {:?}\n", own.path().join("ca.pem")))).unwrap();
    daemon.tell(&["reload"]).unwrap();
    until(&scene, &daemon, "the list is taken", || !passes(&scene));
    until(&scene, &daemon, "nothing is wrong with it", || !problems(&daemon).contains("drop"));
}
