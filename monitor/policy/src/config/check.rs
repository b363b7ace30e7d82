//! What no type can say: values against their ranges and against each other.
//!
//! Every problem comes with the path of its key; nothing is corrected silently.

mod limits;
mod overlap;

use std::{collections::BTreeMap, path::Path, time};

use monitor_common::rule::{CLASSES, FIRST_INNER_NODE, leaf};
use monitor_common::table::WAYS;
use tracing_subscriber::filter::Targets;

use super::units::Bytes;
use super::{
    BanRule, Config, DEFAULT_SERVICE, Duration, INSIDE_CLASS, OUTSIDE_CLASS, Protection, Quantity, list,
    nearest, sink,
};

/// Problems so far: the path of a key, and a sentence.
pub(super) type Problems = Vec<(String, String)>;

/// Everything that is wrong with `config`, in the order of the file's sections.
pub(super) fn problems(config: &Config) -> Problems {
    let mut found = Problems::new();
    interfaces(config, &mut found);
    source(config, &mut found);
    classes(config, &mut found);
    list::check(&config.access.lists, &mut found);
    services(config, &mut found);
    times(config, &mut found);
    capacity(config, &mut found);
    paths(config, &mut found);
    sink::check(&config.alerts.sinks, &mut found);
    if let Err((key, sentence)) = config.tuning.check() {
        say(&mut found, format!("tuning.{key}"), sentence);
    }
    for name in config.tuning.services.keys().filter(|name| !knows_service(config, name)) {
        say(&mut found, format!("tuning.services.{name}"), unknown_service(config, name));
    }
    found
}

pub(super) fn say(found: &mut Problems, path: impl Into<String>, sentence: impl Into<String>) {
    found.push((path.into(), sentence.into()));
}

fn interfaces(config: &Config, found: &mut Problems) {
    let names = &config.interfaces.names;
    for (position, name) in names.iter().enumerate() {
        if name.is_empty() || name.len() > 15 || name.contains(['/', ' ']) {
            say(found, "interfaces.names", format!("`{name}` is no interface name (1 to 15 bytes, no `/`)"));
        }
        if names[..position].contains(name) {
            say(found, "interfaces.names", format!("`{name}` is listed twice"));
        }
    }
}

fn source(config: &Config, found: &mut Problems) {
    for (key, length, longest) in
        [("ipv4_prefix", config.source.ipv4_prefix, 32), ("ipv6_prefix", config.source.ipv6_prefix, 128)]
    {
        if length == 0 || length > longest {
            say(found, format!("source.{key}"), format!("{length} is no prefix length here: 1 to {longest}"));
        }
    }
}

fn classes(config: &Config, found: &mut Problems) {
    let mut taken = BTreeMap::new();
    let mut names = vec![OUTSIDE_CLASS, INSIDE_CLASS];
    if config.classes.len() + 2 > CLASSES {
        let most = CLASSES - 2;
        say(
            found,
            "class",
            format!(
                "{} classes are too many: at most {most} besides outside and inside",
                config.classes.len()
            ),
        );
    }
    for class in &config.classes {
        let path = format!("class.{}", class.name);
        if matches!(class.name.as_str(), OUTSIDE_CLASS | INSIDE_CLASS) {
            say(found, &path, "outside and inside exist already: access.inside says who is inside");
        } else if names.contains(&class.name.as_str()) {
            say(found, &path, "another class has this name");
        }
        well_named(&path, &class.name, found);
        names.push(&class.name);
        if class.prefixes.is_empty() {
            say(found, &path, "a class without prefixes has no sources: name some in `prefixes`");
        }
        for prefix in &class.prefixes {
            if let Some(other) = taken.insert(*prefix, &class.name)
                && *other != class.name
            {
                say(found, format!("{path}.prefixes"), format!("{prefix} is in class {other} already"));
            }
        }
    }
}

fn services(config: &Config, found: &mut Problems) {
    protection(config, DEFAULT_SERVICE, &config.default, true, found);
    for (position, service) in config.services.iter().enumerate() {
        let path = format!("service.{}", service.name);
        well_named(&path, &service.name, found);
        if service.name == DEFAULT_SERVICE {
            say(found, &path, "`default` is what no service matches: write it as [default]");
        }
        if config.services[..position].iter().any(|other| other.name == service.name) {
            say(found, &path, "another service has this name");
        }
        overlap::matching(service, &path, found);
        let opens = service.matches.protocols.contains(&super::Protocol::TCP);
        protection(config, &path, &service.protection, opens, found);
    }
    overlap::between(&config.services, found);
}

fn protection(config: &Config, path: &str, protection: &Protection, opens: bool, found: &mut Problems) {
    if protection.checks_encryption() && !opens {
        say(found, format!("{path}.encryption"), "the first data of connections is looked at for tcp only");
    }
    limits::limits(&format!("{path}.limit"), &protection.limit, opens, found);
    limits::limits(&format!("{path}.trial"), &protection.trial, opens, found);
    limits::limits(&format!("{path}.aggregate"), &protection.aggregate.limits(), opens, found);
    if !(0.0..1.0).contains(&protection.aggregate.reserve) {
        say(
            found,
            format!("{path}.aggregate.reserve"),
            format!("{} is no share: from 0 up to, not including, 1", protection.aggregate.reserve),
        );
    }
    ban(&format!("{path}.ban"), protection.ban.as_ref(), found);
    for (name, class) in &protection.class {
        let path = format!("{path}.class.{name}");
        let known = || {
            let own = config.classes.iter().map(|class| class.name.as_str());
            [OUTSIDE_CLASS, INSIDE_CLASS].into_iter().chain(own)
        };
        if !known().any(|known| known == name) {
            let meant = nearest(name, known()).map_or_else(
                || format!("known are {}", known().collect::<Vec<_>>().join(", ")),
                |meant| format!("did you mean `{meant}`?"),
            );
            say(found, &path, format!("unknown class `{name}`; {meant}"));
        }
        limits::limits(&format!("{path}.limit"), &class.limit.unwrap_or_default(), opens, found);
        limits::limits(&format!("{path}.trial"), &class.trial.unwrap_or_default(), opens, found);
        ban(&format!("{path}.ban"), class.ban.as_ref(), found);
    }
}

fn ban(path: &str, ban: Option<&BanRule>, found: &mut Problems) {
    let Some(ban) = ban else {
        return;
    };
    let year = Duration::from_secs(365 * 86_400);
    if !(1..=16).contains(&ban.growth) {
        say(found, format!("{path}.growth"), "must lie between 1 (no growth) and 16");
    }
    if ban.first > ban.longest {
        say(
            found,
            format!("{path}.for"),
            format!("{} is longer than the longest, {}", ban.first, ban.longest),
        );
    }
    for (key, time) in [("within", ban.within), ("for", ban.first), ("longest", ban.longest)] {
        if time.0.is_zero() || time > year {
            say(found, format!("{path}.{key}"), format!("{time} is out of range: above 0 and at most 365d"));
        }
    }
}

fn times(config: &Config, found: &mut Problems) {
    let second = time::Duration::from_secs(1);
    let mut within = |path: &str, value: Duration, least: time::Duration, most: time::Duration| {
        if value.0 < least || value.0 > most {
            let (least, most) = (Duration(least), Duration(most));
            say(found, path, format!("{value} is out of range: {least} to {most}"));
        }
    };
    within("flood.hold", config.flood.hold, second, second * 3600);
    within("flood.known_after", config.flood.known_after, time::Duration::ZERO, second * 86_400);
    within("heartbeat.timeout", config.heartbeat.timeout, second * 3, second * 86_400);
    within("conversations.active_timeout", config.conversations.active_timeout, second, second * 3600);
    let flood = &config.flood;
    let tracking = &config.conversations;
    let fragments = &config.fragments;
    for (path, rate, burst_path, burst) in [
        (
            "fragments.per_source",
            fragments.per_source,
            "fragments.per_source_burst",
            fragments.per_source_burst,
        ),
        ("fragments.total", fragments.total, "fragments.total_burst", fragments.total_burst),
        ("flood.new_sources", flood.new_sources, "flood.burst", flood.burst),
        ("flood.heavy_sources", flood.heavy_sources, "flood.heavy_burst", flood.heavy_burst),
        (
            "conversations.observations",
            tracking.observations,
            "conversations.observations_burst",
            tracking.observations_burst,
        ),
    ] {
        let quantity = Quantity {
            dimension: monitor_common::rule::PACKETS,
            units: rate.amount,
            period_ns: rate.period.nanoseconds(),
            wanted_burst: Some(burst),
        };
        limits::quantity(path, burst_path, &quantity, found);
    }
}

fn capacity(config: &Config, found: &mut Problems) {
    let sizes = &config.capacity;
    let million = 1 << 20;
    let bounds = [
        ("sources", sizes.sources, 1024, 16 * million),
        ("sketch_cells", sizes.sketch_cells, 1024, 16 * million),
        ("bans", sizes.bans, 16, 4 * million),
        ("conversations", sizes.conversations, 1024, 4 * million),
        ("services", sizes.services, 2, 1024),
        ("rules", sizes.rules, 2, 65_536),
        ("limits", sizes.limits, 2, 65_536),
        ("prefix_nodes", sizes.prefix_nodes, FIRST_INNER_NODE + 1, 8 * million),
        ("denials", sizes.denials, 16, leaf::DENIAL_MASK + 1),
    ];
    for (key, value, least, most) in bounds {
        if value < least || value > most {
            say(found, format!("capacity.{key}"), format!("{value} is out of range: {least} to {most}"));
        }
    }
    if !sizes.sources.is_multiple_of(WAYS) {
        let up = sizes.sources.next_multiple_of(WAYS);
        say(found, "capacity.sources", format!("{} is no multiple of {WAYS}: write {up}", sizes.sources));
    }
    if !sizes.sketch_cells.is_power_of_two() {
        let up = sizes.sketch_cells.checked_next_power_of_two().unwrap_or(1 << 24);
        say(found, "capacity.sketch_cells", format!("{} is no power of two: write {up}", sizes.sketch_cells));
    }
    let services = config.services.len() + 1;
    if services > sizes.services as usize {
        say(
            found,
            "capacity.services",
            format!(
                "{services} services (the default one included) do not fit into {}: raise it",
                sizes.services
            ),
        );
    }
    let own = config.access.denied.len();
    if own > sizes.denials as usize {
        say(
            found,
            "capacity.denials",
            format!("{own} denied prefixes do not fit into {}: raise it", sizes.denials),
        );
    }
}

fn paths(config: &Config, found: &mut Problems) {
    absolute("control.socket", &config.control.socket, found);
    if let Some(file) = &config.metrics.web_config_file {
        absolute("metrics.web_config_file", file, found);
    }
    absolute("state.directory", &config.state.directory, found);
    for (key, Bytes(size), least) in
        [("store_size", config.state.store_size, 16 << 20), ("audit_size", config.state.audit_size, 1 << 20)]
    {
        if !(least..=64 << 30).contains(&size) {
            let least = Bytes(least);
            say(found, format!("state.{key}"), format!("{size} bytes: allow between {least} and 64 GiB"));
        }
    }
    absolute("bpf.pin_directory", &config.bpf.pin_directory, found);
    if config.control.socket.as_os_str().len() > 107 {
        say(found, "control.socket", "the path of a Unix socket has at most 107 bytes");
    }
    if config.log.level.parse::<Targets>().is_err() {
        say(
            found,
            "log.level",
            format!(
                "`{}` is no filter: write error, warn, info, debug, trace or `info,monitor::engine=debug`",
                config.log.level
            ),
        );
    }
}

pub(super) fn absolute(path: &str, value: &Path, found: &mut Problems) {
    if !value.is_absolute() {
        say(found, path, format!("`{}` must be an absolute path", value.display()));
    }
}

/// Names stand in metrics, URLs and on command lines.
fn well_named(path: &str, name: &str, found: &mut Problems) {
    let legal = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_');
    if name.is_empty() || name.len() > 48 || !name.chars().all(legal) {
        say(found, path, format!("`{name}` is no name: up to 48 of a-z, 0-9, - and _"));
    }
}

fn knows_service(config: &Config, name: &str) -> bool {
    name == DEFAULT_SERVICE || config.services.iter().any(|service| service.name == name)
}

fn unknown_service(config: &Config, name: &str) -> String {
    let known = config.services.iter().map(|service| service.name.as_str());
    match nearest(name, known.chain([DEFAULT_SERVICE])) {
        Some(meant) => format!("unknown service `{name}`; did you mean `{meant}`?"),
        None => format!("unknown service `{name}`; name one of the [[service]] tables"),
    }
}
