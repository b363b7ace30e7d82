use clap::Parser;

use policy::config::Rate;
use super::{Action, render};
use crate::cli::table::Page;
use crate::cli::{Arguments, Command, Exit};
use crate::control::protocol::LimitBody;
use crate::control::scripted::limit;
use crate::engine::command::RateRequest;
use policy::config::Mode;
use policy::LimitKind;

fn body(arguments: &str) -> Result<LimitBody, Exit> {
    let words = ["sluice", "limit", "set"].into_iter().chain(arguments.split(' '));
    let parsed = Arguments::try_parse_from(words).map_err(|_| Exit::Usage)?;
    match parsed.command {
        Command::Limit(super::Limit { action: Action::Set(set) }) => set.body().map_err(|failure| failure.exit),
        _ => panic!("not a limit set: {arguments}"),
    }
}

#[test]
fn rates_are_sent_as_they_were_written() {
    let body = body("web --class inside --packets 2k/s --packets-burst 500 --bytes 80Mbit/s --connections 120/min");
    let wanted = LimitBody {
        class: Some("inside".to_owned()),
        packets: Some(RateRequest { rate: Rate::per_second(2000), burst: Some(500) }),
        bytes: Some(RateRequest { rate: Rate::bytes_per_second(10_000_000), burst: None }),
        connections: Some(RateRequest { rate: Rate::counted("120/min").unwrap(), burst: None }),
        ..LimitBody::default()
    };
    assert_eq!(body, Ok(wanted));
}

#[test]
fn aggregate_and_candidate_name_the_scope() {
    assert_eq!(body("web --aggregate --mode observe").map(|body| body.kind), Ok(LimitKind::Aggregate));
    assert_eq!(body("web --trial --mode off").map(|body| body.kind), Ok(LimitKind::Trial));
    assert_eq!(body("web --mode enforce").map(|body| body.mode), Ok(Some(Mode::Enforce)));
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
        assert_eq!(body(arguments), Err(Exit::Usage), "{arguments}");
    }
}

#[test]
fn limits_read_as_rate_plus_burst() {
    let mut page = Page::plain();
    render(&[limit()], &mut page);
    let wanted = "\
SERVICE  CLASS    LIMIT       MODE        PACKETS  BYTES  CONNECTIONS  FRAGMENTS  FROM
web      outside  per_source  enforce  2k/s +4000      -            -          -  config
";
    assert_eq!(page.text(), wanted);
}
