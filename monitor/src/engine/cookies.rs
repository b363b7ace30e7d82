//! How this host's TCP takes SYN cookies, and the two settings that a configuration may ask for.
//!
//! In: `/proc/sys/net` of this network namespace. Out: a plain value. It writes nothing that it was not told to.

use std::{fs, io, path::Path};

use policy::Cookies;
use policy::config::Config;

const SETTINGS: &str = "/proc/sys/net/ipv4";
const SYN_COOKIES: &str = "tcp_syncookies";
const TIMESTAMPS: &str = "tcp_timestamps";
/// Of both: always, and without an offset of the peer's.
const WANTED: &str = "2";

/// As it is at this moment.
pub fn look() -> Cookies {
    look_in(Path::new(SETTINGS))
}

fn look_in(settings: &Path) -> Cookies {
    let number = |name: &str| {
        fs::read_to_string(settings.join(name)).ok().and_then(|text| text.trim().parse::<u32>().ok())
    };
    let is_on = |name| number(name).is_some_and(|number| number != 0);
    Cookies {
        always: number(SYN_COOKIES) == Some(2),
        stamps: number(TIMESTAMPS) == Some(2),
        sack: is_on("tcp_sack"),
        windows: is_on("tcp_window_scaling"),
    }
}

/// Makes the settings that `[challenge]` asks for, where a service challenges; a sentence for each that cannot be made.
pub fn set(config: &Config) -> Vec<String> {
    set_in(Path::new(SETTINGS), config)
}

fn set_in(settings: &Path, config: &Config) -> Vec<String> {
    if !config.challenges() {
        return Vec::new();
    }
    let asked = [
        (config.challenge.set_tcp_syncookies, SYN_COOKIES),
        (config.challenge.set_tcp_timestamps, TIMESTAMPS),
    ];
    let wanted = asked.into_iter().filter(|(asked, _)| *asked);
    wanted.filter_map(|(_, name)| made(&settings.join(name), name).err()).collect()
}

fn made(path: &Path, name: &str) -> Result<(), String> {
    let outcome = || -> io::Result<()> {
        if fs::read_to_string(path)?.trim() != WANTED {
            fs::write(path, WANTED)?;
            tracing::info!("net.ipv4.{name} is {WANTED} now, as [challenge] asks");
        }
        Ok(())
    };
    outcome().map_err(|error| {
        format!(
            "net.ipv4.{name} cannot be set ({error}): write `net.ipv4.{name} = {WANTED}` to /etc/sysctl.d"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(text, "a test").unwrap()
    }

    const SERVICE: &str = "[[service]]\nname = \"web\"\nprotocol = \"tcp\"\nports = [80]\nchallenge = true\n";

    #[test]
    fn only_what_is_asked_for_is_set() {
        let settings = tempfile::tempdir().unwrap();
        let at = settings.path();
        for (name, value) in [(SYN_COOKIES, "1\n"), (TIMESTAMPS, "1\n"), ("tcp_sack", "1\n")] {
            fs::write(at.join(name), value).unwrap();
        }
        let asks = "[challenge]\nset_tcp_syncookies = true\n";
        assert_eq!(set_in(at, &config(asks)), Vec::<String>::new(), "no service challenges");
        assert_eq!(set_in(at, &config(SERVICE)), Vec::<String>::new());
        assert_eq!(look_in(at), Cookies { sack: true, ..Cookies::default() });
        assert_eq!(set_in(at, &config(&format!("{asks}{SERVICE}"))), Vec::<String>::new());
        assert_eq!(look_in(at), Cookies { sack: true, always: true, ..Cookies::default() });
        fs::remove_file(at.join(SYN_COOKIES)).unwrap();
        let failed = set_in(at, &config(&format!("{asks}{SERVICE}")));
        assert!(failed[0].contains("/etc/sysctl.d"), "{failed:?}");
    }
}
