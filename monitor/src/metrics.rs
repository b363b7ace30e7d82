//! A snapshot becomes a Prometheus page.
