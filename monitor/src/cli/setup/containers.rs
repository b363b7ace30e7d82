//! Published ports of containers, which need no socket of this namespace: the kernel redirects them behind XDP.
//!
//! In: the command lines of port proxies, and Docker's files. Out: endpoints. What this user may not read is left out.

use std::fs;
use std::path::Path;

use serde_json::Value;

use super::listening::{Endpoint, Protocol};

const DOCKER: &str = "/var/lib/docker/containers";

/// All that is published on this host.
pub fn published() -> Vec<Endpoint> {
    let mut found = proxies(Path::new("/proc"));
    found.extend(containers(Path::new(DOCKER)));
    found
}

/// Port proxies of Docker.
fn proxies(proc: &Path) -> Vec<Endpoint> {
    let processes = fs::read_dir(proc).into_iter().flatten().flatten();
    let lines = processes.filter_map(|process| fs::read(process.path().join("cmdline")).ok());
    lines.filter_map(|line| of_proxy(&String::from_utf8_lossy(&line))).collect()
}

/// `docker-proxy -proto tcp -host-ip 0.0.0.0 -host-port 8080 -container-ip 172.17.0.2 -container-port 80`, with zeros between.
fn of_proxy(line: &str) -> Option<Endpoint> {
    let arguments: Vec<_> = line.split('\0').collect();
    let program = arguments.first()?.rsplit('/').next()?;
    if program != "docker-proxy" {
        return None;
    }
    let value = |name: &str| arguments.iter().position(|found| *found == name).and_then(|at| arguments.get(at + 1));
    if value("-host-ip").is_some_and(|address| address.starts_with("127.") || *address == "::1") {
        return None;
    }
    let protocol = protocol(value("-proto")?)?;
    let port = value("-host-port")?.parse().ok()?;
    let inner_port = value("-container-port").and_then(|port| port.parse().ok());
    Some(Endpoint { protocol, port, process: Some("a container".to_owned()), inner_port })
}

/// Docker's containers that run, by its own files.
fn containers(folder: &Path) -> Vec<Endpoint> {
    let mut found = Vec::new();
    for container in fs::read_dir(folder).into_iter().flatten().flatten() {
        let json = |name: &str| -> Option<Value> {
            serde_json::from_slice(&fs::read(container.path().join(name)).ok()?).ok()
        };
        let (Some(about), Some(host)) = (json("config.v2.json"), json("hostconfig.json")) else { continue };
        if about["State"]["Running"] == true {
            let name = about["Name"].as_str().unwrap_or_default().trim_start_matches('/');
            found.extend(of_container(name, &host));
        }
    }
    found
}

fn of_container(name: &str, host: &Value) -> Vec<Endpoint> {
    let mut found = Vec::new();
    for (inner, bindings) in host["PortBindings"].as_object().into_iter().flatten() {
        let Some((port, kind)) = inner.split_once('/') else { continue };
        let (Ok(inner_port), Some(protocol)) = (port.parse(), protocol(kind)) else { continue };
        for binding in bindings.as_array().into_iter().flatten() {
            let address = binding["HostIp"].as_str().unwrap_or_default();
            let port = binding["HostPort"].as_str().and_then(|port| port.parse().ok());
            if let Some(port) = port.filter(|_| !address.starts_with("127.") && address != "::1") {
                let process = Some(format!("container {name}"));
                found.push(Endpoint { protocol, port, process, inner_port: Some(inner_port) });
            }
        }
    }
    found
}

fn protocol(name: &str) -> Option<Protocol> {
    match name {
        "tcp" => Some(Protocol::Tcp),
        "udp" => Some(Protocol::Udp),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::{containers, of_proxy};
    use crate::cli::setup::listening::Protocol;

    #[test]
    fn a_port_proxy_publishes_beyond_loopback() {
        let line = |address: &str| {
            format!("/usr/bin/docker-proxy -proto tcp -host-ip {address} -host-port 8443 -container-ip 172.17.0.2 -container-port 443")
                .replace(' ', "\0")
        };
        let found = of_proxy(&line("0.0.0.0")).unwrap();
        assert_eq!((found.protocol, found.port, found.inner_port), (Protocol::Tcp, 8443, Some(443)));
        assert_eq!(of_proxy(&line("127.0.0.1")), None);
        assert_eq!(of_proxy("/usr/sbin/nginx\0-g\0daemon off;"), None);
        assert_eq!(of_proxy(""), None);
    }

    #[test]
    fn containers_that_run_publish_what_their_files_say() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, running: bool, address: &str| {
            let container = folder.path().join(name);
            std::fs::create_dir(&container).unwrap();
            let about = format!(r#"{{"Name": "/{name}", "State": {{"Running": {running}}}}}"#);
            std::fs::write(container.join("config.v2.json"), about).unwrap();
            let host = format!(
                r#"{{"PortBindings": {{"53/udp": [{{"HostIp": "{address}", "HostPort": "5353"}}], "x": null}}}}"#
            );
            std::fs::write(container.join("hostconfig.json"), host).unwrap();
        };
        write("names", true, "");
        write("stopped", false, "");
        write("private", true, "127.0.0.1");
        std::fs::create_dir(folder.path().join("half-made")).unwrap();
        let found = containers(folder.path());
        assert_eq!(found.len(), 1, "{found:?}");
        assert_eq!(found[0].process.as_deref(), Some("container names"));
        assert_eq!((found[0].port, found[0].inner_port), (5353, Some(53)));
    }
}
