//! The desired state: what was decided, and the text of the configuration behind it.
//!
//! Everybody reads it. Only the module [`super`] writes it, because only that module sees the mutators.

use super::super::delta::{ConfigSetting, Containments, Standing};
use jiff::Timestamp;
use policy::Rules;

/// What holds by decision. Revisions tell readers whether anything changed since they looked.
#[derive(Debug)]
pub struct Desired {
    standing: Standing,
    config: ConfigSetting,
    revision: Revision,
    /// The first end of anything in the desired state: until then nothing has to be looked for.
    first_end: Option<Timestamp>,
}

/// Grows with every write.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Revision {
    /// Of anything.
    pub any: u64,
    /// Of the configuration and the host's own addresses.
    pub config: u64,
}

impl Desired {
    pub fn new(standing: Standing, config: ConfigSetting) -> Self {
        let first_end = standing.first_end();
        Self { standing, config, revision: Revision::default(), first_end }
    }

    pub const fn standing(&self) -> &Standing {
        &self.standing
    }

    pub const fn rules(&self) -> &Rules {
        &self.standing.rules
    }

    pub const fn containments(&self) -> &Containments {
        &self.standing.containments
    }

    /// The text behind the rules' configuration.
    pub const fn config(&self) -> &ConfigSetting {
        &self.config
    }

    /// Whether anything has ended by `now`.
    pub fn is_anything_over(&self, now: Timestamp) -> bool {
        self.first_end.is_some_and(|end| end <= now)
    }

    pub const fn revision(&self) -> Revision {
        self.revision
    }

    pub(super) fn replace(&mut self, next: Standing) {
        if self.standing.rules.own != next.rules.own {
            self.revision.config += 1;
        }
        self.first_end = next.first_end();
        self.standing = next;
        self.revision.any += 1;
    }

    pub(super) fn take_config(&mut self, config: &ConfigSetting) {
        self.config.clone_from(config);
        self.revision.config += 1;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::core::delta::Flags;
    use policy::config::Config;

    #[test]
    fn revisions_tell_what_changed() {
        let standing = Standing {
            rules: Rules::new(Arc::new(Config::default())),
            bans: BTreeMap::new(),
            containments: BTreeMap::new(),
        };
        let config = ConfigSetting { path: None, toml: String::new(), flags: Flags::default() };
        let mut desired = Desired::new(standing.clone(), config.clone());
        desired.replace(standing.clone());
        assert_eq!(desired.revision(), Revision { any: 1, config: 0 });
        let mut moved = standing;
        moved.rules.own = vec!["192.0.2.1".parse().unwrap()];
        desired.replace(moved);
        assert_eq!(desired.revision(), Revision { any: 2, config: 1 });
        desired.take_config(&config);
        assert_eq!(desired.revision().config, 2);
    }
}
