//! Interfaces without an Ethernet header: "guarded" is never said where nothing is evaluated.

use monitor_tests::{
    harness::{
        daemon::{Daemon, PATIENCE},
        network::eventually,
        scene::{INTERFACE, Scene},
    },
    or_skip,
};

const TUNNEL: &str = "tun0";

#[test]
fn a_layer_3_interface_is_refused_with_its_reason_and_the_others_are_guarded() {
    let scene = or_skip!("link_layer", Scene::to_guard());
    scene.guarded.ip(&["tuntap", "add", "dev", TUNNEL, "mode", "tun"]).unwrap();
    scene.guarded.ip(&["link", "set", TUNNEL, "up"]).unwrap();
    let guarded = Daemon::start(&scene.guarded, &[INTERFACE, TUNNEL], "").unwrap();
    let row = |name: &str| {
        let status = guarded.json(&["status"]).ok()?;
        status["interfaces"].as_array()?.iter().find(|row| row["name"] == name).cloned()
    };
    let refused = eventually("the reason is told", PATIENCE, || {
        row(TUNNEL).filter(|row| row["problem"].as_str().is_some_and(|why| why.contains("layer-3")))
    });
    let refused = refused.unwrap_or_else(|error| panic!("{error:#}\n{}", guarded.logged()));
    assert_eq!(refused["mode"], "absent");
    assert_eq!(row(INTERFACE).unwrap()["mode"], "native");
    let status = guarded.json(&["status"]).unwrap();
    assert!(status["problems"].to_string().contains(TUNNEL), "{}", status["problems"]);
}
