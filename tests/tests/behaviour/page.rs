//! The page of the metrics listener, over HTTP and in a real browser at three sizes: live, read-only, bounded, escaped.

use std::{fs, path::Path, process::Command, thread, time::Duration};

use anyhow::{Context as _, Result, ensure};
use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE, Said},
        network::{Process, Space, eventually, run},
        scene::{INTERFACE, Over, Scene},
    },
    or_skip,
};
use serde_json::{Value, json};

const RULES: &str = r#"
[access]
inside = ["10.77.0.0/24"]

[default]
mode = "enforce"
limit = { packets = "500/s", packets_burst = 200 }

[[service]]
name = "web"
protocol = "tcp"
ports = [80]
mode = "observe"
limit = { packets = "100/s", packets_burst = 20 }
"#;

const PAGE: &str = "http://127.0.0.1:9477";
const FLOOD: Duration = Duration::from_mins(1);

fn curl(space: &Space, arguments: &[&str]) -> Result<String> {
    space.run("curl", &[&["--silent", "--max-time", "20"], arguments].concat())
}

/// The newest moment that `/events` tells within a few seconds.
fn now(space: &Space) -> Option<Value> {
    let said = space.run_for(
        Duration::from_secs(4),
        "curl",
        &["--silent", "--no-buffer", &format!("{PAGE}/events")],
    );
    let said = String::from_utf8_lossy(&said.ok()?.stdout).into_owned();
    let events = said.split("\n\n").filter_map(|event| event.strip_prefix("event: now\ndata: "));
    serde_json::from_str(events.last()?).ok()
}

#[test]
fn the_page_is_live_read_only_and_bounded() {
    let scene = or_skip!("the page", Scene::to_guard());
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let _flood = scene.flood(5_000, FLOOD).unwrap();
    let space = &scene.guarded;

    // What is served is the page's own, and nothing else may run in it.
    let head = curl(space, &["--include", PAGE]).unwrap();
    let page = head.to_lowercase();
    for wanted in
        ["content-security-policy: default-src 'none'", "nosniff", "no-store", "x-frame-options: deny"]
    {
        assert!(page.contains(wanted), "{wanted}: {head}");
    }
    for (path, kind) in [("/", "text/html"), ("/page.js", "text/javascript"), ("/page.css", "text/css")] {
        let said = curl(space, &["--include", &format!("{PAGE}{path}")]).unwrap();
        assert!(said.starts_with("HTTP/1.1 200") && said.contains(kind), "{path}: {said}");
        let elsewhere = said.replace("http://www.w3.org/2000/svg", "");
        assert!(!elsewhere.contains("http://") && !elsewhere.contains("https://"), "{path}: {said}");
        assert!(!said.contains("innerHTML") && !said.contains(" style="), "{path}");
        let changed = curl(space, &["--include", "--request", "POST", &format!("{PAGE}{path}")]).unwrap();
        assert!(changed.starts_with("HTTP/1.1 405"), "{changed}");
    }
    // A name that somebody else may resolve is refused.
    let rebound = curl(space, &["--include", "--header", "Host: evil.example:9477", PAGE]).unwrap();
    assert!(rebound.starts_with("HTTP/1.1 421"), "{rebound}");
    assert!(
        curl(space, &["--header", "Host: evil.example", &format!("{PAGE}/metrics")])
            .unwrap()
            .contains("sluice_")
    );

    // It says what `status` and `sources` say.
    let flooded = || now(space).filter(|now| now["rates"]["dropped"].as_f64() > Some(1000.0));
    let shown = eventually("the flood on the page", PATIENCE, flooded).unwrap();
    assert_eq!(shown["interfaces"][0]["name"], INTERFACE);
    assert_eq!(shown["services"][1]["modes"], "observe", "{shown}");
    let sources = shown["sources"].as_array().unwrap();
    assert!(
        sources.iter().any(|row| row["source"] == "10.77.0.3" && row["state"] == "over its limit"),
        "{shown}"
    );
    assert_eq!(shown["limits"][0]["in_force"], "500/s");

    // More than sixteen who look are told to come again, and figures are served all the same. The place of one who left is
    // free when the next event is written, a second later at most.
    let look =
        || space.start("curl", &["--silent", "--output", "/dev/null", &format!("{PAGE}/events")]).unwrap();
    thread::sleep(Duration::from_secs(2));
    let mut looking: Vec<Process> = (0..16).map(|_| look()).collect();
    let mut code = String::new();
    let full = eventually("no place for a seventeenth", PATIENCE, || {
        let asked = ["--output", "/dev/null", "--write-out", "%{http_code}", "--max-time", "3"];
        let events = format!("{PAGE}/events");
        let all = [&["--silent"], &asked[..], &[events.as_str()]].concat();
        code = Said::of(&space.command("curl", &all).output().ok()?).out;
        if code == "503" {
            return Some(());
        }
        thread::sleep(Duration::from_secs(2));
        looking.push(look());
        None
    });
    full.with_context(|| format!("curl says {code}")).unwrap();
    assert!(daemon.metrics().unwrap().contains("sluice_"));
    drop(looking);
    eventually("a place again", PATIENCE, || now(space)).unwrap();
}

#[test]
fn figures_without_addresses_and_no_page_at_all() {
    let scene = or_skip!("the page", Scene::to_guard());
    let rules = format!("metrics.page = \"figures\"\n{RULES}");
    let mut daemon = Daemon::start(&scene.guarded, &[INTERFACE], &rules).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let _flood = scene.flood(5_000, FLOOD).unwrap();
    let flooded = || now(&scene.guarded).filter(|now| now["rates"]["dropped"].as_f64() > Some(1000.0));
    let shown = eventually("the flood on the page", PATIENCE, flooded).unwrap();
    assert!(shown["addresses"] == false && !shown.to_string().contains("10.77.0"), "{shown}");
    daemon.configure(&[INTERFACE], &format!("metrics.page = \"off\"\n{RULES}")).unwrap();
    daemon.terminate().unwrap();
    daemon.run().unwrap();
    let events = curl(&scene.guarded, &["--include", &format!("{PAGE}/events")]).unwrap();
    assert!(events.starts_with("HTTP/1.1 404"), "{events}");
}

/// A browser that is told what to do (`WebDriver`, W3C Recommendation of 5 June 2018).
struct Browser<'a> {
    space: &'a Space,
    session: String,
    _driver: Process,
}

const DRIVER: &str = "http://127.0.0.1:9515/session";

impl<'a> Browser<'a> {
    /// One with a window of this size, as on a phone below 500 columns.
    fn start(space: &'a Space, (width, height): (u32, u32), dark: bool) -> Result<Self> {
        let driver = space.start("chromedriver", &["--port=9515"])?;
        let ready = || curl(space, &["--fail", "http://127.0.0.1:9515/status"]).ok();
        eventually("the driver of the browser", PATIENCE, ready)?;
        let mut arguments = vec!["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"];
        if dark {
            arguments.push("--force-dark-mode");
        }
        let device = json!({"deviceMetrics": {"width": width, "height": height, "pixelRatio": 1.0}});
        let options = json!({"args": arguments, "mobileEmulation": device});
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": options}}});
        let mut browser = Self { space, session: DRIVER.to_owned(), _driver: driver };
        let session = browser.ask("", &wanted)?;
        let number = session["sessionId"].as_str().with_context(|| format!("no session: {session}"))?;
        browser.session = format!("{DRIVER}/{number}");
        Ok(browser)
    }

    fn ask(&self, what: &str, wanted: &Value) -> Result<Value> {
        let (url, body) = (format!("{}{what}", self.session), wanted.to_string());
        let said = curl(self.space, &["--max-time", "60", "--json", &body, &url])?;
        Ok(serde_json::from_str::<Value>(&said)?["value"].take())
    }

    /// What an expression of the page's own language is.
    fn says(&self, expression: &str) -> Result<Value> {
        self.ask("/execute/sync", &json!({"script": format!("return {expression}"), "args": []}))
    }

    fn picture(&self, path: &Path) -> Result<()> {
        let said = curl(self.space, &["--max-time", "60", &format!("{}/screenshot", self.session)])?;
        let said: Value = serde_json::from_str(&said)?;
        let encoded = said["value"].as_str().context("no picture")?;
        fs::write(path.with_extension("base64"), encoded)?;
        let decoded = Command::new("base64").arg("--decode").arg(path.with_extension("base64")).output()?;
        fs::remove_file(path.with_extension("base64"))?;
        ensure!(decoded.stdout.starts_with(b"\x89PNG") && decoded.stdout.len() > 10_000, "an empty picture");
        Ok(fs::write(path, decoded.stdout)?)
    }
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        let _ = curl(self.space, &["--request", "DELETE", &self.session]);
    }
}

#[test]
fn a_browser_shows_the_page_at_three_sizes() {
    let scene = or_skip!("the page in a browser", Scene::to_guard());
    or_skip!("the page in a browser", run("chromedriver", &["--version"]));
    let daemon = Daemon::start(&scene.guarded, &[INTERFACE], RULES).unwrap();
    scene.warm_up(Over::Ipv4).unwrap();
    let _flood = scene.flood(5_000, FLOOD).unwrap();
    let ban = ["access", "ban", "10.77.0.3", "--for", "1h", "--reason", "flood"];
    // A scan of an insider is a finding, with its evidence.
    scene.client.run("nmap", &["-n", "-Pn", "-sS", "--top-ports", "200", "-T4", "10.77.0.1"]).unwrap();
    eventually("a finding", PATIENCE, || {
        let open = daemon.json(&["alerts", "list", "--open"]).ok()?;
        open["alerts"].as_array().filter(|all| !all.is_empty()).map(drop)
    })
    .unwrap();
    // A change that waits is said above all.
    daemon.tell(&[&ban[..], &["--confirm-within", "5m"]].concat()).unwrap();
    let kept = std::env::var_os("SLUICE_PICTURES").map(std::path::PathBuf::from);
    let own = tempfile::tempdir().unwrap();
    let at = kept.as_deref().unwrap_or(own.path());
    for (size, dark) in [((1280, 1100), false), ((768, 1024), true), ((390, 844), false)] {
        let browser = Browser::start(&scene.guarded, size, dark).unwrap();
        browser.ask("/url", &json!({"url": PAGE})).unwrap();
        eventually("the page shows all", PATIENCE, || {
            let text = browser.says("document.body.innerText").ok()?.as_str()?.to_owned();
            let wanted = ["10.77.0.3", "eth0", "port_scan", "is taken back in", "enforce"];
            wanted.iter().all(|wanted| text.contains(wanted)).then_some(())
        })
        .unwrap();
        // What comes from elsewhere is text, and runs nowhere.
        let hostile = "table(byId('edges'), ['From'], [['<img src=x onerror=\"document.title=1\">']], '')";
        browser.says(hostile).unwrap();
        let shown = browser.says("byId('edges').innerHTML").unwrap();
        assert!(shown.as_str().unwrap().contains("&lt;img"), "{shown}");
        assert!(browser.says("document.title").unwrap().as_str().unwrap().contains("dropped"));
        assert_eq!(browser.says("document.querySelectorAll('polyline').length").unwrap(), 4);
        // Nothing is wider than the screen, and dark is dark.
        let width = browser.says("document.documentElement.scrollWidth").unwrap();
        assert!(width.as_u64().unwrap() <= u64::from(size.0), "{size:?}: {width} wide");
        let back = browser.says("getComputedStyle(document.body).backgroundColor").unwrap();
        assert_eq!(back == "rgb(20, 23, 26)", dark, "{back}");
        // A finding opens, and stays open while the page lives.
        browser.says("document.querySelector('summary').click()").unwrap();
        thread::sleep(Duration::from_secs(3));
        let open = browser.says("document.querySelector('details[open] dl').innerText").unwrap();
        assert!(open.as_str().unwrap().contains("to contain it"), "{open}");
        browser.picture(&at.join(format!("{}x{}.png", size.0, size.1))).unwrap();
    }
}
