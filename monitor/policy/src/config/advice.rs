//! What is valid and still probably not meant: told by `sluice config check` and in the log, never an error.

use super::{Config, DEFAULT_SERVICE, Mode, Protection};

pub(super) fn advice(config: &Config) -> Vec<String> {
    let mut told = Vec::new();
    let services = config.services.iter().map(|service| (service.name.as_str(), &service.protection));
    let all: Vec<(&str, &Protection)> =
        std::iter::once((DEFAULT_SERVICE, &config.default)).chain(services).collect();
    let of_mode = |mode| {
        let names = all.iter().filter(|(_, protection)| protection.mode == mode).map(|(name, _)| *name);
        names.collect::<Vec<_>>()
    };
    let (observing, enforcing) = (of_mode(Mode::Observe), of_mode(Mode::Enforce));
    if !enforcing.is_empty() && !observing.is_empty() {
        told.push(format!("these only observe and drop nothing: {}", observing.join(", ")));
    }
    if config.interfaces.watch_only && !enforcing.is_empty() {
        let names = enforcing.join(", ");
        told.push(format!("interfaces.watch_only: nothing is dropped, though these enforce: {names}"));
    }
    for (name, protection) in &all {
        let enforces = protection.mode == Mode::Enforce
            || protection.class.values().any(|class| class.mode == Some(Mode::Enforce));
        if protection.ban.is_some() && !enforces {
            told.push(format!("{name}: `ban` has no effect while the mode is {}", protection.mode));
        }
    }
    for denied in &config.access.denied {
        if let Some(exempt) = config.access.exempt.iter().find(|exempt| exempt.contains(denied)) {
            told.push(format!("access.denied {denied} lies in the exempt {exempt} and is never dropped"));
        }
    }
    if config.metrics.enabled && !config.metrics.listen.ip().is_loopback() {
        told.push(format!(
            "metrics.listen {} is open to the network and has no password",
            config.metrics.listen
        ));
    }
    told
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    fn check(text: &str, expected: &[&str]) {
        assert_eq!(Config::parse(text, "test").expect("valid").advice(), expected);
    }

    #[test]
    fn the_defaults_need_no_advice() {
        check("", &[]);
        check(Config::default_file(), &[]);
    }

    #[test]
    fn a_forgotten_dry_run_is_told() {
        let text = "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nmode = \"enforce\"\n";
        check(text, &["these only observe and drop nothing: default"]);
    }

    #[test]
    fn a_ban_that_cannot_happen_is_told() {
        check("[default.ban]\nafter = 5\n", &["default: `ban` has no effect while the mode is observe"]);
    }

    #[test]
    fn a_denial_within_an_exemption_is_told() {
        check(
            "[access]\nexempt = [\"192.0.2.0/24\"]\ndenied = [\"192.0.2.7\"]\n",
            &["access.denied 192.0.2.7/32 lies in the exempt 192.0.2.0/24 and is never dropped"],
        );
    }
}
