use clap::Parser;

use policy::config::Rate;
use super::{Action, render};
use crate::cli::table::Page;
use crate::cli::{Arguments, Command, Exit};
use api::limits::{LimitSet, RateRequest};
use crate::cli::samples::limit;
use policy::config::Mode;
use policy::LimitKind;

fn command(arguments: &str) -> Result<LimitSet, Exit> {
    let words = ["sluice", "limit", "set"].into_iter().chain(arguments.split(' '));
    let parsed = Arguments::try_parse_from(words).map_err(|_| Exit::Usage)?;
    match parsed.command {
        Command::Limit(super::Limit { action: Action::Set(set) }) => set.command().map_err(|failure| failure.exit),
        _ => panic!("not a limit set: {arguments}"),
    }
}

#[test]
fn rates_are_sent_as_they_were_written() {
    let set = command("web --class inside --packets 2k/s --packets-burst 500 --bytes 80Mbit/s --connections 120/min --requests 100/s --requests-burst 50 --handshakes 20/s --concurrent 20");
    let wanted = LimitSet {
        service: "web".to_owned(),
        class: Some("inside".to_owned()),
        packets: Some(RateRequest { rate: Rate::per_second(2000), burst: Some(500) }),
        bytes: Some(RateRequest { rate: Rate::bytes_per_second(10_000_000), burst: None }),
        connections: Some(RateRequest { rate: Rate::counted("120/min").unwrap(), burst: None }),
        requests: Some(RateRequest { rate: Rate::per_second(100), burst: Some(50) }),
        handshakes: Some(RateRequest { rate: Rate::per_second(20), burst: None }),
        concurrent: Some(20),
        ..LimitSet::default()
    };
    assert_eq!(set, Ok(wanted));
}

#[test]
fn aggregate_and_candidate_name_the_scope() {
    assert_eq!(command("web --aggregate --mode observe").map(|set| set.kind), Ok(LimitKind::Aggregate));
    assert_eq!(command("web --trial --mode off").map(|set| set.kind), Ok(LimitKind::Trial));
    assert_eq!(command("web --mode enforce").map(|set| set.mode), Ok(Some(Mode::Enforce)));
}

#[test]
fn what_makes_no_sense_is_wrong_usage() {
    for arguments in [
        "web",
        "web --packets 2k",
        "web --packets 10MB/s",
        "web --bytes 100/s",
        "web --packets-burst 5",
        "web --aggregate --trial --mode off",
        "web --aggregate --class inside --mode off",
        "web --mode sometimes",
        "--mode off",
    ] {
        assert_eq!(command(arguments), Err(Exit::Usage), "{arguments}");
    }
}

#[test]
fn limits_read_as_rate_plus_burst() {
    let mut page = Page::plain();
    render(&[limit()], &mut page);
    let wanted = "\
SERVICE  CLASS    LIMIT       MODE        PACKETS  BYTES  CONNECTIONS  FRAGMENTS  REQUESTS  HANDSHAKES  OPEN  FROM
web      outside  per_source  enforce  2k/s +4000      -            -          -         -           -     -  config
";
    assert_eq!(page.text(), wanted);
}
