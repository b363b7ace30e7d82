//! Which configuration a start takes: the file, or the last good one when the file is broken.
//!
//! In: what `sluice run` was given. Out: a configuration that parses, and why it is not the file's. Without a last good
//! one a broken file is an error: there is nothing to guard with.

use std::fs;
use std::sync::Arc;

use anyhow::Result;

use super::Options;
use crate::engine::delta::ConfigSetting;
use crate::engine::{configuration_path, last_good, read_configuration};
use crate::store;
use policy::config::Config;

#[derive(Debug)]
pub(super) struct Chosen {
    pub setting: ConfigSetting,
    pub config: Arc<Config>,
    /// Why the file is not in force.
    pub broken: Option<String>,
}

pub(super) fn choose(options: &Options) -> Result<Chosen> {
    let parsed = |setting: ConfigSetting| -> Result<(ConfigSetting, Config)> {
        let config = setting.parse()?;
        Ok((setting, config))
    };
    let named = read_configuration(options.config.as_deref(), options.flags.clone());
    let error = match named.map_err(anyhow::Error::from).and_then(parsed) {
        Ok((setting, config)) => return Ok(Chosen { setting, config: Arc::new(config), broken: None }),
        Err(error) => error,
    };
    let path = configuration_path(options.config.as_deref()).map(|path| path.display().to_string());
    let text = path.as_ref().map(fs::read).and_then(Result::ok).unwrap_or_default();
    let directories = last_good::directories(&String::from_utf8_lossy(&text));
    // Whoever starts a second daemon with a broken file learns what is broken.
    let unused = directories.iter().all(|directory| store::ensure_unused(directory).is_ok());
    let kept = last_good::setting(&directories, path.as_deref()).filter(|_| unused);
    let kept = kept.map(|setting| ConfigSetting { flags: options.flags.clone(), ..setting });
    match kept.map(parsed) {
        Some(Ok((setting, config))) => {
            Ok(Chosen { setting, config: Arc::new(config), broken: Some(format!("{error:#}")) })
        }
        _ => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::engine::delta::Flags;

    fn options(path: &Path) -> Options {
        Options { config: Some(path.to_owned()), flags: Flags::default() }
    }

    #[test]
    fn a_broken_file_is_an_error_without_a_last_good_one_and_a_problem_with_it() {
        let files = tempfile::tempdir().unwrap();
        let (path, state) = (files.path().join("sluice.toml"), files.path().join("state"));
        fs::create_dir(&state).unwrap();
        let good = format!("state.directory = {state:?}\n[default]\nmode = \"enforce\"\n");
        fs::write(&path, &good).unwrap();
        let chosen = choose(&options(&path)).unwrap();
        assert_eq!(chosen.broken, None);
        fs::write(&path, format!("{good}nonsense = 1\n")).unwrap();
        assert!(choose(&options(&path)).unwrap_err().to_string().contains("nonsense"));
        last_good::Kept::default().keep(&state, &chosen.setting, &[]).unwrap();
        let again = choose(&options(&path)).unwrap();
        assert_eq!((&again.setting, &again.config), (&chosen.setting, &chosen.config));
        assert!(again.broken.unwrap().contains("nonsense"));
        fs::write(&path, format!("{good}broken = [\n")).unwrap();
        assert_eq!(choose(&options(&path)).unwrap().setting, chosen.setting);
    }
}
