use std::{collections::BTreeMap, fs, path::Path};

use proptest::prelude::*;

use super::{Config, Mode};

/// All problems of a file, without its name.
fn problems(text: &str) -> Vec<String> {
    let error = Config::parse(text, "sluice.toml").expect_err("it is wrong");
    error.to_string().lines().map(|line| line.trim_start_matches("sluice.toml:").to_owned()).collect()
}

fn check_error(text: &str, expected: &str) {
    assert_eq!(problems(text), [expected], "in:\n{text}");
}

fn web(rest: &str) -> String {
    format!("[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [443]\n{rest}\n")
}

#[test]
fn an_empty_file_is_the_default() {
    assert_eq!(Config::parse("", "empty").expect("valid"), Config::default());
}

#[test]
fn the_embedded_default_is_valid_and_observes() {
    let config = Config::embedded();
    assert_eq!(config.default.mode, Mode::Observe);
    assert!(config.services.is_empty() && config.access.denied.is_empty());
}

#[test]
fn the_embedded_default_spells_out_every_key() {
    let spelled = flat(Config::default_file());
    for (key, value) in flat(&Config::default().to_toml().expect("it serializes")) {
        if ["tuning.", "detection."].iter().any(|section| key.starts_with(section)) {
            continue;
        }
        assert_eq!(spelled.get(&key), Some(&value), "{key}");
    }
}

#[test]
fn what_is_written_reads_back_the_same() {
    let file = web(
        "limit = { packets = \"2k/s\", bytes = \"50 Mbit/s\", bytes_burst = \"1 MiB\" }\nban = { after = 5 }\n\
         [service.class.inside]\nlimit = {}",
    );
    for text in [Config::default_file(), "", &file] {
        let config = Config::parse(text, "first").expect("valid");
        let again = Config::parse(&config.to_toml().expect("it serializes"), "again").expect("valid again");
        assert_eq!(config, again);
    }
}

#[test]
fn an_unknown_key_names_its_place_and_what_was_meant() {
    check_error(
        &web("limit = { packtes = \"2k/s\" }"),
        "5:11: unknown key `packtes` in [service.web.limit]; did you mean `packets`?",
    );
    check_error("[flod]\nhold = \"1s\"\n", "1:2: unknown key `flod`; did you mean `flood`?");
    check_error(
        "[access]\nallowed = []\n",
        "2:1: unknown key `allowed` in [access]; known are inside, exempt, exempt_on, reverse_path, denied, operator_safe, lists",
    );
    check_error(
        "[default.aggregate]\nreserved = 0.5\n",
        "2:1: unknown key `reserved` in [default.aggregate]; did you mean `reserve`?",
    );
    check_error(
        "[tuning]\nqantile = 0.5\n",
        "2:1: unknown key `qantile` in [tuning]; did you mean `quantile`?",
    );
}

#[test]
fn what_is_not_toml_says_where() {
    let found = problems("[flood\nhold = 1\n");
    assert!(found[0].starts_with("1:7: not TOML: "), "{found:?}");
    assert!(problems("[flood]\n[flood]\n")[0].contains("duplicate"));
}

#[test]
fn a_missing_key_is_named() {
    check_error("[[service]]\nname = \"web\"\n", "1:1: service.web: the key `protocol` is missing");
    check_error("[[class]]\nname = \"a\"\n", "1:1: class.a: the key `prefixes` is missing");
}

#[test]
fn bad_units_show_how_to_write_them() {
    check_error(
        &web("limit = { packets = 2000 }"),
        "5:21: service.web.limit.packets: 2000 needs a unit: write a rate as in \"2k/s\" or \"100/min\"",
    );
    check_error(
        &web("limit = { packets = \"2k\" }"),
        "5:21: service.web.limit.packets: `2k` is not a rate: write a count per time, as in \"500/s\", \"2k/s\", \"1.5M/s\" or \"100/min\"",
    );
    check_error(
        &web("limit = { bytes = \"50 Mb/s\" }"),
        "5:19: service.web.limit.bytes: `50 Mb/s` is not a rate of bytes: write it as in \"50 Mbit/s\", \"10 MB/s\" or \"1 Gbit/s\"",
    );
    check_error(
        "[flood]\nhold = \"5 parsecs\"\n",
        "2:8: flood.hold: `5 parsecs` is no length of time: say it as in \"250ms\", \"30s\", \"5m\", \"1h30m\" or \"2d\"",
    );
}

#[test]
fn bad_values_name_the_known_ones() {
    check_error(
        &web("mode = \"enforced\""),
        "5:8: service.web.mode: unknown value `enforced`, expected one of `off`, `observe`, `enforce`",
    );
}

#[test]
fn prefixes_with_host_bits_show_the_corrected_form() {
    check_error(
        "[access]\ndenied = [\"192.0.2.0/24\", \"192.0.2.77/24\"]\n",
        "2:10: access.denied: `192.0.2.77/24` has bits set behind its length: write `192.0.2.0/24` (or `192.0.2.77` for the one address)",
    );
    check_error(
        "[access]\nexempt = [\"::ffff:192.0.2.0/120\"]\n",
        "2:10: access.exempt: `::ffff:192.0.2.0/120` is an IPv4 prefix in IPv6 form: write `192.0.2.0/24`",
    );
    check_error(
        "[access]\nexempt = [\"localhost\"]\n",
        "2:10: access.exempt: `localhost` is no address or prefix: write it as in \"192.0.2.0/24\" or \"2001:db8::/32\"",
    );
}

#[test]
fn ports_are_some_and_real() {
    check_error(
        "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = []\n",
        "4:9: service.web.ports: no ports are listed: name some, or leave the key out for the whole protocol",
    );
    check_error(
        "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [0]\n",
        "4:10: service.web.ports: port 0 does not exist: ports run from 1 to 65535",
    );
    check_error(
        "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [\"90-80\"]\n",
        "4:10: service.web.ports: the range `90-80` is upside down: write `80-90`",
    );
    check_error(
        "[[service]]\nname = \"ping\"\nprotocol = \"icmp\"\nports = [8]\n",
        "4:1: service.ping.ports: icmp has no ports: leave the key out, or make it a service of its own",
    );
    check_error(
        "[[service]]\nname = \"web\"\nprotocol = \"tpc\"\n",
        "3:12: service.web.protocol: `tpc` is no protocol: say tcp, udp, sctp, icmp, icmpv6, gre, esp, ah or a number from 0 to 255",
    );
}

#[test]
fn overlapping_services_are_both_named() {
    let other = "[[service]]\nname = \"tls\"\nprotocol = [\"udp\", \"tcp\"]\nports = [443]\n";
    check_error(
        &(web("") + other),
        "6:1: service.tls: the services `web` and `tls` both match tcp port 443: change the ports or the destination of one",
    );
    let ranges = "[[service]]\nname = \"a\"\nprotocol = \"udp\"\nports = [\"1-100\"]\ndestination = [\"192.0.2.0/24\"]\n\
                  [[service]]\nname = \"b\"\nprotocol = \"udp\"\nports = [\"50-200\"]\ndestination = [\"192.0.2.0/24\"]\n";
    check_error(
        ranges,
        "6:1: service.b: the services `a` and `b` both match udp port 50-100 to 192.0.2.0/24: change the ports or the destination of one",
    );
}

#[test]
fn a_more_precise_service_is_no_overlap() {
    let text = web("")
        + "[[service]]\nname = \"range\"\nprotocol = \"tcp\"\nports = [\"400-500\"]\n\
           [[service]]\nname = \"tcp\"\nprotocol = \"tcp\"\n\
           [[service]]\nname = \"here\"\nprotocol = \"tcp\"\nports = [443]\ndestination = [\"192.0.2.1\"]\n";
    Config::parse(&text, "test").expect("each is more precise than another");
}

#[test]
fn a_burst_that_never_opens_is_told_the_smallest() {
    check_error(
        &web("limit = { packets = \"100k/s\", packets_burst = 100 }"),
        "5:31: service.web.limit.packets_burst: is too small: what the rate admits in two ticks of 4 ms must fit; the smallest is 802",
    );
    check_error(
        &web("limit = { bytes = \"8 Mbit/s\", bytes_burst = \"1500 B\" }"),
        "5:31: service.web.limit.bytes_burst: is too small: one frame of 9216 bytes and what the rate admits in two ticks of 4 ms must fit; the smallest is \"17280 B\"",
    );
    check_error(
        &web("limit = { bytes_burst = \"1 MB\" }"),
        "5:11: service.web.limit.bytes_burst: a burst needs a rate: set `bytes` as well",
    );
    check_error(
        &web("limit = { packets = \"0/s\" }"),
        "5:11: service.web.limit.packets: a rate of nothing would drop everything: deny the source instead (access.denied), or use mode = \"off\"",
    );
}

#[test]
fn new_connections_are_of_tcp_only() {
    check_error(
        "[[service]]\nname = \"dns\"\nprotocol = \"udp\"\nports = [53]\nlimit = { connections = \"5/s\" }\n",
        "5:11: service.dns.limit.connections: new connections are counted for tcp only: limit `packets`",
    );
}

#[test]
fn classes_exist_and_are_few() {
    check_error(
        &web("[service.class.insde]\nmode = \"off\""),
        "5:16: service.web.class.insde: unknown class `insde`; did you mean `inside`?",
    );
    let class = |n| format!("[[class]]\nname = \"c{n}\"\nprefixes = [\"192.0.2.{n}\"]\n");
    check_error(
        &(0..15).map(class).collect::<Vec<_>>().concat(),
        "1:3: class: 15 classes are too many: at most 14 besides outside and inside",
    );
    check_error(
        "[[class]]\nname = \"inside\"\nprefixes = [\"192.0.2.1\"]\n",
        "1:1: class.inside: outside and inside exist already: access.inside says who is inside",
    );
}

#[test]
fn reserves_bans_and_capacities_have_bounds() {
    check_error(
        "[default]\naggregate = \"always\"\n",
        "2:13: default.aggregate: invalid value: string \"always\", expected \"auto\", \"off\" or a table of rates",
    );
    check_error(
        "[default.aggregate]\nreserve = 1.0\n",
        "2:1: default.aggregate.reserve: 1 is no share: from 0 up to, not including, 1",
    );
    check_error(
        "[default.ban]\nafter = 5\nfor = \"2h\"\n",
        "3:1: default.ban.for: 2h is longer than the longest, 1h",
    );
    check_error(
        "[capacity]\nsketch_cells = 5000\n",
        "2:1: capacity.sketch_cells: 5000 is no power of two: write 8192",
    );
    let services = web("") + "[capacity]\nservices = 2\n[[service]]\nname = \"b\"\nprotocol = \"udp\"\n";
    check_error(
        &services,
        "7:1: capacity.services: 3 services (the default one included) do not fit into 2: raise it",
    );
}

#[test]
fn every_problem_is_told_at_once() {
    let found =
        problems("[source]\nipv4_prefix = 33\n[flood]\nhold = \"1ms\"\n[log]\nlevel = \"info=info=info\"\n");
    assert_eq!(found.len(), 3, "{found:?}");
}

#[test]
fn tuning_of_a_service_that_does_not_exist_is_an_error() {
    let text = web("") + "[tuning.services.wbe]\nmode = \"off\"\n";
    check_error(&text, "6:18: tuning.services.wbe: unknown service `wbe`; did you mean `web`?");
}

/// Values by dotted key.
fn flat(text: &str) -> BTreeMap<String, String> {
    fn walk(path: &str, value: &toml::Value, found: &mut BTreeMap<String, String>) {
        match value {
            toml::Value::Table(table) => {
                for (key, value) in table {
                    let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                    walk(&path, value, found);
                }
            }
            value => {
                found.insert(path.to_owned(), value.to_string());
            }
        }
    }
    let mut found = BTreeMap::new();
    walk("", &toml::Value::Table(text.parse().expect("TOML")), &mut found);
    // Arrays of tables that are empty by default stand in the file as comments.
    found.retain(|_, value| value != "[]" || text.contains("= []"));
    found.retain(|key, _| !["class", "service", "expected"].contains(&key.as_str()));
    found
}

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[test]
fn the_reference_shows_every_key_with_its_default() {
    let page = read("docs/reference/configuration.md");
    for (key, value) in flat(&Config::default().to_toml().expect("it serializes")) {
        if key.starts_with("tuning.defence.rungs") || key.starts_with("detection.") {
            continue;
        }
        let row = format!("| `{key}` | `{value}` |");
        assert!(page.contains(&row), "docs/reference/configuration.md lacks the row {row}");
    }
}

#[test]
fn every_example_in_the_reference_is_valid() {
    let page = read("docs/reference/configuration.md");
    let examples: Vec<&str> =
        page.split("```toml\n").skip(1).map(|rest| rest.split("```").next().expect("closed")).collect();
    assert!(examples.len() >= 4, "{} examples", examples.len());
    for example in examples {
        let config = Config::parse(example, "docs/reference/configuration.md")
            .unwrap_or_else(|error| panic!("{error}\n{example}"));
        crate::check(&config, jiff::Timestamp::UNIX_EPOCH)
            .unwrap_or_else(|error| panic!("{error}\n{example}"));
    }
}

#[test]
fn every_example_file_is_valid() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging/examples");
    let mut seen = 0;
    for entry in fs::read_dir(&folder).expect("packaging/examples exists") {
        let path = entry.expect("readable").path();
        if path.extension().is_some_and(|extension| extension == "toml") {
            let text = fs::read_to_string(&path).expect("readable");
            let config =
                Config::parse(&text, &path.display().to_string()).unwrap_or_else(|error| panic!("{error}"));
            crate::check(&config, jiff::Timestamp::UNIX_EPOCH)
                .unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            seen += 1;
        }
    }
    assert!(seen >= 4, "{seen} examples");
}

proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(?s).{0,300}") {
        let _ = Config::parse(&text, "any");
    }

    #[test]
    fn no_mutation_of_the_default_makes_the_parser_panic(at in 0usize..3000, cut in 0usize..40, put in "[\\[\\]=\"a-z0-9.#\n ]{0,12}") {
        let mut text = Config::default_file().to_owned();
        let start = at.min(text.len());
        let end = (start + cut).min(text.len());
        if text.is_char_boundary(start) && text.is_char_boundary(end) {
            text.replace_range(start..end, &put);
            let _ = Config::parse(&text, "any");
        }
    }
}

#[test]
fn every_mistake_in_a_receiver_of_findings_is_named() {
    let said = problems(
        "[[alerts.sink]]\nkind = \"jsonl\"\n\
         [[alerts.sink]]\nkind = \"jsonl\"\npath = \"relative\"\naddress = \"udp://a:1\"\n\
         [[alerts.sink]]\nkind = \"syslog\"\naddress = \"http://logs.example\"\n\
         [[alerts.sink]]\nkind = \"syslog\"\nname = \"a b\"\naddress = \"tcp://logs.example\"\nca_file = \"/ca\"\n\
         [[alerts.sink]]\nkind = \"alertmanager\"\naddress = \"http://me:secret@am:9093\"\nformat = \"ecs\"\n",
    )
    .join("\n");
    for wanted in [
        "a jsonl sink needs `path`",
        "another sink is called `jsonl`",
        "relative is no absolute path",
        "means nothing to this jsonl sink",
        "begins with udp:// or tcp:// or tls://",
        "1 to 32 letters",
        "`logs.example` is no HOST:PORT",
        "means nothing to this syslog sink",
        "use `authorization_file`",
        "means nothing to this alertmanager sink",
    ] {
        assert!(said.contains(wanted), "{wanted} is not in:\n{said}");
    }
    assert!(!said.contains("me:secret"), "{said}");
    let good = "[[alerts.sink]]\nkind = \"syslog\"\naddress = \"tls://[2001:db8::1]:6514\"\n\
                [[alerts.sink]]\nkind = \"journald\"\ndetectors = [\"port_scan\"]\n";
    let config = Config::parse(good, "sluice.toml").unwrap();
    assert_eq!(Config::parse(&config.to_toml().unwrap(), "again").unwrap(), config);
}
