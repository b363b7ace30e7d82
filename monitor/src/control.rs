//! HTTP and JSON over a Unix socket: protocol, server, client.
