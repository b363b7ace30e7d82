//! `[metrics]`: where figures are served, and what the page beside them shows.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// `[metrics]`: the Prometheus page.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Metrics {
    pub enabled: bool,
    pub listen: SocketAddr,
    /// What the page at `/` shows. Absent: addresses on loopback, figures elsewhere.
    pub page: Option<PageDetail>,
    /// TLS, client certificates and passwords, in the format of the Prometheus exporters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub web_config_file: Option<PathBuf>,
    /// Serve the network without asking who it is.
    pub allow_unauthenticated: bool,
}

impl Metrics {
    /// What the page at `/` shows.
    pub fn page(&self) -> PageDetail {
        let by_place =
            if self.listen.ip().is_loopback() { PageDetail::Addresses } else { PageDetail::Figures };
        self.page.unwrap_or(by_place)
    }
}

/// What the page at `/` of the metrics listener shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PageDetail {
    /// There is no page.
    Off,
    /// Rates, interfaces, services and limits.
    Figures,
    /// Also sources, findings and who talks to whom.
    Addresses,
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            enabled: true,
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 9477)),
            page: None,
            web_config_file: None,
            allow_unauthenticated: false,
        }
    }
}
