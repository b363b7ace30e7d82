//! What innocent hosts do that looks like attacks. Every function is one class; none may raise a warning.

mod fleet;
mod network;
mod people;
mod services;

use monitor_tests::harness::{
    timeline::{Dice, End, MS, S, Traffic, turn},
    verdicts::Case,
};

const MINUTE: u64 = 60 * S;

/// An address outside.
pub fn outside(dice: &mut Dice) -> String {
    let (a, b, c) = (dice.between(20, 99), dice.below(256), dice.below(256));
    format!("{a}.{b}.{c}.{}", dice.between(1, 254))
}

fn inside(number: u64) -> String {
    format!("192.168.{}.{}", 10 + number / 200, 10 + number % 200)
}

/// A page: a few small questions and larger answers.
fn page(traffic: &mut Traffic, dice: &mut Dice, at: u64, client: &str, server: &str, port: u16) {
    let turns: Vec<_> = (0..dice.between(1, 5))
        .map(|_| {
            turn(
                dice.below(900) * MS,
                usize::try_from(dice.between(300, 900)).unwrap(),
                usize::try_from(dice.between(400, 30_000)).unwrap(),
            )
        })
        .collect();
    traffic.tcp(at, (client, dice.port()), (server, port), &turns, End::Fin);
}

pub fn all() -> Vec<Case> {
    let case = |name: &str, traffic: Traffic| Case::new(name, traffic, Vec::new());
    vec![
        case("peer to peer", people::peer_to_peer()),
        case("peer to peer, one port", people::peer_to_peer_on(51_413)),
        case("browser", people::browser()),
        case("browser without quic", people::browser_without_quic()),
        case("browser with dead ipv6", people::dead_ipv6()),
        case("resolver", services::resolver()),
        case("resolver is down", services::resolver_is_down()),
        case("mail server", services::mail_server()),
        case("crawler", services::crawler()),
        case("proxy", services::proxy()),
        case("nat gateway", services::nat_gateway()),
        case("monitoring", services::monitoring()),
        case("ntp", network::ntp()),
        case("broadcast chatter", network::chatter()),
        case("voip", people::voip()),
        case("websockets", people::websockets()),
        case("update checks", people::update_checks()),
        case("mail polling", people::mail_polling()),
        case("cloud sync", people::cloud_sync()),
        case("backup", services::backup()),
        case("ssh by hand", people::ssh_by_hand()),
        case("ansible", services::ansible()),
        case("liveness", services::liveness()),
        case("prometheus", services::prometheus()),
        case("load balancer", services::load_balancer()),
        case("port reuse", network::port_reuse()),
        case("backscatter of a day", network::backscatter()),
        case("traceroute", network::traceroute()),
        case("crashed server", services::crashed_server(false)),
        case("server that refuses", services::crashed_server(true)),
        case("return after sleep", people::after_sleep()),
        case("domain clients", network::domain_clients()),
        case("router asks for neighbours", network::router()),
        case("ice candidates", people::ice()),
        case("strangers knock", network::strangers()),
        case("scrapes of many", fleet::scrapes_of_many()),
        case("rolling deployment", fleet::rolling_deployment()),
        case("database pools", fleet::database_pools()),
        case("reconnect storm, at once", fleet::reconnect_storm(2)),
        case("reconnect storm, in twenty seconds", fleet::reconnect_storm(20)),
        case("delivery network", fleet::delivery_network()),
        case("game servers", fleet::game_servers()),
        case("resolver without ipv6", fleet::resolver_without_ipv6()),
        case("collectors", fleet::collectors()),
        case("sip keeps in touch", fleet::sip_keeps_in_touch()),
        case("package mirror", fleet::package_mirror()),
        case("snmp manager", fleet::snmp_manager()),
        case("conference", fleet::conference()),
        case("path discovery", fleet::path_discovery()),
        case("public server", fleet::public_server()),
    ]
}
