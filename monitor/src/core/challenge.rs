//! Whether services that challenge can: what the host lacks for it, as one sentence.

use policy::Cookies;
use policy::config::Config;

/// Why nothing is challenged, though a service asks for it.
pub fn problem(config: &Config, cookies: Cookies) -> Option<String> {
    if !config.challenges() {
        None
    } else if !config.interfaces.egress {
        Some(
            "nothing is challenged: it takes the program on the way out (interfaces.egress = true)"
                .to_owned(),
        )
    } else if !cookies.always {
        Some(
            "nothing is challenged: net.ipv4.tcp_syncookies is not 2; set it in /etc/sysctl.d, or set \
             challenge.set_tcp_syncookies and restart"
                .to_owned(),
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_said_where_a_service_asks() {
        let service = "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [80]\nchallenge = true\n";
        let config = |text: &str| Config::parse(text, "a test").unwrap();
        let ready = Cookies { always: true, ..Cookies::default() };
        assert_eq!(problem(&config(""), Cookies::default()), None);
        assert_eq!(problem(&config(service), ready), None);
        let missing = problem(&config(service), Cookies::default()).unwrap();
        assert!(missing.contains("tcp_syncookies"), "{missing}");
        let blind = format!("interfaces.egress = false\n{service}");
        assert!(problem(&config(&blind), ready).unwrap().contains("egress"));
    }
}
