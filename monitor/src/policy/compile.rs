//! Desired state to what the kernel's maps shall hold.

use std::fmt;

use jiff::Timestamp;
use monitor_common::rule::{Aggregate, Denial, Limit, PortBlock, PrefixNode, ServiceRule, Settings};

use super::{Numbering, Rules};

/// What compilation needs to know of the machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Environment {
    /// Length of a kernel tick.
    pub tick_ns: u64,
    /// Random at every load.
    pub hash_key: [u64; 2],
    /// The same moment on the wall and on the kernel's clock (clock units), to place ends of denials.
    pub now: Timestamp,
    pub clock: u64,
}

/// One generation of everything the kernel is told, ready to be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// Without what only the engine knows: [`monitor_common::rule::setting::HAS_BANS`].
    pub settings: Settings,
    /// Roots of both families first, see [`monitor_common::rule`]; relative to the generation's base.
    pub nodes: Vec<PrefixNode>,
    /// By number; counters are zero and to be kept as they are where the number was in use already.
    pub denials: Vec<(u32, Denial)>,
    pub blocks: Vec<PortBlock>,
    /// Rule 0 is the default service.
    pub rules: Vec<ServiceRule>,
    /// Limit 0 is "no limit".
    pub limits: Vec<Limit>,
    /// By service number, up to the highest in use.
    pub aggregates: Vec<Aggregate>,
    /// Names by service number, up to the highest in use; `None` where a number is free or retired.
    pub services: Vec<Option<String>>,
    /// Names by class number.
    pub classes: Vec<String>,
    /// The numbering that this image uses: the engine keeps it once the image is installed.
    pub numbering: Numbering,
}

impl Image {
    /// The name of a service by its number.
    pub fn service_name(&self, number: u32) -> Option<&str> {
        self.services.get(usize::try_from(number).ok()?)?.as_deref()
    }

    /// The name of a class by its number.
    pub fn class_name(&self, number: u32) -> Option<&str> {
        self.classes.get(usize::try_from(number).ok()?).map(String::as_str)
    }
}

/// Why desired rules cannot be put into the kernel's maps. The message says which key of `[capacity]` or which service
/// to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompileError(pub String);

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for CompileError {}

/// The image of `rules`. `numbering` is that of the image installed now (or empty).
pub fn compile(
    rules: &Rules,
    numbering: &Numbering,
    environment: &Environment,
) -> Result<Image, CompileError> {
    let _ = (rules, numbering, environment);
    Err(CompileError("compilation is not written yet".to_owned()))
}
