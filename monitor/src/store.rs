//! What must outlive the process: bans, overrides, baselines, alerts, audit.
