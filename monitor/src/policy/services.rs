//! The service table: ports to chains of rules.
